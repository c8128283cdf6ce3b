//! `manifest.json` beside an image: what it is made of, as a CycloneDX software bill of materials.
//!
//! The format is <https://cyclonedx.org/docs/1.6/json/>. It allows a serial number and a date as well, which are
//! left out: the same image has the same manifest.

use crate::crates::Crate;
use crate::debian::Package;
use crate::download::sha256;
use crate::parts::BuiltXen;
use crate::{paths, xen};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::Path;

/// A manifest in the making.
#[derive(Debug, Default)]
pub struct Manifest {
    /// The board's name.
    pub board: String,
    components: Vec<Value>,
}

impl Manifest {
    /// An empty manifest.
    pub fn new(board: &str) -> Self {
        Self { board: board.to_owned(), components: Vec::new() }
    }

    /// Adds a package of Debian.
    pub fn package(&mut self, package: &Package) {
        let (pinned, facts) = (&package.pinned, &package.facts);
        let licences: Vec<_> =
            facts.licences.iter().map(|name| json!({ "license": { "name": name } })).collect();
        let mut component = json!({
            "type": "application",
            "name": pinned.name,
            "version": pinned.version,
            "supplier": { "name": "Debian" },
            "purl": format!(
                "pkg:deb/debian/{}@{}?arch=armhf&distro={}",
                pinned.name, encoded(&pinned.version), pinned.suite
            ),
            "hashes": hashes(&pinned.sha256),
            "properties": [
                { "name": "debian:source", "value": facts.source },
                { "name": "debian:suite", "value": pinned.suite },
                { "name": "debian:path", "value": pinned.path },
                { "name": "debian:copyright", "value": format!("usr/share/doc/{}/copyright", pinned.name) },
            ],
        });
        if !licences.is_empty() {
            component["licenses"] = licences.into();
        }
        self.components.push(component);
    }

    /// Adds a hypervisor that was built from its source.
    pub fn built(&mut self, built: &BuiltXen) {
        let source = &built.source;
        self.components.push(json!({
            "type": "application",
            "name": source.name,
            "version": source.version,
            "supplier": { "name": "Debian" },
            "purl": format!(
                "pkg:deb/debian/{}@{}?arch=source&distro={}",
                source.name, encoded(&source.version), source.suite
            ),
            "hashes": hashes(&source.sha256),
            "licenses": [{ "license": { "id": xen::LICENCE } }],
            "properties": [
                { "name": "debian:source", "value": format!("{} {}", source.name, source.version) },
                { "name": "debian:suite", "value": source.suite },
                { "name": "debian:path", "value": source.path },
                { "name": "build:compiler", "value": built.compiler },
                { "name": "build:configuration", "value": xen::CONFIG },
            ],
        }));
    }

    /// Adds a library of Rust that is linked into our programs.
    pub fn library(&mut self, library: &Crate) {
        let mut component = json!({
            "type": "library",
            "name": library.name,
            "version": library.version,
            "purl": format!("pkg:cargo/{}@{}", library.name, encoded(&library.version)),
        });
        if let Some(checksum) = &library.sha256 {
            component["hashes"] = hashes(checksum);
        }
        if let Some(licence) = &library.licence {
            component["licenses"] = json!([{ "expression": licence }]);
        }
        self.components.push(component);
    }

    /// Adds a program built from this repository.
    pub fn own(&mut self, name: &str, content: &[u8]) {
        self.components.push(json!({
            "type": "application",
            "name": name,
            "version": env!("CARGO_PKG_VERSION"),
            "supplier": { "name": "jitsu-node" },
            "hashes": hashes(&sha256(content)),
            "licenses": [{ "expression": env!("CARGO_PKG_LICENSE") }],
        }));
    }

    /// Adds a file that is a result: beside the manifest, or, with a path, in the card's FAT partition.
    pub fn file(&mut self, name: &str, size: u64, sha256: String) {
        self.components.push(json!({
            "type": "file",
            "name": name,
            "hashes": hashes(&sha256),
            "properties": [{ "name": "size", "value": size.to_string() }],
        }));
    }

    /// Writes one of the image's files and adds it.
    pub fn write_file(&mut self, directory: &Path, name: &str, content: &[u8]) -> Result<()> {
        paths::write_atomic(&directory.join(name), content)?;
        self.file(name, content.len() as u64, sha256(content));
        Ok(())
    }

    /// Writes the manifest itself.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(&self.document()).context("formatting the manifest")?;
        text.push('\n');
        paths::write_atomic(&directory.join("manifest.json"), text.as_bytes())
    }

    fn document(&self) -> Value {
        json!({
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "version": 1,
            "metadata": {
                "component": {
                    "type": "firmware",
                    "name": format!("jitsu-node for {}", self.board),
                    "version": env!("CARGO_PKG_VERSION"),
                },
            },
            "components": self.components,
        })
    }
}

fn hashes(sha256: &str) -> Value {
    json!([{ "alg": "SHA-256", "content": sha256 }])
}

/// A version as it stands in a package URL: all but the plainest characters as percent and two digits.
fn encoded(version: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~".contains(&byte);
    version
        .bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debian::{Facts, lock::Pinned};

    #[test]
    fn a_hypervisor_that_was_built_here_is_named_by_its_source() {
        let mut manifest = Manifest::new("board");
        manifest.built(&BuiltXen {
            source: Pinned {
                request: "src:xen".into(),
                name: "xen".into(),
                version: "4.20.3+1-1".into(),
                suite: "trixie".into(),
                path: "pool/main/x/xen/xen_4.20.3+1.orig.tar.xz".into(),
                size: 1,
                sha256: "ab".into(),
            },
            compiler: "gcc 12".into(),
        });
        let component = &manifest.document()["components"][0];
        assert_eq!(component["purl"], "pkg:deb/debian/xen@4.20.3%2B1-1?arch=source&distro=trixie");
        assert_eq!(component["licenses"][0]["license"]["id"], "GPL-2.0-only");
        assert_eq!(component["hashes"][0]["content"], "ab");
        assert_eq!(component["properties"][3]["value"], "gcc 12");
    }

    #[test]
    fn packages_say_where_they_are_from_and_under_what_licence() {
        let mut manifest = Manifest::new("board");
        manifest.package(&Package {
            pinned: Pinned {
                request: "xen".into(),
                name: "xen".into(),
                version: "1:4.17+1".into(),
                suite: "bookworm".into(),
                path: "pool/main/x/xen.deb".into(),
                size: 1,
                sha256: "ab".into(),
            },
            facts: Facts { source: "xen-src 4.17+1".into(), licences: vec!["GPL-2".into()] },
        });
        let document = manifest.document();
        let component = &document["components"][0];
        assert_eq!(component["purl"], "pkg:deb/debian/xen@1%3A4.17%2B1?arch=armhf&distro=bookworm");
        assert_eq!(component["licenses"][0]["license"]["name"], "GPL-2");
        assert_eq!(component["hashes"][0]["content"], "ab");
        assert_eq!(component["properties"][2]["value"], "pool/main/x/xen.deb");
        assert_eq!(document["bomFormat"], "CycloneDX");
    }
}
