//! `cargo xtask flash`: writes a board's image to a card, and makes sure that it is there.
//!
//! `candidate` decides what may be written to, from the facts that `sysfs` finds; `write` has the order of
//! writing and the verification; `target` is the thin layer of devices and files below them.

mod candidate;
mod sysfs;
mod target;
mod write;

use crate::bmap::Bmap;
use crate::fail::{Class, Fail};
use crate::image::{self, SourceArgs};
use crate::ui;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::BufRead;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use sysfs::Host;
use target::Target;

/// Write a board's image to a card and verify it. Without DEVICE, lists the cards that there are.
#[derive(clap::Args)]
#[command(after_help = "\
Only removable devices that nothing uses are written to, after a question; a loop device counts as a file. A file
that is missing or empty gets the image's size; any other is treated like a card of its size. The exit code is 3
for what is refused and 6 for what reads back differently. An interrupted run leaves a card that does not boot:
repeat it.

Examples:
  cargo xtask flash                                       # which cards are there?
  cargo xtask flash --board cubietruck /dev/sdX           # build the image, ask, write, verify
  cargo xtask flash --image sdcard.img --yes /dev/mmcblk0 # a given image, no question
  cargo xtask flash --board cubietruck card.img           # into a file")]
pub struct Args {
    /// Which of the folders in board/; needed unless there is an --image
    #[arg(long)]
    board: Option<String>,
    /// This image instead of the board's own; FILE.bmap beside it says which blocks to write, else all are
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    source: SourceArgs,
    /// The card, as in /dev/sdX, or a file
    device: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<()> {
    let host = Host::this();
    let Some(device) = &args.device else { return Err(list(&host)?) };
    // Before the image, which may take minutes to build; its size comes in when it is there.
    permit(&Target::find(device, &host)?, 0)?;

    let path = image_of(args)?;
    let reading = || format!("reading image {}", path.display());
    let file =
        File::open(&path).map_err(|e| Fail::new(Class::Input, format!("image {}: {e}", path.display())))?;
    check_partition_table(&file).with_context(reading)?;
    let map = map_of(&path)?;
    write::check_source(&file, &map).with_context(reading)?;

    // Looked at again: a desktop mounts cards by itself, and people change them.
    let target = Target::find(device, &host)?;
    if target.is(&path, &host).with_context(reading)? {
        return Err(Fail::new(Class::Input, format!("{}: it is the image itself", device.display())));
    }
    permit(&target, map.image_size())?;
    let what = args.board.as_deref().map_or(String::new(), |board| format!("board:  {board}\n"));
    let image = format!("{what}image:  {}", path.display());
    confirm(args.yes, &target, &image, &map, &mut std::io::stdin().lock())?;
    flash(&file, &map, &target)?;
    println!("{}", target.path().display());
    Ok(())
}

fn flash(image: &File, map: &Bmap, target: &Target) -> Result<()> {
    let name = target.path().display().to_string();
    let mut medium = target.open(map.image_size())?;
    let task = ui::Task::steps(format!("writing {name}"), map.mapped_bytes());
    write::write(image, map, &mut medium, &|bytes| task.advance(bytes)).with_context(|| {
        format!("writing {name}; it is unfinished and does not boot: repeat this, or take another card")
    })?;
    drop(task);
    let task = ui::Task::steps(format!("verifying {name}"), map.mapped_bytes());
    write::verify(image, map, &mut medium, &|bytes| task.advance(bytes))
        .with_context(|| format!("verifying {name}"))?;
    drop(task);
    // The kernel reads no partition table while somebody has the disk for himself.
    drop(medium);
    target.reread_partitions();
    ui::say(format!("{name}: {} written and verified", ui::human_bytes(map.mapped_bytes())));
    Ok(())
}

/// The image to write: the one named, or the board's, built now.
fn image_of(args: &Args) -> Result<PathBuf> {
    if let Some(path) = &args.image {
        return Ok(path.clone());
    }
    let Some(board) = &args.board else {
        return Err(Fail::new(
            Class::Input,
            "which image? name a board with --board, or a file with --image",
        ));
    };
    image::build(board, &args.source.options())?.card.ok_or_else(|| {
        Fail::new(Class::Input, format!("board {board} has no card: QEMU starts it without one"))
    })
}

/// Whether the first sector has the signature of a partition table: what is compressed has not, and would pass
/// for an image otherwise.
fn check_partition_table(image: &File) -> Result<()> {
    let mut sector = [0; 512];
    let read = image.read_exact_at(&mut sector, 0);
    if read.is_ok() && sector.ends_with(&[0x55, 0xaa]) {
        return Ok(());
    }
    Err(Fail::new(
        Class::Input,
        "it has no partition table, so it is no image of a card; if it is compressed, unpack it first (`xz -dk FILE.xz`)",
    ))
}

/// The map beside an image, as bmaptool looks for it: `sdcard.img.bmap`, then `sdcard.bmap`. Without one, every
/// block is written.
fn map_of(image: &Path) -> Result<Bmap> {
    let mut appended = image.as_os_str().to_owned();
    appended.push(".bmap");
    for map in [PathBuf::from(appended), image.with_extension("bmap")] {
        if map.is_file() {
            return Bmap::read(&map);
        }
    }
    ui::say(format!("{} has no block map beside it: all of it is written", image.display()));
    let size = image.metadata().with_context(|| format!("reading image {}", image.display()))?.len();
    Bmap::of(image, std::slice::from_ref(&(0..size)))
}

/// Nothing, or every reason in one error.
fn permit(target: &Target, needs: u64) -> Result<()> {
    let refusals = target.refusals(needs);
    if refusals.is_empty() {
        return Ok(());
    }
    let reasons = refusals.iter().map(|refusal| format!("\n  {refusal}")).collect::<String>();
    Err(Fail::new(Class::Input, format!("{} is left alone:{reasons}", target.path().display())))
}

/// Shows what is about to happen and has the device's name typed, unless told not to ask.
fn confirm(yes: bool, target: &Target, image: &str, map: &Bmap, answers: &mut impl BufRead) -> Result<()> {
    let (to, name) = match target {
        Target::Disk(_, candidate) => (candidate.describe(), candidate.name.clone()),
        Target::File { path, size, .. } => {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (format!("{}  file of {}", path.display(), ui::human_bytes(*size)), name)
        }
    };
    let mapped = ui::human_bytes(map.mapped_bytes());
    ui::say(format!("{image} ({}, {mapped} to write)\nto:     {to}", ui::human_bytes(map.image_size())));
    // In an empty file there is nothing to lose.
    if yes || matches!(target, Target::File { size: 0, .. }) {
        return Ok(());
    }
    ui::say(format!("Everything on it will be lost. Type {name} to go on:"));
    let mut answer = String::new();
    answers.read_line(&mut answer).context("reading the answer")?;
    let answer = answer.trim();
    if answer == name || Path::new(answer) == target.path() {
        return Ok(());
    }
    Err(Fail::new(
        Class::Input,
        format!("{answer:?} is not {name}: nothing was written (--yes asks nothing)"),
    ))
}

/// Prints the cards that there are. Naming none is an error: nothing was flashed.
fn list(host: &Host) -> Result<anyhow::Error> {
    let disks = host.disks()?;
    let cards: Vec<_> = disks.iter().filter(|disk| disk.is_listed()).collect();
    for card in &cards {
        println!("{}", card.describe());
        for refusal in card.refusals(0) {
            println!("    {refusal}");
        }
    }
    let message = match cards.len() {
        0 => "no card is there: insert one, or name a file to write the image to",
        _ => "which device? name one of these, as in `cargo xtask flash --board BOARD /dev/NAME`",
    };
    Ok(Fail::new(Class::Input, message))
}

#[cfg(test)]
mod tests;
