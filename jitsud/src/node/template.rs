//! What is the same in every life of a service.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{self, Loaded, Node, ReadyKey, Service};
use crate::domain::{Spec, Vif};
use crate::text::chain;

/// A service's domain, but for what is made anew each time.
#[derive(Debug)]
pub struct Template {
    pub spec: Spec,
    pub ready_key: ReadyKey,
}

/// The services' templates, in their order. A kernel that several services run is kept once; a service whose kernel
/// cannot be read (any more) is left out of the configuration, with a problem.
pub fn all(loaded: &mut Loaded) -> Vec<Template> {
    let mut kernels: HashMap<PathBuf, Arc<[u8]>> = HashMap::new();
    loaded.leave_out(|service| {
        if kernels.contains_key(&service.kernel) {
            return None;
        }
        match config::read_kernel(&service.kernel) {
            Ok(kernel) => {
                kernels.insert(service.kernel.clone(), kernel);
                None
            }
            Err(error) => {
                let what = format!("kernel {} cannot be read: {}", service.kernel.display(), chain(&error));
                tracing::warn!("service {}: {what}", service.name);
                Some((what, "copy the kernel again, or write the card anew if it is worn out".to_owned()))
            }
        }
    });
    let node = &loaded.config.node;
    // Those whose kernel is not there have just been left out.
    let known = |service: &Service| Some(template(node, service, kernels.get(&service.kernel)?.clone()));
    loaded.config.services.iter().filter_map(known).collect()
}

fn template(node: &Node, service: &Service, kernel: Arc<[u8]>) -> Template {
    let gateway = node.gateway.map(|gateway| gateway.to_string()).unwrap_or_default();
    // As Linux takes it (Documentation/admin-guide/nfs/nfsroot.rst), so that any kernel understands it.
    let ip = format!("ip={}::{gateway}:{}:{}:eth0:off", service.address, node.netmask(), service.name);
    Template {
        spec: Spec {
            name: service.name.clone(),
            uuid: [0; 16],
            kernel,
            memory_mib: service.memory_mib,
            vcpus: service.vcpus,
            weight: service.weight,
            bootargs: format!("{ip} {}", service.cmdline).trim_end().to_owned(),
            record: String::new(),
            keys: service.keys.clone(),
            vif: Vif { mac: service.mac.0, address: service.address, bridge: node.bridge.clone() },
        },
        ready_key: service.wait_for_key.clone(),
    }
}
