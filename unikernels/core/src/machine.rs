//! What a domain's device tree says about the machine.
//!
//! The tree comes from the toolstack, which already owns the guest; it is checked for being well formed
//! and complete, not for hostility.

use core::fmt;

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{Node, Property};

/// A range of guest physical addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    /// First byte.
    pub start: u64,
    /// Bytes.
    pub size: u64,
}

/// The parts of the machine that the runtime drives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Machine<'a> {
    /// The command line, empty when there is none.
    pub bootargs: &'a str,
    /// The first bank of RAM.
    pub ram: Range,
    /// Registers of the GICv2 distributor.
    pub gic_distributor: Range,
    /// Registers of the GICv2 CPU interface.
    pub gic_cpu_interface: Range,
    /// Unpopulated space that Xen keeps free for the grant table and for other pages of its own.
    pub xen_region: Range,
    /// Interrupt ID of the event channel upcall, 16 to 31.
    pub event_irq: u32,
    /// Interrupt ID of the virtual timer, 16 to 31.
    pub timer_irq: u32,
    /// The counter's frequency in Hz, where firmware did not set `CNTFRQ`.
    pub timer_frequency: Option<u32>,
}

/// What the tree lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MachineError {
    /// It is no flattened device tree.
    Malformed,
    /// The node is missing.
    NoNode(&'static str),
    /// The node's property is missing or makes no sense.
    BadProperty(&'static str, &'static str),
}

impl fmt::Display for MachineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MachineError::Malformed => f.write_str("the device tree is malformed"),
            MachineError::NoNode(node) => write!(f, "the device tree has no {node} node"),
            MachineError::BadProperty(node, property) => {
                write!(f, "the device tree's {node} node has no usable \"{property}\" property")
            }
        }
    }
}

impl<'a> Machine<'a> {
    /// Reads a flattened device tree.
    ///
    /// # Errors
    /// The first thing that is missing; without any of them nothing can run.
    pub fn parse(tree: &'a [u8]) -> Result<Self, MachineError> {
        let fdt = Fdt::new(tree).map_err(|_| MachineError::Malformed)?;
        let root = fdt.root();

        let bootargs = root
            .child("chosen")
            .and_then(|chosen| chosen.property("bootargs"))
            .and_then(|property| property.value_as::<&'a str>().ok())
            .unwrap_or("");

        let memory = find(&root, "memory", |node| {
            node.property("device_type").is_some_and(|kind| kind.value() == b"memory\0")
        })?;
        let gic = find(&root, "interrupt-controller", |node| {
            ["arm,cortex-a15-gic", "arm,cortex-a7-gic", "arm,gic-400"]
                .iter()
                .any(|name| compatible(node, name))
        })?;
        let hypervisor = find(&root, "hypervisor", |node| compatible(node, "xen,xen"))?;
        let timer = find(&root, "timer", |node| {
            compatible(node, "arm,armv7-timer") || compatible(node, "arm,armv8-timer")
        })?;

        Ok(Machine {
            bootargs,
            ram: reg(&memory, "memory", 0)?,
            gic_distributor: reg(&gic, "interrupt-controller", 0)?,
            gic_cpu_interface: reg(&gic, "interrupt-controller", 1)?,
            xen_region: reg(&hypervisor, "hypervisor", 0)?,
            event_irq: private_interrupt(&hypervisor, "hypervisor", 0)?,
            // Secure, non-secure, virtual, hypervisor: Documentation/devicetree/bindings/timer/arm,arch_timer.
            timer_irq: private_interrupt(&timer, "timer", 2)?,
            timer_frequency: timer
                .property("clock-frequency")
                .and_then(|property| property.value().try_into().ok())
                .map(u32::from_be_bytes)
                .filter(|frequency| *frequency != 0),
        })
    }
}

fn find<'a>(
    root: &FdtNode<'a>,
    name: &'static str,
    wanted: impl Fn(&FdtNode<'a>) -> bool,
) -> Result<FdtNode<'a>, MachineError> {
    root.children().find(|node| wanted(node)).ok_or(MachineError::NoNode(name))
}

fn compatible(node: &FdtNode<'_>, name: &str) -> bool {
    node.property("compatible")
        .is_some_and(|property| property.value().split(|byte| *byte == 0).any(|word| word == name.as_bytes()))
}

