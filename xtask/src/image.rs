//! `cargo xtask image`: assembles a board's image under `out/`.

use crate::board::{self, Board};
use crate::card::{self, System};
use crate::download::sha256;
use crate::initramfs::{self, Tree};
use crate::manifest::Manifest;
use crate::parts::{self, Parts};
use crate::{crates, cross, debian, paths, setup, ui};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Assemble a board's image under out/BOARD, and a manifest of what it is made of: the image of an SD card, plain
/// and packed, with its checksums and block map; or, for a machine that has no card, hypervisor, kernel and
/// initramfs. Two builds of the same sources are identical byte for byte.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask image\n  cargo xtask image --board cubietruck --locked\n  \
                        cargo xtask image --xen 4.20\n  cargo xtask image --update-lock")]
pub struct Args {
    /// Which of the folders in board/
    #[arg(long, default_value = board::DEFAULT)]
    board: String,
    #[command(flatten)]
    source: SourceArgs,
    /// Take the newest packages and write board/debian.lock
    #[arg(long, conflicts_with = "locked")]
    update_lock: bool,
}

/// Where an image's third-party parts come from.
#[derive(clap::Args, Clone)]
pub struct SourceArgs {
    /// Prebuilt packages of Debian
    #[arg(long, default_value = "debian")]
    source: SourceKind,
    /// Take exactly the packages in board/debian.lock, or fail
    #[arg(long)]
    locked: bool,
    /// Debian mirror [default: JITSU_MIRROR, or what this host's apt uses]
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Version of Xen [default: the board's own]; 4.20 is built from Debian's source package, once
    #[arg(long, value_name = "VERSION")]
    xen: Option<String>,
}

#[derive(clap::ValueEnum, Clone, Copy)]
enum SourceKind {
    Debian,
}

impl SourceArgs {
    /// The options without a lock update.
    pub fn options(&self) -> debian::Options {
        match self.source {
            SourceKind::Debian => debian::Options {
                mirror: self.mirror.clone(),
                locked: self.locked,
                update_lock: false,
                xen: self.xen.clone(),
            },
        }
    }
}

pub fn run(args: &Args) -> Result<()> {
    let options = debian::Options { update_lock: args.update_lock, ..args.source.options() };
    let image = build(&args.board, &options)?;
    println!("{}", image.directory.display());
    Ok(())
}

/// A finished image.
#[derive(Debug, Clone)]
pub struct Image {
    /// What it is for.
    pub board: Board,
    /// Where its files are.
    pub directory: PathBuf,
    /// The card's image, for boards that start from one; what is on it can be had by [`card::Edit`]. The others
    /// have the three files below.
    pub card: Option<PathBuf>,
}

const XEN: &str = "xen";
const KERNEL: &str = "vmlinuz";
const INITRAMFS: &str = "initramfs.cpio.lz4";

impl Image {
    /// The hypervisor.
    pub fn xen(&self) -> PathBuf {
        self.directory.join(XEN)
    }

    /// Dom0's kernel.
    pub fn kernel(&self) -> PathBuf {
        self.directory.join(KERNEL)
    }

