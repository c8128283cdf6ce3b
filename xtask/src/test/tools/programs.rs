//! Xen's own tools, out of Debian's packages, as files for a node under test. No product image has them.

use crate::debian;
use crate::initramfs::ExtraFile;
use crate::{libraries, parts};
use anyhow::{Context, Result};

/// The packages of the tools, then those of the libraries that they need.
const PACKAGES: [&str; 21] = [
    "xen-utils-4.17",
    "xenstore-utils",
    "libbz2-1.0",
    "libc6",
    "libfdt1",
    "liblzma5",
    "liblzo2-2",
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

/// xl itself, what it starts for `xl console`, and the tests of Xen's developers.
const PROGRAMS: [&str; 4] =
    [XL, "usr/lib/xen-4.17/bin/xenconsole", "usr/lib/xen-4.17/bin/test-xenstore", XENSTORE];

/// One program that does what its name says.
const XENSTORE: &str = "usr/bin/xenstore";
const XENSTORE_NAMES: [&str; 8] = ["chmod", "exists", "list", "ls", "read", "rm", "watch", "write"];

/// All files.
///
/// # Errors
/// When a package cannot be had, or lacks something.
pub fn files(options: &debian::Options) -> Result<Vec<ExtraFile>> {
    let all = parts::files_of(&PACKAGES, "tools", is_candidate, options)?;
    let needed = libraries::with_needed(&PROGRAMS, &all).context("Xen's tools")?;
    let executable = |path: &str, content: &[u8]| ExtraFile {
        path: format!("/{path}"),
        mode: 0o755,
        content: content.to_vec(),
    };
    let mut files: Vec<ExtraFile> = needed.iter().map(|(path, content)| executable(path, content)).collect();
    let xenstore = needed.get(XENSTORE).context("the program was chosen")?;
    files.extend(XENSTORE_NAMES.iter().map(|name| executable(&format!("{XENSTORE}-{name}"), xenstore)));
    files.push(executable("usr/sbin/xl", needed.get(XL).context("the program was chosen")?));
    let file = |path: &str| ExtraFile { path: path.into(), mode: 0o644, content: Vec::new() };
    // xl wants a configuration, be it empty, and a directory for its locks.
    files.extend([file("/etc/xen/xl.conf"), file("/var/lock/.keep"), file("/var/lib/xen/.keep")]);
    Ok(files)
}

fn is_candidate(path: &str) -> bool {
    PROGRAMS.contains(&path) || libraries::is_library(path)
}
