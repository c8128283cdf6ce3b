//! What is the same in every life of a service.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use handover::Offer;

use crate::config::{self, Disk, Key, Loaded, Node, ReadyKey, Service};
use crate::domain::{Spec, Vif, mac_text};
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
    /// Tells it from one whose domain would be another: by all that shapes it, and what is in its kernel and ramdisk.
    pub digest: String,
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
struct Files(HashMap<PathBuf, File>);

/// A file's content, and its checksum.
type File = (Arc<[u8]>, u32);

impl Files {
    fn read(&mut self, what: &str, path: &Path) -> Result<(), String> {
        if !self.0.contains_key(path) {
            let content = config::read_kernel(path)
                .map_err(|error| format!("{what} {} cannot be read: {}", path.display(), chain(&error)))?;
            let checksum = crc32fast::hash(&content);
            self.0.insert(path.to_owned(), (content, checksum));
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
    let (kernel, kernel_sum) = files.0.get(&service.kernel)?.clone();
    let (ramdisk, ramdisk_sum) =
        service.ramdisk.as_ref().and_then(|ramdisk| files.0.get(ramdisk)).cloned().unzip();
    let offer = Offer::find(&kernel).unwrap_or_else(|error| {
        tracing::warn!("service {}, {}: {error}", service.name, service.kernel.display());
        None
    });
    let spec = Spec {
        name: service.name.clone(),
        uuid: [0; 16],
        kernel,
        ramdisk,
        memory_mib: service.memory_mib,
        vcpus: service.vcpus,
        weight: service.weight,
        bootargs: format!("{ip} {}", service.cmdline).trim_end().to_owned(),
        record: String::new(),
        keys: address6.into_iter().chain(service.keys.iter().cloned()).collect(),
        disks: service.disks.clone(),
        vifs: std::iter::once(first).chain(others).collect(),
    };
    let digest = digest(&spec, kernel_sum, ramdisk_sum);
    Some(Template { spec, ready_key: service.wait_for_key.clone(), digest, offer })
}

/// Checksums of kernel, ramdisk and settings. It is compared by other versions of jitsud, too: a new kind of setting is
/// written only where it is used.
fn digest(spec: &Spec, kernel: u32, ramdisk: Option<u32>) -> String {
    let Spec { memory_mib, vcpus, weight, bootargs, keys, disks, vifs, .. } = spec;
    let mut text = format!("{memory_mib}\0{vcpus}\0{weight}\0{bootargs}\0");
    // Writing to a string does not fail.
    for Key { path, value } in keys {
        let _ = write!(text, "key\0{path}\0{value}\0");
    }
    for Disk { path, device, writable } in disks {
        let _ = write!(text, "disk\0{}\0{device}\0{writable}\0", path.display());
    }
    for Vif { mac, address, bridge } in vifs {
        let _ = write!(text, "vif\0{}\0{address:?}\0{bridge}\0", mac_text(*mac));
    }
    format!("{kernel:08x}{:08x}{:08x}", ramdisk.unwrap_or(0), crc32fast::hash(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        let vif = Vif { mac: [0, 1, 2, 3, 4, 5], address: Some([10, 0, 0, 1].into()), bridge: "br0".into() };
        Spec {
            name: "www".into(),
            uuid: [0; 16],
            kernel: Arc::from([]),
            ramdisk: None,
            memory_mib: 4,
            vcpus: 1,
            weight: 256,
            bootargs: "ip=x".into(),
            record: String::new(),
            keys: Vec::new(),
            disks: Vec::new(),
            vifs: vec![vif],
        }
    }

    #[test]
    fn what_shapes_a_domain_is_in_its_digest_and_nothing_else() {
        let same = digest(&spec(), 1, None);
        let named = Spec { name: "other".into(), record: "x".into(), uuid: [1; 16], ..spec() };
        assert_eq!(digest(&named, 1, None), same);
        let mut others = vec![
            digest(&spec(), 2, None),
            digest(&spec(), 1, Some(3)),
            digest(&Spec { memory_mib: 5, ..spec() }, 1, None),
            digest(&Spec { vcpus: 2, ..spec() }, 1, None),
            digest(&Spec { weight: 5, ..spec() }, 1, None),
            digest(&Spec { bootargs: "ip=y".into(), ..spec() }, 1, None),
            digest(&Spec { keys: vec![Key { path: "data/a".into(), value: "b".into() }], ..spec() }, 1, None),
            digest(&Spec { disks: vec![Disk::default()], ..spec() }, 1, None),
            digest(&Spec { vifs: [spec().vifs, spec().vifs].concat(), ..spec() }, 1, None),
            same,
        ];
        let count = others.len();
        others.sort_unstable();
        others.dedup();
        assert_eq!(others.len(), count);
    }

    /// Guests would end with an upgrade of jitsud if it were another one.
    #[test]
    fn a_digest_is_what_it_was_in_the_versions_before() {
        assert_eq!(digest(&spec(), 1, Some(2)), "00000001000000023b8c3695");
    }
}
