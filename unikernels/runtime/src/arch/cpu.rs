//! The virtual counter and timer, and sleeping.

use core::arch::asm;

/// The virtual counter (CNTVCT): ticks since some time before the guest began. It never goes back.
pub fn counter() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a register that has no side effects. The barrier keeps the read from being done early.
    unsafe {
        asm!("isb", "mrrc p15, 1, {}, {}, c14", out(reg) low, out(reg) high, options(nostack));
    }
    u64::from(high) << 32 | u64::from(low)
}

/// The counter's frequency in Hz as firmware has set it (CNTFRQ); 0 when it has not.
pub fn counter_frequency() -> u32 {
    let frequency;
    // SAFETY: reads a register that has no side effects.
    unsafe { asm!("mrc p15, 0, {}, c14, c0, 0", out(reg) frequency, options(nomem, nostack)) };
    frequency
}

/// Makes the virtual timer raise its interrupt once the counter has reached `deadline`, or never.
///
/// Xen masks the timer when it hands the interrupt on, so that it must be set anew each time.
pub fn set_timer(deadline: Option<u64>) {
    let (low, high) = deadline.map_or((0, 0), |ticks| (ticks as u32, (ticks >> 32) as u32));
    let control = u32::from(deadline.is_some());
    // SAFETY: writes CNTV_CVAL and CNTV_CTL, which belong to this guest alone; the only effect is an
    // interrupt, which ends wfi and is never taken.
    unsafe {
        asm!(
            "mcrr p15, 3, {low}, {high}, c14",
            "mcr p15, 0, {control}, c14, c3, 1",
            "isb",
            low = in(reg) low,
            high = in(reg) high,
            control = in(reg) control,
            options(nostack),
        );
    }
}

/// Sleeps until an interrupt is pending. Interrupts are masked, so none is taken, and one that came
/// before the instruction ends it at once.
pub fn wait_for_interrupt() {
    // SAFETY: has no effect on memory or registers.
    unsafe { asm!("dsb", "wfi", options(nostack)) };
}

/// Which address faulted last, for data and for instructions, and how: DFAR, DFSR, IFAR, IFSR.
pub fn fault_registers() -> [u32; 4] {
    let (dfar, dfsr, ifar, ifsr);
    // SAFETY: reads registers that have no side effects.
    unsafe {
        asm!(
            "mrc p15, 0, {}, c6, c0, 0",
            "mrc p15, 0, {}, c5, c0, 0",
            "mrc p15, 0, {}, c6, c0, 2",
            "mrc p15, 0, {}, c5, c0, 1",
            out(reg) dfar,
            out(reg) dfsr,
            out(reg) ifar,
            out(reg) ifsr,
            options(nomem, nostack),
        );
    }
    [dfar, dfsr, ifar, ifsr]
}

/// Makes changed translation tables count from here on.
pub fn synchronise_translation() {
    // SAFETY: barriers only.
    unsafe { asm!("dsb", "isb", options(nostack)) };
}
