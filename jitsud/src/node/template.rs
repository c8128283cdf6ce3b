//! What is the same in every life of a service.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use handover::Offer;

use crate::config::{self, Key, Loaded, Node, ReadyKey, Service};
use crate::domain::{Spec, Vif};
use crate::text::chain;

/// The XenStore key in which a guest finds its IPv6 address: `ip=` of the kernel's arguments knows no such.
const ADDRESS6_KEY: &str = "data/address6";
/// Length of the network's prefix where the node has no address of which that is known: the usual one (RFC 4291,
/// section 2.5.4).
const HOST_PREFIX: u8 = 64;

/// A service's domain, but for what is made anew each time.
#[derive(Debug)]
pub struct Template {
    pub spec: Spec,
    pub ready_key: ReadyKey,
    /// What its kernel promises of connections that are opened on its behalf.
    pub offer: Option<Offer>,
}

/// The services' templates, in their order. A kernel or ramdisk that several services use is kept once; a service
/// with one that cannot be read (any more) is left out of the configuration, with a problem.
pub fn all(loaded: &mut Loaded) -> Vec<Template> {
    let mut files = Files::default();
    loaded.leave_out(|service| {
        let needed = [("kernel", Some(&service.kernel)), ("ramdisk", service.ramdisk.as_ref())];
        let fault = needed.into_iter().find_map(|(what, path)| files.read(what, path?).err())?;
        tracing::warn!("service {}: {fault}", service.name);
        Some((fault, "copy the file again, or write the card anew if it is worn out".to_owned()))
    });
    let node = &loaded.config.node;
    // Those whose files are not there have just been left out.
    loaded.config.services.iter().filter_map(|service| template(node, service, &files)).collect()
}

/// Files in memory, by their paths.
#[derive(Default)]
struct Files(HashMap<PathBuf, Arc<[u8]>>);

impl Files {
    fn read(&mut self, what: &str, path: &Path) -> Result<(), String> {
        if !self.0.contains_key(path) {
            let content = config::read_kernel(path)
                .map_err(|error| format!("{what} {} cannot be read: {}", path.display(), chain(&error)))?;
            self.0.insert(path.to_owned(), content);
        }
        Ok(())
    }
}

fn template(node: &Node, service: &Service, files: &Files) -> Option<Template> {
    let gateway = node.gateway.map(|gateway| gateway.to_string()).unwrap_or_default();
    // As Linux takes it (Documentation/admin-guide/nfs/nfsroot.rst), so that any kernel understands it.
    let ip = format!("ip={}::{gateway}:{}:{}:eth0:off", service.address, node.netmask(), service.name);
    let first = Vif { mac: service.mac.0, address: Some(service.address), bridge: node.bridge.clone() };
    let others = service.vifs.iter().map(|vif| Vif {
        mac: vif.mac.0,
        address: None,
        bridge: vif.bridge.as_ref().unwrap_or(&node.bridge).clone(),
    });
    let address6 = service.address6.map(|address| {
        let prefix = node.address6.map_or(HOST_PREFIX, |(_, prefix)| prefix);
        Key { path: ADDRESS6_KEY.to_owned(), value: format!("{address}/{prefix}") }
    });
    let kernel = files.0.get(&service.kernel)?.clone();
    let offer = Offer::find(&kernel).unwrap_or_else(|error| {
        tracing::warn!("service {}, {}: {error}", service.name, service.kernel.display());
        None
    });
    Some(Template {
        spec: Spec {
            name: service.name.clone(),
            uuid: [0; 16],
            kernel,
            ramdisk: service.ramdisk.as_ref().and_then(|ramdisk| files.0.get(ramdisk)).cloned(),
            memory_mib: service.memory_mib,
            vcpus: service.vcpus,
            weight: service.weight,
            bootargs: format!("{ip} {}", service.cmdline).trim_end().to_owned(),
            record: String::new(),
            keys: address6.into_iter().chain(service.keys.iter().cloned()).collect(),
            disks: service.disks.clone(),
            vifs: std::iter::once(first).chain(others).collect(),
        },
        ready_key: service.wait_for_key.clone(),
        offer,
    })
}
