//! The files of a finished card: the image itself, packed, its block map and checksums.

use super::BLOCK;
use super::disk::Disk;
use crate::bmap::Bmap;
use crate::fail::{Class, Fail};
use crate::manifest::Manifest;
use crate::{download, paths, ui};
use anyhow::{Context, Result, ensure};
use liblzma::stream::{Check, Filters, LzmaOptions, Stream};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// The image's name beside the manifest.
pub const IMAGE: &str = "sdcard.img";

/// Most bytes of the packed image.
const PACKED_LIMIT: u64 = 32 << 20;

/// How far back the packer looks: the second copy of the system is found to be that.
const DICTIONARY: u32 = 32 << 20;

/// Writes `disk` and what goes with it into `directory`.
pub fn write(disk: &mut Disk, directory: &Path, manifest: &mut Manifest) -> Result<()> {
    let before = recorded(directory, IMAGE);
    write_plain(disk, directory, manifest)?;
    write_packed(disk, directory, manifest, before.is_some() && before == recorded(directory, IMAGE))
}

/// What the checksum file of an earlier build says about `name`.
fn recorded(directory: &Path, name: &str) -> Option<String> {
    let text = fs::read_to_string(directory.join(format!("{name}.sha256"))).ok()?;
    text.split_whitespace().next().map(str::to_owned)
}

/// The image as it is, its checksum and its block map.
pub fn write_plain(disk: &Disk, directory: &Path, manifest: &mut Manifest) -> Result<()> {
    paths::create_dir(directory)?;
    let image = directory.join(IMAGE);
    replaced(&image, |file| sparse(disk, file))?;
    checksum(directory, IMAGE, manifest)?;
    let written: Vec<_> =
        disk.mapped().iter().map(|blocks| blocks.start * BLOCK..blocks.end * BLOCK).collect();
    let map = Bmap::of(&image, &written)?;
    let name = format!("{IMAGE}.bmap");
    manifest.write_file(directory, &name, map.to_xml().as_bytes())
}

/// The packed image and its checksum. Packing takes longer than all the rest: when the image is the one that was
/// there before (`same`), what it was packed to is kept, if that is still what its checksum says.
fn write_packed(disk: &mut Disk, directory: &Path, manifest: &mut Manifest, same: bool) -> Result<()> {
    let packed = format!("{IMAGE}.xz");
    let kept = || hash(&directory.join(&packed)).ok().map(|(_, sha256)| sha256);
    if same && kept().is_some_and(|sha256| recorded(directory, &packed) == Some(sha256)) {
        return checksum(directory, &packed, manifest);
    }
    let task = ui::Task::steps(format!("packing {packed}"), disk.size());
    replaced(&directory.join(&packed), |file| pack(disk, file, &task))?;
    drop(task);
    let size = fs::metadata(directory.join(&packed)).with_context(|| packed.clone())?.len();
    ensure!(
        size <= PACKED_LIMIT,
        Fail::new(Class::Build, format!("{packed} has {} instead of 32 MiB at most", ui::human_bytes(size)))
    );
    checksum(directory, &packed, manifest)
}

/// Writes a file under a temporary name and puts it in place when it is complete.
fn replaced(path: &Path, fill: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
    let write = || -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
        fill(file.as_file_mut())?;
        file.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        file.persist(path).map_err(|e| e.error)?;
        Ok(())
    };
    write().with_context(|| format!("writing {}", path.display()))
}

/// The image: what was never written takes no space.
fn sparse(disk: &Disk, file: &mut File) -> io::Result<()> {
    file.set_len(disk.size())?;
    for (number, content) in disk.blocks() {
        file.seek(SeekFrom::Start(number * BLOCK))?;
        file.write_all(content)?;
    }
    Ok(())
}

/// One thread and one block: the result must not depend on this host's processors.
fn pack(disk: &mut Disk, file: &mut File, task: &ui::Task) -> io::Result<()> {
    let mut options = LzmaOptions::new_preset(6)?;
    options.dict_size(DICTIONARY);
    let mut filters = Filters::new();
    filters.lzma2(&options);
    let stream = Stream::new_stream_encoder(&filters, Check::Crc64)?;
    let mut encoder = liblzma::write::XzEncoder::new_stream(file, stream);
    disk.seek(SeekFrom::Start(0))?;
    let mut buffer = vec![0; BLOCK as usize];
    loop {
        let length = disk.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        encoder.write_all(&buffer[..length])?;
        task.advance(length as u64);
    }
    encoder.finish().map(drop)
}

/// Records a file in the manifest, and writes its checksum as `sha256sum --check` reads it.
fn checksum(directory: &Path, name: &str, manifest: &mut Manifest) -> Result<()> {
    let (size, sha256) = hash(&directory.join(name))?;
    paths::write_atomic(&directory.join(format!("{name}.sha256")), format!("{sha256}  {name}\n").as_bytes())?;
    manifest.file(name, size, sha256);
    Ok(())
}

/// A file's size in bytes, and its SHA-256.
fn hash(path: &Path) -> Result<(u64, String)> {
    let hash = || {
        let mut hash = Sha256::new();
        let size = download::digest(&mut File::open(path)?, &mut hash)?;
        io::Result::Ok((size, download::hex(&hash.finalize())))
    };
    hash().with_context(|| format!("reading {}", path.display()))
}
