//! `[[service.disk]]`: the block devices that a guest finds.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::kernel::Kernels;
use super::reader::{Field, Line, Reader};
use crate::text::chain;

pub(super) const KEYS: [&str; 3] = ["path", "device", "access"];

const EXAMPLE: &str = "[[service.disk]] with path = \"/data/disk.img\"";

/// Most disks of a guest: the names from xvda to xvdp, whose numbers every guest knows.
const MAX_DISKS: u8 = 16;

/// The card's data partition. It is mounted when the node serves already, so that what is on it cannot be looked at
/// when the file is read.
const DATA: &str = "/data";

/// A guest's block device.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Disk {
    /// The full path of a file, or of a block device of dom0.
    pub path: PathBuf,
    /// Which one it is for the guest.
    pub device: DiskName,
    /// Whether the guest may write to it.
    pub writable: bool,
}

/// A name from `xvda` to `xvdp`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DiskName(u8);

impl DiskName {
    fn parse(text: &str) -> Option<Self> {
        let [letter] = text.strip_prefix("xvd")?.as_bytes() else { return None };
        letter.checked_sub(b'a').filter(|number| *number < MAX_DISKS).map(DiskName)
    }

    /// Its number in XenStore: Linux's major number for Xen's disks, and room for 15 partitions each
    /// (`docs/man/xen-vbd-interface.7.pandoc` of Xen).
    pub fn number(self) -> u32 {
        202 << 8 | u32::from(self.0) << 4
    }
}

impl fmt::Display for DiskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "xvd{}", char::from(b'a' + self.0))
    }
}

/// What tells a file or device from all others, whatever its path: the numbers of file system and inode, or that of
/// the device beside a file system that there is not.
pub type DiskIdentity = (u64, u64);

/// Looks at what is to be a disk.
///
/// # Errors
/// It cannot be looked at, or is neither a file with something in it nor a block device.
pub fn probe_disk(path: &Path) -> io::Result<DiskIdentity> {
    let invalid = |fault| Err(io::Error::new(io::ErrorKind::InvalidInput, fault));
    let metadata = std::fs::metadata(path)?;
    match metadata.file_type() {
        kind if kind.is_block_device() => Ok((u64::MAX, metadata.rdev())),
        kind if !kind.is_file() => invalid("it is neither a file nor a block device"),
        _ if metadata.len() == 0 => invalid("it is empty"),
        _ => Ok((metadata.dev(), metadata.ino())),
    }
}

/// Whose disks there are.
#[derive(Default)]
pub struct Claims(HashMap<Claim, Claimant>);

#[derive(PartialEq, Eq, Hash)]
enum Claim {
    Identity(DiskIdentity),
    /// Of what cannot be looked at yet.
    Path(PathBuf),
}

struct Claimant {
    owner: String,
    writes: bool,
}

/// Reads all of a service's.
pub fn read(reader: &mut Reader<'_, '_>, claims: &mut Claims, files: &Kernels<'_>) -> Vec<Disk> {
    let tables = reader.tables("disk", EXAMPLE);
    if tables.len() > usize::from(MAX_DISKS) {
        let what = format!("{} disks, more than {MAX_DISKS}", tables.len());
        reader.problem(reader.line_of("disk"), what, "remove some");
        return Vec::new();
    }
    let mut found: Vec<Disk> = Vec::new();
    for (line, table) in tables {
        let disk = reader.within(line, table, |reader| one(reader, &found, claims, files));
        found.extend(disk);
    }
    found
}

fn one(
    reader: &mut Reader<'_, '_>,
    before: &[Disk],
    claims: &mut Claims,
    files: &Kernels<'_>,
) -> Option<Disk> {
    reader.refuse_unknown(&KEYS, "[[service.disk]]");
    let device = device(reader, before);
    let writable = match reader.string("access", "access = \"rw\"") {
        Some(Field { value: "rw", .. }) => true,
        Some(Field { value: "ro", .. }) | None => false,
        Some(Field { value, line }) => {
            let fix = "write \"ro\" for reading only, or \"rw\" for reading and writing";
            reader.problem(line, format!("access {value:?} is not known"), fix);
            false
        }
    };
    let Field { value: path, line } = reader.required_string("path", "path = \"/data/disk.img\"")?;
    if !path.starts_with('/') || path.contains('\0') {
        reader.problem(line, format!("disk {path:?} is not a full path"), "begin it with /");
        return None;
    }
    let path = PathBuf::from(path);
    let claim = look_at(reader, &path, line, files)?;
    let owner = reader.service.clone().unwrap_or_else(|| format!("the service on line {}", reader.line.0));
    match claims.0.get_mut(&claim) {
        Some(other) if other.writes || writable => {
            let what = format!(
                "disk {} is used by {} too, and one of them writes to it",
                path.display(),
                other.owner
            );
            reader.problem(line, what, "give every service that writes a disk of its own");
            return None;
        }
        Some(_) => {}
        None => drop(claims.0.insert(claim, Claimant { owner, writes: writable })),
    }
    Some(Disk { path, device: device?, writable })
}

fn device(reader: &mut Reader<'_, '_>, before: &[Disk]) -> Option<DiskName> {
    let taken = |name: &DiskName| before.iter().any(|disk| disk.device == *name);
    let Some(Field { value, line }) = reader.string("device", "device = \"xvda\"") else {
        return (0..MAX_DISKS).map(DiskName).find(|name| !taken(name)).filter(|_| !reader.has("device"));
    };
    let fault = match DiskName::parse(value) {
        None => "is none of xvda to xvdp",
        Some(name) if taken(&name) => "is already another disk of this service",
        Some(name) => return Some(name),
    };
    reader.problem(line, format!("device {value:?} {fault}"), "write another name, or none");
    None
}

fn look_at(reader: &mut Reader<'_, '_>, path: &Path, line: Line, files: &Kernels<'_>) -> Option<Claim> {
    match (files.disk)(path) {
        Ok(identity) => Some(Claim::Identity(identity)),
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && files.card.is_some() && path.starts_with(DATA) =>
        {
            Some(Claim::Path(path.to_owned()))
        }
        Err(error) => {
            let what = format!("disk {} cannot be used: {}", path.display(), chain(&error));
            reader.problem(line, what, "put the disk's image there, or correct the path");
            None
        }
    }
}
