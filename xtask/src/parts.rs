//! The third-party parts of an image, taken out of their packages: hypervisor, kernel, modules, busybox, and for
//! a card U-Boot, the device tree and the SSH server.
//!
//! What was taken out of a package is kept in the cache, by the package's hash and what was wanted of it,
//! so that a second build unpacks nothing.

use crate::board::{Board, Card};
use crate::card::ssh;
use crate::debian::deb::Deb;
use crate::debian::lock::Pinned;
use crate::debian::{self, Facts, Package, PackageFile};
use crate::download::sha256;
use crate::fail::{Class, Fail};
use crate::modules::Modules;
use crate::{kernel, paths, ui, xen};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Changes when what is kept, or how it is made, changes.
const GENERATION: &str = "2";

/// The file with [`Facts`] beside what is kept of a package.
const FACTS: &str = "facts.json";

/// Everything that is not built here.
pub struct Parts {
    /// The hypervisor's image.
    pub xen: Vec<u8>,
    /// Dom0's kernel, see [`kernel::unpack`]; packed again with gzip for a card, where reading takes its time.
    pub kernel: Vec<u8>,
    /// Names and contents, in an order in which they can be loaded.
    pub modules: Vec<(String, Vec<u8>)>,
    /// The static executable.
    pub busybox: Vec<u8>,
    /// What only a card has.
    pub card: Option<CardParts>,
    /// The packages that it came from.
    pub packages: Vec<Package>,
    /// The hypervisor, where it was built here.
    pub built_xen: Option<BuiltXen>,
}

/// A hypervisor that was built here.
pub struct BuiltXen {
    /// The source package.
    pub source: Pinned,
    /// What the compiler calls itself.
    pub compiler: String,
}

/// What only a card has.
pub struct CardParts {
    /// U-Boot with its first stage, as it lies on the card.
    pub firmware: Vec<u8>,
    /// The board's device tree.
    pub device_tree: Vec<u8>,
    /// See [`ssh`].
    pub ssh: Vec<u8>,
}

/// Fetches and unpacks what `board` names.
pub fn provide(board: &Board, options: &debian::Options) -> Result<Parts> {
    let wanted = &board.packages;
    let hypervisor = board.hypervisor()?;
    let mut requests = vec![hypervisor, &wanted.kernel, &wanted.busybox];
    requests.extend(wanted.firmware.as_deref());
    requests.extend(wanted.ssh.iter().map(String::as_str));
    let mut files = debian::fetch(&requests, options)?.into_iter();
    let mut packages = Vec::new();
    let (mut xen, mut built_xen) = (None, None);
    if hypervisor.starts_with(debian::SOURCE_PREFIX) {
        let source = files.next().context("fewer packages came than were asked for")?;
        let (image, compiler) = xen::provide(&source, &board.xen.version)?;
        (xen, built_xen) = (Some(image), Some(BuiltXen { source: source.pinned, compiler }));
    }
    let mut next = |request: &str, keep: &dyn Fn(&Deb, &Path) -> Result<()>| {
        let file = files.next().context("fewer packages came than were asked for")?;
        let dir = extracted(&file, request, keep)?;
        let facts = paths::read(&dir.join(FACTS))?;
        let facts = serde_json::from_slice(&facts).with_context(|| format!("reading {}", dir.display()))?;
        packages.push(Package { pinned: file.pinned, facts });
        Ok::<_, anyhow::Error>(dir)
    };

    let xen = match xen {
        Some(built) => built,
        None => paths::read(&next("", &keep_xen)?.join("xen"))?,
    };
    let request = format!("{} {}", board.first_bank(), board.dom0.modules.join(" "));
    let request = board.card.iter().fold(request, |all, card| format!("{all} gzip {}", card.device_tree));
    let kernel_dir = next(&request, &|deb, dir| keep_kernel(board, deb, dir))?;
    let busybox_dir = next("", &|deb, dir| {
        keep(dir, "busybox", deb.find("bin/busybox", |path| path.ends_with("bin/busybox"))?.1)
    })?;
    let card = match &board.card {
        None => None,
        Some(card) => Some(CardParts {
            firmware: firmware(card, &mut next)?,
            device_tree: paths::read(&kernel_dir.join(DEVICE_TREE))?,
            ssh: ssh_server(wanted.ssh.len(), &mut next)?,
        }),
    };

    let order = String::from_utf8_lossy(&paths::read(&kernel_dir.join("load-order"))?).into_owned();
    let module = |name: &str| Ok((name.to_owned(), paths::read(&kernel_dir.join(format!("{name}.ko")))?));
    let busybox = paths::read(&busybox_dir.join("busybox"))?;
    check_applets(&busybox, &board.dom0.applets)?;
    Ok(Parts {
        xen,
        kernel: paths::read(&kernel_dir.join("kernel"))?,
        modules: order.lines().map(module).collect::<Result<_>>()?,
        busybox,
        card,
        packages,
        built_xen,
    })
}