fn reg(node: &FdtNode<'_>, name: &'static str, index: usize) -> Result<Range, MachineError> {
    let bad = MachineError::BadProperty(name, "reg");
    let entry = node.reg().ok().flatten().and_then(|mut entries| entries.nth(index)).ok_or(bad)?;
    Ok(Range { start: entry.address().map_err(|_| bad)?, size: entry.size().map_err(|_| bad)? })
}

/// The `index`th interrupt of a node: three cells each, of which the first must be 1 (a private
/// peripheral interrupt, PPI) and the second counts from interrupt ID 16.
fn private_interrupt(node: &FdtNode<'_>, name: &'static str, index: usize) -> Result<u32, MachineError> {
    let bad = MachineError::BadProperty(name, "interrupts");
    let property = node.property("interrupts").ok_or(bad)?;
    let mut cells =
        property.value().chunks_exact(4).map(|cell| u32::from_be_bytes([cell[0], cell[1], cell[2], cell[3]]));
    let kind = cells.nth(index * 3).ok_or(bad)?;
    match cells.next() {
        Some(number @ 0..16) if kind == 1 => Ok(number + 16),
        _ => Err(bad),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_fdt::FdtWriter;

    /// A tree as the toolstacks make them; `skip` leaves one node out.
    fn tree(skip: &str) -> Vec<u8> {
        let mut fdt = FdtWriter::new().unwrap();
        let root = fdt.begin_node("").unwrap();
        fdt.property_u32("#address-cells", 2).unwrap();
        fdt.property_u32("#size-cells", 2).unwrap();
        if skip != "chosen" {
            let node = fdt.begin_node("chosen").unwrap();
            fdt.property_string("bootargs", "ip=10.0.2.20 token=abc").unwrap();
            fdt.end_node(node).unwrap();
        }
        if skip != "memory" {
            let node = fdt.begin_node("memory@40000000").unwrap();
            fdt.property_string("device_type", "memory").unwrap();
            fdt.property_array_u64("reg", &[0x4000_0000, 0x40_0000]).unwrap();
            fdt.end_node(node).unwrap();
        }
        if skip != "timer" {
            let node = fdt.begin_node("timer").unwrap();
            fdt.property_string("compatible", "arm,armv7-timer").unwrap();
            fdt.property_array_u32("interrupts", &[1, 13, 0xf08, 1, 14, 0xf08, 1, 11, 0xf08]).unwrap();
            fdt.end_node(node).unwrap();
        }
        if skip != "interrupt-controller" {
            let node = fdt.begin_node("interrupt-controller@3001000").unwrap();
            fdt.property_string("compatible", "arm,cortex-a15-gic").unwrap();
            fdt.property_array_u64("reg", &[0x300_1000, 0x1000, 0x300_2000, 0x2000]).unwrap();
            fdt.end_node(node).unwrap();
        }
        if skip != "hypervisor" {
            let node = fdt.begin_node("hypervisor").unwrap();
            fdt.property_string_list("compatible", vec!["xen,xen-4.17".into(), "xen,xen".into()]).unwrap();
            fdt.property_array_u64("reg", &[0x3800_0000, 0x100_0000]).unwrap();
            fdt.property_array_u32("interrupts", &[1, 15, 0xf08]).unwrap();
            fdt.end_node(node).unwrap();
        }
        fdt.end_node(root).unwrap();
        fdt.finish().unwrap()
    }

    #[test]
    fn a_domains_tree_is_read() {
        let tree = tree("");
        assert_eq!(
            Machine::parse(&tree),
            Ok(Machine {
                bootargs: "ip=10.0.2.20 token=abc",
                ram: Range { start: 0x4000_0000, size: 0x40_0000 },
                gic_distributor: Range { start: 0x300_1000, size: 0x1000 },
                gic_cpu_interface: Range { start: 0x300_2000, size: 0x2000 },
                xen_region: Range { start: 0x3800_0000, size: 0x100_0000 },
                event_irq: 31,
                timer_irq: 27,
                timer_frequency: None,
            })
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        for name in ["memory", "timer", "interrupt-controller", "hypervisor"] {
            assert_eq!(Machine::parse(&tree(name)), Err(MachineError::NoNode(name)));
        }
        assert_eq!(Machine::parse(&tree("chosen")).unwrap().bootargs, "");
        assert_eq!(Machine::parse(&[0; 64]), Err(MachineError::Malformed));
    }
}
