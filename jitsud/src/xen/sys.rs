//! Linux's Xen devices: ioctl numbers, argument layouts (`include/uapi/xen/*.h` of Linux) and the memory
//! they map.
//!
//! All unsafe code that deals with Xen is here. Pages shared with a guest are never exposed as references:
//! the other side may write them at any time, so [`SharedPages`] copies bytes and loads words, with every
//! offset checked.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use tokio::io::unix::AsyncFd;

use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use xen_sys::domctl::{CreateDomainV15, CreateDomainV17, CreateDomainV18, DomainInfo, Domctl};
use xen_sys::event_channel::{EvtchnAllocUnbound, EvtchnStatus};
use xen_sys::hvm::XenHvmParam;
use xen_sys::sysctl::{DomainInfoList, PhysInfo};
use xen_sys::version::ExtraVersion;
use xen_sys::{DomId, Gfn, PAGE_SIZE};

/// An ioctl number with no direction bits, as all of Linux's Xen devices use.
const fn ioc(group: u8, number: u8, size: usize) -> libc::Ioctl {
    ((size << 16) | ((group as usize) << 8) | number as usize) as libc::Ioctl
}

const IOCTL_PRIVCMD_HYPERCALL: libc::Ioctl = ioc(b'P', 0, size_of::<PrivcmdHypercall>());
const IOCTL_PRIVCMD_MMAPBATCH_V2: libc::Ioctl = ioc(b'P', 4, size_of::<PrivcmdMmapbatchV2>());
const IOCTL_EVTCHN_BIND_VIRQ: libc::Ioctl = ioc(b'E', 0, 4);
const IOCTL_EVTCHN_BIND_INTERDOMAIN: libc::Ioctl = ioc(b'E', 1, 8);
const IOCTL_EVTCHN_UNBIND: libc::Ioctl = ioc(b'E', 3, 4);
const IOCTL_EVTCHN_NOTIFY: libc::Ioctl = ioc(b'E', 4, 4);
const IOCTL_XENBUS_BACKEND_EVTCHN: libc::Ioctl = ioc(b'B', 0, 0);

#[repr(C)]
struct PrivcmdHypercall {
    op: u64,
    arg: [u64; 5],
}

#[repr(C)]
struct PrivcmdMmapbatchV2 {
    num: libc::c_uint,
    dom: DomId,
    addr: u64,
    arr: *const u64,
    err: *mut libc::c_int,
}

fn check(result: libc::c_int) -> io::Result<u32> {
    u32::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Makes a hypercall through `/dev/xen/privcmd`. Arguments that are addresses must lie in a
/// [`HypercallBuffer`], or be null.
pub fn hypercall(privcmd: &File, op: u32, arg: [u64; 5]) -> io::Result<u32> {
    let mut call = PrivcmdHypercall { op: u64::from(op), arg };
    // SAFETY: the kernel reads `call`, which outlives the ioctl. What Xen reads or writes beyond it are
    // the buffers named in `arg`; `HypercallBuffer` hands out only addresses inside its own mapping.
    check(unsafe { libc::ioctl(privcmd.as_raw_fd(), IOCTL_PRIVCMD_HYPERCALL, &raw mut call) })
}

/// A struct that Xen fills in: any bytes are a valid value of it.
///
/// # Safety
/// Only for types made of integers alone, without references, enums or `bool`s.
pub unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($type:ty),+ $(,)?) => {
        // SAFETY: `repr(C)` structs of `xen-sys` whose fields are integers and arrays of them.
        $(unsafe impl Plain for $type {})+
    };
}
plain!(
    u32,
    u64,
    CreateDomainV15,
    CreateDomainV17,
    CreateDomainV18,
    Domctl,
    DomainInfo,
    DomainInfoList,
    EvtchnAllocUnbound,
    EvtchnStatus,
    ExtraVersion,
    PhysInfo,
    XenHvmParam,
);

