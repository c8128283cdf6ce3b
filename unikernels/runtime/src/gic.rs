//! The interrupt controller, GICv2 (ARM IHI 0048B), with Xen's emulated distributor.
//!
//! Two private interrupts are enabled and polled; none is ever taken.

use crate::arch::mmio::Mmio;

const GICD_CTLR: usize = 0x000;
const GICD_ISENABLER0: usize = 0x100;
const GICC_CTLR: usize = 0x00;
const GICC_PMR: usize = 0x04;
const GICC_IAR: usize = 0x0c;
const GICC_EOIR: usize = 0x10;

/// Interrupt IDs from here on mean "none".
const FIRST_SPECIAL: u32 = 1020;

/// The controller, with its interrupts enabled.
#[derive(Clone, Copy, Debug)]
pub struct Gic {
    cpu_interface: Mmio,
}

impl Gic {
    /// Enables the private interrupts `interrupts` (IDs 16 to 31) and lets them through to the processor.
    pub fn new(distributor: Mmio, cpu_interface: Mmio, interrupts: [u32; 2]) -> Self {
        let enable = interrupts.iter().fold(0, |bits, id| bits | 1 << id);
        distributor.write(GICD_ISENABLER0, enable);
        distributor.write(GICD_CTLR, 1);
        cpu_interface.write(GICC_PMR, 0xff);
        cpu_interface.write(GICC_CTLR, 1);
        Gic { cpu_interface }
    }

    /// Acknowledges and ends everything that is pending. Why it was, the callers find out for themselves.
    pub fn acknowledge_all(&self) {
        loop {
            let interrupt = self.cpu_interface.read(GICC_IAR);
            if interrupt & 0x3ff >= FIRST_SPECIAL {
                return;
            }
            self.cpu_interface.write(GICC_EOIR, interrupt);
        }
    }
}
