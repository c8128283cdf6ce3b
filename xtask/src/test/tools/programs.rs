//! Xen's own tools, out of Debian's packages, as files for a node under test. No product image has them.

use crate::debian;
use crate::initramfs::ExtraFile;
use crate::{libraries, parts};
use anyhow::{Context, Result};

/// The packages of the tools, of what runs their scripts, then those of the libraries that they need.
const PACKAGES: [&str; 25] = [
    "xen-utils-4.17",
    "xen-utils-common",
    "xenstore-utils",
    "bash",
    "libbz2-1.0",
    "libc6",
    "libfdt1",
    "libgcc-s1",
    "liblzma5",
    "liblzo2-2",
    "libtinfo6",
    "libuuid1",
    "libxencall1",
    "libxendevicemodel1",
    "libxenevtchn1",
    "libxenforeignmemory1",
    "libxengnttab1",
    "libxenhypfs1",
    "libxenmisc4.17",
    "libxenstore4",
    "libxentoolcore1",
    "libxentoollog1",
    "libyajl2",
    "libzstd1",
    "zlib1g",
];

/// Where Debian has xl; what is in `/usr/sbin` is a script that chooses among versions.
pub const XL: &str = "usr/lib/xen-4.17/bin/xl";

/// xl itself, what it starts for `xl console`, the tests of Xen's developers, and what the scripts are written for.
const PROGRAMS: [&str; 6] = [
    XL,
    "usr/lib/xen-4.17/bin/xenconsole",
    "usr/lib/xen-4.17/bin/test-xenstore",
    XENSTORE,
    "bin/bash",
    CANCELLING,
];

/// The C library looks for this one only when a thread is cancelled, as xl does with one of its own.
const CANCELLING: &str = "lib/arm-linux-gnueabihf/libgcc_s.so.1";

/// Where the scripts are that xl runs for a domain's devices. What else they call is busybox's.
const SCRIPTS: &str = "etc/xen/scripts/";

/// One program that does what its name says.
const XENSTORE: &str = "usr/bin/xenstore";
const XENSTORE_NAMES: [&str; 8] = ["chmod", "exists", "list", "ls", "read", "rm", "watch", "write"];

/// The XenStore server written in C.
const XENSTORED: &str = "usr/lib/xen-4.17/bin/xenstored";

/// That server alone.
///
/// # Errors
/// When a package cannot be had, or lacks something.
pub fn xenstored(options: &debian::Options) -> Result<Vec<ExtraFile>> {
    let wanted = |path: &str| path == XENSTORED || libraries::is_library(path);
    let all = parts::files_of(&PACKAGES, "xenstored", wanted, options)?;
    let needed = libraries::with_needed(&[XENSTORED], &all).context("xenstored")?;
    Ok(needed.iter().map(|(path, content)| executable(path, content)).collect())
}

/// All files of Xen's tools.
///
/// # Errors
/// When a package cannot be had, or lacks something.
pub fn files(options: &debian::Options) -> Result<Vec<ExtraFile>> {
    let all = parts::files_of(&PACKAGES, "tools", is_candidate, options)?;
    let needed = libraries::with_needed(&PROGRAMS, &all).context("Xen's tools")?;
    let mut files: Vec<ExtraFile> = needed.iter().map(|(path, content)| executable(path, content)).collect();
    let xenstore = needed.get(XENSTORE).context("the program was chosen")?;
    files.extend(XENSTORE_NAMES.iter().map(|name| executable(&format!("{XENSTORE}-{name}"), xenstore)));
    files.push(executable("usr/sbin/xl", needed.get(XL).context("the program was chosen")?));
    let scripts = all.iter().filter(|(path, _)| path.starts_with(SCRIPTS));
    files.extend(scripts.map(|(path, content)| executable(path, content)));
    let file = |path: &str| ExtraFile { path: path.into(), mode: 0o644, content: Vec::new() };
    // xl wants a configuration, be it empty, and a directory for its locks; its scripts one for their log.
    files.extend(
        ["/etc/xen/xl.conf", "/var/lock/.keep", "/var/lib/xen/.keep", "/var/log/xen/.keep"].map(file),
    );
    Ok(files)
}

fn executable(path: &str, content: &[u8]) -> ExtraFile {
    ExtraFile { path: format!("/{path}"), mode: 0o755, content: content.to_vec() }
}

fn is_candidate(path: &str) -> bool {
    PROGRAMS.contains(&path) || path.starts_with(SCRIPTS) || libraries::is_library(path)
}
