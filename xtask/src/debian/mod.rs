//! `--source debian`: the packages that an image is made of, fetched from a Debian mirror and verified.
//!
//! With a lock file and a warm cache nothing is asked of the network. Otherwise: pinned packages are
//! fetched by their pin; a pin that has left the mirror (Debian keeps only the newest) and a request
//! without a pin are resolved from the signed indexes, which `--locked` refuses. What had no pin is given one.

pub mod archive;
pub mod deb;
mod deb822;
mod facts;
pub mod lock;
pub mod mirror;
mod version;

use crate::download::{Downloader, Expected, Fetched};
use crate::fail::{Class, Fail, class_of};
use crate::{paths, ui};
use anyhow::{Context, Result};
use archive::Index;
pub use facts::Facts;
use lock::{Lock, Pinned};
use mirror::Mirror;
use std::cell::OnceCell;
use std::path::PathBuf;

/// The release that the node's packages come from, and its suites.
const SUITES: [&str; 3] = ["bookworm", "bookworm-updates", "bookworm-security"];

/// The release that source packages come from, the one after it, and its suites.
const SOURCE_SUITES: [&str; 3] = ["trixie", "trixie-updates", "trixie-security"];

/// What a request for a source package begins with, as in Debian's own tools.
pub const SOURCE_PREFIX: &str = "src:";

/// Debian's name for the node's architecture.
const NODE_ARCHITECTURE: &str = "armhf";

/// What the names of kernel packages start with, those of the metapackages that depend on them as well.
const KERNEL_PREFIX: &str = "linux-image-";

/// How packages are chosen.
#[derive(Debug, Default, Clone)]
pub struct Options {
    /// The mirror's base URL; default: what this host's apt uses.
    pub mirror: Option<String>,
    /// Take exactly what the lock file says, or fail.
    pub locked: bool,
    /// Take the newest of everything and write the lock file.
    pub update_lock: bool,
    /// Which version of Xen; default: the board's own.
    pub xen: Option<String>,
}

/// A verified package on disk.
pub struct PackageFile {
    /// What it is.
    pub pinned: Pinned,
    /// The `.deb`, or a source package's upstream tarball.
    pub path: PathBuf,
}

/// A package that went into an image.
#[derive(Debug, Clone)]
pub struct Package {
    /// What it is.
    pub pinned: Pinned,
    /// What it says about itself.
    pub facts: Facts,
}

/// Where the lock file is.
fn lock_path() -> PathBuf {
    paths::root().join("board/debian.lock")
}

/// Fetches the packages named in `requests`, in that order.
pub fn fetch(requests: &[&str], options: &Options) -> Result<Vec<PackageFile>> {
    let mut lock = Lock::read(&lock_path())?;
    let source = Source::new(requests, options.mirror.clone());
    let (mut chosen, mut new) = (Vec::new(), Vec::new());
    for request in requests {
        if lock.get(request).is_none() {
            new.push(*request);
        }
        let pinned = lock.get(request).filter(|_| !options.update_lock).cloned();
        chosen.push(match pinned {
            Some(pinned) => pinned,
            None if options.locked => {
                return Err(Fail::new(
                    Class::Input,
                    format!(
                        "package {request} is not in {}; run `cargo xtask image --update-lock`",
                        lock_path().display()
                    ),
                ));
            }
            None => source.newest(request)?,
        });
    }

    let mut files = source.download(chosen)?;
    for file in &mut files {
        if let Some(found) = file.gone.take() {
            file.package = source.replace(found, options)?;
        }
    }
    let packages: Vec<PackageFile> = files.into_iter().map(|file| file.package).collect();
    let to_pin =
        |package: &&PackageFile| options.update_lock || new.contains(&package.pinned.request.as_str());
    if options.update_lock || !new.is_empty() {
        for package in packages.iter().filter(to_pin) {
            lock.set(package.pinned.clone());
        }
        lock.write(&lock_path())?;
        ui::say(format!("wrote {}", lock_path().display()));
    }
    Ok(packages)
}

/// A download's outcome: the package, and whether it turned out not to be on the mirror.
struct Download {
    package: PackageFile,
    gone: Option<Pinned>,
}

/// The mirror, looked for only when something is needed from it, and its indexes, read at most once.
struct Source {
    requests: Vec<String>,
    explicit: Option<String>,
    mirror: OnceCell<Mirror>,
    packages: OnceCell<Vec<archive::Package>>,
    downloader: Downloader,
}

