//! `hypercalls make MIB COUNT | cpu SECONDS`: what Xen itself takes, for `cargo xtask bench`. On no image; it runs inside a node
//! that is measured, as root.
//!
//! `make` has Xen make an empty domain of MIB of memory, COUNT times, by the calls that any toolstack has to make for
//! that, in the blocks in which the domain builder makes them. `cpu` tells how long dom0 and guests had the processor
//! while it slept for SECONDS. Both print one line: `hypercalls: ` and JSON, times in nanoseconds.

use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use jitsud::xen::Hypervisor;
use serde_json::{Value, json};
use xen_sys::domctl::{
    CreateDomainHead, CreateDomainTail, XEN_DOMCTL_CDF_HAP, XEN_DOMCTL_CDF_HVM, XEN_DOMCTL_CONFIG_GIC_V2,
    XEN_DOMCTL_GRANT_VERSION_1,
};
use xen_sys::layout::GUEST_RAM0_BASE;
use xen_sys::{DomId, Gfn, PAGE_SHIFT, PAGE_SIZE};

/// log2 of the pages in a block that one stage-2 entry maps: 2 MiB.
const BLOCK_ORDER: u32 = 9;

/// Pages for a guest's stage-2 tables beyond one per block, as `jitsud/src/domain/builder.rs` has it.
const STAGE2_PAGES: u64 = 32;

/// Largest domain that is made, MiB.
const MAX_MEMORY: u32 = 1024;

/// Most domains that are made, one after another.
const MAX_COUNT: usize = 100;

fn main() -> ExitCode {
    match run() {
        Ok(value) => {
            // The line before may not be finished.
            println!("\nhypercalls: {value}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("hypercalls: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<Value, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let hypervisor = Hypervisor::connect()?;
    match arguments.as_slice() {
        ["make", memory, count] => {
            let (memory, count) = (memory.parse()?, count.parse()?);
            if !(2..=MAX_MEMORY).contains(&memory) || memory % 2 != 0 || count > MAX_COUNT {
                return Err(
                    format!("{memory} MiB {count} times: 2 to {MAX_MEMORY}, even; {MAX_COUNT}").into()
                );
            }
            (0..count).map(|_| make(&hypervisor, memory)).collect()
        }
        ["cpu", seconds] => cpu(&hypervisor, Duration::from_secs(seconds.parse()?)),
        _ => Err("usage: hypercalls make MIB COUNT, or: hypercalls cpu SECONDS".into()),
    }
}

/// How long Xen needs at most to clean 1 GiB of freed memory, which it does when it has nothing else to do. It tells nobody
/// when that is done. A domain that gets memory which is not clean yet costs twice as much.
const CLEANING: Duration = Duration::from_secs(1);

/// Makes a domain, and destroys it; what making it took.
fn make(hypervisor: &Hypervisor, memory_mib: u32) -> Result<Value, Box<dyn Error>> {
    let head = CreateDomainHead {
        flags: XEN_DOMCTL_CDF_HVM | XEN_DOMCTL_CDF_HAP,
        max_vcpus: 1,
        max_evtchn_port: 1023,
        max_grant_frames: -1,
        max_maptrack_frames: -1,
        grant_opts: XEN_DOMCTL_GRANT_VERSION_1,
        ..CreateDomainHead::default()
    };
    let tail = CreateDomainTail { gic_version: XEN_DOMCTL_CONFIG_GIC_V2, ..CreateDomainTail::default() };
    let block = 1 << BLOCK_ORDER;
    let blocks = (u64::from(memory_mib) << 20 >> PAGE_SHIFT) / block;
    let frames: Vec<Gfn> = (0..blocks).map(|at| Gfn((GUEST_RAM0_BASE >> PAGE_SHIFT) + at * block)).collect();

    let begin = Instant::now();
    let domid = hypervisor.create_domain(head, tail)?.domid;
    let furnish = || {
        hypervisor.make_vcpus(domid, 1)?;
        let created = begin.elapsed();
        hypervisor.set_paging_mempool(domid, (STAGE2_PAGES + blocks) * PAGE_SIZE as u64)?;
        let tables = begin.elapsed();
        hypervisor.set_max_memory(domid, u64::from(memory_mib) << 10)?;
        hypervisor.populate(domid, &frames, BLOCK_ORDER)?;
        Ok::<_, jitsud::xen::Error>((created, tables, begin.elapsed()))
    };
    let furnished = furnish();
    hypervisor.destroy_domain(domid)?;
    std::thread::sleep(CLEANING);
    let (created, tables, populated) = furnished?;
    Ok(json!({
        "created_ns": nanoseconds(created), "tables_ns": nanoseconds(tables), "populated_ns": nanoseconds(populated),
    }))
}

/// How long dom0 and all other domains run in `span`.
fn cpu(hypervisor: &Hypervisor, span: Duration) -> Result<Value, Box<dyn Error>> {
    let read = || -> Result<([u64; 2], usize), jitsud::xen::Error> {
        let domains = hypervisor.domains()?;
        let of = |is_dom0: bool| -> u64 {
            let some = domains.iter().filter(|info| (info.domain == DomId::DOM0) == is_dom0);
            some.map(|info| info.cpu_time).sum()
        };
        Ok(([of(true), of(false)], domains.len().saturating_sub(1)))
    };
    let ([dom0, guests], before) = read()?;
    std::thread::sleep(span);
    let ([dom0_after, guests_after], after) = read()?;
    if before != after {
        return Err(format!("{before} guests were there, and {after} are").into());
    }
    Ok(json!({ "dom0_ns": dom0_after - dom0, "guests_ns": guests_after - guests, "guests": after }))
}

/// A duration of a measurement, far from 500 years.
fn nanoseconds(took: Duration) -> u64 {
    u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)
}
