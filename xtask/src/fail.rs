//! Failures by class: whose fault it is decides the process's exit code.
//!
//! Errors travel as `anyhow::Error`, each layer adding the object it was working on. Where the class is
//! known, the innermost layer is a [`Fail`]; `main` prints the chain once and exits by that class.

use std::fmt;
use std::process::ExitCode;

/// Whose fault a failure is, and so what the caller can do about it. The numbers are the exit codes;
/// 2 is clap's, for a command line that does not parse, and 1 is a failure without a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// What the user asked for does not exist or contradicts itself.
    Input = 3,
    /// The host lacks a tool, a permission or space.
    Host = 4,
    /// Something could not be fetched; trying again later may help.
    Network = 5,
    /// Something fetched is not what its signature or checksum says.
    Integrity = 6,
    /// Our own code, or a package's content, could not be built into an image.
    Build = 7,
    /// The node did not boot, or did not do what was expected of it.
    Node = 8,
}

/// A failure with its class; `Display` is the message alone.
#[derive(Debug)]
pub struct Fail {
    class: Class,
    message: String,
}

impl Fail {
    /// An error of `class`; the message names the object, the cause, and the fix where one is known.
    #[expect(clippy::new_ret_no_self, reason = "inside an anyhow::Error is the only form it travels in")]
    pub fn new(class: Class, message: impl Into<String>) -> anyhow::Error {
        anyhow::Error::new(Self { class, message: message.into() })
    }
}

impl fmt::Display for Fail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fail {}

/// The class of the innermost classified cause of `error`, if any.
pub fn class_of(error: &anyhow::Error) -> Option<Class> {
    error.chain().rev().find_map(|cause| cause.downcast_ref::<Fail>()).map(|fail| fail.class)
}

/// Prints the whole chain, once, and gives the exit code of its class.
pub fn report(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  because: {cause}");
    }
    ExitCode::from(class_of(error).map_or(1, |class| class as u8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn class_survives_added_context() {
        let error = Err::<(), _>(Fail::new(Class::Integrity, "x: sha256 differs"))
            .context("package busybox-static")
            .unwrap_err();
        assert_eq!(class_of(&error), Some(Class::Integrity));
    }

    #[test]
    fn plain_errors_have_no_class() {
        assert_eq!(class_of(&anyhow::anyhow!("plain")), None);
    }
}
