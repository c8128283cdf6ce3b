//! Shells: domains that are made before it is known for which service.
//!
//! A shell has all that is the same for every service of its [`Shape`]: processors, memory, rings, and an interface that
//! dom0's netback has made and that is a port of its bridge. Nothing has run in it. What is a service's own (names,
//! address, image, device tree, first registers) comes when it is needed ([`super::builder::build_in`]). The interface has no
//! carrier before a guest connects, so that the bridge begins to forward to it when it is a service's.

use super::builder::Domain;
use super::{DEFAULT_WEIGHT, Spec, Vif};

/// What shells of one kind have in common.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Shape {
    /// RAM in MiB.
    pub memory_mib: u32,
    /// Processors.
    pub vcpus: u32,
    /// The bridge that the interface is a port of.
    pub bridge: String,
}

/// A domain that waits for a service. Dropping it destroys it.
#[derive(Debug)]
pub struct Shell {
    /// The domain, paused.
    pub domain: Domain,
    /// What it is like.
    pub shape: Shape,
    /// The counter's frequency in Hz, where the guest must be told.
    pub(super) clock_frequency: Option<u32>,
}

impl Shape {
    /// The shape of a service's domain; `None` if it has more than shells have: disks, other interfaces, another weight.
    pub fn of(spec: &Spec) -> Option<Self> {
        match &*spec.vifs {
            [vif] if spec.disks.is_empty() && spec.weight == DEFAULT_WEIGHT => {
                Some(Shape { memory_mib: spec.memory_mib, vcpus: spec.vcpus, bridge: vif.bridge.clone() })
            }
            _ => None,
        }
    }

    /// What a shell is while it is nobody's.
    pub(super) fn placeholder(&self, uuid: [u8; 16]) -> Spec {
        Spec {
            name: "shell".into(),
            uuid,
            kernel: [].into(),
            ramdisk: None,
            memory_mib: self.memory_mib,
            vcpus: self.vcpus,
            weight: DEFAULT_WEIGHT,
            bootargs: String::new(),
            keys: Vec::new(),
            disks: Vec::new(),
            vifs: vec![Vif { mac: [0; 6], address: None, bridge: self.bridge.clone() }],
            record: String::new(),
        }
    }
}