impl Source {
    fn new(requests: &[&str], explicit: Option<String>) -> Self {
        let requests = requests.iter().map(|&request| request.to_owned()).collect();
        Self {
            requests,
            explicit,
            mirror: OnceCell::new(),
            packages: OnceCell::new(),
            downloader: Downloader::new(),
        }
    }

    fn mirror(&self) -> Result<&Mirror> {
        if let Some(mirror) = self.mirror.get() {
            return Ok(mirror);
        }
        let found = Mirror::find(self.explicit.as_deref())?;
        Ok(self.mirror.get_or_init(|| found))
    }

    /// Every version in the signed indexes of the requests and of kernels, one of which may be meant.
    fn packages(&self) -> Result<&[archive::Package]> {
        if let Some(packages) = self.packages.get() {
            return Ok(packages);
        }
        let mirror = self.mirror()?;
        let mut found = Vec::new();
        let wanted = |name: &str| {
            name.starts_with(KERNEL_PREFIX) || self.requests.iter().any(|request| request == name)
        };
        for (place, suite) in SUITES.into_iter().enumerate() {
            let index = self.index(mirror, suite, Index::Packages(NODE_ARCHITECTURE), place > 0)?;
            found.extend(archive::select(&index, suite, wanted));
        }
        Ok(self.packages.get_or_init(|| found))
    }

    /// An index of one suite. Where the suite is only an `addition` to the release itself, an index that is not
    /// what Debian signed for is left out, audibly: mirrors are out of step now and then, and what is taken from
    /// the other suites is signed all the same. Only newer versions can be missed.
    fn index(&self, mirror: &Mirror, suite: &str, index: Index, addition: bool) -> Result<String> {
        let base = base(mirror, suite);
        match archive::index(&self.downloader, base, suite, index) {
            Ok(Some(index)) => Ok(index),
            Ok(None) => {
                let message =
                    format!("{base} has no suite {suite}; name a full Debian mirror with --mirror URL");
                Err(Fail::new(Class::Network, message))
            }
            Err(error) if addition && class_of(&error) == Some(Class::Integrity) => {
                ui::say(format!("WARNING: suite {suite} is left out, its updates are not seen: {error:#}"));
                Ok(String::new())
            }
            Err(error) => Err(error),
        }
    }

    /// The newest signed version of a source package.
    fn newest_source(&self, request: &str, name: &str) -> Result<Pinned> {
        let mirror = self.mirror()?;
        let mut found = Vec::new();
        for (place, suite) in SOURCE_SUITES.into_iter().enumerate() {
            let index = self.index(mirror, suite, Index::Sources, place > 0)?;
            found.extend(archive::select_sources(&index, suite, name));
        }
        let newest = archive::newest(found.iter()).ok_or_else(|| {
            let suites = SOURCE_SUITES.join(", ");
            Fail::new(Class::Input, format!("source package {name} is in none of {suites}"))
        })?;
        Ok(Pinned::new(request, newest.clone()))
    }

    /// The newest signed version for a name in board.toml. A kernel metapackage is followed to the kernel.
    fn newest(&self, request: &str) -> Result<Pinned> {
        if let Some(name) = request.strip_prefix(SOURCE_PREFIX) {
            return self.newest_source(request, name);
        }
        let packages = self.packages()?;
        let find = |name: &str| {
            archive::newest(packages.iter().filter(|p| p.name == name)).ok_or_else(|| {
                Fail::new(
                    Class::Input,
                    format!("package {name} is in none of {} for armhf", SUITES.join(", ")),
                )
            })
        };
        let mut package = find(request)?;
        if let Some(kernel) = package.depends.iter().find(|name| name.starts_with(KERNEL_PREFIX)) {
            package = find(kernel)?;
        }
        Ok(Pinned::new(request, package.clone()))
    }

