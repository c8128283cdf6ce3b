//! A `jitsu.toml` whose kernels and disks are all taken to be there.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use jitsud::config::{self, HEAD_BYTES, KernelHead, Kernels, Loaded, Problem};

/// A zImage's magic number and where it stands, and where its end does (Linux, `arch/arm/boot/compressed/head.S`).
const MAGIC: u32 = 0x016f_2818;
const MAGIC_AT: usize = 0x24;
const END_AT: usize = 0x2c;
/// Of every kernel.
const LENGTH: u8 = 64;

/// Reads the file. What is wrong with it is told by the node's faces, as ever.
pub fn load(file: &Path) -> Result<Loaded> {
    let bytes = fs::read(file).with_context(|| file.display().to_string())?;
    let probe = |_: &Path| -> io::Result<KernelHead> {
        let mut head = [0; HEAD_BYTES];
        head[MAGIC_AT..MAGIC_AT + 4].copy_from_slice(&MAGIC.to_le_bytes());
        head[END_AT] = LENGTH;
        Ok(KernelHead { head, length: LENGTH.into() })
    };
    let kernels = Kernels { card: None, probe: &probe, disk: &|_| Ok((0, 0)) };
    let lines =
        |problems: &[Problem]| problems.iter().map(|problem| format!("\n{problem}")).collect::<String>();
    let draft = config::parse(&bytes, file, &kernels)
        .map_err(|unusable| anyhow!("the file cannot be used:{}", lines(&unusable.0)))?;
    let addressing = draft.node.addressing.with_context(|| {
        format!(
            "there is no DHCP here, and [node] has no address that can be used{}",
            lines(draft.problems())
        )
    })?;
    Ok(draft.resolve(addressing, &[], Duration::ZERO))
}