/// Memory that Xen can reach during a hypercall: pages from `/dev/xen/hypercall`, which the kernel
/// never moves or swaps (ordinary memory can migrate under a running hypercall).
#[derive(Debug)]
pub struct HypercallBuffer {
    base: NonNull<u8>,
}

// SAFETY: the mapping belongs to the value alone; nothing in it is tied to a thread.
unsafe impl Send for HypercallBuffer {}

impl HypercallBuffer {
    /// Bytes in a buffer: an argument and a list of 1,536 frames fit.
    pub const SIZE: usize = 4 * PAGE_SIZE;

    /// Maps a buffer; `device` is `/dev/xen/hypercall`.
    pub fn new(device: &File) -> io::Result<Self> {
        let length = const { NonZeroUsize::new(Self::SIZE).unwrap() };
        // SAFETY: a new mapping at an address of the kernel's choice aliases nothing.
        let base = unsafe {
            mmap(None, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_SHARED, device, 0)
        }?;
        // SAFETY: the mapping is `SIZE` bytes long. Linux on ARM makes a page writable when it is first
        // written to; Xen, which translates addresses as the CPU does, would find it read-only until then.
        unsafe { base.cast::<u8>().write_bytes(0, Self::SIZE) };
        Ok(HypercallBuffer { base: base.cast() })
    }

    /// The address to pass to Xen for what lies at `offset`.
    pub fn address(&self, offset: usize) -> u64 {
        assert!(offset < Self::SIZE, "hypercall buffer has no byte {offset}");
        (self.base.as_ptr().addr() + offset) as u64
    }

    /// Copies `value` to `offset`.
    pub fn put<T: Copy>(&mut self, offset: usize, value: &T) {
        self.range(offset, size_of::<T>(), align_of::<T>());
        // SAFETY: `range` has checked that the bytes lie in the mapping and are aligned.
        unsafe { self.base.add(offset).cast::<T>().write(*value) }
    }

    /// Copies a value out of `offset`.
    pub fn get<T: Plain>(&self, offset: usize) -> T {
        self.range(offset, size_of::<T>(), align_of::<T>());
        // SAFETY: `range` has checked bounds and alignment; `Plain` promises that any bytes are a `T`.
        unsafe { self.base.add(offset).cast::<T>().read() }
    }

    fn range(&self, offset: usize, length: usize, align: usize) {
        assert!(
            offset.checked_add(length).is_some_and(|end| end <= Self::SIZE) && offset.is_multiple_of(align),
            "hypercall buffer has no {length} bytes at {offset}"
        );
    }
}

impl Drop for HypercallBuffer {
    fn drop(&mut self) {
        // SAFETY: base and length are those of the mapping that `new` made, and nothing refers to it.
        let _ = unsafe { munmap(self.base.cast(), Self::SIZE) };
    }
}

/// Bytes of other domains and of devices that are mapped in all [`SharedPages`] now, so that a leak shows.
static MAPPED: AtomicUsize = AtomicUsize::new(0);

/// Pages shared with another domain or the kernel, or with whoever opens a file next.
#[derive(Debug)]
pub struct SharedPages {
    base: NonNull<u8>,
    length: NonZeroUsize,
    /// How much of [`MAPPED`] is this.
    counted: usize,
}

// SAFETY: every access goes through volatile copies or atomics; see the type's methods.
unsafe impl Send for SharedPages {}
// SAFETY: as above; concurrent copies may see torn data, never undefined memory.
unsafe impl Sync for SharedPages {}

