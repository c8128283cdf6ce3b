//! Dom0's root file system as the kernel takes it: a cpio archive (newc), compressed with lz4.
//!
//! The same content always gives the same bytes: entries are sorted, owned by root, dated 0 and numbered
//! in order. lz4 because it is measured to be the cheapest way into userland: uncompressed 1.46 s from the
//! kernel's start, lz4 1.48 s, gzip 1.53 s, zstd 1.58 s (instruction time, 5.6 MB of content).
//!
//! The kernel unpacks concatenated archives in turn, later files replacing earlier ones: see
//! [`with_extra_files`].

use crate::fail::{Class, Fail};
use crate::paths;
use anyhow::{Context, Result};
use cpio::newc::{self, ModeFileType};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Starts each lz4 stream in the "legacy" format, the only one that the kernel reads
/// (lib/decompress_unlz4.c).
const LZ4_MAGIC: [u8; 4] = 0x184c_2102_u32.to_le_bytes();

/// What one block of the legacy format unpacks to, at most; fixed by the format.
const LZ4_BLOCK: usize = 8 << 20;

/// A file system in the making. Directories come into being with what is put in them.
#[derive(Default, Clone)]
pub struct Tree {
    nodes: BTreeMap<String, Node>,
}

#[derive(Clone)]
enum Node {
    Directory,
    File { mode: u32, content: Vec<u8> },
    Link { target: String },
    Device { mode: u32, major: u32, minor: u32 },
}

/// A file to add to a finished initramfs.
#[derive(Debug, Clone)]
pub struct ExtraFile {
    /// Absolute path on the node.
    pub path: String,
    /// Permission bits, e.g. 0o755.
    pub mode: u32,
    /// The content.
    pub content: Vec<u8>,
}

impl Tree {
    /// An empty directory.
    pub fn directory(&mut self, path: &str) {
        self.insert(path, Node::Directory);
    }

    /// A regular file; it replaces what was at `path`.
    pub fn file(&mut self, path: &str, mode: u32, content: Vec<u8>) {
        self.insert(path, Node::File { mode, content });
    }

    /// A symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.insert(path, Node::Link { target: target.to_owned() });
    }

    /// A character device.
    pub fn device(&mut self, path: &str, mode: u32, major: u32, minor: u32) {
        self.insert(path, Node::Device { mode, major, minor });
    }

    /// Everything under `root` on this host. Of the permissions only "executable" counts: the rest depends
    /// on the umask of whoever checked the files out.
    pub fn overlay(&mut self, root: &Path) -> Result<()> {
        self.overlay_directory(root, root)
    }

    fn overlay_directory(&mut self, root: &Path, directory: &Path) -> Result<()> {
        let context = || format!("reading overlay {}", directory.display());
        for entry in fs::read_dir(directory).with_context(context)? {
            let path = entry.with_context(context)?.path();
            let metadata = fs::symlink_metadata(&path).with_context(context)?;
            let name = path.strip_prefix(root).unwrap_or(&path);
            let name = name.to_str().ok_or_else(|| {
                Fail::new(Class::Input, format!("overlay file {}: its name is not UTF-8", path.display()))
            })?;
            if metadata.is_dir() {
                self.directory(name);
                self.overlay_directory(root, &path)?;
            } else if metadata.is_symlink() {
                let target = fs::read_link(&path).with_context(context)?;
                self.link(name, &target.to_string_lossy());
            } else {
                let executable = metadata.permissions().mode() & 0o100 != 0;
                self.file(name, if executable { 0o755 } else { 0o644 }, paths::read(&path)?);
            }
        }
        Ok(())
    }

    fn insert(&mut self, path: &str, node: Node) {
        let path = path.trim_matches('/');
        let parents = path.match_indices('/').map(|(at, _)| &path[..at]);
        for parent in parents {
            self.nodes.entry(parent.to_owned()).or_insert(Node::Directory);
        }
        self.nodes.insert(path.to_owned(), node);
    }

    /// The archive. Its entries are sorted, so that each directory precedes what is in it.
    pub fn to_cpio(&self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        for (number, (path, node)) in (1..).zip(&self.nodes) {
            let entry = newc::Builder::new(path).ino(number).uid(0).gid(0).nlink(1).mtime(0);
            let (entry, content): (newc::Builder, &[u8]) = match node {
                Node::Directory => (entry.mode(0o755).set_mode_file_type(ModeFileType::Directory), &[]),
                Node::File { mode, content } => {
                    (entry.mode(*mode).set_mode_file_type(ModeFileType::Regular), content)
                }
                Node::Link { target } => {
                    (entry.mode(0o777).set_mode_file_type(ModeFileType::Symlink), target.as_bytes())
                }
                Node::Device { mode, major, minor } => {
                    let entry = entry.mode(*mode).rdev_major(*major).rdev_minor(*minor);
                    (entry.set_mode_file_type(ModeFileType::Char), &[])
                }
            };
            let size = u32::try_from(content.len()).with_context(|| format!("{path}: 4 GiB or more"))?;
            let mut writer = entry.write(out, size);
            writer.write_all(content).with_context(|| format!("archiving {path}"))?;
            out = writer.finish().with_context(|| format!("archiving {path}"))?;
        }
        newc::trailer(out).context("ending the archive")
    }
}

