//! A configuration whose kernels are all taken to be there.

use std::path::Path;
use std::time::Duration;

use jitsud::config::{HEAD_BYTES, KernelHead, Kernels, Loaded, parse};

/// Reads it. It must give the node an address.
pub fn configured(text: &str) -> Loaded {
    let mut head = [0; HEAD_BYTES];
    head[0x24..0x28].copy_from_slice(&0x016f_2818_u32.to_le_bytes());
    head[0x2c] = 64;
    let probe = |_: &Path| Ok(KernelHead { head, length: 64 });
    let kernels = Kernels { card: None, probe: &probe, disk: &|_| Ok((0, 0)) };
    let draft = parse(text.as_bytes(), Path::new("jitsu.toml"), &kernels).expect("good TOML");
    let addressing = draft.node.addressing.expect("an address");
    draft.resolve(addressing, &[], Duration::ZERO)
}
