//! The optional SSH server: Debian's dropbear with the shared libraries that it needs, as an archive that the
//! node unpacks over its root when the card has a key for it.

use crate::fail::{Class, Fail};
use anyhow::{Context, Result};
use flate2::GzBuilder;
use object::read::elf::{Dyn, ElfFile32};
use object::{Endianness, elf};
use std::collections::BTreeMap;

/// The server, and the program that makes a key for it.
const PROGRAMS: [&str; 2] = ["usr/sbin/dropbear", "usr/bin/dropbearkey"];

/// What loads programs that have shared libraries; at this path in every such program.
const LOADER: &str = "lib/ld-linux-armhf.so.3";

/// Where Debian's loader looks.
const LIBRARIES: &str = "lib/arm-linux-gnueabihf";

/// The archive, out of `files` by path: the programs and every library that these need, and those need.
pub fn archive(files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<u8>> {
    let mut chosen = BTreeMap::new();
    let mut wanted = Vec::new();
    for program in PROGRAMS {
        let content = files.get(program).ok_or_else(|| {
            Fail::new(Class::Integrity, format!("no {program} in the SSH server's package"))
        })?;
        chosen.insert(program.to_owned(), (0o755, content.as_slice()));
        wanted.extend(Dynamic::of(content).with_context(|| program.to_owned())?.needed);
    }
    let libraries = by_name(files);
    let mut seen = std::collections::BTreeSet::new();
    while let Some(name) = wanted.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        let content = *libraries.get(name.as_str()).ok_or_else(|| {
            let message = format!("the SSH server needs {name}; add its package in board.toml, packages.ssh");
            Fail::new(Class::Input, message)
        })?;
        let path = if LOADER.ends_with(&name) { LOADER.to_owned() } else { format!("{LIBRARIES}/{name}") };
        // The loader is started by the kernel.
        chosen.insert(path, (0o755, content));
        wanted.extend(Dynamic::of(content).with_context(|| name.clone())?.needed);
    }
    if !chosen.contains_key(LOADER) {
        return Err(Fail::new(Class::Input, format!("the SSH server's libraries do not need {LOADER}")));
    }
    pack(&chosen)
}

/// Whether a file of a package is one that the archive may need.
pub fn is_candidate(path: &str) -> bool {
    PROGRAMS.contains(&path) || is_library(path)
}

fn is_library(path: &str) -> bool {
    path.rsplit_once('/')
        .is_some_and(|(place, name)| name.contains(".so") && (place == "lib" || place.ends_with(LIBRARIES)))
}

/// Libraries by the name that programs ask for.
fn by_name(files: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, &[u8]> {
    let libraries = files.iter().filter(|(path, _)| is_library(path));
    libraries
        .filter_map(|(_, content)| Some((Dynamic::of(content).ok()?.name?, content.as_slice())))
        .collect()
}

/// What a program or library says about itself.
#[derive(Default)]
struct Dynamic {
    /// `DT_SONAME`.
    name: Option<String>,
    /// `DT_NEEDED`.
    needed: Vec<String>,
}

impl Dynamic {
    fn of(content: &[u8]) -> Result<Self> {
        let file = ElfFile32::<Endianness>::parse(content).context("no ELF file")?;
        let (endian, sections) = (file.endian(), file.elf_section_table());
        let mut dynamic = Self::default();
        let Some((entries, strings)) = sections.dynamic(endian, content).context("its dynamic section")?
        else {
            return Ok(dynamic);
        };
        let strings = sections.strings(endian, content, strings).context("its strings")?;
        for entry in entries {
            let string = || {
                let bytes = entry.string(endian, strings).context("its strings")?;
                Ok::<_, anyhow::Error>(String::from_utf8_lossy(bytes).into_owned())
            };
            match entry.tag(endian) {
                elf::DT_NEEDED => dynamic.needed.push(string()?),
                elf::DT_SONAME => dynamic.name = Some(string()?),
                _ => {}
            }
        }
        Ok(dynamic)
    }
}

/// A packed archive of `files`, by path, with their modes.
fn pack(files: &BTreeMap<String, (u32, &[u8])>) -> Result<Vec<u8>> {
    let gzip = GzBuilder::new().mtime(0).write(Vec::new(), flate2::Compression::best());
    let mut tar = tar::Builder::new(gzip);
    for (path, (mode, content)) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(*mode);
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
        let files = BTreeMap::from([("usr/sbin/x".to_owned(), (0o755, &b"program"[..]))]);
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
        assert!(archive(&files).expect_err("refused").to_string().contains("usr/sbin/dropbear"));
    }
}