/// Unpacks the next package: what distinguishes this extraction from others of the package, and what to keep.
type Next<'a> = dyn FnMut(&str, &dyn Fn(&Deb, &Path) -> Result<()>) -> Result<PathBuf> + 'a;

fn firmware(card: &Card, next: &mut Next<'_>) -> Result<Vec<u8>> {
    let wanted = format!("usr/lib/u-boot/{}/u-boot-sunxi-with-spl.bin", card.u_boot);
    let dir =
        next(&card.u_boot, &|deb, dir| keep(dir, "u-boot", deb.find(&wanted, |path| path == wanted)?.1))?;
    paths::read(&dir.join("u-boot"))
}

/// The archive of the SSH server out of the next `packages` packages: programs and libraries of all of them
/// are put together first.
fn ssh_server(packages: usize, next: &mut Next<'_>) -> Result<Vec<u8>> {
    let mut all = BTreeMap::new();
    for _ in 0..packages {
        let dir = next("ssh", &|deb, dir| keep_files(deb, dir, ssh::is_candidate))?;
        all.extend(kept_files(&dir)?);
    }
    ssh::archive(&all)
}

/// Keeps those files of a package that are `wanted`, for [`kept_files`].
fn keep_files(deb: &Deb, dir: &Path, wanted: fn(&str) -> bool) -> Result<()> {
    let mut list = String::new();
    for (number, (path, content)) in deb.files().iter().filter(|(path, _)| wanted(path)).enumerate() {
        keep(dir, &number.to_string(), content)?;
        list.push_str(&format!("{path}\n"));
    }
    keep(dir, "list", list.as_bytes())
}

fn kept_files(dir: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let list = String::from_utf8_lossy(&paths::read(&dir.join("list"))?).into_owned();
    let file =
        |(number, path): (usize, &str)| Ok((path.to_owned(), paths::read(&dir.join(number.to_string()))?));
    list.lines().enumerate().map(file).collect()
}

/// All those files of the packages `requests` that are `wanted`, by path. `purpose` tells this choice of files
/// from others of the same packages.
///
/// # Errors
/// When a package cannot be had.
pub fn files_of(
    requests: &[&str],
    purpose: &str,
    wanted: fn(&str) -> bool,
    options: &debian::Options,
) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut all = BTreeMap::new();
    for package in debian::fetch(requests, options)? {
        let dir = extracted(&package, purpose, |deb, dir| keep_files(deb, dir, wanted))?;
        all.extend(kept_files(&dir)?);
    }
    Ok(all)
}

/// The name that a device tree is kept under.
const DEVICE_TREE: &str = "dtb";

fn keep_xen(deb: &Deb, dir: &Path) -> Result<()> {
    // The name has the version in it; `.config` and the like lie beside it.
    let is_image = |path: &str| path.strip_prefix("boot/xen-").is_some_and(|rest| rest.ends_with("-armhf"));
    keep(dir, "xen", deb.find("boot/xen-VERSION-armhf", is_image)?.1)
}

