//! `manifest.json` beside an image: what it is made of.

use crate::download::sha256;
use crate::paths;
use anyhow::{Context, Result};
use serde::Serialize;
use std::path::Path;

/// The whole file.
#[derive(Debug, Default, Serialize)]
pub struct Manifest {
    /// The board's name.
    pub board: String,
    /// What went in: packages, programs, unikernels.
    pub components: Vec<Component>,
    /// What came out.
    pub files: Vec<File>,
}

/// One part of the image.
#[derive(Debug, Serialize)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// Debian's version, or this project's.
    pub version: String,
    /// Of the package, or of the program's file.
    pub sha256: String,
}

/// One file of the image.
#[derive(Debug, Serialize)]
pub struct File {
    /// Name beside the manifest.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Of its content.
    pub sha256: String,
}

impl Manifest {
    /// Adds a program built from this repository.
    pub fn own(&mut self, name: &str, content: &[u8]) {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        self.components.push(Component { name: name.to_owned(), version, sha256: sha256(content) });
    }

    /// Writes one of the image's files and records it.
    pub fn write_file(&mut self, directory: &Path, name: &str, content: &[u8]) -> Result<()> {
        paths::write_atomic(&directory.join(name), content)?;
        self.files.push(File { name: name.to_owned(), size: content.len() as u64, sha256: sha256(content) });
        Ok(())
    }

    /// Writes the manifest itself.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).context("formatting the manifest")?;
        text.push('\n');
        paths::write_atomic(&directory.join("manifest.json"), text.as_bytes())
    }
}
