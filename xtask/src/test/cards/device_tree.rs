//! A board's device tree, as it is on the card, against what Xen and dom0's kernel need. For boards that QEMU has no
//! machine for, this is what can be known without one.

use super::{Bench, Test};
use crate::board::Card;
use crate::card::Edit;
use crate::card::layout::FIRMWARE;
use anyhow::{Context, Result, anyhow, ensure};
use fdt::Fdt;
use fdt::node::FdtNode;

/// The test.
pub const TESTS: [Test; 1] = [("the device tree has what Xen and Linux need", has_what_is_needed)];

/// UARTs that Xen's driver knows (`xen/drivers/char/ns16550.c`).
const UARTS: [&str; 3] = ["ns16550", "ns16550a", "snps,dw-apb-uart"];
/// Interrupt controllers that have registers for virtualisation (`xen/arch/arm/gic-v2.c`).
const GICS: [&str; 3] = ["arm,gic-400", "arm,cortex-a7-gic", "arm,cortex-a15-gic"];
/// Network cards of the modules dwmac-sunxi and dwmac-sun8i.
const NETWORK_CARDS: [&str; 2] = ["allwinner,sun7i-a20-gmac", "allwinner,sun8i-r40-gmac"];
/// Card slots of the module sunxi-mmc; the R40's is like the A64's.
const SLOTS: [&str; 2] = ["allwinner,sun7i-a20-mmc", "allwinner,sun50i-a64-mmc"];
/// Where the slot is that the boot ROM of A20 and R40 starts from (their user manuals, "memory mapping").
const MMC0: &str = "/soc/mmc@1c0f000";
/// Bytes of a cell.
const CELL: usize = 4;

fn has_what_is_needed(bench: &Bench<'_>) -> Result<()> {
    let card = bench.card(|_| Ok(()))?;
    let facts = bench.image.board.card.as_ref().context("the board has no card")?;
    let blob = Edit::open(&card)?.read("a/dtb")?;
    let lacks = lacks(&blob, facts)?;
    ensure!(lacks.is_empty(), "{} lacks:\n{}", facts.device_tree, lacks.join("\n"));

    // Nobody else can start and stop processors: U-Boot stays in memory for it, and adds the node /psci.
    use std::os::unix::fs::FileExt;
    let mut firmware = vec![0; FIRMWARE.size as usize];
    let read = std::fs::File::open(&card).and_then(|file| file.read_exact_at(&mut firmware, FIRMWARE.start));
    read.with_context(|| format!("reading {}", card.display()))?;
    let psci = b"arm,psci\0";
    ensure!(firmware.windows(psci.len()).any(|text| text == psci), "the card's U-Boot has no PSCI");
    Ok(())
}

/// What the tree lacks, in words.
fn lacks(blob: &[u8], card: &Card) -> Result<Vec<String>> {
    let tree = Fdt::new(blob).map_err(|error| anyhow!("{}: {error:?}", card.device_tree))?;
    let checks: [(&str, Result<()>); 7] = [
        ("a console", console(&tree)),
        ("a network card", network(&tree)),
        ("the card's slot", slot(&tree)),
        ("an interrupt controller", interrupt_controller(&tree)),
        ("timers", timers(&tree)),
        ("processors", processors(&tree)),
        ("a light", light(&tree, &card.led)),
    ];
    let lacks = checks.into_iter().filter_map(|(what, check)| Some(format!("{what}: {}", check.err()?)));
    Ok(lacks.collect())
}

/// Xen is told `dtuart=serial0`.
fn console(tree: &Fdt<'_>) -> Result<()> {
    let node = alias(tree, "serial0")?;
    is_one_of(node, &UARTS)?;
    is_enabled(node)?;
    cells(node, "interrupts").map(drop)
}

/// U-Boot writes the address to the node that `ethernet0` is an alias of.
fn network(tree: &Fdt<'_>) -> Result<()> {
    let node = alias(tree, "ethernet0")?;
    is_one_of(node, &NETWORK_CARDS)?;
    is_enabled(node)?;
    let handle = ["phy-handle", "phy"].iter().find_map(|name| cells(node, name).ok());
    let handle =
        *handle.context("its transceiver is not named")?.first().context("its transceiver has no name")?;
    let transceiver = tree.find_phandle(handle).context("its transceiver is not described")?;
    ensure!(transceiver.property("reg").is_some(), "its transceiver has no address");
    Ok(())
}

