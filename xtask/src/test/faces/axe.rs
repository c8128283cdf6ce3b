//! axe-core, which finds what keeps people from using a page (Deque Systems, MPL-2.0). Fetched by npm when it is first
//! needed, and compared with what is known of it.

use crate::fail::{Class, Fail};
use crate::paths;
use anyhow::{Context, Result};
use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::Path;
use std::process::Command;

const PACKAGE: &str = "axe-core@4.14.1";
const FILE: &str = "axe-core-4.14.1.tgz";
const SHA256: &str = "e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745";
/// The script in the package.
const SCRIPT: &str = "package/axe.min.js";

/// The script. It defines `axe`.
///
/// # Errors
/// When it is not in the cache and cannot be fetched, or is not the one that is expected.
pub fn script() -> Result<String> {
    let cached = paths::cache()?.join(FILE);
    if !cached.exists() {
        fetch(&cached)?;
    }
    let bytes = paths::read(&cached)?;
    let sum: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    if sum != SHA256 {
        let message =
            format!("{} has the SHA-256 {sum}, not {SHA256}; remove it and try again", cached.display());
        return Err(Fail::new(Class::Integrity, message));
    }
    let mut archive = tar::Archive::new(GzDecoder::new(&bytes[..]));
    for entry in archive.entries().context("reading axe-core's package")? {
        let mut entry = entry.context("reading axe-core's package")?;
        if entry.path().is_ok_and(|path| path.as_ref() == Path::new(SCRIPT)) {
            let mut text = String::new();
            entry.read_to_string(&mut text).with_context(|| format!("unpacking {SCRIPT}"))?;
            return Ok(text);
        }
    }
    Err(Fail::new(Class::Input, format!("{PACKAGE} has no {SCRIPT}")))
}

/// Has npm fetch the package as it is published; nothing of it is run.
fn fetch(cached: &Path) -> Result<()> {
    let dir = tempfile::tempdir().context("making a temporary directory")?;
    let mut command = Command::new("npm");
    command
        .args(["pack", "--silent", "--ignore-scripts", "--fetch-retries=5", PACKAGE])
        .current_dir(dir.path());
    let output = command.output().with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Fail::new(Class::Network, format!("npm pack {PACKAGE}: {}: {said}", output.status)));
    }
    paths::write_atomic(cached, &paths::read(&dir.path().join(FILE))?)
}