    /// Dom0's root file system.
    pub fn initramfs(&self) -> PathBuf {
        self.directory.join(INITRAMFS)
    }
}

/// Largest initramfs that is still acceptable, in bytes: it is read from a card and unpacked into memory.
const INITRAMFS_LIMIT: usize = 12 << 20;

/// Builds everything that belongs to `board`, with the tools that it needs.
pub fn build(board: &str, options: &debian::Options) -> Result<Image> {
    let own = Board::read(board)?;
    let board = match &options.xen {
        Some(version) => own.clone().with_xen(version)?,
        None => own.clone(),
    };
    let mirror = options.mirror.as_deref();
    setup::provide(mirror)?;
    let parts = parts::provide(&board, options)?;
    let jitsud = paths::read(&cross::node_binary("jitsud", "jitsud", mirror)?)?;
    let unikernels = cross::unikernels(mirror)?;

    let mut manifest = Manifest::new(&board.name);
    parts.packages.iter().for_each(|package| manifest.package(package));
    parts.built_xen.iter().for_each(|built| manifest.built(built));
    manifest.own("jitsud", &jitsud);
    for (name, image) in &unikernels {
        manifest.own(name, image);
    }
    let names: Vec<&str> = unikernels.keys().map(String::as_str).collect();
    let mut libraries = crates::linked(&paths::root(), cross::NODE_TARGET, &["jitsud"])?;
    libraries.extend(crates::linked(&paths::root().join("unikernels"), cross::UNIKERNEL_TARGET, &names)?);
    libraries.sort();
    libraries.dedup();
    libraries.iter().for_each(|library| manifest.library(library));

    let tree = root_file_system(&board, &parts, jitsud, unikernels)?;
    let initramfs = initramfs::compress(&tree.to_cpio()?)?;
    let size = ui::human_bytes(initramfs.len() as u64);
    anyhow::ensure!(initramfs.len() <= INITRAMFS_LIMIT, "the initramfs has {size} instead of 12 MiB at most");

    let directory = if board.xen.version == own.xen.version {
        paths::out(&board.name)
    } else {
        paths::out(&format!("{}-xen-{}", board.name, board.xen.version))
    };
    let card = match (&board.card, parts.card) {
        (Some(card), Some(on_card)) => {
            let system = System {
                xen: parts.xen,
                kernel: parts.kernel,
                initramfs,
                device_tree: on_card.device_tree,
                ssh: on_card.ssh,
            };
            let (mut disk, files) = card::assemble(&board, card, &on_card.firmware, &system)?;
            for (path, content) in &files {
                manifest.file(path, content.len() as u64, sha256(content));
            }
            card::write(&mut disk, &directory, &mut manifest)?;
            Some(directory.join(card::IMAGE))
        }
        _ => {
            manifest.write_file(&directory, XEN, &parts.xen)?;
            manifest.write_file(&directory, KERNEL, &parts.kernel)?;
            manifest.write_file(&directory, INITRAMFS, &initramfs)?;
            None
        }
    };
    manifest.write(&directory)?;
    ui::say(format!("image for {}: Xen {}, initramfs {size}", board.name, board.xen.version));
    Ok(Image { board, directory, card })
}

/// Dom0's files: busybox, modules, jitsud, unikernels, and the overlay on top of them.
fn root_file_system(
    board: &Board,
    parts: &Parts,
    jitsud: Vec<u8>,
    unikernels: BTreeMap<String, Vec<u8>>,
) -> Result<Tree> {
    let mut tree = Tree::default();
    // The root itself: the kernel's own is one that anybody may write to.
    tree.directory(".");
    for directory in ["dev", "proc", "root", "run", "sys", "tmp", "var/log"] {
        tree.directory(directory);
    }
    // The kernel opens it for init, before anything could have mounted /dev.
    tree.device("dev/console", 0o600, 5, 1);

    tree.file("bin/busybox", 0o755, parts.busybox.clone());
    for applet in &board.dom0.applets {
        tree.link(&format!("bin/{applet}"), "busybox");
    }
    let mut order = String::new();
    for (name, content) in &parts.modules {
        tree.file(&format!("lib/modules/{name}.ko"), 0o644, content.clone());
        order.push_str(&format!("{name}\n"));
    }
    tree.file("lib/modules/load-order", 0o644, order.into_bytes());

    tree.file("usr/sbin/jitsud", 0o755, jitsud);
    tree.link("usr/bin/jitsuctl", "../sbin/jitsud");
    for (name, image) in unikernels {
        tree.file(&format!("usr/lib/jitsu/kernels/{name}"), 0o644, image);
    }
    tree.overlay(&paths::root().join("rootfs-overlay")).context("applying rootfs-overlay")?;
    if board.card.is_some() {
        // For a card without one, or without a FAT partition that can be read.
        tree.file("etc/jitsu.toml", 0o644, card::shared("jitsu.toml")?.into_bytes());
    }
    Ok(tree)
}
