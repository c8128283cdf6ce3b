//! The domain builder: from a specification to a running domain, by hypercalls, and ioctls for its disks.
//!
//! Synchronous; it runs on a blocking thread and holds no lock over a hypercall. What a failed build has
//! made is unmade again: dropping a [`Domain`] destroys it. A daemon that takes over finds everything where the
//! builder has put it ([`take_over`]).
//!
//! ```text
//! 0x3900_0000  console ring │ XenStore ring       mapped here for as long as the domain lives
//! 0x4000_0000  RAM …                              mapped where and while it is filled, see `layout`
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
use super::disk::{self, DiskError};
use super::realtime::Realtime;
use super::shell::{Shape, Shell};
use super::{DEFAULT_WEIGHT, Spec, layout, nodes};
use crate::store::SharedStore;
use crate::xen::{self, Created, EventChannels, Hypervisor, Port, SharedPages};

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

/// Pages of Xen's memory that a domain takes beside its RAM, stage-2 tables and rings: the root of its stage-2 table,
/// and one that Xen keeps. As counted on Xen 4.17.
const XEN_PAGES: u64 = 3;

/// Pages of the two rings.
const RING_PAGES: u64 = 2;

/// Most memory of a domain that is built in one go: that takes 5 ms (docs/bench/table.md).
const IN_ONE_GO_MIB: u32 = 16;

/// Why a domain could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A hypercall failed.
    #[error(transparent)]
    Xen(#[from] xen::Error),
    /// A disk could not be opened.
    #[error(transparent)]
    Disk(#[from] DiskError),
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
    /// Kernel, ramdisk and device tree do not fit.
    #[error(
        "the kernel, unpacked and with what goes with it, needs {needed} MiB of memory, not {memory}: \
             give the service more"
    )]
    TooLarge {
        /// What would do, MiB.
        needed: u64,
        /// The domain's memory, MiB.
        memory: u32,
    },
    /// The device tree has this many bytes, more than there is room for.
    #[error("the device tree has {0} bytes, too many: shorten the command line")]
    DeviceTreeTooLarge(usize),
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
    /// Open until blkback has opened them, and then for no harm.
    disks: Vec<disk::Opened>,
}

/// A build that failed.
#[derive(Debug)]
pub struct Unfinished {
    /// Why.
    pub error: BuildError,
    /// What has been made until then, if anything. Before it is dropped, dom0's drivers are to be waited for
    /// (`store/settled.rs`).
    pub domain: Option<Domain>,
}

