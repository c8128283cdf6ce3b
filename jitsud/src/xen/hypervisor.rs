//! What the toolstack asks of Xen, each call with its object named in the error.

use std::io;

use xen_sys::domctl::{self, *};
use xen_sys::event_channel::{
    self, EVTCHNOP_ALLOC_UNBOUND, EVTCHNOP_STATUS, EvtchnAllocUnbound, EvtchnStatus,
};
use xen_sys::hvm::{HVMOP_GET_PARAM, HVMOP_SET_PARAM, XenHvmParam};
use xen_sys::hypercall as number;
use xen_sys::memory::{MemoryReservation, XENMEM_POPULATE_PHYSMAP};
use xen_sys::sysctl::{
    self, DomainInfoList, PhysInfo, Sysctl, XEN_SYSCTL_GETDOMAININFOLIST, XEN_SYSCTL_PHYSINFO,
    XEN_SYSCTL_SCHED_ID,
};
use xen_sys::version::{ExtraVersion, Release, XENVER_EXTRAVERSION, XENVER_VERSION};
use xen_sys::{DomId, EvtchnPort, Gfn};

use super::hypercall::{Hypercalls, INDIRECT, MAX_WORDS};
use super::sys::{HypercallBuffer, Plain, SharedPages};

/// Domains that fit into a buffer.
const DOMAINS_AT_A_TIME: usize = (HypercallBuffer::SIZE - INDIRECT) / size_of::<DomainInfo>();

/// A hypercall that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Xen or the kernel refused.
    #[error("{call} for domain {domid}")]
    Call {
        /// Xen's name of the call.
        call: &'static str,
        /// For which domain.
        domid: DomId,
        /// The errno.
        #[source]
        source: io::Error,
    },
    /// Xen had less memory than was asked for.
    #[error("Xen has not enough memory: the domain needs {wanted} pages of 4 KiB, {got} could be had")]
    OutOfMemory {
        /// Pages asked for.
        wanted: u64,
        /// Pages it got.
        got: u64,
    },
    /// Xen's own heap, which on 32-bit ARM is apart from the memory for domains, is full.
    #[error(
        "Xen has no memory left for its own records of domains ({call}): \
         if the node has memory free, make xenheap_megabytes in Xen's arguments larger"
    )]
    HeapFull {
        /// Xen's name of the call.
        call: &'static str,
    },
    /// The hypervisor is of a version whose layouts are not known.
    #[error(
        "Xen {xen} speaks no {interface} interface version that this jitsud knows ({known}): \
         use a Xen from 4.17 to 4.22, or a newer jitsud"
    )]
    UnknownInterface {
        /// The hypervisor's version.
        xen: String,
        /// `domctl` or `sysctl`.
        interface: &'static str,
        /// The versions tried.
        known: String,
    },
    /// The devices of Linux are not there.
    #[error("the hypervisor cannot be reached")]
    Device(#[from] io::Error),
}

/// The hypervisor, and the versions of its interfaces.
#[derive(Debug)]
pub struct Hypervisor {
    calls: Hypercalls,
    domctl: Interface,
    sysctl: u32,
    scheduler: u32,
    release: Release,
    version: String,
}

/// A domain just made.
#[derive(Clone, Copy, Debug)]
pub struct Created {
    /// Its number.
    pub domid: DomId,
    /// The counter's frequency in Hz, where firmware did not tell the CPU and the guest must be told.
    pub clock_frequency: Option<u32>,
}

/// What Xen has and uses.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Pages of 4 KiB that Xen manages.
    pub total_pages: u64,
    /// Pages free now, with those that only wait for scrubbing.
    pub free_pages: u64,
}

