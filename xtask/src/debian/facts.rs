//! What a package says about itself: the source package that it was built from, and its licences.

use super::deb::Deb;
use super::deb822::paragraphs;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Facts about a package that the archive's index does not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// Name and version of the source package.
    pub source: String,
    /// The licences named in its copyright file, where that is machine-readable; sorted.
    pub licences: Vec<String>,
}

impl Facts {
    /// Reads them; `version` is the package's own, which the source has too unless it says otherwise.
    pub fn of(deb: &Deb, name: &str, version: &str) -> Self {
        let is_copyright = |path: &&str| path.starts_with("usr/share/doc/") && path.ends_with("/copyright");
        let copyright = deb.files().keys().map(String::as_str).find(is_copyright);
        let text = copyright.and_then(|path| deb.files().get(path)).map(|text| String::from_utf8_lossy(text));
        Self { source: source(deb.control(), name, version), licences: licences(&text.unwrap_or_default()) }
    }
}

/// `Source: NAME (VERSION)` with what is left out filled in.
fn source(control: &str, name: &str, version: &str) -> String {
    let field = paragraphs(control).next().and_then(|p| p.get("Source")).unwrap_or(name);
    match field.split_once('(') {
        Some((source, other)) => format!("{} {}", source.trim(), other.trim_end_matches(')').trim()),
        None => format!("{field} {version}"),
    }
}

/// The short names of licences in a copyright file of the machine-readable format
/// (<https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/>).
fn licences(copyright: &str) -> Vec<String> {
    let mut all = paragraphs(copyright);
    if !all.next().and_then(|header| header.get("Format")).is_some_and(|f| f.contains("copyright-format")) {
        return Vec::new();
    }
    let of_files = all.filter(|paragraph| paragraph.get("Files").is_some());
    let names: BTreeSet<String> = of_files
        .filter_map(|paragraph| paragraph.get("License").filter(|name| !name.is_empty()).map(str::to_owned))
        .collect();
    names.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_named_in_full() {
        assert_eq!(source("Package: b\nVersion: 1+b1\nSource: a (1)\n", "b", "1+b1"), "a 1");
        assert_eq!(source("Package: b\nSource: a\n", "b", "2"), "a 2");
        assert_eq!(source("Package: b\n", "b", "2"), "b 2");
    }

    #[test]
    fn licences_are_those_of_files() {
        let text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n\
                    Files: *\nCopyright: x\nLicense: GPL-2\n text\n\nFiles: a\nLicense: BSD-3-clause\n\n\
                    License: LGPL-2\n text\n";
        assert_eq!(licences(text), ["BSD-3-clause", "GPL-2"]);
        assert_eq!(licences("This is free software.\n\nLicense: x\nFiles: y\n"), Vec::<String>::new());
    }
}
