//! `board/NAME/board.toml`: the facts about a board, on top of those of the file that it is based on.

use crate::fail::{Class, Fail};
use crate::paths;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// One board.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Board {
    /// The folder's name.
    #[serde(skip)]
    pub name: String,
    /// Its name as people write it.
    pub title: String,
    /// Where its software comes from.
    pub packages: Packages,
    /// QEMU's machine, for boards that QEMU has one for.
    pub machine: Option<Machine>,
    /// What only boards have that start from an SD card; `None`: hypervisor, kernel and initramfs are handed
    /// to QEMU one by one.
    pub card: Option<Card>,
    /// The hypervisor.
    pub xen: Xen,
    /// The control domain.
    pub dom0: Dom0,
    /// Physical addresses of what the loader puts into RAM.
    pub load: Load,
}

/// Names of Debian packages.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Packages {
    /// By Xen's version: the package that has `boot/xen-*`, or the source package to build, see
    /// [`crate::debian::SOURCE_PREFIX`].
    pub hypervisor: BTreeMap<String, String>,
    /// Has `boot/vmlinuz-*` and modules, or depends on the package that has.
    pub kernel: String,
    /// Has a static `bin/busybox`.
    pub busybox: String,
    /// Has `usr/lib/u-boot/TARGET/u-boot-sunxi-with-spl.bin`, see [`Card::u_boot`].
    pub firmware: Option<String>,
    /// The first has `usr/sbin/dropbear`, the others have the libraries that it may need.
    #[serde(default)]
    pub ssh: Vec<String>,
}

/// An SD card that a board starts from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Card {
    /// The system on chip.
    pub soc: String,
    /// U-Boot's name for the board: a folder of the firmware package.
    pub u_boot: String,
    /// File name of the device tree, in the kernel's package.
    pub device_tree: String,
    /// Name in /sys/class/leds of the light that shows a heartbeat.
    pub led: String,
}

/// QEMU's machine.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// Argument of `-M`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Argument of `-cpu`.
    pub cpu: String,
    /// How many CPUs.
    pub cpus: u32,
    /// RAM in MiB.
    pub memory: u32,
}

/// The hypervisor.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Xen {
    /// A key of [`Packages::hypervisor`].
    pub version: String,
    /// Its command line, without `dom0_mem`.
    pub args: String,
}

/// The control domain.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dom0 {
    /// MiB; see [`Board::check`].
    pub memory: u32,
    /// The kernel's command line.
    pub args: String,
    /// Kernel modules; what they depend on is added. Built-in ones may be named too.
    pub modules: Vec<String>,
    /// The busybox commands that dom0 has.
    pub applets: Vec<String>,
}

/// Physical addresses.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Load {
    /// Where the machine, or the boot script, puts its device tree.
    pub device_tree: u64,
    /// The hypervisor, where a boot script loads it.
    pub xen: Option<u64>,
    /// For small things that a boot script reads.
    pub scratch: Option<u64>,
    /// Dom0's kernel.
    pub kernel: u64,
    /// Dom0's initramfs.
    pub initramfs: u64,
    /// Where RAM begins.
    pub ram: u64,
}

/// The board that commands mean when none is named.
pub const DEFAULT: &str = "qemu-virt";

/// Xen's smallest first bank of memory for a 32-bit dom0, unless dom0 is smaller; in MiB.
const FIRST_BANK: u32 = 128;

impl Board {
    /// Reads `board/NAME/board.toml`.
    pub fn read(name: &str) -> Result<Self> {
        let path = paths::root().join("board").join(name).join("board.toml");
        if !path.is_file() {
            return Err(Fail::new(
                Class::Input,
                format!("no board {name:?}; there is: {}", names().join(", ")),
            ));
        }
        let mut board =
            Self::parse(inherited(&path)?).with_context(|| format!("reading {}", path.display()))?;
        name.clone_into(&mut board.name);
        Ok(board)
    }

    /// The board with another version of Xen.
    ///
    /// # Errors
    /// When there is no such version.
    pub fn with_xen(mut self, version: &str) -> Result<Self> {
        version.clone_into(&mut self.xen.version);
        self.hypervisor()?;
        Ok(self)
    }

    /// The Debian package of its hypervisor, see [`Packages::hypervisor`].
    pub fn hypervisor(&self) -> Result<&str> {
        let (version, known) = (&self.xen.version, &self.packages.hypervisor);
        known.get(version).map(String::as_str).ok_or_else(|| {
            let known = known.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            Fail::new(Class::Input, format!("no Xen {version:?} to choose; board.toml has: {known}"))
        })
    }

    fn parse(facts: toml::Table) -> Result<Self> {
        let board: Self = facts.try_into().map_err(|e| Fail::new(Class::Input, e.to_string()))?;
        board.check()?;
        board.hypervisor()?;
        Ok(board)
    }

    /// QEMU's machine for this board, or an error for the user that there is none.
    pub fn machine(&self) -> Result<&Machine> {
        self.machine.as_ref().ok_or_else(|| {
            Fail::new(
                Class::Input,
                format!("board {}: QEMU has no such machine, see board/{0}/board.toml, [machine]", self.name),
            )
        })
    }

