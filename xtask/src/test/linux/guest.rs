//! A guest that nobody here wrote: Debian's kernel as it is in its package, and busybox with three scripts.

use crate::debian;
use crate::initramfs::{Tree, compress};
use crate::parts;
use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// The kernel's package, or one that depends on it; and busybox's.
const PACKAGES: [&str; 2] = ["linux-image-armmp-lpae", "busybox-static"];

/// Where Debian has the kernel; a version follows.
const KERNEL: &str = "boot/vmlinuz-";

/// What the kernel needs of its modules.
const MODULES: [&str; 2] = ["xen-netfront.ko", "xen-blkfront.ko"];

const BUSYBOX: &str = "bin/busybox";

/// The commands that the scripts use, and what the kernel runs when it is asked to switch itself off.
const COMMANDS: [&str; 14] = [
    "bin/sh",
    "bin/mount",
    "bin/cat",
    "bin/dd",
    "bin/tr",
    "bin/grep",
    "bin/echo",
    "bin/printf",
    "bin/httpd",
    "bin/wget",
    "sbin/insmod",
    "sbin/ifconfig",
    "sbin/poweroff",
    "init",
];

/// What is started as a guest.
pub struct Guest {
    /// The zImage.
    pub kernel: Vec<u8>,
    /// The initramfs.
    pub ramdisk: Vec<u8>,
}

/// Makes it out of Debian's packages. `script` brings it up, `programs` are paths and contents of what is in it beside.
///
/// # Errors
/// When a package cannot be had, or lacks something.
pub fn provide(options: &debian::Options, script: &[u8], programs: &[(&str, &[u8])]) -> Result<Guest> {
    let files = parts::files_of(&PACKAGES, "guest", is_wanted, options)?;
    let mut tree = Tree::default();
    // Until the scripts have mounted the real one.
    tree.device("dev/console", 0o600, 5, 1);
    for directory in ["proc", "sys", "www", "bin"] {
        tree.directory(directory);
    }
    for module in MODULES {
        tree.file(
            &format!("lib/{module}"),
            0o644,
            find(&files, |path| path.ends_with(module), module)?.to_vec(),
        );
    }
    tree.file(BUSYBOX, 0o755, find(&files, |path| path.ends_with(BUSYBOX), BUSYBOX)?.to_vec());
    for command in COMMANDS {
        tree.link(command, &format!("/{BUSYBOX}"));
    }
    tree.file("etc/inittab", 0o644, include_bytes!("guest/inittab").to_vec());
    tree.file("etc/rcS", 0o755, script.to_vec());
    for (path, content) in programs {
        tree.file(path, 0o755, content.to_vec());
    }
    tree.file("etc/rcK", 0o755, include_bytes!("guest/rcK").to_vec());
    let kernel = find(&files, |path| path.starts_with(KERNEL), "kernel")?.to_vec();
    Ok(Guest { kernel, ramdisk: compress(&tree.to_cpio()?)? })
}

fn is_wanted(path: &str) -> bool {
    path.starts_with(KERNEL)
        || path.ends_with(BUSYBOX)
        || MODULES.iter().any(|module| path.ends_with(&format!("/{module}")))
}

fn find<'f>(
    files: &'f BTreeMap<String, Vec<u8>>,
    is_it: impl Fn(&str) -> bool,
    what: &str,
) -> Result<&'f [u8]> {
    let found = files.iter().find(|(path, _)| is_it(path));
    found
        .map(|(_, content)| content.as_slice())
        .with_context(|| format!("there is no {what} in the packages"))
}
