//! What a node costs in which nothing happens.
//!
//! Virtual time skips what is idle, so its length says nothing about the work in it. QEMU's own count of executed
//! instructions does: it stands still while all processors sleep, and has everything else, the hypervisor included. Read
//! twice, with the machine halted at both moments, it is exact. How that divides is what Xen accounts to its domains, in
//! nanoseconds of virtual time in which they had the processor, which are instructions; what the hypervisor does on
//! behalf of a domain that runs is in that domain's time.

use super::node::Node;
use super::report::Idle;
use crate::ui;
use anyhow::{Result, ensure};
use serde::Deserialize;

/// Seconds after the last request in which timers run out that have to do with it.
const CALM: u32 = 60;

/// What `hypercalls cpu` tells.
#[derive(Deserialize)]
struct Cpu {
    dom0_ns: u64,
    guests_ns: u64,
    guests: u32,
}

/// Looks on for so many seconds, with so many guests on the node.
///
/// # Errors
/// When there are not so many.
pub fn measure(node: &Node, guests: u32, seconds: u32) -> Result<Idle> {
    let _task = ui::Task::start(format!("{seconds} s of nothing, with {guests} guests"));
    node.running.shell(&format!("sleep {CALM}"))?;
    let before = node.running.executed()?;
    let cpu: Cpu = node.measure(&format!("hypercalls cpu {seconds}"), "hypercalls: ")?;
    let after = node.running.executed()?;
    ensure!(cpu.guests == guests, "{} guests run instead of {guests}", cpu.guests);
    let span = after.virtual_time_since(&before);
    ensure!(
        span.as_secs() >= u64::from(seconds),
        "{} s went by, and {seconds} s were slept through",
        span.as_secs()
    );
    Ok(Idle {
        guests,
        span_ns: span.as_nanos() as u64,
        instructions: after.instructions - before.instructions,
        dom0: cpu.dom0_ns,
        of_guests: cpu.guests_ns,
    })
}
