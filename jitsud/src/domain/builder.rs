//! The domain builder: from a specification to a running domain, by hypercalls alone.
//!
//! Synchronous; it runs on a blocking thread and holds no lock over a hypercall. What a failed build has
//! made is unmade again: dropping a [`Domain`] destroys it.
//!
//! ```text
//! 0x3900_0000  console ring │ XenStore ring       mapped here for as long as the domain lives
//! 0x4000_0000  RAM …
//! 0x4000_8000  zImage                             mapped while it is copied
//! …            device tree, at the end of RAM     mapped while it is copied
//! ```

use std::sync::Arc;

use xen_sys::domctl::{
    CreateDomainHead, CreateDomainTail, PSR_GUEST32_INIT, SCTLR_GUEST_INIT, VGCF_ONLINE, VcpuGuestContext,
    XEN_DOMCTL_CDF_HAP, XEN_DOMCTL_CDF_HVM, XEN_DOMCTL_CONFIG_GIC_V2, XEN_DOMCTL_GRANT_VERSION_1,
};
use xen_sys::hvm::{
    HVM_PARAM_CONSOLE_EVTCHN, HVM_PARAM_CONSOLE_PFN, HVM_PARAM_STORE_EVTCHN, HVM_PARAM_STORE_PFN,
};
use xen_sys::layout::{GUEST_MAGIC_BASE, GUEST_RAM0_BASE, ZIMAGE_OFFSET};
use xen_sys::{DomId, EvtchnPort, Gfn, PAGE_SHIFT, PAGE_SIZE};
use xenstore::Change;

use super::devicetree::{self, Guest};
use super::{Spec, nodes};
use crate::store::SharedStore;
use crate::xen::{self, EventChannels, Hypervisor, Port, SharedPages};

/// Frames of the console's and of XenStore's ring.
const CONSOLE_RING: Gfn = Gfn(GUEST_MAGIC_BASE >> PAGE_SHIFT);
const STORE_RING: Gfn = Gfn((GUEST_MAGIC_BASE >> PAGE_SHIFT) + 1);

/// log2 of the pages in a block that one stage-2 entry maps: 2 MiB.
const BLOCK_ORDER: u32 = 9;
const BLOCK_PAGES: u64 = 1 << BLOCK_ORDER;

/// Highest event channel port of a guest, as Xen's own toolstack sets it.
const MAX_EVTCHN_PORT: u32 = 1023;

/// Pages for a guest's stage-2 tables beyond one per block of RAM: the upper levels, and the leaves for
/// the interrupt controller, the grant table, the rings and the shared page. Xen itself sets aside 16.
const STAGE2_PAGES: u64 = 32;

/// Why a domain could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A hypercall failed.
    #[error(transparent)]
    Xen(#[from] xen::Error),
    /// An event channel could not be bound.
    #[error("binding the {ring} event channel of domain {domid}")]
    EventChannel {
        /// Which of the two.
        ring: &'static str,
        /// Of which domain.
        domid: DomId,
        /// What the kernel said.
        #[source]
        source: std::io::Error,
    },
    /// Kernel and device tree do not fit.
    #[error("the kernel ({kernel} KiB) does not fit into {memory} MiB of memory: give the service more")]
    TooLarge {
        /// Size of the image, KiB.
        kernel: usize,
        /// The domain's memory, MiB.
        memory: u32,
    },
    /// The device tree could not be written.
    #[error("device tree: {0}")]
    DeviceTree(vm_fdt::Error),
    /// The store refused the domain's nodes.
    #[error("XenStore nodes of the domain: {0}")]
    Store(xenstore::Error),
}

/// A domain that this process has made. Dropping it destroys it and removes its nodes.
#[derive(Debug)]
pub struct Domain {
    /// Its number.
    pub domid: DomId,
    /// The XenStore ring's page.
    pub store_ring: Option<(SharedPages, Port)>,
    /// The console ring's page.
    pub console_ring: Option<(SharedPages, Port)>,
    uuid: [u8; 16],
    hypervisor: Arc<Hypervisor>,
    store: SharedStore,
}

/// Points in a build that a timeline shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// About to make the domain.
    Start,
    /// It exists, empty. Its nodes come next, and netback then works in parallel.
    Created(DomId),
    /// It runs.
    Unpaused,
}