impl Hypervisor {
    /// Connects, and finds out which interface versions this Xen speaks.
    ///
    /// Xen does not tell its interface version, it only answers EACCES to others; so each known one is
    /// tried with a call that has no effect.
    ///
    /// # Errors
    /// [`Error::Device`] when this is not dom0; [`Error::UnknownInterface`] with both sides' numbers.
    pub fn connect() -> Result<Self, Error> {
        let calls = Hypercalls::open()?;
        let (release, extra) = version(&calls)?;
        let mut hypervisor = Hypervisor {
            version: format!("{release}{extra}"),
            release,
            calls,
            domctl: Interface::V15,
            sysctl: sysctl::KNOWN_VERSIONS[0],
            scheduler: XEN_SCHEDULER_CREDIT2,
        };
        hypervisor.domctl = hypervisor.probe("domctl", &Interface::ALL, Interface::number, |h, v| {
            h.domctl = v;
            h.domain_info(DomId::DOM0).map(drop)
        })?;
        hypervisor.sysctl = hypervisor.probe(
            "sysctl",
            &sysctl::KNOWN_VERSIONS,
            |v| v,
            |h, v| {
                h.sysctl = v;
                h.memory().map(drop)
            },
        )?;
        hypervisor.scheduler = hypervisor.running_scheduler()?;
        Ok(hypervisor)
    }

    fn probe<V: Copy>(
        &mut self,
        interface: &'static str,
        versions: &[V],
        number: fn(V) -> u32,
        attempt: fn(&mut Self, V) -> Result<(), Error>,
    ) -> Result<V, Error> {
        for &version in versions {
            match attempt(self, version) {
                Err(Error::Call { source, .. }) if source.raw_os_error() == Some(libc::EACCES) => {}
                outcome => return outcome.map(|()| version),
            }
        }
        let known: Vec<String> = versions.iter().map(|&v| format!("{:#x}", number(v))).collect();
        Err(Error::UnknownInterface { xen: self.version.clone(), interface, known: known.join(", ") })
    }

    /// The hypervisor's version, such as `4.17.7`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The release that it is a version of, such as `4.17`.
    pub fn release(&self) -> Release {
        self.release
    }

    /// How much memory there is.
    pub fn memory(&self) -> Result<Memory, Error> {
        let info = self.machine()?;
        Ok(Memory { total_pages: info.total_pages, free_pages: info.free_pages + info.scrub_pages })
    }

    /// How many CPUs are online.
    pub fn cpus(&self) -> Result<u32, Error> {
        Ok(self.machine()?.nr_cpus)
    }

    fn machine(&self) -> Result<PhysInfo, Error> {
        let header = self.sysctl_header(XEN_SYSCTL_PHYSINFO);
        let result = self.calls.call(
            number::HYPERVISOR_SYSCTL,
            |buffer| {
                buffer.put(0, &header);
                [buffer.address(0), 0, 0, 0, 0]
            },
            |_, buffer| buffer.get::<PhysInfo>(SYSCTL_UNION),
        );
        result.map_err(failed("XEN_SYSCTL_physinfo", DomId::DOM0))
    }

    /// All domains, with those that are being taken apart, by their numbers.
    pub fn domains(&self) -> Result<Vec<DomainInfo>, Error> {
        let mut all: Vec<DomainInfo> = Vec::new();
        loop {
            let next = all.last().map_or(DomId::DOM0, |last| DomId(last.domain.0 + 1));
            let some = self.domains_from(next)?;
            all.extend_from_slice(&some);
            if some.len() < DOMAINS_AT_A_TIME {
                return Ok(all);
            }
        }
    }

