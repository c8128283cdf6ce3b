//! What happens when the processor finds a fault: print everything, then tell the node of the crash.

use core::sync::atomic::{AtomicBool, Ordering};

use xen_sys::sched::ShutdownReason;

use crate::arch::cpu;
use crate::println;
use crate::xen::shutdown;

/// What `entry.s` leaves on the exception stack.
#[repr(C)]
struct Frame {
    number: u32,
    /// The exception mode's link register: a few bytes behind the instruction.
    link: u32,
    cpsr: u32,
    sp: u32,
    lr: u32,
    registers: [u32; 13],
}

/// Name, and bytes from the link register back to the instruction (ARM ARM B1.8.3, ARM state).
const EXCEPTIONS: [(&str, u32); 6] = [
    ("undefined instruction", 4),
    ("supervisor call", 4),
    ("prefetch abort", 4),
    ("data abort", 8),
    ("interrupt", 4),
    ("fast interrupt", 4),
];

static DYING: AtomicBool = AtomicBool::new(false);

#[unsafe(no_mangle)]
extern "C" fn jitsu_rt_exception(frame: &Frame) -> ! {
    // A fault while this is printed would only come back here.
    if DYING.swap(true, Ordering::Relaxed) {
        shutdown(ShutdownReason::CRASH);
    }
    let (name, behind) = EXCEPTIONS[frame.number as usize];
    let [dfar, dfsr, ifar, ifsr] = cpu::fault_registers();
    println!("*** {name} at pc {:08x}", frame.link.wrapping_sub(behind));
    println!("cpsr {:08x}  sp {:08x}  lr {:08x}", frame.cpsr, frame.sp, frame.lr);
    println!("dfar {dfar:08x}  dfsr {dfsr:08x}  ifar {ifar:08x}  ifsr {ifsr:08x}");
    for (row, registers) in frame.registers.chunks(4).enumerate() {
        for (column, value) in registers.iter().enumerate() {
            crate::print!("r{:<2} {value:08x}  ", row * 4 + column);
        }
        println!();
    }
    shutdown(ShutdownReason::CRASH)
}