/// Makes a domain and lets it run. `step` is called as each step is done.
///
/// # Errors
/// Everything made until then is gone again.
pub fn build(
    hypervisor: &Arc<Hypervisor>,
    events: &EventChannels,
    store: &SharedStore,
    spec: &Spec,
    step: &dyn Fn(Step),
) -> Result<Domain, BuildError> {
    step(Step::Start);
    let head = CreateDomainHead {
        handle: spec.uuid,
        flags: XEN_DOMCTL_CDF_HVM | XEN_DOMCTL_CDF_HAP,
        max_vcpus: spec.vcpus,
        max_evtchn_port: MAX_EVTCHN_PORT,
        max_grant_frames: -1,
        max_maptrack_frames: -1,
        grant_opts: XEN_DOMCTL_GRANT_VERSION_1,
        ..CreateDomainHead::default()
    };
    let tail = CreateDomainTail { gic_version: XEN_DOMCTL_CONFIG_GIC_V2, ..CreateDomainTail::default() };
    let created = hypervisor.create_domain(head, tail)?;
    let domid = created.domid;
    let mut domain = Domain {
        domid,
        store_ring: None,
        console_ring: None,
        uuid: spec.uuid,
        hypervisor: hypervisor.clone(),
        store: store.clone(),
    };
    // Before its nodes are written: from then on reports about its interface can come.
    step(Step::Created(domid));
    // First of all, so that netback makes the interface while memory is being filled.
    store.commit(&nodes::create(domid, spec)).map_err(BuildError::Store)?;

    let memory = u64::from(spec.memory_mib) << 20;
    let ram = memory >> PAGE_SHIFT;
    let stage2 = (STAGE2_PAGES + ram.div_ceil(BLOCK_PAGES)) << PAGE_SHIFT;
    hypervisor.make_vcpus(domid, spec.vcpus)?;
    hypervisor.set_paging_mempool(domid, stage2)?;
    hypervisor.set_max_memory(domid, (memory >> 10) + 2 * (PAGE_SIZE as u64 >> 10))?;
    populate(hypervisor, domid, ram)?;

    let tree = devicetree::flattened(&Guest {
        xen: hypervisor.release(),
        memory,
        vcpus: spec.vcpus,
        bootargs: &spec.bootargs,
        clock_frequency: created.clock_frequency,
    })
    .map_err(BuildError::DeviceTree)?;
    let tree_at = load(hypervisor, domid, spec, &tree)?;

    rings(hypervisor, events, &mut domain)?;
    hypervisor.set_vcpu_context(
        domid,
        0,
        &VcpuGuestContext {
            flags: VGCF_ONLINE,
            regs: boot_registers(tree_at),
            pc: GUEST_RAM0_BASE + ZIMAGE_OFFSET,
            cpsr: PSR_GUEST32_INIT,
            sctlr: SCTLR_GUEST_INIT,
            ..VcpuGuestContext::default()
        },
    )?;
    // A daemon that takes over goes on with a domain that has a record, and ends one without.
    let record = Change::write(nodes::record(domid), spec.record.as_str());
    store.commit(&[record]).map_err(BuildError::Store)?;
    hypervisor.unpause_domain(domid)?;
    step(Step::Unpaused);
    Ok(domain)
}

/// Takes over a domain that an earlier daemon has made: its rings, as they are.
///
/// # Errors
/// The domain is ended then.
pub fn take_over(
    hypervisor: &Arc<Hypervisor>,
    events: &EventChannels,
    store: &SharedStore,
    domid: DomId,
    uuid: [u8; 16],
) -> Result<Domain, BuildError> {
    let mut domain = Domain {
        domid,
        store_ring: None,
        console_ring: None,
        uuid,
        hypervisor: hypervisor.clone(),
        store: store.clone(),
    };
    let take = |ring: &'static str, frame: Gfn, port_param: u32| {
        let page = hypervisor.map(domid, &[frame])?;
        // The earlier daemon's end was closed with it; the guest's is open to be bound again.
        let remote = EvtchnPort(hypervisor.hvm_param(domid, port_param)? as u32);
        Ok::<_, BuildError>((page, bind(events, ring, domid, remote)?))
    };
    domain.console_ring = Some(take("console", CONSOLE_RING, HVM_PARAM_CONSOLE_EVTCHN)?);
    domain.store_ring = Some(take("XenStore", STORE_RING, HVM_PARAM_STORE_EVTCHN)?);
    Ok(domain)
}

fn bind(
    events: &EventChannels,
    ring: &'static str,
    domid: DomId,
    remote: EvtchnPort,
) -> Result<Port, BuildError> {
    let bound = events.bind_interdomain(domid, remote);
    bound.map_err(|source| BuildError::EventChannel { ring, domid, source })
}