    /// The domains from the number `first` on; at most [`DOMAINS_AT_A_TIME`].
    fn domains_from(&self, first: DomId) -> Result<Vec<DomainInfo>, Error> {
        let header = self.sysctl_header(XEN_SYSCTL_GETDOMAININFOLIST);
        let result = self.calls.call(
            number::HYPERVISOR_SYSCTL,
            |buffer| {
                let list = DomainInfoList {
                    first_domain: first,
                    pad: 0,
                    max_domains: DOMAINS_AT_A_TIME as u32,
                    buffer: buffer.address(INDIRECT),
                    num_domains: 0,
                    pad2: 0,
                };
                buffer.put(0, &header);
                buffer.put(SYSCTL_UNION, &list);
                [buffer.address(0), 0, 0, 0, 0]
            },
            |_, buffer| {
                let count = buffer.get::<DomainInfoList>(SYSCTL_UNION).num_domains as usize;
                let infos = 0..count.min(DOMAINS_AT_A_TIME);
                infos.map(|i| buffer.get(INDIRECT + i * size_of::<DomainInfo>())).collect()
            },
        );
        result.map_err(failed("XEN_SYSCTL_getdomaininfolist", DomId::DOM0))
    }

    /// One domain; `None` when there is none of that number.
    pub fn domain_info(&self, domid: DomId) -> Result<Option<DomainInfo>, Error> {
        match self.domctl(XEN_DOMCTL_GETDOMAININFO, domid, DomainInfo::default()) {
            // Xen answers for the next higher domain when there is none of this number.
            Ok((_, info)) => Ok((info.domain == domid).then_some(info)),
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
            Err(error) => Err(failed("XEN_DOMCTL_getdomaininfo", domid)(error)),
        }
    }

    /// Makes an empty, paused domain.
    pub fn create_domain(
        &self,
        mut head: CreateDomainHead,
        tail: CreateDomainTail,
    ) -> Result<Created, Error> {
        if self.release >= (Release { major: 4, minor: 21 }) {
            head.flags |= XEN_DOMCTL_CDF_TRAP_UNMAPPED_ACCESSES;
        }
        let (cmd, any) = (XEN_DOMCTL_CREATEDOMAIN, DomId::ANY);
        let created = match self.domctl {
            Interface::V15 | Interface::V16 => self
                .domctl(cmd, any, CreateDomainV15 { head, tail })
                .map(|(domid, answer)| (domid, answer.tail)),
            Interface::V17 => self
                .domctl(cmd, any, CreateDomainV17 { head, altp2m_opts: 0, tail })
                .map(|(domid, answer)| (domid, answer.tail)),
            Interface::V18 => self
                .domctl(cmd, any, CreateDomainV18 { head, tail, ..CreateDomainV18::default() })
                .map(|(domid, answer)| (domid, answer.tail)),
        };
        let (domid, tail) = created.map_err(heap_full("XEN_DOMCTL_createdomain", DomId::INVALID))?;
        Ok(Created { domid, clock_frequency: (tail.clock_frequency != 0).then_some(tail.clock_frequency) })
    }

    /// Ends a domain. It is gone when the last of its pages is unmapped; `VIRQ_DOM_EXC` tells.
    pub fn destroy_domain(&self, domid: DomId) -> Result<(), Error> {
        loop {
            match self.domctl_in(XEN_DOMCTL_DESTROYDOMAIN, domid, 0u64) {
                // Xen gives the CPU back now and then while it frees a large domain.
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(()),
                outcome => return outcome.map(drop).map_err(failed("XEN_DOMCTL_destroydomain", domid)),
            }
        }
    }

    /// Stops scheduling a domain, until [`Self::unpause_domain`] has been called as often.
    pub fn pause_domain(&self, domid: DomId) -> Result<(), Error> {
        self.domctl_in(XEN_DOMCTL_PAUSEDOMAIN, domid, 0u64)
            .map(drop)
            .map_err(failed("XEN_DOMCTL_pausedomain", domid))
    }

    /// Lets a paused domain run.
    pub fn unpause_domain(&self, domid: DomId) -> Result<(), Error> {
        self.domctl_in(XEN_DOMCTL_UNPAUSEDOMAIN, domid, 0u64)
            .map(drop)
            .map_err(failed("XEN_DOMCTL_unpausedomain", domid))
    }

