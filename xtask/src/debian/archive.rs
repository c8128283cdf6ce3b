//! A Debian archive's signed indexes: which packages a suite has, vouched for by Debian's keys.
//!
//! The chain: Debian's keyring on this host → `InRelease` (checked by gpgv) → the SHA-256 of `Packages.xz` or
//! `Sources.xz` in it → the SHA-256 of every package in that. `Valid-Until` is left out on purpose: what is installed is
//! pinned by the lock file, and hosts with a wrong clock, as boards and containers are, stay usable.

use super::deb822::paragraphs;
use super::version;
use crate::download::{Downloader, Expected, Fetched};
use crate::fail::{Class, Fail};
use crate::{host, paths};
use anyhow::{Context, Result};
use std::io::Read;
use std::path::Path;
use std::process::Command;

/// What the name of a source package's upstream tarball ends with.
pub const TARBALL_SUFFIX: &str = ".orig.tar.xz";

/// One version of a package, or of a source package, as a signed index describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// The package's name.
    pub name: String,
    /// Its Debian version.
    pub version: String,
    /// The suite whose index lists it.
    pub suite: String,
    /// The path, under the archive's base URL, of the `.deb`, or of a source package's upstream tarball.
    pub path: String,
    /// Size of that file in bytes.
    pub size: u64,
    /// SHA-256 of that file, lower-case hex.
    pub sha256: String,
    /// The first alternative of each dependency, names only.
    pub depends: Vec<String>,
}

/// Which of a suite's indexes.
#[derive(Debug, Clone, Copy)]
pub enum Index {
    /// The packages for one architecture, and those for all.
    Packages(&'static str),
    /// The source packages.
    Sources,
}

impl Index {
    /// Its folder in the suite, and its name there.
    fn place(self) -> (String, &'static str) {
        match self {
            Index::Packages(architecture) => (format!("main/binary-{architecture}"), "Packages.xz"),
            Index::Sources => ("main/source".to_owned(), "Sources.xz"),
        }
    }
}

/// Fetches a verified index of `suite`, section main, from the archive at `base`. `Ok(None)`: the archive has no
/// such suite.
pub fn index(downloader: &Downloader, base: &str, suite: &str, index: Index) -> Result<Option<String>> {
    let Some(signed) = downloader.small(&format!("{base}/dists/{suite}/InRelease"))? else {
        return Ok(None);
    };
    let release = verify(&signed, suite)?;
    let (folder, name) = index.place();
    let file = format!("{folder}/{name}");
    let entry = release_entry(&release, &file).ok_or_else(|| {
        Fail::new(Class::Integrity, format!("the release file of suite {suite} at {base} lists no {file}"))
    })?;

    let cached = paths::cache()?.join("debian/indexes").join(format!("{}.xz", entry.sha256));
    let what = format!("package index of {suite}");
    let expected = Expected { size: Some(entry.size), sha256: &entry.sha256 };
    // By hash, the file cannot change between reading the release file and fetching it. Caching proxies do
    // not always have those names, whatever the release file promises.
    let by_hash = format!("{folder}/by-hash/SHA256/{}", entry.sha256);
    let names = release.by_hash.then_some(by_hash).into_iter().chain([file.clone()]);
    let mut found = Fetched::Gone;
    for name in names {
        found = downloader.fetch(&what, &format!("{base}/dists/{suite}/{name}"), &expected, &cached)?;
        if found == Fetched::Here {
            break;
        }
    }
    if found == Fetched::Gone {
        return Err(Fail::new(
            Class::Network,
            format!(
                "{base}/dists/{suite}/{file} is in the release file, but not on the mirror; \
                     try again later or another --mirror"
            ),
        ));
    }
    let mut text = String::new();
    liblzma::read::XzDecoder::new(paths::read(&cached)?.as_slice())
        .read_to_string(&mut text)
        .with_context(|| format!("unpacking {what} ({})", cached.display()))?;
    Ok(Some(text))
}

/// The packages in an index that `wanted` says yes to, by name.
pub fn select(index: &str, suite: &str, wanted: impl Fn(&str) -> bool) -> Vec<Package> {
    paragraphs(index)
        .filter_map(|p| {
            let name = p.get("Package").filter(|name| wanted(name))?;
            let depends = p.lines("Depends").unwrap_or_default().join(" ");
            Some(Package {
                name: name.to_owned(),
                version: p.get("Version")?.to_owned(),
                suite: suite.to_owned(),
                path: p.get("Filename")?.to_owned(),
                size: p.get("Size")?.parse().ok()?,
                sha256: p.get("SHA256")?.to_owned(),
                depends: depends.split(',').filter_map(first_name).map(str::to_owned).collect(),
            })
        })
        .collect()
}

/// The source packages in an index that are called `name`: of each its upstream tarball.
pub fn select_sources(index: &str, suite: &str, name: &str) -> Vec<Package> {
    paragraphs(index)
        .filter_map(|p| {
            p.get("Package").filter(|found| *found == name)?;
            let mut files = p.lines("Checksums-Sha256")?.iter().map(|line| line.split_whitespace());
            let (sha256, size, file) = files.find_map(|mut words| {
                let file = (words.next()?, words.next()?, words.next()?);
                file.2.ends_with(TARBALL_SUFFIX).then_some(file)
            })?;
            Some(Package {
                name: name.to_owned(),
                version: p.get("Version")?.to_owned(),
                suite: suite.to_owned(),
                path: format!("{}/{file}", p.get("Directory")?),
                size: size.parse().ok()?,
                sha256: sha256.to_owned(),
                depends: Vec::new(),
            })
        })
        .collect()
}

/// The newest of several versions of one package.
pub fn newest<'a>(packages: impl Iterator<Item = &'a Package>) -> Option<&'a Package> {
    packages.max_by(|a, b| version::compare(&a.version, &b.version))
}

