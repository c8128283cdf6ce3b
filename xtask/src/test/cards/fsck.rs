//! What the checkers of the file systems say about a card.

use crate::card::layout::{DATA, FAT};
use crate::fail::{Class, Fail};
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, copy};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Fails when a checker finds something in the card's partitions; the second one has `data` bytes. They are copied
/// to `directory` for it.
pub fn check(card: &Path, data: u64, directory: &Path) -> Result<()> {
    // -n: look only.
    run("fsck.vfat", &["-n"], &partition(card, FAT.start, FAT.size, &directory.join("fat"))?)?;
    run("e2fsck", &["-f", "-n"], &partition(card, DATA.start, data, &directory.join("data"))?)
}

fn partition(card: &Path, start: u64, size: u64, to: &Path) -> Result<PathBuf> {
    let cut = || {
        let mut card = File::open(card)?;
        card.seek(SeekFrom::Start(start))?;
        copy(&mut card.take(size), &mut File::create(to)?)
    };
    let copied = cut().with_context(|| format!("copying a partition of {}", card.display()))?;
    ensure!(copied == size, "{} ends within a partition", card.display());
    Ok(to.to_owned())
}

fn run(checker: &str, arguments: &[&str], partition: &Path) -> Result<()> {
    // Debian keeps them where only root looks.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output =
        Command::new(checker).args(arguments).arg(partition).env("PATH", path).output().map_err(|e| {
            Fail::new(Class::Host, format!("running {checker}: {e}; install e2fsprogs and dosfstools"))
        })?;
    ensure!(
        output.status.success(),
        "{checker}: {}: {}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
