//! What a card's boot script would have loaded, read back out of the card and started on QEMU's `virt` machine, with
//! the card as its disk: the same Xen, kernel and initramfs, and all that the node finds on the card itself.

use super::{Bench, LIMIT, Test, ensure_problem, ensure_serves};
use crate::board::{self, Board};
use crate::card::Edit;
use crate::client::{NodeSpec, RunningNode};
use crate::image::Image;
use crate::paths;
use crate::qemu::Start;
use anyhow::{Context, Result, ensure};
use std::path::Path;

/// The tests, in order.
pub const TESTS: [Test; 2] = [
    ("what it would boot, on another machine, serves what the card's jitsu.toml says", serves),
    ("the same with a jitsu.toml that is none", nonsense),
];

fn serves(bench: &Bench<'_>) -> Result<()> {
    let card = bench.card(|card| {
        let config = bench.config_with_token(card)?;
        card.write("jitsu.toml", config.as_bytes())
    })?;
    let node = boot(bench, &card, "payload")?;
    ensure_serves(&node, "www", &bench.token)?;
    let status = node.status()?;
    ensure!(status.problems.is_empty(), "/status has problems: {:?}", status.problems);
    ensure!(status.boot.slot.as_deref() == Some("a"), "/status says {:?}", status.boot);
    ensure!(status.boot.board.as_ref() == Some(&bench.image.board.name), "/status says {:?}", status.boot);
    let on_card = status.card.context("/status has no card")?;
    ensure!(on_card.partition == partition(&card)?, "/status says {on_card:?}");
    ensure!(on_card.boot.state == "mounted", "/status says {on_card:?}");
    Ok(())
}

fn nonsense(bench: &Bench<'_>) -> Result<()> {
    let card = bench.card(|card| card.write("jitsu.toml", b"[node]\nname = \"jitsu\"\n]]]\n"))?;
    let node = boot(bench, &card, "payload-nonsense")?;
    let page = node.summon("www")?.page.body;
    ensure!(page.contains("Hello from www"), "the page is another one:\n{page}");
    ensure_problem(&node.status()?, "jitsu.toml", 3, "")
}

fn boot(bench: &Bench<'_>, card: &Path, test: &str) -> Result<RunningNode> {
    let partition = partition(card)?;
    let board = &bench.image.board;
    let directory = bench.directory.path().join("payload");
    let mut virt = Board::read(board::DEFAULT)?;
    virt.dom0.memory = board.dom0.memory;
    // What the boot script tells.
    virt.dom0.args += &format!(" jitsu.board={} jitsu.card={partition} jitsu.slot=a", board.name);
    let image = Image { board: virt, directory, card: None };
    let mut edit = Edit::open(card)?;
    for (from, to) in
        [("a/xen", image.xen()), ("a/kernel", image.kernel()), ("a/initramfs", image.initramfs())]
    {
        paths::write_atomic(&to, &edit.read(from)?)?;
    }
    let start = Start::Memory { image, extra_files: Vec::new(), disk: Some(card.to_owned()) };
    RunningNode::boot(NodeSpec { start, icount: false, log: bench.log(test), timeout: LIMIT })
}

/// The first partition's UUID as U-Boot and Linux make it of the disk's signature, four bytes at 440.
fn partition(card: &Path) -> Result<String> {
    use std::os::unix::fs::FileExt;
    let mut signature = [0; 4];
    let read = std::fs::File::open(card).and_then(|file| file.read_exact_at(&mut signature, 440));
    read.with_context(|| format!("reading {}", card.display()))?;
    Ok(format!("{:08x}-01", u32::from_le_bytes(signature)))
}
