//! What is wrong with a configuration, or with the card that it came from, said so that its author can put it right.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Most problems that are told of what is written in one file. They are kept for as long as the node runs, and a
/// file can have a mistake in every third byte.
pub const MAX_PROBLEMS: usize = 100;

/// Longest text of what is wrong, and of the fix, in bytes. They quote the file, which may be one long word.
pub const LONGEST_TEXT: usize = 500;

/// One mistake in the configuration, or one fault of the card.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Problem {
    /// The file as it was named to the program, or what else is at fault.
    pub file: String,
    /// Line in the file, counted from 1; 0 when it is about the whole.
    pub line: u32,
    /// The service that is left out because of it; `None` for the node's own settings.
    pub service: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub fix: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: ", self.file)?,
            line => write!(f, "{}:{line}: ", self.file)?,
        }
        if let Some(service) = &self.service {
            write!(f, "service {service}: ")?;
        }
        write!(f, "{}; {}", self.what, self.fix)
    }
}

/// The configuration lacks something that the node cannot run without. Never empty.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", .0.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Unusable(
    /// Everything that was found wrong, also what would not have been fatal.
    pub Vec<Problem>,
);