impl SharedPages {
    /// Maps another domain's frames through `/dev/xen/privcmd`, in order.
    ///
    /// # Errors
    /// The first frame that could not be mapped decides; nothing stays mapped then.
    pub fn foreign(privcmd: &File, domid: DomId, frames: &[Gfn]) -> io::Result<Self> {
        let pages = Self::map(privcmd, frames.len())?.counted();
        let numbers: Vec<u64> = frames.iter().map(|gfn| gfn.0).collect();
        let mut errors: Vec<libc::c_int> = vec![0; frames.len()];
        let batch = PrivcmdMmapbatchV2 {
            num: frames.len() as libc::c_uint,
            dom: domid,
            addr: pages.base.as_ptr().addr() as u64,
            arr: numbers.as_ptr(),
            err: errors.as_mut_ptr(),
        };
        // SAFETY: the arrays have `num` elements and outlive the call; `addr` is a mapping of `num` pages
        // of this very device, made above.
        check(unsafe { libc::ioctl(privcmd.as_raw_fd(), IOCTL_PRIVCMD_MMAPBATCH_V2, &raw const batch) })?;
        match errors.iter().find(|&&error| error != 0) {
            Some(error) => Err(io::Error::from_raw_os_error(-error)),
            None => Ok(pages),
        }
    }

    /// Maps the first page of a device: dom0's XenStore ring, from `/dev/xen/xenbus_backend`.
    pub fn device(device: &File) -> io::Result<Self> {
        Ok(Self::map(device, 1)?.counted())
    }

    /// Maps the first `pages` pages of a file, which must have them: what is written there outlives this process.
    pub fn file(file: &File, pages: usize) -> io::Result<Self> {
        if file.metadata()?.len() < (pages * PAGE_SIZE) as u64 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the file is shorter than what is to be mapped",
            ));
        }
        Self::map(file, pages)
    }

    /// Ordinary memory that nobody shares, for tests of code that works on rings.
    pub fn private(pages: usize) -> io::Result<Self> {
        let length = NonZeroUsize::new(pages * PAGE_SIZE).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: a new mapping at an address of the kernel's choice aliases nothing.
        let base = unsafe {
            mmap_anonymous(None, length, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE)
        }?;
        Ok(SharedPages { base: base.cast(), length, counted: 0 })
    }

    fn map(device: impl AsFd, pages: usize) -> io::Result<Self> {
        let length = NonZeroUsize::new(pages * PAGE_SIZE).ok_or(io::ErrorKind::InvalidInput)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice aliases nothing.
        let base = unsafe { mmap(None, length, protection, MapFlags::MAP_SHARED, device, 0) }?;
        Ok(SharedPages { base: base.cast(), length, counted: 0 })
    }

    fn counted(mut self) -> Self {
        self.counted = self.length.get();
        MAPPED.fetch_add(self.counted, Ordering::Relaxed);
        self
    }

    /// How many pages of other domains and of devices are mapped in all.
    pub fn mapped() -> usize {
        MAPPED.load(Ordering::Relaxed) / PAGE_SIZE
    }

    fn at(&self, offset: usize, length: usize) -> NonNull<u8> {
        assert!(
            offset.checked_add(length).is_some_and(|end| end <= self.length.get()),
            "shared pages have no {length} bytes at {offset}"
        );
        // SAFETY: just checked to lie inside the mapping.
        unsafe { self.base.add(offset) }
    }

    fn word(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4), "a word at {offset} is not aligned");
        // SAFETY: in bounds by `at`, aligned by the check above, and the mapping lives as long as `self`.
        // The other side uses word accesses on it too.
        unsafe { self.at(offset, 4).cast::<AtomicU32>().as_ref() }
    }

    /// Loads a word; what the other side wrote before storing it is then visible.
    pub fn load(&self, offset: usize) -> u32 {
        self.word(offset).load(Ordering::Acquire)
    }

    /// Stores a word after everything written before, and before everything loaded after it.
    pub fn store(&self, offset: usize, value: u32) {
        // Both sides decide by the other's index whether to notify, so a later load must not pass this.
        self.word(offset).store(value, Ordering::SeqCst);
        std::sync::atomic::fence(Ordering::SeqCst);
    }

    /// Copies bytes out.
    pub fn read(&self, offset: usize, into: &mut [u8]) {
        let length = into.len();
        let from = self.at(offset, length);
        // SAFETY: `at` has checked the source; the destination is an exclusive slice, which cannot overlap
        // a mapping that is never exposed. A racing writer can only change which bytes are seen.
        unsafe { from.copy_to_nonoverlapping(NonNull::from(into).cast(), length) }
    }

    /// Copies bytes in.
    pub fn write(&self, offset: usize, from: &[u8]) {
        let to = self.at(offset, from.len());
        // SAFETY: as in `read`, the other way round.
        unsafe { NonNull::from(from).cast::<u8>().copy_to_nonoverlapping(to, from.len()) }
    }
}