fn first_name(dependency: &str) -> Option<&str> {
    dependency.split(['|', '(', ':', ' ']).find(|word| !word.is_empty())
}

/// The text under Debian's signature, if the signature is good and the release is the one asked for.
fn verify(signed: &[u8], suite: &str) -> Result<Release> {
    let keyring = host::debian_keyring().ok_or_else(|| {
        Fail::new(
            Class::Host,
            "Debian's keyring is not on this host; install the package debian-archive-keyring",
        )
    })?;
    let text =
        verify_with(signed, &keyring).with_context(|| format!("checking the signature of suite {suite}"))?;
    let release = Release::parse(&text);
    if release.names.iter().any(|name| name == suite) {
        return Ok(release);
    }
    Err(Fail::new(
        Class::Integrity,
        format!(
            "asked the mirror for suite {suite}, was given {}: wrong or misconfigured mirror",
            release.names.join("/")
        ),
    ))
}

fn verify_with(signed: &[u8], keyring: &Path) -> Result<String> {
    let dir = tempfile::tempdir().context("creating a temporary directory")?;
    let (input, output) = (dir.path().join("InRelease"), dir.path().join("verified"));
    paths::write_atomic(&input, signed)?;
    let run = Command::new("gpgv")
        .args(["--status-fd", "1", "--keyring"])
        .arg(keyring)
        .arg("--output")
        .arg(&output)
        .arg(&input)
        .output()
        .map_err(|e| Fail::new(Class::Host, format!("running gpgv: {e}; install the package gpgv")))?;
    let status = String::from_utf8_lossy(&run.stdout);
    // Releases are signed by several keys, and an older keyring knows only some of them: one good
    // signature is enough, one bad signature is too many.
    let has =
        |word: &str| status.lines().any(|l| l.strip_prefix("[GNUPG:] ").is_some_and(|l| l.starts_with(word)));
    if has("GOODSIG ") && !has("BADSIG ") {
        return Ok(String::from_utf8_lossy(&paths::read(&output)?).into_owned());
    }
    let said = String::from_utf8_lossy(&run.stderr);
    Err(Fail::new(
        Class::Integrity,
        format!(
            "no good signature by a key in {} (gpgv: {}); the mirror or the way to it is not to be trusted, \
             or the package debian-archive-keyring is too old",
            keyring.display(),
            said.lines().map(|l| l.trim_start_matches("gpgv: ").trim()).collect::<Vec<_>>().join("; "),
        ),
    ))
}