    /// Makes a new domain's vCPUs.
    pub fn make_vcpus(&self, domid: DomId, count: u32) -> Result<(), Error> {
        self.domctl_in(XEN_DOMCTL_MAX_VCPUS, domid, MaxVcpus { max: count })
            .map(drop)
            .map_err(heap_full("XEN_DOMCTL_max_vcpus", domid))
    }

    /// Whether the scheduler that Xen runs shares CPU time out by weight.
    pub fn has_weights(&self) -> bool {
        matches!(self.scheduler, XEN_SCHEDULER_CREDIT | XEN_SCHEDULER_CREDIT2)
    }

    /// Sets a domain's share of CPU time, relative to those of others, which have 256 unless they were given
    /// another. Only where [`Self::has_weights`].
    pub fn set_weight(&self, domid: DomId, weight: u16) -> Result<(), Error> {
        let op = SchedulerOp {
            sched_id: self.scheduler,
            cmd: XEN_DOMCTL_SCHEDOP_PUTINFO,
            weight,
            ..SchedulerOp::default()
        };
        self.domctl_in(XEN_DOMCTL_SCHEDULER_OP, domid, op)
            .map(drop)
            .map_err(failed("XEN_DOMCTL_scheduler_op", domid))
    }

    fn running_scheduler(&self) -> Result<u32, Error> {
        let header = self.sysctl_header(XEN_SYSCTL_SCHED_ID);
        let result = self.calls.call(
            number::HYPERVISOR_SYSCTL,
            |buffer| {
                buffer.put(0, &header);
                [buffer.address(0), 0, 0, 0, 0]
            },
            |_, buffer| buffer.get::<u32>(SYSCTL_UNION),
        );
        result.map_err(failed("XEN_SYSCTL_sched_id", DomId::DOM0))
    }

    /// Bounds a domain's memory.
    pub fn set_max_memory(&self, domid: DomId, kib: u64) -> Result<(), Error> {
        self.domctl_in(XEN_DOMCTL_MAX_MEM, domid, MaxMem { max_memkb: kib })
            .map(drop)
            .map_err(failed("XEN_DOMCTL_max_mem", domid))
    }

    /// Sets aside memory for a domain's stage-2 page tables.
    pub fn set_paging_mempool(&self, domid: DomId, bytes: u64) -> Result<(), Error> {
        loop {
            match self.domctl_in(XEN_DOMCTL_SET_PAGING_MEMPOOL_SIZE, domid, PagingMempool { size: bytes }) {
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => {
                    return Err(Error::OutOfMemory { wanted: bytes >> xen_sys::PAGE_SHIFT, got: 0 });
                }
                outcome => {
                    return outcome.map(drop).map_err(failed("XEN_DOMCTL_set_paging_mempool_size", domid));
                }
            }
        }
    }

    /// Cleans the data cache for some frames, so that a guest whose caches are still off sees them.
    pub fn flush_cache(&self, domid: DomId, start: Gfn, frames: u64) -> Result<(), Error> {
        self.domctl_in(XEN_DOMCTL_CACHEFLUSH, domid, CacheFlush { start_pfn: start.0, nr_pfns: frames })
            .map(drop)
            .map_err(failed("XEN_DOMCTL_cacheflush", domid))
    }

    /// Sets a vCPU's first registers.
    pub fn set_vcpu_context(&self, domid: DomId, vcpu: u32, context: &VcpuGuestContext) -> Result<(), Error> {
        let header = self.domctl_header(XEN_DOMCTL_SETVCPUCONTEXT, domid);
        let result = self.calls.call(
            number::HYPERVISOR_DOMCTL,
            |buffer| {
                buffer.put(0, &header);
                buffer.put(DOMCTL_UNION, &SetVcpuContext { vcpu, pad: 0, ctxt: buffer.address(INDIRECT) });
                buffer.put(INDIRECT, context);
                [buffer.address(0), 0, 0, 0, 0]
            },
            |_, _| (),
        );
        result.map_err(failed("XEN_DOMCTL_setvcpucontext", domid))
    }

