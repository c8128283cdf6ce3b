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
        let info = modinfo(content).with_context(|| format!("reading kernel module {name}"))?;
        for dependency in info.needs.iter().chain(info.wants.iter().filter_map(|want| self.provider(want))) {
            self.visit(dependency, visited, order)
                .with_context(|| format!("needed by kernel module {name}"))?;
        }
        order.push(Module { name: name.to_owned(), content });
        Ok(())
    }

    /// The module for a name in a soft dependency: that of a module or an alias, which several modules may
    /// have: drivers of a cipher do, and the one written in C works on every processor. `None` where the kernel
    /// itself or nothing has it, which a soft dependency leaves open.
    fn provider<'b>(&'b self, name: &'b String) -> Option<&'b String> {
        if self.files.contains_key(name) || self.builtin.contains(name) {
            return Some(name);
        }
        let has = |content: &[u8]| modinfo(content).is_ok_and(|info| info.aliases.contains(name));
        let mut providers = self.files.iter().filter(|(_, content)| has(content)).map(|(name, _)| name);
        let first = providers.next()?;
        std::iter::once(first).chain(providers).find(|name| name.ends_with("_generic")).or(Some(first))
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

/// What a module says about itself; names are canonical.
#[derive(Debug, Default, PartialEq, Eq)]
struct ModInfo {
    /// `depends=`: without these it cannot be loaded.
    needs: Vec<String>,
    /// The part of `softdep=` that is to be loaded before, if it is there.
    wants: Vec<String>,
    /// `alias=`
    aliases: Vec<String>,
}

fn modinfo(module: &[u8]) -> Result<ModInfo> {
    let file = object::File::parse(module)?;
    let section = file.section_by_name(".modinfo").context("it has no .modinfo")?;
    Ok(ModInfo::parse(&String::from_utf8_lossy(section.data()?)))
}

impl ModInfo {
    fn parse(text: &str) -> Self {
        let mut info = Self::default();
        for field in text.split('\0') {
            match field.split_once('=') {
                Some(("depends", list)) => {
                    info.needs.extend(list.split(',').filter(|name| !name.is_empty()).map(canonical));
                }
                Some(("softdep", list)) => {
                    let before = list.split_whitespace().skip_while(|word| *word != "pre:").skip(1);
                    info.wants.extend(before.take_while(|word| *word != "post:").map(canonical));
                }
                Some(("alias", name)) => info.aliases.push(canonical(name)),
                _ => {}
            }
        }
        info
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modinfo_fields() {
        let text = "license=GPL\0alias=fs-x\0depends=stp,llc\0softdep=pre: crc32c-arm post: b\0name=bridge\0";
        let names = |list: &[&str]| list.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let (needs, wants) = (names(&["stp", "llc"]), names(&["crc32c_arm"]));
        assert_eq!(ModInfo::parse(text), ModInfo { needs, wants, aliases: names(&["fs_x"]) });
        assert_eq!(ModInfo::parse("depends=\0"), ModInfo::default());
    }

    #[test]
    fn soft_dependencies_are_found_by_alias_or_left_out() {
        let ext4 = module("\0softdep=pre: crypto-crc32c nonesuch");
        let (arm, generic) = (module("\0alias=crypto-crc32c"), module("\0alias=crypto-crc32c"));
        let files = [("k/ext4.ko", &ext4[..]), ("k/crc32c-arm.ko", &arm), ("k/crc32c_generic.ko", &generic)];
        let order = Modules::new(files.into_iter(), "").resolve(&["ext4".to_owned()]).expect("resolves");
        let names: Vec<_> = order.iter().map(|module| module.name.as_str()).collect();
        assert_eq!(names, ["crc32c_generic", "ext4"]);
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
