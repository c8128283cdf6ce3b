//! A `jitsu.toml` whose kernels and disks are all taken to be there.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use jitsud::config::{self, KernelHead, Kernels, Loaded, Problem};

/// Reads the file. What is wrong with it is told by the node's faces, as ever.
pub fn load(file: &Path) -> Result<Loaded> {
    let bytes = fs::read(file).with_context(|| file.display().to_string())?;
    let probe = |_: &Path| -> io::Result<KernelHead> { Ok(KernelHead::stand_in()) };
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
