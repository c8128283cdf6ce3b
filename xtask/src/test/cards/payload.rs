//! What a card's boot script would have loaded, read back out of the card and started on QEMU's `virt` machine, with
//! the card as its disk: the same Xen, kernel and initramfs, and all that the node finds on the card itself.

use super::{Bench, LIMIT, PATIENCE, Test, ensure_problem, ensure_serves};
use crate::board::{self, Board};
use crate::card::Edit;
use crate::client::{Mark, NodeSpec, RunningNode};
use crate::image::Image;
use crate::paths;
use crate::qemu::Start;
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;

/// The tests, in order.
pub const TESTS: [Test; 2] = [
    ("what it would boot, on another machine, serves what the card's jitsu.toml says", serves),
    ("the same with a jitsu.toml that is none, and a key for SSH", nonsense),
];

/// The form of one is all that the server looks at until somebody logs in.
const PUBLIC_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA somebody\r\n";

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
    let servers = node.shell("pidof dropbear || true")?;
    ensure!(servers.trim().is_empty(), "an SSH server runs, and nobody put a key on the card");
    Ok(())
}

fn nonsense(bench: &Bench<'_>) -> Result<()> {
    let card = bench.card(|card| {
        card.write("authorized_keys", PUBLIC_KEY.as_bytes())?;
        card.write("jitsu.toml", b"[node]\nname = \"jitsu\"\n]]]\n")
    })?;
    let node = boot(bench, &card, "payload-nonsense")?;
    let page = node.summon("www")?.page.body;
    ensure!(page.contains("Hello from www"), "the page is another one:\n{page}");
    ensure_problem(&node.status()?, "jitsu.toml", 3, "")?;
    ensure_ssh(&node)
}

/// Fails unless the SSH server greets whoever connects.
fn ensure_ssh(node: &RunningNode) -> Result<()> {
    // What it logs when it begins to listen.
    let listens = |line: &str| line.contains("Not backgrounding");
    node.await_line(Mark::START, "the SSH server to run", PATIENCE, listens)?;
    let stream =
        TcpStream::connect(node.reach(node.address(), 22)?).context("connecting to the SSH server")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut greeting = String::new();
    BufReader::new(stream).read_line(&mut greeting).context("reading the SSH server's greeting")?;
    ensure!(greeting.starts_with("SSH-2.0-dropbear"), "the SSH server greets with {greeting:?}");
    Ok(())
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
