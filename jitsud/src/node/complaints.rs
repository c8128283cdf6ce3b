//! What dom0's drivers complain about: they write it into XenStore (`drivers/xen/xenbus/xenbus_client.c`), where it
//! would stay. It goes to the log instead.
//!
//! One that comes about without fault of anybody's is that a device has gone while its driver was beginning with it.

use xenstore::{Change, Store};

use crate::store::SharedStore;
use crate::text::printable;

/// Where dom0's kernel writes them: `error/backend/vif/7/0/error` below dom0's directory.
const ERRORS: &str = "/local/domain/0/error";

/// Levels below that are looked at; the kernel uses five.
const DEPTH: usize = 8;

/// Logs and removes them as they come, for as long as it is polled.
pub async fn tell(store: SharedStore) {
    let errors = match store.watch(ERRORS.to_owned(), None) {
        Ok(errors) => errors,
        Err(error) => return tracing::error!(%error, "what dom0's drivers complain about is not told"),
    };
    loop {
        errors.comes_true().await;
        let told = store.with(|store| {
            let mut complaints = Vec::new();
            collect(store, ERRORS, DEPTH, &mut complaints);
            store.commit(&[Change::remove(ERRORS)]).map(|()| complaints)
        });
        match told {
            Ok(complaints) => {
                for (device, complaint) in complaints {
                    tracing::warn!(device, "dom0's driver: {complaint}");
                }
            }
            Err(error) => {
                return tracing::error!(%error, "what dom0's drivers complain about stays in XenStore");
            }
        }
    }
}

/// The complaints at and below `path`, each with the device's own path.
fn collect(store: &Store, path: &str, depth: usize, complaints: &mut Vec<(String, String)>) {
    let value = String::from_utf8_lossy(store.read(path).unwrap_or_default());
    if !value.is_empty() {
        let device = path.trim_start_matches(ERRORS).trim_matches('/').trim_end_matches("/error");
        complaints.push((device.to_owned(), printable(&value)));
    }
    let Some(depth) = depth.checked_sub(1) else { return };
    for name in store.list(path).unwrap_or_default() {
        collect(store, &format!("{path}/{name}"), depth, complaints);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;
    use xenstore::Limits;

    #[tokio::test(start_paused = true)]
    async fn they_are_removed_as_they_come() {
        let store = SharedStore::new(Limits::default());
        let complain = |device: &str| {
            let change = Change::write(format!("{ERRORS}/backend/{device}/error"), "2 reading handle\n");
            store.commit(&[change]).expect("a commit");
            store.with(|store| {
                let mut complaints = Vec::new();
                collect(store, ERRORS, DEPTH, &mut complaints);
                complaints
            })
        };
        let told = complain("vif/7/0");
        assert_eq!(told, [("backend/vif/7/0".to_owned(), "2 reading handle ".to_owned())]);
        let mut task = std::pin::pin!(tell(store.clone()));
        for device in ["vbd/3/51712", "vif/9/1"] {
            assert!(timeout(Duration::from_secs(1), &mut task).await.is_err());
            assert!(store.with(|store| store.read(ERRORS).is_none()));
            complain(device);
        }
    }
}