/// r0, r1 and r2 as Linux wants them (`Documentation/arm/booting.rst`): 0, "no machine type", the device
/// tree's address.
fn boot_registers(tree_at: u64) -> [u64; 31] {
    let mut regs = [0; 31];
    regs[1] = 0xffff_ffff;
    regs[2] = tree_at;
    regs
}

/// Gives the domain its two ring pages and `ram` pages of RAM, in blocks as large as fit.
fn populate(hypervisor: &Hypervisor, domid: DomId, ram: u64) -> Result<(), xen::Error> {
    hypervisor.populate(domid, &[CONSOLE_RING, STORE_RING], 0)?;
    let base = GUEST_RAM0_BASE >> PAGE_SHIFT;
    let blocks = ram / BLOCK_PAGES;
    let frames: Vec<Gfn> = (0..blocks).map(|i| Gfn(base + i * BLOCK_PAGES)).collect();
    hypervisor.populate(domid, &frames, BLOCK_ORDER)?;
    let rest: Vec<Gfn> = (blocks * BLOCK_PAGES..ram).map(|i| Gfn(base + i)).collect();
    if rest.is_empty() { Ok(()) } else { hypervisor.populate(domid, &rest, 0) }
}

/// Copies kernel and device tree into the domain; returns the tree's address.
fn load(hypervisor: &Hypervisor, domid: DomId, spec: &Spec, tree: &[u8]) -> Result<u64, BuildError> {
    let image = &spec.kernel;
    let ram = u64::from(spec.memory_mib) << 20;
    let image_pages = image.len().div_ceil(PAGE_SIZE);
    let tree_pages = tree.len().div_ceil(PAGE_SIZE);
    let first_image = (GUEST_RAM0_BASE + ZIMAGE_OFFSET) >> PAGE_SHIFT;
    let end = (GUEST_RAM0_BASE + ram) >> PAGE_SHIFT;
    let first_tree = end - tree_pages as u64;
    if first_image + image_pages as u64 > first_tree {
        return Err(BuildError::TooLarge { kernel: image.len() >> 10, memory: spec.memory_mib });
    }
    let range = |first: u64, pages: usize| (first..first + pages as u64).map(Gfn);
    let frames: Vec<Gfn> = range(first_image, image_pages).chain(range(first_tree, tree_pages)).collect();
    let pages = hypervisor.map(domid, &frames)?;
    pages.write(0, image);
    pages.write(image_pages * PAGE_SIZE, tree);
    drop(pages);
    hypervisor.flush_cache(domid, Gfn(first_image), image_pages as u64)?;
    hypervisor.flush_cache(domid, Gfn(first_tree), tree_pages as u64)?;
    Ok(first_tree << PAGE_SHIFT)
}

/// Sets up the console's and XenStore's rings and binds their event channels.
fn rings(hypervisor: &Hypervisor, events: &EventChannels, domain: &mut Domain) -> Result<(), BuildError> {
    let domid = domain.domid;
    let make = |ring: &'static str, frame: Gfn, pfn_param: u32, port_param: u32| {
        let page = hypervisor.map(domid, &[frame])?;
        page.write(0, &[0; PAGE_SIZE]);
        let remote = hypervisor.alloc_unbound(domid)?;
        hypervisor.set_hvm_param(domid, pfn_param, frame.0)?;
        hypervisor.set_hvm_param(domid, port_param, u64::from(remote.0))?;
        Ok::<_, BuildError>((page, bind(events, ring, domid, remote)?))
    };
    domain.console_ring =
        Some(make("console", CONSOLE_RING, HVM_PARAM_CONSOLE_PFN, HVM_PARAM_CONSOLE_EVTCHN)?);
    domain.store_ring = Some(make("XenStore", STORE_RING, HVM_PARAM_STORE_PFN, HVM_PARAM_STORE_EVTCHN)?);
    hypervisor.flush_cache(domid, CONSOLE_RING, 2)?;
    Ok(())
}

impl Drop for Domain {
    fn drop(&mut self) {
        if let Err(error) = self.store.commit(&nodes::remove(self.domid, self.uuid)) {
            tracing::error!(domid = %self.domid, %error, "XenStore nodes of a domain not removed");
        }
        if let Err(error) = self.hypervisor.destroy_domain(self.domid) {
            tracing::error!(domid = %self.domid, error = ?error, "domain not destroyed");
        }
    }
}