impl Drop for SharedPages {
    fn drop(&mut self) {
        // SAFETY: base and length are those of the mapping that the constructor made; no reference into
        // it outlives a method call.
        let _ = unsafe { munmap(self.base.cast(), self.length.get()) };
        MAPPED.fetch_sub(self.counted, Ordering::Relaxed);
    }
}

/// A device whose readiness tokio reports.
pub fn readiness(device: File) -> io::Result<AsyncFd<File>> {
    // SAFETY: a `File` gives the same open descriptor for as long as it lives, which is what is asked for;
    // the `AsyncFd` owns it.
    Ok(unsafe { AsyncFd::register(device) }?)
}

/// Binds a virtual interrupt; returns the local port.
pub fn bind_virq(evtchn: &File, virq: u32) -> io::Result<u32> {
    let argument = [virq];
    // SAFETY: the kernel reads one word, which outlives the call.
    check(unsafe { libc::ioctl(evtchn.as_raw_fd(), IOCTL_EVTCHN_BIND_VIRQ, argument.as_ptr()) })
}

/// Binds to another domain's unbound port; returns the local port.
pub fn bind_interdomain(evtchn: &File, domid: DomId, remote: u32) -> io::Result<u32> {
    let argument = [u32::from(domid.0), remote];
    // SAFETY: the kernel reads two words, which outlive the call.
    check(unsafe { libc::ioctl(evtchn.as_raw_fd(), IOCTL_EVTCHN_BIND_INTERDOMAIN, argument.as_ptr()) })
}

/// Closes a local port.
pub fn unbind(evtchn: &File, port: u32) -> io::Result<()> {
    let argument = [port];
    // SAFETY: the kernel reads one word, which outlives the call.
    check(unsafe { libc::ioctl(evtchn.as_raw_fd(), IOCTL_EVTCHN_UNBIND, argument.as_ptr()) }).map(drop)
}

/// Sends an event through a local port.
pub fn notify(evtchn: &File, port: u32) -> io::Result<()> {
    let argument = [port];
    // SAFETY: the kernel reads one word, which outlives the call.
    check(unsafe { libc::ioctl(evtchn.as_raw_fd(), IOCTL_EVTCHN_NOTIFY, argument.as_ptr()) }).map(drop)
}

/// The port at which dom0's kernel waits for its XenStore; `device` is `/dev/xen/xenbus_backend`.
pub fn xenbus_backend_port(device: &File) -> io::Result<u32> {
    // SAFETY: takes no argument.
    check(unsafe { libc::ioctl(device.as_raw_fd(), IOCTL_XENBUS_BACKEND_EVTCHN) })
}

/// The generic timer's virtual counter and its frequency in Hz. Xen starts a domain's counter when it
/// makes the domain, so in dom0 this is the time since before the kernel was entered.
pub fn virtual_counter() -> Option<(u64, u32)> {
    #[cfg(target_arch = "arm")]
    {
        let (low, high, frequency): (u32, u32, u32);
        // SAFETY: CNTVCT and CNTFRQ are readable from user mode under Linux, whose vDSO relies on it; the
        // instructions touch no memory.
        unsafe {
            core::arch::asm!(
                "isb", "mrrc p15, 1, {low}, {high}, c14", "mrc p15, 0, {frequency}, c14, c0, 0",
                low = out(reg) low, high = out(reg) high, frequency = out(reg) frequency,
                options(nomem, nostack, preserves_flags)
            );
        }
        Some((u64::from(high) << 32 | u64::from(low), frequency))
    }
    #[cfg(not(target_arch = "arm"))]
    None
}
