//! Checks of the host's tools: one function per need, each with the Debian packages that meet it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The emulator.
pub const QEMU: &str = "qemu-system-arm";

/// The linker for the node's ARMv7 binaries, with a C library to link statically.
pub const CROSS_GCC: &str = "arm-linux-gnueabihf-gcc";

/// Older QEMUs mishandle the deactivation of shared interrupts in the GIC's virtual interface on 32-bit
/// ARM: dom0 hangs under Xen.
pub const QEMU_MINIMUM: (u32, u32) = (9, 1);

/// Something the host lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What, and why the present state will not do.
    pub what: String,
    /// The Debian packages that bring it.
    pub packages: &'static [&'static str],
}

/// Everything that is missing on this host. Fast: it starts each tool once.
pub fn missing() -> Vec<Missing> {
    [qemu(), cross_gcc(), gpgv(), keyring()].into_iter().flatten().collect()
}

/// A tool, and the Debian packages that bring it.
type Tool = (&'static str, &'static [&'static str]);

/// Checkers of partition tables and file systems that others wrote, for the tests of the cards.
const CHECKERS: [Tool; 4] = [
    ("fsck.vfat", &["dosfstools"]),
    ("fsck.ext4", &["e2fsprogs"]),
    ("sfdisk", &["fdisk"]),
    ("mdir", &["mtools"]),
];

/// What the pages are looked at with, and where their checker comes from.
const BROWSERS: [Tool; 3] =
    [("chromium", &["chromium"]), ("chromedriver", &["chromium-driver"]), ("npm", &["npm"])];

/// Clients that others wrote, for the tests of the web server.
const WEB_CLIENTS: [Tool; 3] =
    [("curl", &["curl"]), ("h2load", &["nghttp2-client"]), ("ab", &["apache2-utils"])];

/// What Xen's build needs beside compilers.
const XEN_BUILDERS: [Tool; 3] = [("make", &["make"]), ("flex", &["flex"]), ("bison", &["bison"])];

/// What fuzzing needs: a compiler for libFuzzer, which comes as C++.
const FUZZERS: [Tool; 1] = [("c++", &["g++"])];

/// DNS clients that others wrote.
const DNS_CLIENTS: [Tool; 2] = [("dig", &["bind9-dnsutils"]), ("kdig", &["knot-dnsutils"])];

/// What makes two hosts on a link.
const LINKS: [Tool; 2] = [("ip", &["iproute2"]), ("unshare", &["util-linux"])];

/// What tests need besides: those of the cards, those of the versions of Xen that are built from source, fuzzing, DNS,
/// the pages, and the web server.
pub fn missing_for_tests() -> Vec<Missing> {
    let builders = CHECKERS.into_iter().chain(XEN_BUILDERS).chain(FUZZERS);
    let clients = DNS_CLIENTS.into_iter().chain(BROWSERS).chain(WEB_CLIENTS).chain(LINKS);
    let libraries = python_libraries().into_iter().chain(prometheus_client());
    missing_of(builders.chain(clients)).into_iter().chain(libraries).collect()
}

/// Libraries for DNS and mDNS, for the interpreter that the distribution has.
fn python_libraries() -> Option<Missing> {
    match output("/usr/bin/python3", &["-c", "import dns.message, zeroconf"]) {
        Some(_) => None,
        None => Some(Missing {
            what: "dnspython and zeroconf".into(),
            packages: &["python3", "python3-dnspython", "python3-zeroconf"],
        }),
    }
}

/// Prometheus's parser, for the same.
fn prometheus_client() -> Option<Missing> {
    let packages = &["python3", "python3-prometheus-client"];
    match output("/usr/bin/python3", &["-c", "import prometheus_client.parser"]) {
        Some(_) => None,
        None => Some(Missing { what: "Prometheus's client for Python".into(), packages }),
    }
}

/// What the fuzz targets need.
pub fn missing_for_fuzzing() -> Vec<Missing> {
    missing_of(FUZZERS.into_iter())
}

/// What building Xen from its source needs besides.
pub fn missing_for_xen() -> Vec<Missing> {
    missing_of(XEN_BUILDERS.into_iter())
}

fn missing_of(tools: impl Iterator<Item = Tool>) -> Vec<Missing> {
    let missing = tools.filter(|(tool, _)| !is_installed(tool));
    missing.map(|(tool, packages)| Missing { what: tool.into(), packages }).collect()
}

/// Whether a tool is in PATH, or where administrators' tools are.
fn is_installed(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    places.into_iter().any(|place| place.join(tool).is_file())
}

/// Debian's archive keyring, where the package debian-archive-keyring puts it.
pub fn debian_keyring() -> Option<PathBuf> {
    ["debian-archive-keyring.gpg", "debian-archive-keyring.pgp"]
        .map(|name| Path::new("/usr/share/keyrings").join(name))
        .into_iter()
        .find(|path| path.is_file())
}

fn qemu() -> Option<Missing> {
    let (major, minor) = QEMU_MINIMUM;
    let what = match output(QEMU, &["--version"]).as_deref().map(parse_qemu_version) {
        Some(Some(found)) if found >= QEMU_MINIMUM => return None,
        Some(Some((a, b))) => {
            format!("{QEMU} ≥ {major}.{minor} (here is {a}.{b}, too old for Xen on 32-bit ARM)")
        }
        Some(None) => format!("{QEMU} ≥ {major}.{minor} (its --version says something unknown)"),
        None => format!("{QEMU} ≥ {major}.{minor}"),
    };
    Some(Missing { what, packages: &["qemu-system-arm"] })
}

fn parse_qemu_version(text: &str) -> Option<(u32, u32)> {
    let version = text.split_once("version ")?.1;
    let mut numbers = version.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn cross_gcc() -> Option<Missing> {
    // gcc answers with a full path only when it has the file.
    let libc = output(CROSS_GCC, &["-print-file-name=libc.a"]);
    if libc.as_deref().is_some_and(|path| path.starts_with('/')) {
        return None;
    }
    Some(Missing {
        what: format!("{CROSS_GCC} with a static C library"),
        packages: &["gcc-arm-linux-gnueabihf", "libc6-dev-armhf-cross"],
    })
}

fn gpgv() -> Option<Missing> {
    match output("gpgv", &["--version"]) {
        Some(_) => None,
        None => Some(Missing { what: "gpgv".into(), packages: &["gpgv"] }),
    }
}

fn keyring() -> Option<Missing> {
    match debian_keyring() {
        Some(_) => None,
        None => {
            Some(Missing { what: "Debian's archive keyring".into(), packages: &["debian-archive-keyring"] })
        }
    }
}

/// What a tool prints, if it is there and succeeds.
fn output(tool: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(tool).args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemu_versions() {
        assert_eq!(
            parse_qemu_version("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\n"),
            Some((10, 0))
        );
        assert_eq!(parse_qemu_version("QEMU emulator version 7.2.15\n"), Some((7, 2)));
        assert_eq!(parse_qemu_version("something else"), None);
        assert!((10, 0) >= QEMU_MINIMUM && (9, 0) < QEMU_MINIMUM);
    }
}