impl BuildError {
    /// Whether it is for want of memory, which is not the service's fault.
    pub fn is_want_of_memory(&self) -> bool {
        matches!(self, BuildError::Xen(xen::Error::OutOfMemory { .. } | xen::Error::HeapFull { .. }))
    }
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

/// Pages of Xen's memory that a domain takes.
pub fn footprint(memory_mib: u32) -> u64 {
    let ram = ram_pages(memory_mib);
    ram + stage2_pages(ram) + RING_PAGES + XEN_PAGES
}

fn ram_pages(memory_mib: u32) -> u64 {
    u64::from(memory_mib) << 20 >> PAGE_SHIFT
}

fn stage2_pages(ram: u64) -> u64 {
    STAGE2_PAGES + ram.div_ceil(BLOCK_PAGES)
}

/// Makes a domain and lets it run. `step` is called as each step is done.
///
/// # Errors
/// [`Unfinished`].
pub fn build(
    hypervisor: &Arc<Hypervisor>,
    events: &EventChannels,
    store: &SharedStore,
    spec: &Spec,
    step: &dyn Fn(Step),
) -> Result<Domain, Box<Unfinished>> {
    let _realtime = in_one_go(spec);
    let (mut domain, clock_frequency) = create_domain(hypervisor, store, spec, step)?;
    let made = equip(&mut domain, events, spec).and_then(|()| occupy(&domain, spec, clock_frequency));
    finish(domain, made, step)
}

/// A build of some milliseconds is done in one go. A longer one, most of which is Xen filling memory, would keep everybody
/// else waiting.
fn in_one_go(spec: &Spec) -> Option<Realtime> {
    (spec.memory_mib <= IN_ONE_GO_MIB).then(Realtime::begin).flatten()
}

/// Makes all of a domain that is not a service's own, and leaves it paused.
///
/// # Errors
/// [`Unfinished`].
pub fn make_shell(
    hypervisor: &Arc<Hypervisor>,
    events: &EventChannels,
    store: &SharedStore,
    shape: Shape,
    uuid: [u8; 16],
) -> Result<Shell, Box<Unfinished>> {
    let spec = shape.placeholder(uuid);
    let (mut domain, clock_frequency) = create_domain(hypervisor, store, &spec, &|_| ())?;
    match equip(&mut domain, events, &spec) {
        Ok(()) => Ok(Shell { domain, shape, clock_frequency }),
        Err(error) => Err(Box::new(Unfinished { error, domain: Some(domain) })),
    }
}

/// Makes a service's domain of a shell of its shape, and lets it run. The domain keeps the shell's UUID.
///
/// # Errors
/// [`Unfinished`].
pub fn build_in(shell: Shell, spec: &Spec, step: &dyn Fn(Step)) -> Result<Domain, Box<Unfinished>> {
    let _realtime = in_one_go(spec);
    let Shell { domain, clock_frequency, .. } = shell;
    step(Step::Start);
    step(Step::Created(domain.domid));
    let named =
        domain.store.commit(&nodes::adopt(domain.domid, domain.uuid, spec)).map_err(BuildError::Store);
    let made = named.and_then(|()| occupy(&domain, spec, clock_frequency));
    finish(domain, made, step)
}

fn finish(
    domain: Domain,
    made: Result<(), BuildError>,
    step: &dyn Fn(Step),
) -> Result<Domain, Box<Unfinished>> {
    match made {
        Ok(()) => {
            step(Step::Unpaused);
            Ok(domain)
        }
        Err(error) => Err(Box::new(Unfinished { error, domain: Some(domain) })),
    }
}

/// An empty domain with its nodes, and the counter's frequency if its guest must be told.
fn create_domain(
    hypervisor: &Arc<Hypervisor>,
    store: &SharedStore,
    spec: &Spec,
    step: &dyn Fn(Step),
) -> Result<(Domain, Option<u32>), Box<Unfinished>> {
    step(Step::Start);
    // Before anything is made: they are what is most likely amiss.
    let opened = spec.disks.iter().map(disk::open).collect::<Result<Vec<_>, _>>();
    let nothing = |error| Unfinished { error, domain: None };
    let disks = opened.map_err(|error| nothing(error.into()))?;
    let created = create(hypervisor, spec).map_err(nothing)?;
    let domain = Domain {
        domid: created.domid,
        store_ring: None,
        console_ring: None,
        uuid: spec.uuid,
        hypervisor: hypervisor.clone(),
        store: store.clone(),
        disks,
    };
    // Before its nodes are written: from then on reports about its interface can come.
    step(Step::Created(domain.domid));
    let numbers: Vec<_> = domain.disks.iter().map(|disk| disk.number).collect();
    // First of all, so that netback makes the interface while memory is being filled.
    match store.commit(&nodes::create(domain.domid, spec, &numbers)) {
        Ok(()) => Ok((domain, created.clock_frequency)),
        Err(error) => Err(Box::new(Unfinished { error: BuildError::Store(error), domain: Some(domain) })),
    }
}

fn create(hypervisor: &Hypervisor, spec: &Spec) -> Result<Created, BuildError> {
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
    Ok(hypervisor.create_domain(head, tail)?)
}

/// Gives an empty domain what is not a service's own: processors, memory and rings.
fn equip(domain: &mut Domain, events: &EventChannels, spec: &Spec) -> Result<(), BuildError> {
    let (hypervisor, domid) = (domain.hypervisor.clone(), domain.domid);
    let ram = ram_pages(spec.memory_mib);
    hypervisor.make_vcpus(domid, spec.vcpus)?;
    if spec.weight != DEFAULT_WEIGHT && hypervisor.has_weights() {
        hypervisor.set_weight(domid, spec.weight)?;
    }
    hypervisor.set_paging_mempool(domid, stage2_pages(ram) << PAGE_SHIFT)?;
    hypervisor.set_max_memory(domid, (ram + RING_PAGES) * (PAGE_SIZE as u64 >> 10))?;
    populate(&hypervisor, domid, ram)?;
    rings(&hypervisor, events, domain)
}

/// Puts a service into an equipped domain and lets it run.
fn occupy(domain: &Domain, spec: &Spec, clock_frequency: Option<u32>) -> Result<(), BuildError> {
    let Domain { hypervisor, store, domid, .. } = domain;
    let domid = *domid;
    let memory = u64::from(spec.memory_mib) << 20;
    let ramdisk = layout::place(memory, &spec.kernel, spec.ramdisk.as_ref().map(|ramdisk| ramdisk.len()))
        .map_err(|layout::TooLarge { needed }| BuildError::TooLarge {
            needed: needed.div_ceil(1 << 20),
            memory: spec.memory_mib,
        })?;
    let ramdisk_at = ramdisk.as_ref().map(|ramdisk| ramdisk.start);
    let tree = devicetree::flattened(&Guest {
        xen: hypervisor.release(),
        memory,
        vcpus: spec.vcpus,
        bootargs: &spec.bootargs,
        ramdisk,
        clock_frequency,
    })
    .map_err(BuildError::DeviceTree)?;
    let tree_at = load(hypervisor, domid, spec, ramdisk_at, &tree)?;
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
    Ok(())
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
        // blkback has them open.
        disks: Vec::new(),
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

/// Gives the domain its two ring pages and `ram` pages of RAM, in blocks as large as fit and as Xen has. When memory is
/// nearly used up there may be enough, and no whole block any more.
fn populate(hypervisor: &Hypervisor, domid: DomId, ram: u64) -> Result<(), xen::Error> {
    hypervisor.populate(domid, &[CONSOLE_RING, STORE_RING], 0)?;
    let base = GUEST_RAM0_BASE >> PAGE_SHIFT;
    let blocks = ram / BLOCK_PAGES;
    let frames: Vec<Gfn> = (0..blocks).map(|i| Gfn(base + i * BLOCK_PAGES)).collect();
    let whole = match hypervisor.populate(domid, &frames, BLOCK_ORDER) {
        Ok(()) => blocks,
        Err(xen::Error::OutOfMemory { got, .. }) => got / BLOCK_PAGES,
        Err(error) => return Err(error),
    };
    let rest: Vec<Gfn> = (whole * BLOCK_PAGES..ram).map(|i| Gfn(base + i)).collect();
    if rest.is_empty() { Ok(()) } else { hypervisor.populate(domid, &rest, 0) }
}

/// Copies kernel, ramdisk (which goes to `ramdisk_at`) and device tree into the domain; returns the tree's address.
fn load(
    hypervisor: &Hypervisor,
    domid: DomId,
    spec: &Spec,
    ramdisk_at: Option<u64>,
    tree: &[u8],
) -> Result<u64, BuildError> {
    let tree_pages = tree.len().div_ceil(PAGE_SIZE) as u64;
    if tree_pages > layout::TREE_PAGES {
        return Err(BuildError::DeviceTreeTooLarge(tree.len()));
    }
    let end = (GUEST_RAM0_BASE + (u64::from(spec.memory_mib) << 20)) >> PAGE_SHIFT;
    let first_tree = end - tree_pages;
    let ramdisk = spec.ramdisk.as_deref().zip(ramdisk_at).map(|(ramdisk, at)| (at >> PAGE_SHIFT, ramdisk));
    let kernel = ((GUEST_RAM0_BASE + ZIMAGE_OFFSET) >> PAGE_SHIFT, &*spec.kernel);
    let pieces = [Some(kernel), ramdisk, Some((first_tree, tree))].into_iter().flatten();
    let pages = |content: &[u8]| content.len().div_ceil(PAGE_SIZE);
    let frames = pieces.clone().flat_map(|(first, content)| first..first + pages(content) as u64);
    let mapped = hypervisor.map(domid, &frames.map(Gfn).collect::<Vec<_>>())?;
    let mut page = 0;
    for (_, content) in pieces.clone() {
        mapped.write(page * PAGE_SIZE, content);
        page += pages(content);
    }
    drop(mapped);
    for (first, content) in pieces {
        hypervisor.flush_cache(domid, Gfn(first), pages(content) as u64)?;
    }
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

impl Domain {
    /// Keeps it from running until [`Self::unpause`]. Pauses add up.
    ///
    /// # Errors
    /// When Xen refuses.
    pub fn pause(&self) -> Result<(), xen::Error> {
        self.hypervisor.pause_domain(self.domid)
    }

    /// Takes a [`Self::pause`] back.
    ///
    /// # Errors
    /// When Xen refuses: also when it was not paused.
    pub fn unpause(&self) -> Result<(), xen::Error> {
        self.hypervisor.unpause_domain(self.domid)
    }
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