/// Compresses as the kernel expects it.
pub fn compress(cpio: &[u8]) -> Result<Vec<u8>> {
    let mut out = LZ4_MAGIC.to_vec();
    for block in cpio.chunks(LZ4_BLOCK) {
        let block = lz4_flex::block::compress(block);
        out.extend(u32::try_from(block.len()).context("an lz4 block of 4 GiB")?.to_le_bytes());
        out.extend(block);
    }
    Ok(out)
}

/// A copy of the initramfs `base` in `directory`, with `files` on top: for a test's configuration, kernels
/// or tools, without building the image anew.
pub fn with_extra_files(base: &Path, files: &[ExtraFile], directory: &Path) -> Result<PathBuf> {
    let mut tree = Tree::default();
    for file in files {
        tree.file(&file.path, file.mode, file.content.clone());
    }
    let mut data = paths::read(base)?;
    data.extend(compress(&tree.to_cpio()?)?);
    let path = directory.join("initramfs-with-extra-files.cpio.lz4");
    fs::write(&path, data).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let mut tree = Tree::default();
        tree.file("/usr/sbin/jitsud", 0o755, b"program".to_vec());
        tree.link("bin/sh", "busybox");
        tree.device("/dev/console", 0o600, 5, 1);
        tree.directory("proc");
        tree
    }

    fn entries(mut data: &[u8]) -> Vec<(String, u32, u32, Vec<u8>)> {
        let mut found = Vec::new();
        loop {
            let mut reader = newc::Reader::new(data).expect("entry");
            if reader.entry().is_trailer() {
                return found;
            }
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut reader, &mut content).expect("content");
            let entry = reader.entry();
            assert_eq!((entry.uid(), entry.gid(), entry.mtime()), (0, 0, 0));
            found.push((
                entry.name().to_owned(),
                entry.mode(),
                entry.rdev_major() << 8 | entry.rdev_minor(),
                content,
            ));
            data = reader.finish().expect("next");
        }
    }

    #[test]
    fn sorted_with_parents_types_and_modes() {
        let archive = tree().to_cpio().expect("cpio");
        let entries = entries(&archive);
        let names: Vec<_> = entries.iter().map(|e| e.0.as_str()).collect();
        assert_eq!(
            names,
            ["bin", "bin/sh", "dev", "dev/console", "proc", "usr", "usr/sbin", "usr/sbin/jitsud"]
        );
        assert_eq!(entries[0].1, 0o040_755);
        assert_eq!((entries[1].1, entries[1].3.as_slice()), (0o120_777, &b"busybox"[..]));
        assert_eq!((entries[3].1, entries[3].2), (0o020_600, 0x501));
        assert_eq!((entries[7].1, entries[7].3.as_slice()), (0o100_755, &b"program"[..]));
    }

    #[test]
    fn order_of_insertion_does_not_show() {
        let mut other = Tree::default();
        other.directory("proc");
        other.device("/dev/console", 0o600, 5, 1);
        other.link("bin/sh", "busybox");
        other.file("/usr/sbin/jitsud", 0o755, b"program".to_vec());
        assert_eq!(tree().to_cpio().expect("cpio"), other.to_cpio().expect("cpio"));
    }

    #[test]
    fn permissions_and_times_of_the_checkout_do_not_show() {
        let build = |mode: u32| {
            let dir = tempfile::tempdir().expect("dir");
            fs::create_dir(dir.path().join("etc")).expect("create");
            let file = dir.path().join("etc/inittab");
            fs::write(&file, "x").expect("write");
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("chmod");
            std::os::unix::fs::symlink("bin/busybox", dir.path().join("init")).expect("link");
            let mut tree = Tree::default();
            tree.overlay(dir.path()).expect("overlay");
            compress(&tree.to_cpio().expect("cpio")).expect("lz4")
        };
        assert_eq!(build(0o600), build(0o664));
        assert_ne!(build(0o600), build(0o755));
    }

    #[test]
    fn lz4_blocks_unpack_again() {
        let data = vec![3; LZ4_BLOCK + 100];
        let packed = compress(&data).expect("lz4");
        let mut rest = packed.strip_prefix(&LZ4_MAGIC).expect("magic");
        let mut unpacked = Vec::new();
        while let Some((size, tail)) = rest.split_first_chunk::<4>() {
            let (block, tail) = tail.split_at(u32::from_le_bytes(*size) as usize);
            unpacked.extend(lz4_flex::block::decompress(block, LZ4_BLOCK).expect("block"));
            rest = tail;
        }
        assert_eq!(unpacked, data);
    }

    #[test]
    fn extra_files_follow_the_base() {
        let dir = tempfile::tempdir().expect("dir");
        let base = dir.path().join("base");
        fs::write(&base, b"base").expect("write");
        let file = ExtraFile { path: "/etc/jitsu.toml".into(), mode: 0o644, content: b"[node]".to_vec() };
        let path = with_extra_files(&base, &[file], dir.path()).expect("written");
        let data = fs::read(path).expect("read");
        assert!(data.starts_with(b"base") && data[4..].starts_with(&LZ4_MAGIC));
        assert_eq!(fs::read(base).expect("read"), b"base");
    }
}
