//! Cargo builds for the node: jitsud (ARMv7 Linux, static) and the unikernels (bare ARMv7).

use crate::fail::{Class, Fail};
use crate::host::{self, rust_std::RustStd};
use crate::{paths, ui};
use anyhow::{Context, Result};
use object::{Object, ObjectSegment};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What runs in dom0.
pub const NODE_TARGET: &str = "armv7-unknown-linux-gnueabihf";

/// What runs in a domain of its own.
pub const UNIKERNEL_TARGET: &str = "armv7a-none-eabi";

/// One cargo build.
struct Build<'a> {
    /// For messages.
    what: &'a str,
    directory: PathBuf,
    target: &'a str,
    args: &'a [&'a str],
    /// Crates of the standard library, where cargo has to build it.
    std_crates: &'a str,
    /// Flags for rustc, for the target alone.
    flags: &'a [&'a str],
}

/// Builds a binary of this workspace for dom0: static, so that the initramfs needs no C library.
/// Returns the executable.
pub fn node_binary(package: &str, binary: &str, mirror: Option<&str>) -> Result<PathBuf> {
    let mut binaries = Build {
        what: &format!("{binary} for the node"),
        directory: paths::root(),
        target: NODE_TARGET,
        args: &["--package", package, "--bin", binary],
        std_crates: "std,panic_unwind",
        flags: &["-Ctarget-feature=+crt-static", &format!("-Clinker={}", host::CROSS_GCC)],
    }
    .run(mirror)?;
    binaries.remove(binary).ok_or_else(|| Fail::new(Class::Build, format!("cargo built no binary {binary}")))
}

/// Builds every unikernel of the `unikernels` workspace; returns their zImages by name.
pub fn unikernels(mirror: Option<&str>) -> Result<BTreeMap<String, Vec<u8>>> {
    let binaries = Build {
        what: "the unikernels",
        directory: paths::root().join("unikernels"),
        target: UNIKERNEL_TARGET,
        args: &["--bins"],
        std_crates: "core,alloc,compiler_builtins",
        flags: &[],
    }
    .run(mirror)?;
    binaries
        .into_iter()
        .map(|(name, path)| {
            let image = flat(&path).with_context(|| format!("reading unikernel {}", path.display()))?;
            Ok((name, image))
        })
        .collect()
}

impl Build<'_> {
    /// Runs cargo; returns the executables by name.
    fn run(&self, mirror: Option<&str>) -> Result<BTreeMap<String, PathBuf>> {
        let std = host::rust_std::provide(self.target, mirror)?;
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command
            .current_dir(&self.directory)
            .args(["build", "--release", "--target", self.target])
            .args(["--message-format", "json-render-diagnostics"])
            .args(self.args)
            .env("CARGO_ENCODED_RUSTFLAGS", self.encoded_flags()?)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        if std == RustStd::Source {
            command.arg(format!("-Zbuild-std={}", self.std_crates));
            command.arg("-Zbuild-std-features=compiler-builtins-mem");
            command.env("RUSTC_BOOTSTRAP", "1");
        }
        ui::say(format!("building {}", self.what));
        let mut child = command.spawn().with_context(|| format!("starting cargo to build {}", self.what))?;
        let stdout = child.stdout.take().context("cargo has no standard output")?;
        let mut executables = BTreeMap::new();
        for line in BufReader::new(stdout).lines() {
            let line = line.context("reading cargo's messages")?;
            if let Ok(Message { target, executable: Some(path) }) = serde_json::from_str(&line) {
                executables.insert(target.name, path);
            }
        }
        let status = child.wait().context("waiting for cargo")?;
        if !status.success() {
            return Err(Fail::new(Class::Build, format!("building {} failed, see above", self.what)));
        }
        Ok(executables)
    }
}

impl Build<'_> {
    /// All flags, as cargo wants them. Places on this host are given other names, since they end up in the
    /// messages of panics: the same sources give the same image wherever they are built.
    fn encoded_flags(&self) -> Result<String> {
        let home = std::env::var_os("HOME").unwrap_or_default();
        let cargo_home =
            std::env::var_os("CARGO_HOME").map_or_else(|| Path::new(&home).join(".cargo"), PathBuf::from);
        let places =
            [(paths::root(), "/jitsu-node"), (cargo_home, "/cargo"), (host::rust_std::sysroot()?, "/rust")];
        let renamed = places.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
        let flags: Vec<&str> = self.flags.iter().copied().chain(renamed.iter().map(String::as_str)).collect();
        Ok(flags.join("\x1f"))
    }
}

/// The part of cargo's `compiler-artifact` messages that is of interest.
#[derive(Deserialize)]
struct Message {
    target: Target,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// What a domain builder loads: linkers give either that, or an ELF file with it in its segments.
fn flat(path: &Path) -> Result<Vec<u8>> {
    let data = paths::read(path)?;
    if !data.starts_with(b"\x7fELF") {
        return Ok(data);
    }
    flatten(&data)
}

/// The loadable segments of an ELF file as they lie in memory, from the lowest address on.
fn flatten(elf: &[u8]) -> Result<Vec<u8>> {
    /// A gap between segments that no image has on purpose.
    const LIMIT: u64 = 16 << 20;
    let file = object::File::parse(elf)?;
    let start = file.segments().map(|s| s.address()).min().context("it has no loadable segment")?;
    let mut image = Vec::new();
    for segment in file.segments() {
        let data = segment.data()?;
        let offset = segment.address() - start;
        if offset > LIMIT {
            return Err(Fail::new(
                Class::Build,
                format!("a segment at {:#x}, far from the others", segment.address()),
            ));
        }
        let offset = offset as usize;
        image.resize(image.len().max(offset + data.len()), 0);
        image[offset..offset + data.len()].copy_from_slice(data);
    }
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF executable of two segments, 0x100 apart.
    fn elf(second: u32) -> Vec<u8> {
        let mut elf = vec![0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        for value in [2u16, 40] {
            elf.extend(value.to_le_bytes());
        }
        for value in [1u32, 0x8000, 52, 0, 0] {
            elf.extend(value.to_le_bytes());
        }
        for value in [52u16, 32, 2, 40, 0, 0] {
            elf.extend(value.to_le_bytes());
        }
        for (address, offset) in [(0x8000u32, 116u32), (second, 120)] {
            for value in [1, offset, address, address, 4, 8, 5, 4] {
                elf.extend(value.to_le_bytes());
            }
        }
        elf.extend(b"codedata");
        elf
    }

    #[test]
    fn segments_keep_their_distance() {
        let image = flatten(&elf(0x8100)).expect("flat");
        assert_eq!(image.len(), 0x104);
        assert_eq!((&image[..4], &image[0x100..]), (&b"code"[..], &b"data"[..]));
        assert!(image[4..0x100].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn far_segments_are_refused() {
        assert!(flatten(&elf(0x9000_0000)).is_err());
    }
}