    /// Gives a domain fresh, zeroed extents of 2^`order` pages, each starting at one of `frames`, in their order.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when there were not enough; those that there were, the domain has.
    pub fn populate(&self, domid: DomId, frames: &[Gfn], order: u32) -> Result<(), Error> {
        let mut populated = 0;
        for chunk in frames.chunks(MAX_WORDS) {
            let mut reservation = MemoryReservation {
                extent_start: 0,
                nr_extents: chunk.len() as u64,
                extent_order: order,
                mem_flags: 0,
                domid,
                pad: [0; 3],
            };
            let done = self.calls.call(
                number::HYPERVISOR_MEMORY_OP,
                |buffer| {
                    for (i, frame) in chunk.iter().enumerate() {
                        buffer.put(INDIRECT + 8 * i, &frame.0);
                    }
                    reservation.extent_start = buffer.address(INDIRECT);
                    buffer.put(0, &reservation);
                    [u64::from(XENMEM_POPULATE_PHYSMAP), buffer.address(0), 0, 0, 0]
                },
                |done, _| u64::from(done),
            );
            let done = done.map_err(failed("XENMEM_populate_physmap", domid))?;
            populated += done;
            if done < chunk.len() as u64 {
                let wanted = (frames.len() as u64) << order;
                return Err(Error::OutOfMemory { wanted, got: populated << order });
            }
        }
        Ok(())
    }

    /// Sets an HVM parameter, such as the frame of the console's ring.
    pub fn set_hvm_param(&self, domid: DomId, index: u32, value: u64) -> Result<(), Error> {
        let result = self.calls.call(
            number::HYPERVISOR_HVM_OP,
            |buffer| {
                buffer.put(0, &XenHvmParam { domid, pad: 0, index, value });
                [u64::from(HVMOP_SET_PARAM), buffer.address(0), 0, 0, 0]
            },
            |_, _| (),
        );
        result.map_err(failed("HVMOP_set_param", domid))
    }

    /// Reads an HVM parameter.
    pub fn hvm_param(&self, domid: DomId, index: u32) -> Result<u64, Error> {
        let result = self.calls.call(
            number::HYPERVISOR_HVM_OP,
            |buffer| {
                buffer.put(0, &XenHvmParam { domid, pad: 0, index, value: 0 });
                [u64::from(HVMOP_GET_PARAM), buffer.address(0), 0, 0, 0]
            },
            |_, buffer| buffer.get::<XenHvmParam>(0).value,
        );
        result.map_err(failed("HVMOP_get_param", domid))
    }

    /// Opens an event channel in `domid` that dom0 may bind to.
    pub fn alloc_unbound(&self, domid: DomId) -> Result<EvtchnPort, Error> {
        let request = EvtchnAllocUnbound { dom: domid, remote_dom: DomId::DOM0, port: EvtchnPort(0) };
        self.event_channel_op(EVTCHNOP_ALLOC_UNBOUND, request)
            .map(|answer| answer.port)
            .map_err(failed("EVTCHNOP_alloc_unbound", domid))
    }

    /// How many event channels dom0 has open, of all its users.
    pub fn event_channels(&self) -> usize {
        // Ports are handed out from below, so a run of closed ones this long is the end.
        const END: u32 = 64;
        let (mut open, mut closed, mut port) = (0, 0, 1);
        while closed < END {
            let request =
                EvtchnStatus { dom: DomId::SELF, port: EvtchnPort(port), ..EvtchnStatus::default() };
            match self.event_channel_op(EVTCHNOP_STATUS, request) {
                Ok(answer) if answer.status != event_channel::EVTCHNSTAT_CLOSED => {
                    open += 1;
                    closed = 0;
                }
                Ok(_) => closed += 1,
                Err(_) => break,
            }
            port += 1;
        }
        open
    }

