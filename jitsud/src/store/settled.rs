//! When dom0's drivers have begun with a domain's devices.
//!
//! A driver in dom0's kernel writes what it offers below its half of a new device, and then that it waits for the
//! other half (`drivers/net/xen-netback/xenbus.c`, `netback_probe`). A domain that goes away before would be written
//! about afterwards, in nodes that nobody removes. If it goes away right after that, the driver complains, of which
//! `node/complaints.rs` takes care.

use std::time::Duration;

use tokio::time::timeout;
use xen_sys::DomId;
use xen_sys::io::xenbus::XenbusState;

use super::SharedStore;

/// Where dom0's halves of devices are.
const BACKENDS: &str = "/local/domain/0/backend";

/// Longest wait: a driver that is not there at all never begins.
const PATIENCE: Duration = Duration::from_secs(5);

impl SharedStore {
    /// Waits until dom0's drivers have nothing more to write about the devices of a domain that does not run, or is
    /// about to be destroyed.
    pub async fn drivers_settled(&self, domid: DomId) {
        for path in self.states(domid) {
            let Ok(watch) = self.watch(path.clone(), None) else { continue };
            let begun = watch.until(|state| state != Some(XenbusState::Initialising.as_str().as_bytes()));
            if timeout(PATIENCE, begun).await.is_err() {
                tracing::warn!(%domid, path, "no driver of dom0 has begun with the device");
            }
        }
    }

    /// The nodes in which the drivers say how far they are.
    fn states(&self, domid: DomId) -> Vec<String> {
        self.with(|store| {
            let kinds = store.list(BACKENDS).unwrap_or_default();
            let homes = kinds.iter().map(|kind| format!("{BACKENDS}/{kind}/{domid}"));
            let devices = homes.flat_map(|home| {
                let devices = store.list(&home).unwrap_or_default();
                devices.iter().map(|device| format!("{home}/{device}/state")).collect::<Vec<_>>()
            });
            devices.collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use xenstore::{Change, Limits};

    #[tokio::test(start_paused = true)]
    async fn a_driver_that_has_not_begun_is_waited_for() {
        let store = SharedStore::new(Limits::default());
        let state = |value: &str| Change::write("/local/domain/0/backend/vif/7/0/state", value);
        store.commit(&[state("1"), Change::write("/local/domain/0/backend/vbd/7/51712/state", "4")]).unwrap();
        let settled = store.drivers_settled(DomId(7));
        tokio::pin!(settled);
        assert!(timeout(PATIENCE / 2, &mut settled).await.is_err());
        store.commit(&[state("2")]).unwrap();
        settled.await;
        // Of one that never begins, and of a domain without devices.
        store.commit(&[state("1")]).unwrap();
        store.drivers_settled(DomId(7)).await;
        store.drivers_settled(DomId(8)).await;
    }
}
