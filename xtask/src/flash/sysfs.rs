//! Facts about this host's disks, from sysfs and procfs (Linux: Documentation/ABI/stable/sysfs-block).
//!
//! Everything is read below a root directory, so that tests can fabricate one.

use super::candidate::{Candidate, Transport, Use};
use crate::fail::{Class, Fail};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Bytes in a sector as sysfs counts them, whatever the device's own are.
const SECTOR: u64 = 512;

/// Where `sys` and `proc` are.
pub struct Host {
    root: PathBuf,
}

/// What a block device's number stands for.
#[derive(Debug, PartialEq, Eq)]
pub enum Block {
    /// A whole disk, by its name.
    Disk(String),
    /// A partition of that disk.
    Partition { name: String, disk: String },
}

impl Host {
    /// This host.
    pub fn this() -> Self {
        Self { root: PathBuf::from("/") }
    }

    #[cfg(test)]
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Every disk, by name. One that goes away meanwhile is left out.
    pub fn disks(&self) -> Result<Vec<Candidate>> {
        let mut names = entries(&self.block());
        names.sort();
        let present = names.iter().filter(|name| self.block().join(name).join("size").exists());
        present.map(|name| self.disk(name)).collect()
    }

    /// Whether there is a disk of this name.
    pub fn has_disk(&self, name: &str) -> bool {
        !name.is_empty() && !name.contains('/') && self.block().join(name).join("size").exists()
    }

    /// The disk or partition with the number `major:minor`.
    pub fn block_of(&self, major: u64, minor: u64) -> Result<Block> {
        let link = self.root.join(format!("sys/dev/block/{major}:{minor}"));
        let place = link.canonicalize().with_context(|| format!("looking up {}", link.display()))?;
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !place.join("partition").exists() {
            return Ok(Block::Disk(name(&place)));
        }
        let disk = name(place.parent().unwrap_or(&place));
        Ok(Block::Partition { name: name(&place), disk })
    }

    /// What is known of one disk.
    ///
    /// # Errors
    /// A fact that a refusal may depend on cannot be read: it is not guessed.
    pub fn disk(&self, name: &str) -> Result<Candidate> {
        let directory = self.block().join(name);
        let flag = |file: &str| Ok::<_, anyhow::Error>(number(&directory.join(file))? != 0);
        let sectors = number(&directory.join("size"))?;
        let identity = [text(&directory.join("device/vendor")), text(&directory.join("device/model"))];
        let mut model = identity.iter().flatten().cloned().collect::<Vec<_>>().join(" ");
        if model.is_empty() {
            // SD cards have a name instead, of five letters.
            model = text(&directory.join("device/name")).unwrap_or_default();
        }
        Ok(Candidate {
            name: name.to_owned(),
            model,
            size: sectors.saturating_mul(SECTOR),
            transport: transport(name, &directory)?,
            removable: flag("removable")?,
            read_only: flag("ro")?,
            uses: self.uses(name, &directory)?,
        })
    }

    /// What `path`, a plain file, is used for: swapping, or as the disk of a loop device.
    pub fn uses_of_file(&self, path: &Path) -> Result<Vec<Use>> {
        let path = path.to_string_lossy().into_owned();
        let mut uses = Vec::new();
        if self.swaps()?.contains(&path) {
            uses.push(Use::Swap { part: path.clone() });
        }
        let loops = self.loops().into_iter().filter(|(_, file)| *file == path);
        uses.extend(loops.map(|(by, _)| Use::Held { part: path.clone(), by }));
        Ok(uses)
    }

    fn block(&self) -> PathBuf {
        self.root.join("sys/block")
    }