    /// Maps frames of a domain.
    pub fn map(&self, domid: DomId, frames: &[Gfn]) -> Result<SharedPages, Error> {
        SharedPages::foreign(self.calls.privcmd(), domid, frames).map_err(failed("mapping frames", domid))
    }

    fn event_channel_op<T: Plain>(&self, op: u32, argument: T) -> io::Result<T> {
        self.calls.call(
            number::HYPERVISOR_EVENT_CHANNEL_OP,
            |buffer| {
                buffer.put(0, &argument);
                [u64::from(op), buffer.address(0), 0, 0, 0]
            },
            |_, buffer| buffer.get(0),
        )
    }

    /// A domctl whose argument comes back changed.
    fn domctl<T: Plain>(&self, cmd: u32, domid: DomId, argument: T) -> io::Result<(DomId, T)> {
        self.domctl_call(cmd, domid, argument, |buffer| buffer.get(DOMCTL_UNION))
    }

    /// A domctl whose argument only goes in; returns the domain number, which `createdomain` fills in.
    fn domctl_in<T: Copy>(&self, cmd: u32, domid: DomId, argument: T) -> io::Result<DomId> {
        self.domctl_call(cmd, domid, argument, |_| ()).map(|(domid, ())| domid)
    }

    fn domctl_call<T: Copy, R>(
        &self,
        cmd: u32,
        domid: DomId,
        argument: T,
        take: impl FnOnce(&HypercallBuffer) -> R,
    ) -> io::Result<(DomId, R)> {
        const { assert!(size_of::<T>() <= 128) };
        let header = self.domctl_header(cmd, domid);
        self.calls.call(
            number::HYPERVISOR_DOMCTL,
            |buffer| {
                buffer.put(0, &header);
                buffer.put(DOMCTL_UNION, &argument);
                [buffer.address(0), 0, 0, 0, 0]
            },
            |_, buffer| (buffer.get::<Domctl>(0).domain, take(buffer)),
        )
    }

    fn domctl_header(&self, cmd: u32, domain: DomId) -> Domctl {
        Domctl { cmd, interface_version: self.domctl.number(), domain, pad: [0; 3], u: [0; 16] }
    }

    fn sysctl_header(&self, cmd: u32) -> Sysctl {
        Sysctl { cmd, interface_version: self.sysctl, u: [0; 16] }
    }
}

/// Where the union lies in `struct xen_domctl`.
const DOMCTL_UNION: usize = std::mem::offset_of!(domctl::Domctl, u);
/// Where the union lies in `struct xen_sysctl`.
const SYSCTL_UNION: usize = std::mem::offset_of!(Sysctl, u);

fn failed(call: &'static str, domid: DomId) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Call { call, domid, source }
}

/// As [`failed`], for calls that take memory from Xen's own heap.
fn heap_full(call: &'static str, domid: DomId) -> impl FnOnce(io::Error) -> Error {
    move |source| match source.raw_os_error() {
        Some(libc::ENOMEM) => Error::HeapFull { call },
        _ => Error::Call { call, domid, source },
    }
}

/// The release, and what its version says beyond it: `.5`, `-unstable`.
fn version(calls: &Hypercalls) -> Result<(Release, String), Error> {
    let op = number::HYPERVISOR_XEN_VERSION;
    let number = calls.call(op, |_| [u64::from(XENVER_VERSION), 0, 0, 0, 0], |value, _| value)?;
    let extra: ExtraVersion = calls.call(
        op,
        |buffer| [u64::from(XENVER_EXTRAVERSION), buffer.address(0), 0, 0, 0],
        |_, buffer| buffer.get(0),
    )?;
    let extra = extra.split(|&byte| byte == 0).next().unwrap_or_default();
    Ok((Release::from_number(number), String::from_utf8_lossy(extra).into_owned()))
}
