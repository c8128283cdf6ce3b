//! The device tree that a guest finds, the same as Xen's own toolstack makes for ARM
//! (`docs/misc/arm/device-tree/guest.txt`, Linux `Documentation/devicetree/bindings/arm/xen.txt`), so that
//! any kernel built for Xen runs. Pure.

use std::ops::Range;

use vm_fdt::{Error, FdtWriter};
use xen_sys::layout::*;
use xen_sys::version::Release;

/// What differs between guests.
#[derive(Clone, Debug)]
pub struct Guest<'a> {
    /// Xen's release.
    pub xen: Release,
    /// Bytes of RAM from [`GUEST_RAM0_BASE`].
    pub memory: u64,
    /// vCPUs.
    pub vcpus: u32,
    /// The kernel's command line.
    pub bootargs: &'a str,
    /// The ramdisk's first address, and the one after its last.
    pub ramdisk: Option<Range<u64>>,
    /// The counter's frequency, when firmware has not told the CPU.
    pub clock_frequency: Option<u32>,
}

/// The GIC's number as an interrupt parent; any would do.
const PHANDLE_GIC: u32 = 65_000;
/// Interrupt specifier: a per-processor interrupt.
const GIC_PPI: u32 = 1;
/// The first INTID of the per-processor interrupts, which specifiers count from.
const FIRST_PPI: u32 = 16;
/// Interrupt specifier flags: active low, level triggered, for all CPUs.
const LEVEL_LOW_ALL_CPUS: u32 = 0xf08;
/// PSCI function numbers of Xen's 32-bit `CPU_OFF` and `CPU_ON` (ARM DEN 0022).
const PSCI_CPU_OFF: u32 = 0x8400_0002;
const PSCI_CPU_ON: u32 = 0x8400_0003;

/// The tree in its flattened form.
pub fn flattened(guest: &Guest) -> Result<Vec<u8>, Error> {
    let mut fdt = FdtWriter::new()?;
    let root = fdt.begin_node("")?;
    fdt.property_string_list("compatible", vec![format!("xen,xenvm-{}", guest.xen), "xen,xenvm".into()])?;
    fdt.property_u32("interrupt-parent", PHANDLE_GIC)?;
    fdt.property_u32("#address-cells", 2)?;
    fdt.property_u32("#size-cells", 2)?;

    let chosen = fdt.begin_node("chosen")?;
    fdt.property_string("bootargs", guest.bootargs)?;
    if let Some(ramdisk) = &guest.ramdisk {
        fdt.property_u64("linux,initrd-start", ramdisk.start)?;
        fdt.property_u64("linux,initrd-end", ramdisk.end)?;
    }
    fdt.end_node(chosen)?;

    let cpus = fdt.begin_node("cpus")?;
    fdt.property_u32("#address-cells", 1)?;
    fdt.property_u32("#size-cells", 0)?;
    for cpu in 0..guest.vcpus {
        let node = fdt.begin_node(&format!("cpu@{cpu}"))?;
        fdt.property_string("device_type", "cpu")?;
        fdt.property_string("compatible", "arm,armv7")?;
        fdt.property_string("enable-method", "psci")?;
        fdt.property_u32("reg", cpu)?;
        fdt.end_node(node)?;
    }
    fdt.end_node(cpus)?;

    let psci = fdt.begin_node("psci")?;
    fdt.property_string_list(
        "compatible",
        vec!["arm,psci-1.0".into(), "arm,psci-0.2".into(), "arm,psci".into()],
    )?;
    fdt.property_string("method", "hvc")?;
    fdt.property_u32("cpu_off", PSCI_CPU_OFF)?;
    fdt.property_u32("cpu_on", PSCI_CPU_ON)?;
    fdt.end_node(psci)?;

    let memory = fdt.begin_node(&format!("memory@{GUEST_RAM0_BASE:x}"))?;
    fdt.property_string("device_type", "memory")?;
    fdt.property_array_u64("reg", &[GUEST_RAM0_BASE, guest.memory])?;
    fdt.end_node(memory)?;

    let gic = fdt.begin_node(&format!("interrupt-controller@{GUEST_GICD_BASE:x}"))?;
    fdt.property_string_list("compatible", vec!["arm,cortex-a15-gic".into(), "arm,cortex-a9-gic".into()])?;
    fdt.property_u32("#interrupt-cells", 3)?;
    fdt.property_u32("#address-cells", 0)?;
    fdt.property_null("interrupt-controller")?;
    fdt.property_array_u64("reg", &[GUEST_GICD_BASE, GUEST_GICD_SIZE, GUEST_GICC_BASE, GUEST_GICC_SIZE])?;
    fdt.property_phandle(PHANDLE_GIC)?;
    fdt.end_node(gic)?;

    let timer = fdt.begin_node("timer")?;
    fdt.property_string("compatible", "arm,armv7-timer")?;
    let timers = [GUEST_TIMER_PHYS_S_PPI, GUEST_TIMER_PHYS_NS_PPI, GUEST_TIMER_VIRT_PPI];
    fdt.property_array_u32("interrupts", &timers.map(ppi).concat())?;
    if let Some(frequency) = guest.clock_frequency {
        fdt.property_u32("clock-frequency", frequency)?;
    }
    fdt.end_node(timer)?;

    let hypervisor = fdt.begin_node("hypervisor")?;
    fdt.property_string_list("compatible", vec![format!("xen,xen-{}", guest.xen), "xen,xen".into()])?;
    fdt.property_array_u64("reg", &[GUEST_GNTTAB_BASE, GUEST_GNTTAB_SIZE])?;
    fdt.property_array_u32("interrupts", &ppi(GUEST_EVTCHN_PPI))?;
    fdt.end_node(hypervisor)?;

    fdt.end_node(root)?;
    fdt.finish()
}