fn slot(tree: &Fdt<'_>) -> Result<()> {
    let node = tree.find_node(MMC0).with_context(|| format!("no {MMC0}"))?;
    is_one_of(node, &SLOTS)?;
    is_enabled(node)
}

fn interrupt_controller(tree: &Fdt<'_>) -> Result<()> {
    let node = tree.find_compatible(&GICS).with_context(|| format!("none is {}", GICS.join(" or ")))?;
    // Distributor, CPU interface, and what is for virtualisation: hypervisor's and guests' interfaces; each an
    // address and a size of a cell.
    let registers = cells(node, "reg")?.len();
    ensure!(registers == 4 * 2, "{registers} cells of registers instead of 8");
    // The hypervisor's own interrupt.
    cells(node, "interrupts").map(drop)
}

fn timers(tree: &Fdt<'_>) -> Result<()> {
    let node = tree.find_compatible(&["arm,armv7-timer"]).context("none is arm,armv7-timer")?;
    // Secure, non-secure, virtual, and the hypervisor's; three cells each.
    let interrupts = cells(node, "interrupts")?.len();
    ensure!(interrupts == 4 * 3, "{interrupts} cells of interrupts instead of 12");
    Ok(())
}

/// U-Boot enters `psci` as the way to start them, unless there is another way in the file.
fn processors(tree: &Fdt<'_>) -> Result<()> {
    let all = tree.find_node("/cpus").context("no /cpus")?;
    let processors: Vec<_> = all.children().filter(|node| node.name.starts_with("cpu@")).collect();
    ensure!(!processors.is_empty(), "none is described");
    for node in processors {
        is_one_of(node, &["arm,cortex-a7"])?;
        ensure!(text(node, "device_type") == Some("cpu"), "{} is no cpu", node.name);
        ensure!(node.property("reg").is_some(), "{} has no number", node.name);
        let method = text(node, "enable-method");
        ensure!(method.is_none_or(|method| method == "psci"), "{} is started by {method:?}", node.name);
    }
    Ok(())
}

fn light(tree: &Fdt<'_>, name: &str) -> Result<()> {
    let all = tree.find_node("/leds").context("no /leds")?;
    let labels: Vec<_> = all.children().filter_map(|node| text(node, "label")).collect();
    ensure!(labels.contains(&name), "none is {name}, only {}", labels.join(", "));
    Ok(())
}

fn alias<'b, 'a>(tree: &'b Fdt<'a>, name: &str) -> Result<FdtNode<'b, 'a>> {
    let path = tree.aliases().and_then(|aliases| aliases.resolve(name));
    let path = path.with_context(|| format!("no alias {name}"))?;
    tree.find_node(path).with_context(|| format!("no {path}, which {name} is an alias of"))
}

fn is_one_of(node: FdtNode<'_, '_>, known: &[&str]) -> Result<()> {
    let own: Vec<_> = node.compatible().map(|compatible| compatible.all().collect()).unwrap_or_default();
    ensure!(own.iter().any(|name| known.contains(name)), "{} is {own:?}, none of {known:?}", node.name);
    Ok(())
}

/// Without a status it is.
fn is_enabled(node: FdtNode<'_, '_>) -> Result<()> {
    let status = text(node, "status").unwrap_or("okay");
    ensure!(matches!(status, "okay" | "ok"), "{} is {status}", node.name);
    Ok(())
}

fn text<'a>(node: FdtNode<'_, 'a>, name: &str) -> Option<&'a str> {
    node.property(name)?.as_str()
}