    /// Xen 4.17 to 4.22 allocate dom0's first bank as one block of a power of two that is at least as large
    /// as dom0 or 128 MiB, and further ones as blocks of 128 MiB at least where they are not above it
    /// (xen/arch/arm/domain_build.c, `allocate_memory_11`), and panic where there is none.
    fn check(&self) -> Result<()> {
        let memory = self.dom0.memory;
        if memory.is_power_of_two() || memory > 0 && memory.is_multiple_of(FIRST_BANK) {
            return Ok(());
        }
        let message = format!(
            "dom0.memory = {memory}: below {FIRST_BANK} MiB Xen takes powers of two only, above that multiples of \
             {FIRST_BANK} for certain"
        );
        Err(Fail::new(Class::Input, message))
    }

    /// Xen's command line.
    pub fn xen_args(&self) -> String {
        format!("{} dom0_mem={}M", self.xen.args, self.dom0.memory)
    }

    /// Refuses regions of memory (name, address, bytes) that reach into each other.
    pub fn check_apart(&self, mut regions: Vec<(&str, u64, u64)>) -> Result<()> {
        regions.sort_by_key(|(_, start, _)| *start);
        for pair in regions.windows(2) {
            let [(lower, start, size), (upper, limit, _)] = pair else { continue };
            if start + size > *limit {
                return Err(Fail::new(
                    Class::Input,
                    format!(
                        "board {}: {lower} ({start:#x}, {size:#x} bytes) runs into {upper} at {limit:#x}; \
                         move them apart in board.toml, [load]",
                        self.name
                    ),
                ));
            }
        }
        Ok(())
    }

    /// Alignment, in bytes, of the block of memory that Xen loads dom0's kernel into.
    pub fn first_bank(&self) -> u32 {
        self.dom0.memory.min(FIRST_BANK) << 20
    }
}

/// The key that names the file, under board/, that a file is based on.
const BASED_ON: &str = "based-on";

/// The facts in the file at `path` on top of those that it is based on, and so on.
fn inherited(path: &Path) -> Result<toml::Table> {
    /// More than anybody could follow; files that are based on each other end here.
    const DEPTH: usize = 8;
    let mut facts = toml::Table::new();
    let mut next = Some(path.to_owned());
    for _ in 0..DEPTH {
        let Some(path) = next.take() else { return Ok(facts) };
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let mut base: toml::Table = toml::from_str(&text)
            .map_err(|e| Fail::new(Class::Input, e.to_string()))
            .with_context(|| format!("reading {}", path.display()))?;
        next = match base.remove(BASED_ON) {
            Some(toml::Value::String(name)) => Some(paths::root().join("board").join(name)),
            Some(other) => {
                let message = format!("{}: {BASED_ON} = {other}: no name of a file", path.display());
                return Err(Fail::new(Class::Input, message));
            }
            None => None,
        };
        overlay(&mut base, facts);
        facts = base;
    }
    Err(Fail::new(Class::Input, format!("{}: based on a file that is based on it", path.display())))
}

/// Puts `top` on `base`: tables are merged, lists go on where those of `base` end, the rest is replaced.
fn overlay(base: &mut toml::Table, top: toml::Table) {
    for (key, value) in top {
        match (base.get_mut(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => overlay(below, above),
            (Some(toml::Value::Array(below)), toml::Value::Array(above)) => below.extend(above),
            (_, value) => drop(base.insert(key, value)),
        }
    }
}

/// Every board there is.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(paths::root().join("board"))
        .map(|entries| {
            let boards = entries.flatten().filter(|entry| entry.path().join("board.toml").is_file());
            boards.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        })
        .unwrap_or_default();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_board_in_the_repository_is_valid() {
        let names = names();
        assert!(names.iter().any(|name| name == DEFAULT));
        for name in names {
            let board = Board::read(&name).expect("valid board");
            assert!(board.card.is_some() || board.machine.is_some(), "{name}: neither a card nor a machine");
        }
    }

    #[test]
    fn memory_that_xen_would_panic_about_is_refused() {
        let path = paths::root().join("board").join(DEFAULT).join("board.toml");
        let with = |memory: i64| {
            let mut facts = inherited(&path).expect("read");
            facts["dom0"].as_table_mut().expect("table").insert("memory".into(), memory.into());
            Board::parse(facts)
        };
        for (memory, good) in [(0, false), (64, true), (96, false), (128, true), (288, false), (384, true)] {
            assert_eq!(with(memory).is_ok(), good, "{memory}");
        }
    }

    #[test]
    fn a_version_of_xen_is_one_that_there_is() {
        let board = Board::read(DEFAULT).expect("board");
        let other = board.clone().with_xen("4.20").expect("known");
        assert_eq!(other.hypervisor().expect("known"), "src:xen");
        assert_ne!(other.hypervisor().expect("known"), board.hypervisor().expect("known"));
        let error = board.with_xen("3.0").expect_err("unknown");
        assert!(error.to_string().contains("4.17, 4.20"), "{error}");
    }

    #[test]
    fn tables_merge_lists_continue_and_values_are_replaced() {
        let table = |text: &str| toml::from_str::<toml::Table>(text).expect("toml");
        let mut base = table("a = 1\nb = [1]\n[c]\nd = 1\ne = [1]\n");
        overlay(&mut base, table("a = 2\nb = [2]\nf = 3\n[c]\nd = 2\ne = [2]\n"));
        assert_eq!(base, table("a = 2\nb = [1, 2]\nf = 3\n[c]\nd = 2\ne = [1, 2]\n"));
    }

    #[test]
    fn unknown_boards_name_the_known_ones() {
        let error = Board::read("nonesuch").expect_err("unknown");
        assert!(error.to_string().contains(DEFAULT));
    }
}
