//! The libraries of Rust that are linked into the node's programs, with their licences: from `cargo metadata`,
//! and their checksums from Cargo.lock.

use crate::fail::{Class, Fail};
use crate::paths;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// One library.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Crate {
    /// Its name on crates.io.
    pub name: String,
    /// Its version.
    pub version: String,
    /// An SPDX expression.
    pub licence: Option<String>,
    /// Of the file that crates.io has, lower-case hex.
    pub sha256: Option<String>,
}

/// What the programs of the packages `roots` of the workspace at `workspace` are linked with when they are
/// built for `target`; the workspace's own crates are not among it.
pub fn linked(workspace: &Path, target: &str, roots: &[&str]) -> Result<Vec<Crate>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["metadata", "--format-version", "1", "--locked", "--filter-platform", target]);
    let run = command.current_dir(workspace).output().with_context(|| format!("starting {command:?}"))?;
    if !run.status.success() {
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        return Err(Fail::new(Class::Build, format!("cargo metadata in {}: {said}", workspace.display())));
    }
    let metadata: Metadata = serde_json::from_slice(&run.stdout).context("reading cargo's metadata")?;
    let text = paths::read(&workspace.join("Cargo.lock"))?;
    let lock: Lock = toml::from_str(&String::from_utf8_lossy(&text)).context("reading Cargo.lock")?;
    metadata.linked(roots, &lock)
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<PackageData>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct PackageData {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    /// Where it is from; none for the workspace's own.
    source: Option<String>,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    /// None for what is linked; else "dev" or "build".
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

impl Metadata {
    fn linked(&self, roots: &[&str], lock: &Lock) -> Result<Vec<Crate>> {
        let packages: BTreeMap<&str, &PackageData> =
            self.packages.iter().map(|p| (p.id.as_str(), p)).collect();
        let nodes: BTreeMap<&str, &Node> = self.resolve.nodes.iter().map(|n| (n.id.as_str(), n)).collect();
        let is_root = |p: &&PackageData| p.source.is_none() && roots.contains(&p.name.as_str());
        let mut open: Vec<&str> = self.packages.iter().filter(is_root).map(|p| p.id.as_str()).collect();
        if open.len() != roots.len() {
            return Err(Fail::new(
                Class::Build,
                format!("cargo's metadata has not all of {}", roots.join(", ")),
            ));
        }
        let (mut seen, mut found) = (BTreeSet::new(), BTreeSet::new());
        while let Some(id) = open.pop() {
            let Some(package) = packages.get(id).filter(|_| seen.insert(id)) else { continue };
            // A macro runs at build time, and what it depends on as well.
            if package.targets.iter().any(|target| target.kind.iter().any(|kind| kind == "proc-macro")) {
                continue;
            }
            if package.source.is_some() {
                found.insert(package.to_crate(lock));
            }
            let deps = nodes.get(id).map(|node| node.deps.as_slice()).unwrap_or_default();
            let linked = deps.iter().filter(|dep| dep.dep_kinds.iter().any(|kind| kind.kind.is_none()));
            open.extend(linked.map(|dep| dep.pkg.as_str()));
        }
        Ok(found.into_iter().collect())
    }
}

impl PackageData {
    fn to_crate(&self, lock: &Lock) -> Crate {
        let locked = lock.package.iter().find(|l| l.name == self.name && l.version == self.version);
        Crate {
            name: self.name.clone(),
            version: self.version.clone(),
            // The old way to write it.
            licence: self.license.as_ref().map(|licence| licence.replace('/', " OR ")),
            sha256: locked.and_then(|l| l.checksum.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linked_is_found_and_what_only_builds_is_not() {
        let metadata: Metadata = serde_json::from_str(
            r#"{"packages": [
                {"id": "n", "name": "node", "version": "1", "license": null, "source": null, "targets": []},
                {"id": "l", "name": "lib", "version": "2", "license": "MIT/Apache-2.0", "source": "x", "targets": []},
                {"id": "m", "name": "mac", "version": "3", "license": "MIT", "source": "x", "targets": [{"kind": ["proc-macro"]}]},
                {"id": "b", "name": "build", "version": "4", "license": "MIT", "source": "x", "targets": []}],
              "resolve": {"nodes": [
                {"id": "n", "deps": [{"pkg": "l", "dep_kinds": [{"kind": null}]}, {"pkg": "m", "dep_kinds": [{"kind": null}]},
                                     {"pkg": "b", "dep_kinds": [{"kind": "build"}]}]},
                {"id": "l", "deps": [{"pkg": "l", "dep_kinds": [{"kind": null}]}]}]}}"#,
        )
        .expect("metadata");
        let locked = Locked { name: "lib".into(), version: "2".into(), checksum: Some("ab".into()) };
        let lock = Lock { package: vec![locked] };
        let found = metadata.linked(&["node"], &lock).expect("found");
        let expected = Crate {
            name: "lib".into(),
            version: "2".into(),
            licence: Some("MIT OR Apache-2.0".into()),
            sha256: Some("ab".into()),
        };
        assert_eq!(found, [expected]);
        assert!(metadata.linked(&["other"], &lock).is_err());
    }
}