/// A property's cells; at least one.
fn cells(node: FdtNode<'_, '_>, name: &str) -> Result<Vec<u32>> {
    let value = node.property(name).with_context(|| format!("{} has no {name}", node.name))?.value;
    let (cells, rest) = value.as_chunks::<CELL>();
    ensure!(!cells.is_empty() && rest.is_empty(), "{}, {name}: no list of cells", node.name);
    Ok(cells.iter().map(|cell| u32::from_be_bytes(*cell)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use vm_fdt::FdtWriter;

    const LED: &str = "board:blue:usr";

    fn facts() -> Card {
        Card {
            soc: String::new(),
            u_boot: String::new(),
            device_tree: "test.dtb".to_owned(),
            led: LED.to_owned(),
        }
    }

    /// A tree that has everything, but for what the arguments change.
    fn tree(uart: &str, gic_cells: usize, timer_cells: usize, slot: &str, led: &str) -> Vec<u8> {
        let write = || -> vm_fdt::FdtWriterResult<Vec<u8>> {
            let mut tree = FdtWriter::new()?;
            let root = tree.begin_node("")?;
            let aliases = tree.begin_node("aliases")?;
            tree.property_string("serial0", "/soc/serial@1c28000")?;
            tree.property_string("ethernet0", "/soc/ethernet@1c50000")?;
            tree.end_node(aliases)?;
            let cpus = tree.begin_node("cpus")?;
            let cpu = tree.begin_node("cpu@0")?;
            tree.property_string("compatible", "arm,cortex-a7")?;
            tree.property_string("device_type", "cpu")?;
            tree.property_u32("reg", 0)?;
            tree.end_node(cpu)?;
            tree.end_node(cpus)?;
            let leds = tree.begin_node("leds")?;
            let one = tree.begin_node("led-0")?;
            tree.property_string("label", led)?;
            tree.end_node(one)?;
            tree.end_node(leds)?;
            let timer = tree.begin_node("timer")?;
            tree.property_string("compatible", "arm,armv7-timer")?;
            tree.property_array_u32("interrupts", &vec![1; timer_cells])?;
            tree.end_node(timer)?;
            let soc = tree.begin_node("soc")?;
            let serial = tree.begin_node("serial@1c28000")?;
            tree.property_string("compatible", uart)?;
            tree.property_array_u32("interrupts", &[0, 1, 4])?;
            tree.end_node(serial)?;
            let ethernet = tree.begin_node("ethernet@1c50000")?;
            tree.property_string("compatible", "allwinner,sun7i-a20-gmac")?;
            tree.property_string("status", "okay")?;
            tree.property_u32("phy-handle", 7)?;
            let phy = tree.begin_node("ethernet-phy@1")?;
            tree.property_u32("reg", 1)?;
            tree.property_phandle(7)?;
            tree.end_node(phy)?;
            tree.end_node(ethernet)?;
            let mmc = tree.begin_node("mmc@1c0f000")?;
            tree.property_string("compatible", "allwinner,sun7i-a20-mmc")?;
            tree.property_string("status", slot)?;
            tree.end_node(mmc)?;
            let gic = tree.begin_node("interrupt-controller@1c81000")?;
            tree.property_string("compatible", "arm,gic-400")?;
            tree.property_array_u32("reg", &vec![0x1c8_1000; gic_cells])?;
            tree.property_array_u32("interrupts", &[1, 9, 0xf04])?;
            tree.end_node(gic)?;
            tree.end_node(soc)?;
            tree.end_node(root)?;
            tree.finish()
        };
        write().expect("tree")
    }

    #[test]
    fn a_whole_tree_lacks_nothing() {
        let lacks = lacks(&tree("snps,dw-apb-uart", 8, 12, "okay", LED), &facts()).expect("a tree");
        assert!(lacks.is_empty(), "{lacks:?}");
    }

    #[test]
    fn what_is_lacking_is_named() {
        let lacks = lacks(&tree("arm,pl011", 4, 9, "disabled", "other"), &facts()).expect("a tree");
        let named: Vec<&str> = lacks.iter().filter_map(|lack| Some(lack.split_once(':')?.0)).collect();
        assert_eq!(named, ["a console", "the card's slot", "an interrupt controller", "timers", "a light"]);
        assert!(lacks.iter().any(|lack| lack.contains("4 cells of registers instead of 8")), "{lacks:?}");
    }

    #[test]
    fn what_is_no_tree_is_an_error() {
        assert!(super::lacks(b"no tree", &facts()).is_err());
    }
}
