//! `board/NAME/board.toml`: the facts about a board.

use crate::fail::{Class, Fail};
use crate::paths;
use anyhow::{Context, Result};
use serde::Deserialize;
use std::fs;

/// One board.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Board {
    /// The folder's name.
    #[serde(skip)]
    pub name: String,
    /// Where its software comes from.
    pub packages: Packages,
    /// QEMU's machine.
    pub machine: Machine,
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
    /// Has `boot/xen-*`.
    pub hypervisor: String,
    /// Has `boot/vmlinuz-*` and modules, or depends on the package that has.
    pub kernel: String,
    /// Has a static `bin/busybox`.
    pub busybox: String,
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
    /// Where the machine puts its device tree.
    pub device_tree: u64,
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
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let mut board = Self::parse(&text).with_context(|| format!("reading {}", path.display()))?;
        name.clone_into(&mut board.name);
        Ok(board)
    }

    fn parse(text: &str) -> Result<Self> {
        let board: Self = toml::from_str(text).map_err(|e| Fail::new(Class::Input, e.to_string()))?;
        board.check()?;
        Ok(board)
    }

    /// Xen 4.17 to 4.21 allocate dom0's first bank as one block of a power of two that is at least as large
    /// as dom0 or 128 MiB (xen/arch/arm/domain_build.c, `allocate_memory_11`) and panic where there is none.
    fn check(&self) -> Result<()> {
        if self.dom0.memory < FIRST_BANK && !self.dom0.memory.is_power_of_two() {
            return Err(Fail::new(
                Class::Input,
                format!(
                    "dom0.memory = {}: below {FIRST_BANK} MiB Xen takes powers of two only; use 64 or {FIRST_BANK}",
                    self.dom0.memory
                ),
            ));
        }
        Ok(())
    }

    /// Alignment, in bytes, of the block of memory that Xen loads dom0's kernel into.
    pub fn first_bank(&self) -> u32 {
        self.dom0.memory.min(FIRST_BANK) << 20
    }
}

/// Every board there is.
fn names() -> Vec<String> {
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
            Board::read(&name).expect("valid board");
        }
    }

    #[test]
    fn memory_that_xen_would_panic_about_is_refused() {
        let path = paths::root().join("board").join(DEFAULT).join("board.toml");
        let text = fs::read_to_string(path).expect("read");
        let memory = text.lines().find(|line| line.starts_with("memory = 128")).expect("dom0 memory");
        assert!(Board::parse(&text.replace(memory, "memory = 96")).is_err());
        assert!(Board::parse(&text.replace(memory, "memory = 64")).is_ok());
    }

    #[test]
    fn unknown_boards_name_the_known_ones() {
        let error = Board::read("nonesuch").expect_err("unknown");
        assert!(error.to_string().contains(DEFAULT));
    }
}
