//! Which kernel modules to ship, and the order to load them in.
//!
//! Debian generates `modules.dep` only when the package is installed, so the dependencies are read where
//! depmod reads them: in each module's own `.modinfo`.

use crate::fail::{Class, Fail};
use anyhow::{Context, Result};
use object::{Object, ObjectSection};
use std::collections::{BTreeMap, BTreeSet};

/// A kernel's modules by canonical name.
pub struct Modules<'a> {
    files: BTreeMap<String, &'a [u8]>,
    builtin: BTreeSet<String>,
}

/// One module to ship.
#[derive(Debug, PartialEq, Eq)]
pub struct Module<'a> {
    /// Canonical name, as lsmod shows it.
    pub name: String,
    /// The object file.
    pub content: &'a [u8],
}

impl<'a> Modules<'a> {
    /// `files`: paths and contents of a package; `builtin`: the text of its `modules.builtin`.
    pub fn new(files: impl Iterator<Item = (&'a str, &'a [u8])>, builtin: &str) -> Self {
        Self {
            files: files.filter_map(|(path, content)| Some((name_of(path)?, content))).collect(),
            builtin: builtin.lines().filter_map(name_of).collect(),
        }
    }

    /// `roots` and everything that they depend on, in an order in which each can be loaded.
    pub fn resolve(&self, roots: &[String]) -> Result<Vec<Module<'a>>> {
        let mut order = Vec::new();
        let mut visited = BTreeSet::new();
        for root in roots {
            self.visit(&canonical(root), &mut visited, &mut order)?;
        }
        Ok(order)
    }

    /// Depth first: a module follows what it depends on. Dependencies of modules have no cycles (the
    /// kernel could not load them), and `visited` ends the walk even if they had.
    fn visit(&self, name: &str, visited: &mut BTreeSet<String>, order: &mut Vec<Module<'a>>) -> Result<()> {
        if self.builtin.contains(name) || !visited.insert(name.to_owned()) {
            return Ok(());
        }
        let content = *self.files.get(name).ok_or_else(|| {
            Fail::new(
                Class::Input,
                format!("kernel module {name} is neither in the kernel package nor built in"),
            )
        })?;
        for dependency in dependencies(content).with_context(|| format!("reading kernel module {name}"))? {
            self.visit(&dependency, visited, order)
                .with_context(|| format!("needed by kernel module {name}"))?;
        }
        order.push(Module { name: name.to_owned(), content });
        Ok(())
    }
}

/// `kernel/net/bridge/br-netfilter.ko` → `br_netfilter`; `None` for other files.
fn name_of(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    file.strip_suffix(".ko").map(canonical)
}

/// The kernel makes no difference between `-` and `_` in module names.
fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

/// The `depends=` of a module's `.modinfo`, and what `softdep=` wants loaded before.
fn dependencies(module: &[u8]) -> Result<Vec<String>> {
    let file = object::File::parse(module)?;
    let section = file.section_by_name(".modinfo").context("it has no .modinfo")?;
    Ok(parse_modinfo(&String::from_utf8_lossy(section.data()?)))
}

fn parse_modinfo(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for field in text.split('\0') {
        match field.split_once('=') {
            Some(("depends", list)) => {
                names.extend(list.split(',').filter(|name| !name.is_empty()).map(canonical))
            }
            Some(("softdep", list)) => {
                let before = list.split_whitespace().skip_while(|word| *word != "pre:").skip(1);
                names.extend(before.take_while(|word| *word != "post:").map(canonical));
            }
            _ => {}
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modinfo() {
        let text = "license=GPL\0depends=stp,llc\0softdep=pre: crc32c-arm post: b\0name=bridge\0";
        assert_eq!(parse_modinfo(text), ["stp", "llc", "crc32c_arm"]);
        assert_eq!(parse_modinfo("depends=\0"), Vec::<String>::new());
    }

    /// The smallest ELF object with a `.modinfo`: a header, the section, its names, three section headers.
    fn module(depends: &str) -> Vec<u8> {
        let info = format!("depends={depends}\0").into_bytes();
        let names = b"\0.modinfo\0.shstrtab\0";
        let headers = (52 + info.len() + names.len()).next_multiple_of(4);
        let mut elf = vec![0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let half = |value: u16| value.to_le_bytes();
        let full = |value: usize| (value as u32).to_le_bytes();
        for value in [1u16, 40] {
            elf.extend(half(value));
        }
        for value in [1, 0, 0, headers, 0] {
            elf.extend(full(value));
        }
        for value in [52u16, 0, 0, 40, 3, 2] {
            elf.extend(half(value));
        }
        elf.extend(&info);
        elf.extend(names);
        elf.resize(headers, 0);
        elf.extend([0; 40]);
        for [name, kind, offset, size] in [[1, 1, 52, info.len()], [10, 3, 52 + info.len(), names.len()]] {
            for value in [name, kind, 0, 0, offset, size, 0, 0, 1, 0] {
                elf.extend(full(value));
            }
        }
        elf
    }

    #[test]
    fn dependencies_come_first_and_once() {
        let (bridge, stp, llc, netback) = (module("stp,llc"), module("llc"), module(""), module("xen-bus"));
        let files = [
            ("lib/modules/6/kernel/net/bridge/bridge.ko", &bridge[..]),
            ("lib/modules/6/kernel/net/802/stp.ko", &stp),
            ("lib/modules/6/kernel/net/llc/llc.ko", &llc),
            ("lib/modules/6/kernel/drivers/net/xen-netback/xen-netback.ko", &netback),
            ("boot/vmlinuz", b"no module"),
        ];
        let modules = Modules::new(files.into_iter(), "kernel/drivers/xen/xen-bus.ko\n");
        let names = |roots: &[&str]| {
            let roots: Vec<String> = roots.iter().map(|&root| root.to_owned()).collect();
            modules.resolve(&roots).map(|order| order.into_iter().map(|m| m.name).collect::<Vec<_>>())
        };
        assert_eq!(
            names(&["bridge", "xen-netback", "stp"]).expect("resolves"),
            ["llc", "stp", "bridge", "xen_netback"]
        );
        assert_eq!(names(&["xen_bus"]).expect("built in"), Vec::<String>::new());
        assert!(names(&["nonesuch"]).expect_err("unknown").to_string().contains("nonesuch"));
    }
}
