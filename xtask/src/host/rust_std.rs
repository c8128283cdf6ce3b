//! A Rust standard library for the node's targets: installed already, or by rustup, or from source.
//!
//! Where neither the target is installed nor rustup's servers can be reached, Debian's `rust-src` package
//! of the same version as rustc is put where rustc looks for its sources, and cargo builds the library
//! itself (`-Zbuild-std`, which a stable cargo allows under RUSTC_BOOTSTRAP).

use crate::debian::{self, deb::Deb, mirror::Mirror};
use crate::fail::{Class, Fail};
use crate::{paths, ui};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Longest wait for rustup, in seconds: a target is some 30 MB, an unreachable server answers never.
const RUSTUP_TIMEOUT: &str = "180";

/// Suites that may have the rust-src of a current rustc, the likeliest first.
const SUITES: [&str; 6] = ["trixie-backports", "sid", "forky", "trixie", "bookworm-backports", "bookworm"];

/// Where the standard library for a target comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RustStd {
    /// It is installed.
    Installed,
    /// Cargo builds it from the sources in the sysroot.
    Source,
}

/// Makes sure that `target` can be built for. What is here already is preferred over any network.
pub fn provide(target: &str, mirror: Option<&str>) -> Result<RustStd> {
    let sysroot = sysroot()?;
    if installed(target)? {
        return Ok(RustStd::Installed);
    }
    if has_source(&sysroot) {
        return Ok(RustStd::Source);
    }
    if rustup_add(target) && installed(target)? {
        return Ok(RustStd::Installed);
    }
    let version = release(&rustc(&["-vV"])?)?.to_owned();
    from_debian(&sysroot, &version, mirror)
        .with_context(|| format!("providing Rust's standard library for {target}"))?;
    Ok(RustStd::Source)
}

/// Where rustc has its libraries and, if at all, their sources.
pub fn sysroot() -> Result<PathBuf> {
    Ok(PathBuf::from(rustc(&["--print", "sysroot"])?))
}

/// The target that rustc itself runs on.
pub fn host() -> Result<String> {
    rustc(&["--print", "host-tuple"])
}

fn installed(target: &str) -> Result<bool> {
    let dir = rustc(&["--print", "target-libdir", "--target", target])?;
    let has_core = |entry: fs::DirEntry| entry.file_name().to_string_lossy().starts_with("libcore-");
    Ok(fs::read_dir(dir).is_ok_and(|entries| entries.flatten().any(has_core)))
}

fn library(sysroot: &Path) -> PathBuf {
    sysroot.join("lib/rustlib/src/rust/library")
}

fn has_source(sysroot: &Path) -> bool {
    library(sysroot).join("Cargo.lock").is_file()
}

/// Quiet when it fails: there is another way.
fn rustup_add(target: &str) -> bool {
    let _task = ui::Task::start(format!("asking rustup for target {target}"));
    let run = Command::new("timeout")
        .args([RUSTUP_TIMEOUT, "rustup", "target", "add", target])
        .env("RUSTUP_MAX_RETRIES", "0")
        .output();
    run.is_ok_and(|output| output.status.success())
}

fn from_debian(sysroot: &Path, version: &str, mirror: Option<&str>) -> Result<()> {
    let mirror = Mirror::find(mirror)?;
    let package = debian::fetch_upstream(&mirror, "rust-src", version, &SUITES)?.ok_or_else(|| {
        Fail::new(
            Class::Host,
            format!(
                "no installed target, no answer from rustup, and no rust-src {version} in Debian's {}; \
                 run `rustup target add`, or use a rustc that Debian has the sources of",
                SUITES.join(", ")
            ),
        )
    })?;
    let _task = ui::Task::start(format!("unpacking Rust {version}'s library sources"));
    let prefix = format!("usr/src/rustc-{version}/library/");
    let deb = Deb::open(&package, |path| path.starts_with(&prefix))?;
    place(&deb, &prefix, &library(sysroot)).map_err(|cause| {
        cause.context(Fail::new(
            Class::Host,
            format!(
                "{} cannot be written; run this once as the owner of the Rust toolchain",
                library(sysroot).display()
            ),
        ))
    })
}

/// Writes the files beside their place and renames the whole directory into it.
fn place(deb: &Deb, prefix: &str, library: &Path) -> Result<()> {
    let parent = library.parent().context("the sysroot has no parent directory")?;
    paths::create_dir(parent)?;
    let dir = tempfile::Builder::new().prefix(".library-").tempdir_in(parent)?;
    for (path, content) in deb.files() {
        let file = dir.path().join(path.strip_prefix(prefix).unwrap_or(path));
        paths::create_dir(file.parent().unwrap_or(dir.path()))?;
        fs::write(&file, content).with_context(|| format!("writing {}", file.display()))?;
    }
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(dir.path(), permissions)?;
    fs::rename(dir.path(), library).with_context(|| format!("renaming into {}", library.display()))?;
    // The directory is no longer where its guard would remove it.
    let _ = dir.keep();
    Ok(())
}

/// The `release:` line of `rustc -vV`.
fn release(verbose: &str) -> Result<&str> {
    verbose.lines().find_map(|line| line.strip_prefix("release: ")).context("rustc -vV names no release")
}

/// What rustc prints, trimmed. The same rustc that cargo uses for the builds.
fn rustc(args: &[&str]) -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output =
        Command::new(&rustc).args(args).output().with_context(|| format!("running {}", rustc.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Fail::new(Class::Host, format!("rustc {}: {said}", args.join(" "))));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_of_rustc() {
        assert_eq!(release("rustc 1.95.0 (x)\nbinary: rustc\nrelease: 1.95.0\n").expect("found"), "1.95.0");
        assert!(release("nothing").is_err());
    }

    #[test]
    fn a_sysroot_without_sources_has_none() {
        let dir = tempfile::tempdir().expect("dir");
        assert!(!has_source(dir.path()));
    }
}
