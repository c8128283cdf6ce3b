//! The boot script by real U-Boot, on a machine of the same family: the card of the board under test with the U-Boot
//! of a board that QEMU has a machine for. All of them have RAM at the same address, and their script, files and
//! device tree are the card's own. What is started with them need not run on that machine, so these tests end when
//! Xen has begun.

use super::{Bench, LIMIT, PATIENCE, Test};
use crate::card::layout::FIRMWARE;
use crate::qemu::{BootSpec, Qemu, Start};
use anyhow::{Context, Result};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The tests, in order.
pub const TESTS: [Test; 2] = [
    ("U-Boot runs its script, up to Xen", as_built),
    ("U-Boot runs its script; a/dtb is missing, so it takes the second copy, up to Xen", second_copy),
];

fn as_built(bench: &Bench<'_>) -> Result<()> {
    let card = bench.card(|_| Ok(()))?;
    let steps = ["== Reading the system in a/", "== Starting Xen, and with it the system in a/"];
    run(bench, &card, "script", &steps)
}

fn second_copy(bench: &Bench<'_>) -> Result<()> {
    let card = bench.card(|card| card.remove("a/dtb"))?;
    let steps = [
        "== a/dtb:missing",
        "== Reading the system in b/",
        "== a/dtb:missing, so this is the second copy of the system",
        "== Starting Xen, and with it the system in b/",
    ];
    run(bench, &card, "script-second", &steps)
}

/// Starts the machine from the card, and waits for each of the steps, then for Xen.
fn run(bench: &Bench<'_>, card: &Path, test: &str, steps: &[&str]) -> Result<()> {
    take_firmware(bench, card)?;
    let qemu = Qemu::start(&BootSpec {
        start: Start::Card { board: bench.machine.board.clone(), card: card.to_owned() },
        icount: false,
        log: bench.log(test),
        timeout: LIMIT,
    })?;
    let title = format!("== jitsu-node on {}", bench.image.board.title);
    for step in [title.as_str()].iter().chain(steps).chain(&["Starting kernel ...", "(XEN) Xen version"]) {
        qemu.wait_for(step, PATIENCE)?;
    }
    Ok(())
}

/// Puts the U-Boot of the machine's own card in place of the card's.
fn take_firmware(bench: &Bench<'_>, card: &Path) -> Result<()> {
    let theirs = bench.machine.card.as_ref().context("the machine's board has no card")?;
    let mut firmware = vec![0; FIRMWARE.size as usize];
    let mut copy = || {
        File::open(theirs)?.read_exact_at(&mut firmware, FIRMWARE.start)?;
        OpenOptions::new().write(true).open(card)?.write_all_at(&firmware, FIRMWARE.start)
    };
    copy().with_context(|| format!("copying U-Boot from {} to {}", theirs.display(), card.display()))
}