/// A per-processor interrupt as an interrupt specifier.
fn ppi(intid: u32) -> [u32; 3] {
    [GIC_PPI, intid - FIRST_PPI, LEVEL_LOW_ALL_CPUS]
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUEST: Guest<'_> = Guest {
        xen: Release { major: 4, minor: 20 },
        memory: 4 << 20,
        vcpus: 1,
        bootargs: "",
        ramdisk: None,
        clock_frequency: None,
    };

    #[test]
    fn a_guest_finds_its_command_line_and_memory() {
        let mut guest = Guest { vcpus: 2, bootargs: "ip=10.0.2.20 token=abc", ..GUEST };
        let tree = flattened(&guest).expect("a tree");
        assert_eq!(tree[..4], [0xd0, 0x0d, 0xfe, 0xed]);
        let has = |bytes: &[u8]| tree.windows(bytes.len()).any(|window| window == bytes);
        assert!(has(b"ip=10.0.2.20 token=abc\0"));
        assert!(has(b"cpu@1\0") && !has(b"cpu@2\0"));
        assert!(has(&[0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0]));
        assert!(!has(b"clock-frequency\0") && !has(b"linux,initrd-start\0"));
        guest.ramdisk = Some(0x4012_3000..0x4012_3456);
        let tree = flattened(&guest).expect("a tree");
        let has = |bytes: &[u8]| tree.windows(bytes.len()).any(|window| window == bytes);
        assert!(has(b"linux,initrd-start\0") && has(b"linux,initrd-end\0"));
        assert!(has(&[0, 0, 0, 0, 0x40, 0x12, 0x30, 0]) && has(&[0, 0, 0, 0, 0x40, 0x12, 0x34, 0x56]));
        assert!(has(b"xen,xenvm-4.20\0xen,xenvm\0") && has(b"xen,xen-4.20\0xen,xen\0"));
    }

    #[test]
    fn a_command_line_with_a_nul_byte_is_refused() {
        assert!(flattened(&Guest { bootargs: "a\0b", ..GUEST }).is_err());
    }

    #[test]
    fn the_event_interrupt_is_ppi_15() {
        assert_eq!(ppi(GUEST_EVTCHN_PPI), [1, 15, 0xf08]);
    }
}
