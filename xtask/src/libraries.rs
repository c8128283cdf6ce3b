//! Shared libraries: which of them programs out of Debian's packages need, and where they go on the node.

use crate::fail::{Class, Fail};
use anyhow::{Context, Result};
use object::read::elf::{Dyn, ElfFile32};
use object::{Endianness, elf};
use std::collections::{BTreeMap, BTreeSet};

/// What loads programs that have shared libraries; at this path in every such program.
const LOADER: &str = "lib/ld-linux-armhf.so.3";

/// Where Debian's loader looks.
const LIBRARIES: &str = "lib/arm-linux-gnueabihf";

/// Out of `files` by path: `programs`, and every library that these need, and those need, where the loader finds
/// it. All are to be executable.
///
/// # Errors
/// A program or library is in none of the packages, or no program is one that the loader loads.
pub fn with_needed<'f>(
    programs: &[&str],
    files: &'f BTreeMap<String, Vec<u8>>,
) -> Result<BTreeMap<String, &'f [u8]>> {
    let mut chosen = BTreeMap::new();
    let mut wanted = Vec::new();
    for &program in programs {
        let content = files
            .get(program)
            .ok_or_else(|| Fail::new(Class::Integrity, format!("there is no {program}")))?;
        chosen.insert(program.to_owned(), content.as_slice());
        wanted.extend(Dynamic::of(content).with_context(|| program.to_owned())?.needed);
    }
    let libraries = by_name(files);
    let mut seen = BTreeSet::new();
    while let Some(name) = wanted.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        let content = *libraries.get(name.as_str()).ok_or_else(|| {
            Fail::new(Class::Input, format!("{name} is needed; add the package that has it"))
        })?;
        let path = if LOADER.ends_with(&name) { LOADER.to_owned() } else { format!("{LIBRARIES}/{name}") };
        chosen.insert(path, content);
        wanted.extend(Dynamic::of(content).with_context(|| name.clone())?.needed);
    }
    if !chosen.contains_key(LOADER) {
        return Err(Fail::new(Class::Input, format!("nothing needs {LOADER}")));
    }
    Ok(chosen)
}

/// Whether a file of a package is a library that the loader may look for.
pub fn is_library(path: &str) -> bool {
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