    fn uses(&self, name: &str, directory: &Path) -> Result<Vec<Use>> {
        let partitions = entries(directory).into_iter();
        let mut partitions: Vec<_> =
            partitions.filter(|entry| directory.join(entry).join("partition").exists()).collect();
        partitions.sort();
        let partitions = partitions.into_iter().map(|part| (directory.join(&part), part));
        let (mounts, swaps, loops) = (self.mounts()?, self.swaps()?, self.loops());

        let mut uses = Vec::new();
        for (place, part) in std::iter::once((directory.to_owned(), name.to_owned())).chain(partitions) {
            let device = format!("/dev/{part}");
            let number =
                text(&place.join("dev")).ok_or_else(|| unreadable(&place.join("dev"), "no device number"))?;
            // Some file systems (btrfs) have a number of their own; then the source tells.
            let mounted = mounts.iter().filter(|mount| mount.number == number || mount.source == device);
            uses.extend(mounted.map(|mount| Use::Mounted { part: part.clone(), at: mount.at.clone() }));
            if swaps.contains(&device) {
                uses.push(Use::Swap { part: part.clone() });
            }
            for holder in entries(&place.join("holders")) {
                let mapped = text(&self.block().join(&holder).join("dm/name"));
                let by = mapped.map_or(holder.clone(), |mapped| format!("{holder} ({mapped})"));
                uses.push(Use::Held { part: part.clone(), by });
            }
            let loops = loops.iter().filter(|(_, file)| *file == device);
            uses.extend(loops.map(|(by, _)| Use::Held { part: part.clone(), by: by.clone() }));
        }
        Ok(uses)
    }

    /// Loop devices and what is behind them.
    fn loops(&self) -> Vec<(String, String)> {
        let names = entries(&self.block()).into_iter().filter(|name| name.starts_with("loop"));
        names
            .filter_map(|name| {
                let file = text(&self.block().join(&name).join("loop/backing_file"))?;
                Some((name, file))
            })
            .collect()
    }

    fn mounts(&self) -> Result<Vec<Mount>> {
        let path = self.root.join("proc/self/mountinfo");
        let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        text.lines()
            .map(|line| Mount::parse(line).ok_or_else(|| unreadable(&path, &format!("line {line:?}"))))
            .collect()
    }

    /// Devices and files that the host swaps to.
    fn swaps(&self) -> Result<Vec<String>> {
        let path = self.root.join("proc/swaps");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            // A kernel without swap has no such file.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(e).with_context(|| format!("reading {}", path.display())),
        };
        Ok(text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).map(unescape).collect())
    }
}

/// A line of mountinfo (proc_pid_mountinfo(5)).
struct Mount {
    /// `major:minor`.
    number: String,
    at: String,
    source: String,
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ');
        let number = before.nth(2)?.to_owned();
        let at = unescape(before.nth(1)?);
        let source = unescape(after.split(' ').nth(1)?);
        Some(Self { number, at, source })
    }
}

/// The transport, from where in the tree of devices the disk is.
fn transport(name: &str, directory: &Path) -> Result<Transport> {
    let place = directory.canonicalize().with_context(|| format!("resolving {}", directory.display()))?;
    let below = |bus: &str| {
        place
            .iter()
            .filter_map(|part| part.to_str()?.strip_prefix(bus))
            .any(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    // SCSI's type 5: CD-ROM and what followed it.
    if name.starts_with("sr") || text(&directory.join("device/type")).as_deref() == Some("5") {
        return Ok(Transport::Optical);
    }
    if name.starts_with("loop") {
        return Ok(Transport::Loop);
    }
    // A card reader on USB may show up as an mmc host, so that this comes first.
    if below("mmc") {
        let sd = text(&directory.join("device/type")).as_deref() == Some("SD");
        return Ok(if sd { Transport::Sd } else { Transport::Emmc });
    }
    Ok(if below("usb") { Transport::Usb } else { Transport::Other })
}

/// The names in a directory; none when it cannot be read.
fn entries(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// A file's text without the white space around it; `None` when it is missing or empty.
fn text(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn number(path: &Path) -> Result<u64> {
    let number = text(path).and_then(|text| text.parse().ok());
    number.ok_or_else(|| unreadable(path, "no number"))
}

fn unreadable(path: &Path, found: &str) -> anyhow::Error {
    Fail::new(Class::Host, format!("{}: {found}; is sysfs and procfs mounted?", path.display()))
}

/// Undoes the kernel's `\040` for a blank, and so on.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) => {
                plain.push(char::from(code));
                plain.push_str(&part[3..]);
            }
            None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests;