fn keep_kernel(board: &Board, deb: &Deb, dir: &Path) -> Result<()> {
    let (_, zimage) = deb.find("boot/vmlinuz-VERSION", |path| path.starts_with("boot/vmlinuz-"))?;
    let unpacked = kernel::unpack(zimage, board.first_bank())?;
    match &board.card {
        None => keep(dir, "kernel", &unpacked)?,
        Some(card) => {
            keep(dir, "kernel", &kernel::gzip(&unpacked)?)?;
            let is_tree = |path: &str| {
                path.strip_suffix(&card.device_tree)
                    .is_some_and(|place| place.starts_with("usr/lib/linux-image-") && place.ends_with('/'))
            };
            keep(dir, DEVICE_TREE, deb.find(&card.device_tree, is_tree)?.1)?;
        }
    }

    let (_, builtin) = deb.find("modules.builtin", |path| path.ends_with("/modules.builtin"))?;
    let files = deb.files().iter().map(|(path, content)| (path.as_str(), content.as_slice()));
    let modules = Modules::new(files, &String::from_utf8_lossy(builtin)).resolve(&board.dom0.modules)?;
    let mut order = String::new();
    for module in modules {
        order.push_str(&module.name);
        order.push('\n');
        keep(dir, &format!("{}.ko", module.name), module.content)?;
    }
    keep(dir, "load-order", order.as_bytes())
}

fn keep(dir: &Path, name: &str, content: &[u8]) -> Result<()> {
    fs::write(dir.join(name), content).with_context(|| format!("writing {}", dir.join(name).display()))
}

/// The directory with what `fill` keeps of a package; made when missing, complete or not there at all.
fn extracted(
    package: &PackageFile,
    request: &str,
    fill: impl Fn(&Deb, &Path) -> Result<()>,
) -> Result<PathBuf> {
    let key = sha256([GENERATION, &package.pinned.sha256, request].join("\n").as_bytes());
    let parent = paths::cache()?.join("debian/extracted");
    let place = parent.join(format!("{}-{}", package.pinned.name, &key[..16]));
    if place.is_dir() {
        return Ok(place);
    }
    let _task = ui::Task::start(format!("unpacking {}", package.pinned.name));
    paths::create_dir(&parent)?;
    let dir = tempfile::Builder::new()
        .prefix(".new-")
        .tempdir_in(&parent)
        .context("creating a temporary directory")?;
    let wanted = |path: &str| !path.starts_with("usr/share/") || path.ends_with("/copyright");
    let deb = Deb::open(&package.path, wanted)?;
    let facts = Facts::of(&deb, &package.pinned.name, &package.pinned.version);
    keep(dir.path(), FACTS, &serde_json::to_vec(&facts).context("formatting a package's facts")?)?;
    fill(&deb, dir.path())
        .with_context(|| format!("package {} {}", package.pinned.name, package.pinned.version))?;
    match fs::rename(dir.path(), &place) {
        Ok(()) => {
            // The directory is no longer where its guard would remove it.
            let _ = dir.keep();
        }
        // Another xtask was faster; its result is the same.
        Err(_) if place.is_dir() => {}
        Err(e) => return Err(e).with_context(|| format!("renaming into {}", place.display())),
    }
    Ok(place)
}

/// Refuses commands that this busybox lacks: their links would lead nowhere. The table of its applets is
/// in the executable, names in order, each ended by a zero byte, the table by another; `[` is the first.
fn check_applets(busybox: &[u8], wanted: &[String]) -> Result<()> {
    const START: &[u8] = b"\0[\0[[\0";
    let start = busybox.windows(START.len()).position(|window| window == START).ok_or_else(|| {
        Fail::new(Class::Integrity, "busybox: its table of applets was not found; is it a static busybox?")
    })?;
    let table = &busybox[start + 1..];
    let table = &table[..table.windows(2).position(|pair| pair == b"\0\0").unwrap_or(table.len())];
    let has = |applet: &String| table.split(|&byte| byte == 0).any(|name| name == applet.as_bytes());
    let lacking: Vec<_> = wanted.iter().filter(|applet| !has(applet)).map(String::as_str).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    Err(Fail::new(
        Class::Input,
        format!(
            "board.toml, dom0.applets: this busybox has no {}; remove them from the list",
            lacking.join(", ")
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applets_are_checked_against_the_executable() {
        let busybox = b"\x7fELF code\0[\0[[\0ash\0cat\0\0more code";
        let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert!(check_applets(busybox, &list(&["cat", "["])).is_ok());
        let error = check_applets(busybox, &list(&["cat", "more code", "xl"])).expect_err("lacking");
        assert!(error.to_string().contains("more code, xl"), "{error}");
        assert!(check_applets(b"no busybox", &[]).is_err());
    }
}
