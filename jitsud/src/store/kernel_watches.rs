//! The watches of dom0's kernel, kept over a restart of the daemon.
//!
//! The kernel sets its watches once, when it first finds a XenStore (`drivers/xen/xenbus`); it would never
//! learn of a new device from a store that has forgotten them. They are kept in a small file on a
//! memory-backed file system, rewritten when they have changed. Those that are about one device are left out: they
//! come and go with every domain, and a store that has forgotten its watches has forgotten that device, too. Then the
//! kernel is told that it is gone.

use std::fs;
use std::io;
use std::path::PathBuf;

use xenstore::{Change, ConnId, WatchSpec};

use super::SharedStore;

/// Where Linux lists the back halves of devices.
const DEVICES: &str = "/sys/bus/xen-backend/devices";

/// The file with the kernel's watches.
#[derive(Debug)]
pub struct KernelWatches {
    file: PathBuf,
    saved: Vec<WatchSpec>,
    /// [`xenstore::Store::watch_changes`] when that was.
    changes: u64,
}

impl KernelWatches {
    /// Reads the file; one that does not exist is an empty list.
    ///
    /// # Errors
    /// Only when the file is there and cannot be read.
    pub fn open(file: PathBuf) -> io::Result<Self> {
        let text = match fs::read(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(io::Error::new(error.kind(), format!("{}: {error}", file.display()))),
        };
        Ok(KernelWatches { file, saved: decode(&text), changes: 0 })
    }

    /// Sets the watches again, in a store that has forgotten them; each fires once, as a new watch does. Has the kernel
    /// remove the devices that the store has forgotten, too.
    pub(super) fn restore(&self, store: &SharedStore, id: ConnId) {
        store.with(|store| {
            for spec in &self.saved {
                if let Err(error) = store.restore_watch(id, spec) {
                    tracing::warn!(path = spec.path, %error, "a watch of dom0's kernel is lost");
                }
            }
        });
        let Ok(devices) = fs::read_dir(DEVICES) else { return };
        for device in devices.flatten() {
            if let Some(path) = device.file_name().to_str().and_then(back_half)
                && let Err(error) = forget(store, path)
            {
                tracing::warn!(%error, "dom0's kernel keeps a device of a domain that is lost");
            }
        }
    }

    /// Writes the file, if the watches have changed since.
    pub(super) fn save(&mut self, store: &SharedStore, id: ConnId) {
        // This is asked after every message, and there are a few watches for each guest.
        let changed = store.look(|store| {
            let changes = store.watch_changes(id);
            (changes != self.changes).then(|| (changes, store.watches_of(id)))
        });
        let Some((changes, mut watches)) = changed else { return };
        self.changes = changes;
        watches.retain(|watch| !is_about_a_device(&watch.path));
        watches.sort_by(|a, b| (&a.path, &a.token).cmp(&(&b.path, &b.token)));
        if watches == self.saved {
            return;
        }
        // Renamed into place, so that a daemon killed half-way leaves the old file.
        let new = self.file.with_extension("new");
        if let Err(error) = fs::write(&new, encode(&watches)).and_then(|()| fs::rename(&new, &self.file)) {
            tracing::error!(file = %self.file.display(), %error, "watches of dom0's kernel not saved");
        }
        self.saved = watches;
    }
}

/// Where a device's back half is in XenStore: `vif-3-0` belongs to `backend/vif/3/0`.
fn back_half(device: &str) -> Option<String> {
    let mut parts = device.splitn(3, '-');
    let (kind, domid, number) = (parts.next()?, parts.next()?, parts.next()?);
    Some(format!("/local/domain/0/backend/{kind}/{domid}/{number}"))
}

/// Makes a node and removes it, if it is not there: the kernel sees that it is gone.
fn forget(store: &SharedStore, path: String) -> Result<(), xenstore::Error> {
    let there = |path: &str| store.with(|store| store.read(path).is_some());
    if there(&path) {
        return Ok(());
    }
    let home = path.rsplit_once('/').map_or("", |(home, _)| home);
    let gone = if there(home) { path.clone() } else { home.to_owned() };
    store.commit(&[Change::mkdir(path)])?;
    store.commit(&[Change::remove(gone)])
}

/// Whether a path, as the kernel names it, is that of one device's front or back half, or below it.
fn is_about_a_device(path: &str) -> bool {
    path.starts_with("backend/") || path.starts_with("/local/domain/")
}

// A watch is a line: levels below (or nothing), path, token, with NUL between them. The kernel's paths and
// tokens (addresses in hexadecimal) have neither line breaks nor NUL in them.
fn encode(watches: &[WatchSpec]) -> Vec<u8> {
    let mut text = Vec::new();
    for WatchSpec { path, token, depth } in watches {
        let depth = depth.map(|depth| depth.to_string()).unwrap_or_default();
        text.extend([depth.as_bytes(), path.as_bytes(), token].join(&0));
        text.push(b'\n');
    }
    text
}

fn decode(text: &[u8]) -> Vec<WatchSpec> {
    let watch = |line: &[u8]| {
        let mut parts = line.splitn(3, |&byte| byte == 0);
        let depth = std::str::from_utf8(parts.next()?).ok()?;
        let path = std::str::from_utf8(parts.next()?).ok()?.to_owned();
        let token = parts.next()?.to_vec();
        Some(WatchSpec { path, token, depth: depth.parse().ok() })
    };
    text.split(|&byte| byte == b'\n').filter_map(watch).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_survive_the_file() {
        let watch =
            |path: &str, token: &[u8], depth| WatchSpec { path: path.into(), token: token.into(), depth };
        let watches = vec![watch("backend", b"C0AABB", None), watch("/a b", b"\xff", Some(2))];
        assert_eq!(decode(&encode(&watches)), watches);
        assert_eq!(decode(b"cut off"), vec![]);
    }

    #[test]
    fn devices_are_found_by_the_kernels_names() {
        assert_eq!(back_half("vif-3-0").as_deref(), Some("/local/domain/0/backend/vif/3/0"));
        assert_eq!(back_half("vbd-12-51712").as_deref(), Some("/local/domain/0/backend/vbd/12/51712"));
        assert_eq!(back_half("vif-3"), None);
    }

    #[test]
    fn what_comes_and_goes_with_a_domain_is_not_kept() {
        for path in ["backend/vif/7/0/hotplug-status", "/local/domain/7/device/vif/0/state"] {
            assert!(is_about_a_device(path), "{path}");
        }
        for path in ["backend", "control/shutdown", "memory/target", "@releaseDomain"] {
            assert!(!is_about_a_device(path), "{path}");
        }
    }
}
