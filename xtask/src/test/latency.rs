//! The bars of instruction time, on a node of their own.

use super::{Report, log_file, matches};
use crate::demo::{self, Figures, inside};
use crate::image::Image;
use anyhow::{Result, ensure};
use std::cell::RefCell;

/// What the tests are called, by their order in [`Figures::bars`].
const NAMES: [&str; 3] = [
    "instruction time: a domain is built in 10 ms",
    "instruction time: from the query to the first byte in 15 ms",
    "instruction time: DNS answers 3 s after dom0's kernel begins",
];

/// Runs them.
pub fn run(image: &Image, filter: Option<&str>, report: &mut Report) -> Result<()> {
    if !NAMES.iter().any(|name| matches(name, filter)) {
        return Ok(());
    }
    let client = inside::client()?;
    let log = log_file("console-icount.log");
    println!("\nthe node in QEMU, in instruction time; console: {}", log.display());
    let token = crate::client::token()?;
    let measured = report.check_aloud("instruction time: a client inside the node is served", || {
        let node = inside::Node::boot(image, client, &demo::config(&token), log, inside::TIMEOUT)?;
        let measured = node.request("www")?;
        ensure!(measured.reply.contains(&token), "the page is not of this run:\n{}", measured.reply);
        Figures::of_one_clock(&measured, "www")
    });
    let Some(figures) = measured else { return Ok(()) };
    let bars = figures.bars()?;
    for (name, bar) in NAMES.iter().zip(bars).filter(|(name, _)| matches(name, filter)) {
        let note = RefCell::new(Some(format!("{} ms", demo::ms(bar.ns))));
        report.check_noting(name, &note, || {
            ensure!(bar.is_met(), "{bar}");
            Ok(())
        });
    }
    Ok(())
}
