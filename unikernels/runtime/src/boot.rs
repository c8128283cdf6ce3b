//! From the first line of Rust to the unikernel's main function.
#![allow(unsafe_code)]

use core::slice;

use jitsu_rt_core::cmdline::CommandLine;
use jitsu_rt_core::machine::Machine;
use xen_sys::hvm::{
    HVM_PARAM_CONSOLE_EVTCHN, HVM_PARAM_CONSOLE_PFN, HVM_PARAM_STORE_EVTCHN, HVM_PARAM_STORE_PFN,
};
use xen_sys::{EvtchnPort, Gfn, PAGE_SIZE};

use crate::arch::mmio::Mmio;
use crate::clock::{self, Ticks};
use crate::gic::Gic;
use crate::heap;
use crate::image;
use crate::xen::grant::GrantTable;
use crate::xen::page::SharedPage;
use crate::xen::store::XenStore;
use crate::xen::{self, HypercallError, console, event};

/// RAM that `entry.s` maps, from the start of RAM: more is left unused.
const MAPPED_RAM: u64 = 1 << 30;
/// "0xd00dfeed", the first word of a flattened device tree.
const FDT_MAGIC: u32 = 0xd00d_feed;

/// What a unikernel starts with.
#[derive(Debug)]
pub struct Guest {
    /// What the domain builder has written for it.
    pub command_line: CommandLine<'static>,
    /// What somebody has appended to its image; see [`serves_sites!`](crate::serves_sites).
    pub appended: &'static [u8],
    /// Bytes of memory behind the image: the heap, and the device tree in it.
    pub memory: usize,
    /// The store.
    pub store: XenStore,
    /// Its grant table.
    pub grants: GrantTable,
}

/// Names the unikernel's main function, a `fn(Guest) -> !`.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        const _: () = {
            // SAFETY: the runtime calls exactly this symbol, with this signature.
            #[allow(unsafe_code)]
            #[unsafe(no_mangle)]
            fn jitsu_rt_main(guest: $crate::Guest) -> ! {
                $main(guest)
            }
        };
    };
}

unsafe extern "Rust" {
    /// Defined by [`entry!`].
    safe fn jitsu_rt_main(guest: Guest) -> !;
}

/// Called once, by `entry.s`, with the device tree's address and the counter at the first instruction.
#[unsafe(no_mangle)]
extern "C" fn jitsu_rt_start(tree: *const u8, entry: u64) -> ! {
    // Without a console nothing can be said: these two are the only silent failures.
    let page = ring(HVM_PARAM_CONSOLE_PFN).expect("Xen has no console page for this domain");
    let port = port(HVM_PARAM_CONSOLE_EVTCHN).expect("Xen has no console port for this domain");
    console::init(page, port);

    // SAFETY: by the boot protocol a device tree is there, in RAM; it is never written again, and the heap
    // is told to leave it alone.
    let tree = unsafe { device_tree(tree) };
    let machine = Machine::parse(tree).unwrap_or_else(|error| panic!("{error}"));
    clock::init(Ticks(entry), machine.timer_frequency);
    let ram_end = machine.ram.start + machine.ram.size.min(MAPPED_RAM);
    let tree = tree.as_ptr_range();
    let (appended, heap_start) = image::appended(ram_end as usize);
    // SAFETY: `entry.s` has mapped this RAM; in it are only the image and what is appended to it, which the heap starts
    // behind, and the device tree.
    unsafe { heap::init(heap_start..ram_end as usize, tree.start as usize..tree.end as usize) };

    let memory = ram_end as usize - heap_start;
    let guest = connect(&machine, appended, memory).unwrap_or_else(|error| panic!("{error}"));
    jitsu_rt_main(guest)
}

fn connect(
    machine: &Machine<'static>,
    appended: &'static [u8],
    memory: usize,
) -> Result<Guest, HypercallError> {
    let [distributor, cpu_interface] = [machine.gic_distributor, machine.gic_cpu_interface]
        // SAFETY: the device tree says that the interrupt controller is there; `Gic` is its only driver.
        .map(|registers| unsafe { Mmio::map(registers.start, registers.size) });
    let gic = Gic::new(distributor, cpu_interface, [machine.event_irq, machine.timer_irq]);

    // The region that Xen names in the device tree is free for such pages, and holds no RAM.
    let region = Gfn(machine.xen_region.start / PAGE_SIZE as u64);
    // SAFETY: see above; the frame is used for nothing else.
    let grants = unsafe { GrantTable::map(region)? };
    // SAFETY: likewise.
    unsafe { event::init(Gfn(region.0 + 1), gic)? };

    let store = XenStore::connect(ring(HVM_PARAM_STORE_PFN)?, port(HVM_PARAM_STORE_EVTCHN)?);
    Ok(Guest { command_line: CommandLine::new(machine.bootargs), appended, memory, store, grants })
}

/// The ring page that the domain builder names in a parameter.
fn ring(parameter: u32) -> Result<SharedPage, HypercallError> {
    let frame = Gfn(xen::parameter(parameter)?);
    // SAFETY: the builder has put a page there that belongs to this ring alone.
    Ok(unsafe { SharedPage::at(frame) })
}

fn port(parameter: u32) -> Result<EvtchnPort, HypercallError> {
    Ok(EvtchnPort(xen::parameter(parameter)? as u32))
}

/// The device tree at `start`.
///
/// # Safety
/// `start` is in mapped memory that nobody writes. If a tree is there, all of it is.
unsafe fn device_tree(start: *const u8) -> &'static [u8] {
    let header = start.cast::<[u32; 2]>();
    // SAFETY: the caller vouches for the address; a page holds the header.
    let [magic, size] = unsafe { header.read_unaligned() }.map(u32::from_be);
    assert!(magic == FDT_MAGIC, "no device tree at {start:p}");
    // SAFETY: the caller vouches for the whole tree.
    unsafe { slice::from_raw_parts(start, size as usize) }
}
