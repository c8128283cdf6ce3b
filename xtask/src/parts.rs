//! The third-party parts of an image, taken out of their packages: hypervisor, kernel, modules, busybox.
//!
//! What was taken out of a package is kept in the cache, by the package's hash and what was wanted of it,
//! so that a second build unpacks nothing.

use crate::board::Board;
use crate::debian::deb::Deb;
use crate::debian::lock::Pinned;
use crate::debian::{self, PackageFile};
use crate::download::sha256;
use crate::fail::{Class, Fail};
use crate::modules::Modules;
use crate::{kernel, paths, ui};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Changes when what is kept, or how it is made, changes.
const GENERATION: &str = "1";

/// Everything that is not built here.
pub struct Parts {
    /// The hypervisor's image.
    pub xen: Vec<u8>,
    /// Dom0's kernel, see [`kernel::unpack`].
    pub kernel: Vec<u8>,
    /// Names and contents, in an order in which they can be loaded.
    pub modules: Vec<(String, Vec<u8>)>,
    /// The static executable.
    pub busybox: Vec<u8>,
    /// Where it all came from.
    pub packages: Vec<Pinned>,
}

/// Fetches and unpacks what `board` names.
pub fn provide(board: &Board, options: &debian::Options) -> Result<Parts> {
    let wanted = &board.packages;
    let files = debian::fetch(&[&wanted.hypervisor, &wanted.kernel, &wanted.busybox], options)?;
    let [hypervisor, kernel, busybox] = files.as_slice() else {
        anyhow::bail!("three packages were asked for, {} came", files.len());
    };

    let xen_dir = extracted(hypervisor, "", |deb, dir| {
        // The name has the version in it; `.config` and the like lie beside it.
        let is_image =
            |path: &str| path.strip_prefix("boot/xen-").is_some_and(|rest| rest.ends_with("-armhf"));
        keep(dir, "xen", deb.find("boot/xen-VERSION-armhf", is_image)?.1)
    })?;
    let busybox_dir = extracted(busybox, "", |deb, dir| {
        keep(dir, "busybox", deb.find("bin/busybox", |path| path.ends_with("bin/busybox"))?.1)
    })?;
    let request = format!("{} {}", board.first_bank(), board.dom0.modules.join(" "));
    let kernel_dir = extracted(kernel, &request, |deb, dir| keep_kernel(board, deb, dir))?;

    let order = String::from_utf8_lossy(&paths::read(&kernel_dir.join("load-order"))?).into_owned();
    let module = |name: &str| Ok((name.to_owned(), paths::read(&kernel_dir.join(format!("{name}.ko")))?));
    let busybox = paths::read(&busybox_dir.join("busybox"))?;
    check_applets(&busybox, &board.dom0.applets)?;
    Ok(Parts {
        xen: paths::read(&xen_dir.join("xen"))?,
        kernel: paths::read(&kernel_dir.join("kernel"))?,
        modules: order.lines().map(module).collect::<Result<_>>()?,
        busybox,
        packages: files.into_iter().map(|file| file.pinned).collect(),
    })
}

fn keep_kernel(board: &Board, deb: &Deb, dir: &Path) -> Result<()> {
    let (_, zimage) = deb.find("boot/vmlinuz-VERSION", |path| path.starts_with("boot/vmlinuz-"))?;
    keep(dir, "kernel", &kernel::unpack(zimage, board.first_bank())?)?;

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
    let wanted = |path: &str| !path.starts_with("usr/share/");
    let deb = Deb::open(&package.path, wanted)?;
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
