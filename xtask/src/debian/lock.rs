//! `board/debian.lock`: exactly which packages the images are made of.
//!
//! One entry per package that a board asks for. Committed, so that two people build the same image; it
//! changes only by `cargo xtask image --update-lock`.

use super::archive::Package;
use crate::fail::{Class, Fail};
use crate::paths;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;

const HEADER: &str = "\
# The Debian packages that the images are made of, pinned by content.
# Written by `cargo xtask image --update-lock`; do not edit by hand.

";

/// The whole file.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// Sorted by `request`.
    #[serde(default, rename = "package")]
    pub packages: Vec<Pinned>,
}

/// One pinned package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pinned {
    /// The name in board.toml; for the kernel a metapackage that depends on the real one, for a source package
    /// with [`super::SOURCE_PREFIX`] before it.
    pub request: String,
    /// The package that was taken for it; for a source package its name alone.
    pub name: String,
    /// Debian version.
    pub version: String,
    /// The suite it came from; says which archive `path` is under.
    pub suite: String,
    /// Path under the archive's base URL.
    pub path: String,
    /// Size in bytes of the `.deb`, or of a source package's upstream tarball.
    pub size: u64,
    /// SHA-256 of that file, lower-case hex.
    pub sha256: String,
}

impl Lock {
    /// Reads the file; a missing one is an empty lock.
    pub fn read(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = String::from_utf8_lossy(&paths::read(path)?).into_owned();
        Self::parse(&text).with_context(|| format!("reading {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let lock: Self = toml::from_str(text).map_err(|e| {
            Fail::new(Class::Input, format!("{e}; write it anew with `cargo xtask image --update-lock`"))
        })?;
        Ok(lock)
    }

    /// Writes the file, whole or not at all.
    pub fn write(&self, path: &Path) -> Result<()> {
        paths::write_atomic(path, self.to_text()?.as_bytes())
    }

    fn to_text(&self) -> Result<String> {
        Ok(HEADER.to_owned() + &toml::to_string(self).context("formatting the lock file")?)
    }

    /// The pin for a name in board.toml.
    pub fn get(&self, request: &str) -> Option<&Pinned> {
        self.packages.iter().find(|pinned| pinned.request == request)
    }

    /// Adds or replaces the pin for its request.
    pub fn set(&mut self, pinned: Pinned) {
        self.packages.retain(|other| other.request != pinned.request);
        self.packages.push(pinned);
        self.packages.sort_by(|a, b| a.request.cmp(&b.request));
    }
}

impl Pinned {
    /// Pins `package` for `request`.
    pub fn new(request: &str, package: Package) -> Self {
        let Package { name, version, suite, path, size, sha256, depends: _ } = package;
        Self { request: request.to_owned(), name, version, suite, path, size, sha256 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pinned(request: &str, version: &str) -> Pinned {
        Pinned {
            request: request.into(),
            name: format!("{request}-real"),
            version: version.into(),
            suite: "bookworm".into(),
            path: "pool/x.deb".into(),
            size: 1,
            sha256: "ab".into(),
        }
    }

    #[test]
    fn round_trip_sorted_and_replacing() {
        let mut lock = Lock::default();
        lock.set(pinned("xen", "1"));
        lock.set(pinned("busybox", "1"));
        lock.set(pinned("xen", "2"));
        let text = lock.to_text().expect("text");
        assert!(text.starts_with("# "));
        let again = Lock::parse(&text).expect("parse");
        assert_eq!(again, lock);
        assert_eq!(again.packages.iter().map(|p| p.request.as_str()).collect::<Vec<_>>(), ["busybox", "xen"]);
        assert_eq!(again.get("xen").map(|p| p.version.as_str()), Some("2"));
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(Lock::parse("[[package]]\nname = \"x\"\nsurprise = 1\n").is_err());
    }
}