    /// Fetches all of `chosen`, in parallel.
    fn download(&self, chosen: Vec<Pinned>) -> Result<Vec<Download>> {
        let mut jobs = Vec::new();
        for pinned in chosen {
            let path = cached(&pinned)?;
            // The mirror is looked for only if something is missing.
            let url = if path.is_file() { String::new() } else { self.url(&pinned)? };
            jobs.push((pinned, path, url));
        }
        let downloader = &self.downloader;
        std::thread::scope(|scope| {
            let threads: Vec<_> = jobs
                .into_iter()
                .map(|(pinned, path, url)| scope.spawn(move || one(downloader, pinned, path, &url)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        })
    }

    fn url(&self, pinned: &Pinned) -> Result<String> {
        Ok(format!("{}/{}", base(self.mirror()?, &pinned.suite), pinned.path))
    }

    /// A pinned version has left the mirror: take the newest one, and say so.
    fn replace(&self, gone: Pinned, options: &Options) -> Result<PackageFile> {
        let what =
            format!("{} {} (pinned in board/debian.lock) has left the mirror", gone.name, gone.version);
        if options.locked {
            return Err(Fail::new(
                Class::Network,
                format!(
                    "{what}, and --locked takes no other; drop --locked, or run `cargo xtask image --update-lock`"
                ),
            ));
        }
        let newest = self.newest(&gone.request)?;
        let name = newest.name.clone();
        let nowhere = || {
            let message = format!(
                "{name} is in the mirror's index but not on the mirror; try again later or another --mirror"
            );
            Fail::new(Class::Network, message)
        };
        if newest == gone {
            return Err(nowhere());
        }
        ui::say(format!(
            "note: {what}; taking {} {} instead. `cargo xtask image --update-lock` would pin it.",
            newest.name, newest.version
        ));
        let download = self.download(vec![newest])?.pop().context("one package was asked for")?;
        match download.gone {
            None => Ok(download.package),
            Some(_) => Err(nowhere()),
        }
    }
}

fn one(downloader: &Downloader, pinned: Pinned, path: PathBuf, url: &str) -> Result<Download> {
    let what = format!("{} {}", pinned.name, pinned.version);
    let expected = Expected { size: Some(pinned.size), sha256: &pinned.sha256 };
    let gone = match downloader.fetch(&what, url, &expected, &path)? {
        Fetched::Here => None,
        Fetched::Gone => Some(pinned.clone()),
    };
    Ok(Download { package: PackageFile { pinned, path }, gone })
}

fn base<'a>(mirror: &'a Mirror, suite: &str) -> &'a str {
    if suite.ends_with("-security") { &mirror.security } else { &mirror.main }
}

/// The package's place in the cache, named by its content.
fn cached(pinned: &Pinned) -> Result<PathBuf> {
    let suffix = if pinned.request.starts_with(SOURCE_PREFIX) { archive::TARBALL_SUFFIX } else { ".deb" };
    Ok(paths::cache()?.join("debian/packages").join(format!("{}_{}{suffix}", pinned.name, pinned.sha256)))
}

/// Fetches, from `mirror`, the package called `name` whose upstream version is `upstream`, from the first
/// of `suites` that has it; `Ok(None)` when none has. For tools of the host, which follow the host's own
/// version and so are in no lock file; signed for all the same.
pub fn fetch_upstream(
    mirror: &Mirror,
    name: &str,
    upstream: &str,
    suites: &[&str],
) -> Result<Option<PathBuf>> {
    let downloader = Downloader::new();
    for suite in suites {
        let index = Index::Packages(host_architecture());
        let index = match archive::index(&downloader, base(mirror, suite), suite, index) {
            Ok(Some(index)) => index,
            Ok(None) => continue,
            // Another suite may have it, signed as well.
            Err(error) if class_of(&error) == Some(Class::Integrity) => {
                ui::say(format!("WARNING: suite {suite} is left out: {error:#}"));
                continue;
            }
            Err(error) => return Err(error),
        };
        let found = archive::select(&index, suite, |candidate| candidate == name);
        let Some(package) =
            archive::newest(found.iter().filter(|p| version::upstream(&p.version) == upstream))
        else {
            continue;
        };
        let pinned = Pinned::new(name, package.clone());
        let (path, url) = (cached(&pinned)?, format!("{}/{}", base(mirror, suite), pinned.path));
        let download = one(&downloader, pinned, path, &url)?;
        if download.gone.is_none() {
            return Ok(Some(download.package.path));
        }
    }
    Ok(None)
}

/// Debian's name for the architecture of this host.
fn host_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "i386",
        "arm" => NODE_ARCHITECTURE,
        "powerpc64" => "ppc64el",
        other => other,
    }
}