/// What is needed of a release file.
#[derive(Debug, PartialEq, Eq)]
struct Release {
    names: Vec<String>,
    by_hash: bool,
    files: Vec<ReleaseEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ReleaseEntry {
    sha256: String,
    size: u64,
    path: String,
}

impl Release {
    fn parse(text: &str) -> Self {
        let paragraph = paragraphs(text).next().unwrap_or_default();
        let entry = |line: &&str| {
            let mut words = line.split_whitespace();
            Some(ReleaseEntry {
                sha256: words.next()?.to_owned(),
                size: words.next()?.parse().ok()?,
                path: words.next()?.to_owned(),
            })
        };
        Self {
            names: ["Codename", "Suite"].iter().filter_map(|f| paragraph.get(f)).map(str::to_owned).collect(),
            by_hash: paragraph.get("Acquire-By-Hash").is_some_and(|v| v.eq_ignore_ascii_case("yes")),
            files: paragraph.lines("SHA256").unwrap_or_default().iter().filter_map(entry).collect(),
        }
    }
}

fn release_entry<'a>(release: &'a Release, path: &str) -> Option<&'a ReleaseEntry> {
    release.files.iter().find(|entry| entry.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = "Package: linux-image-armmp-lpae\nVersion: 6.1.190-1\n\
        Depends: linux-image-6.1.0-54-armmp-lpae (= 6.1.190-1), a:any | b\nFilename: pool/l.deb\nSize: 12\nSHA256: ab\n\n\
        Package: linux-image-armmp-lpae\nVersion: 6.1.99-1\nFilename: pool/old.deb\nSize: 12\nSHA256: cd\n\n\
        Package: other\nVersion: 1\nFilename: pool/o.deb\nSize: 1\nSHA256: ef\n";

    #[test]
    fn selects_and_takes_the_newest() {
        let found = select(INDEX, "bookworm", |name| name == "linux-image-armmp-lpae");
        assert_eq!(found.len(), 2);
        let newest = newest(found.iter()).expect("some");
        assert_eq!((newest.version.as_str(), newest.path.as_str()), ("6.1.190-1", "pool/l.deb"));
        assert_eq!(newest.depends, ["linux-image-6.1.0-54-armmp-lpae", "a"]);
    }

    #[test]
    fn of_a_source_package_the_upstream_tarball_is_taken() {
        let index = "Package: xen\nBinary: xen-utils\nVersion: 4.20.3-1\nDirectory: pool/main/x/xen\nChecksums-Sha256:\n \
                     aa 1 xen_4.20.3-1.dsc\n bb 22 xen_4.20.3.orig.tar.xz\n cc 3 xen_4.20.3-1.debian.tar.xz\n\n\
                     Package: xen-tools\nVersion: 4.9-1\nDirectory: pool/main/x/xen-tools\n\n\
                     Package: xen\nVersion: 9-1\nDirectory: d\nChecksums-Sha256:\n dd 4 xen_9.tar.xz\n";
        let found = select_sources(index, "trixie", "xen");
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].path, "pool/main/x/xen/xen_4.20.3.orig.tar.xz");
        assert_eq!((found[0].sha256.as_str(), found[0].size), ("bb", 22));
    }

    #[test]
    fn release_file() {
        let release = Release::parse(
            "Suite: oldstable\nCodename: bookworm\nAcquire-By-Hash: yes\nMD5Sum:\n xx 1 a\nSHA256:\n aa 10 main/x\n bb   7 main/y\n",
        );
        assert_eq!(release.names, ["bookworm", "oldstable"]);
        assert!(release.by_hash);
        assert_eq!(release_entry(&release, "main/y").map(|e| (e.sha256.as_str(), e.size)), Some(("bb", 7)));
        assert_eq!(release_entry(&release, "a"), None);
    }

    #[test]
    fn unsigned_text_is_refused() {
        let keyring = tempfile::NamedTempFile::new().expect("temporary file");
        let error = verify_with(b"Suite: x\n", keyring.path()).expect_err("must be refused");
        assert!(matches!(crate::fail::class_of(&error), Some(Class::Integrity | Class::Host)));
    }
}
