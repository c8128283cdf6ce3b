//! The optional SSH server: Debian's dropbear with the shared libraries that it needs, as an archive that the
//! node unpacks over its root when the card has a key for it.

use crate::libraries;
use anyhow::{Context, Result};
use flate2::GzBuilder;
use std::collections::BTreeMap;

/// The server, and the program that makes a key for it.
const PROGRAMS: [&str; 2] = ["usr/sbin/dropbear", "usr/bin/dropbearkey"];

/// The archive, out of `files` by path: the programs and every library that these need, and those need.
pub fn archive(files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<u8>> {
    pack(
        &libraries::with_needed(&PROGRAMS, files)
            .context("the SSH server's packages (board.toml, packages.ssh)")?,
    )
}

/// Whether a file of a package is one that the archive may need.
pub fn is_candidate(path: &str) -> bool {
    PROGRAMS.contains(&path) || libraries::is_library(path)
}

/// A packed archive of `files`, by path, with their modes.
fn pack(files: &BTreeMap<String, &[u8]>) -> Result<Vec<u8>> {
    let gzip = GzBuilder::new().mtime(0).write(Vec::new(), flate2::Compression::best());
    let mut tar = tar::Builder::new(gzip);
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        // The loader, a library, is started by the kernel like a program.
        header.set_mode(0o755);
        header.set_mtime(0);
        header.set_entry_type(tar::EntryType::Regular);
        tar.append_data(&mut header, path, *content).with_context(|| format!("archiving {path}"))?;
    }
    let gzip = tar.into_inner().context("ending the archive")?;
    gzip.finish().context("ending the archive")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn archives_unpack_and_are_the_same_every_time() {
        let files = BTreeMap::from([("usr/sbin/x".to_owned(), &b"program"[..])]);
        let packed = pack(&files).expect("packed");
        assert_eq!(packed, pack(&files).expect("packed"));
        assert_eq!(packed[4..8], [0; 4], "the time in the gzip header");
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(&packed[..]));
        let mut entries = tar.entries().expect("entries");
        let mut entry = entries.next().expect("one").expect("good");
        assert_eq!(entry.path().expect("path").to_string_lossy(), "usr/sbin/x");
        assert_eq!(entry.header().mode().expect("mode"), 0o755);
        let mut content = String::new();
        entry.read_to_string(&mut content).expect("content");
        assert_eq!(content, "program");
    }

    #[test]
    fn a_package_without_the_server_is_refused() {
        let files = BTreeMap::from([("usr/bin/dropbearkey".to_owned(), Vec::new())]);
        let error = archive(&files).expect_err("refused");
        assert!(format!("{error:#}").contains("usr/sbin/dropbear"), "{error:#}");
    }
}
