//! QEMU's command line: for a machine that has Xen put into its RAM, with dom0's kernel and initramfs placed by
//! `guest-loader`, which also describes them in the device tree as Xen expects it; or for one that has a card in
//! its slot.

use super::Start;
use super::start::initramfs_of;
use crate::fail::{Class, Fail};
use crate::image::Image;
use anyhow::{Context, Result};
use std::fs;
use std::path::Path;

/// The network's name on the command line, and for the monitor.
pub const NETWORK: &str = "net0";

/// The address of the node's network card: QEMU's prefix, then a number of ours.
const MAC: &str = "52:54:00:6a:69:74";

/// What QEMU's machine may need for its device tree, in bytes; it reserves 1 MiB (`FDT_MAX_SIZE`).
const DEVICE_TREE_SIZE: u64 = 2 << 20;

/// Where the serial console goes.
pub enum Console<'a> {
    /// This terminal, shared with QEMU's monitor (Ctrl-A c).
    Terminal {
        /// Where its text goes, too.
        log: &'a Path,
        /// A Unix socket that somebody listens on, for another monitor.
        monitor: &'a Path,
    },
    /// Pipes, and a monitor that connects to this socket.
    Supervised {
        /// A Unix socket that somebody listens on.
        monitor: &'a Path,
    },
}

/// Everything behind `qemu-system-arm`. What has to be made for it goes into `directory`.
pub fn arguments(
    start: &Start,
    icount: bool,
    console: &Console<'_>,
    directory: &Path,
) -> Result<Vec<String>> {
    let board = start.board();
    let machine = board.machine()?;
    if icount && matches!(start, Start::Card { .. }) {
        let message = format!("board {}: instructions are counted on machines with one CPU only", board.name);
        return Err(Fail::new(Class::Input, message));
    }
    let cpus = if icount { 1 } else { machine.cpus };
    let mut arguments = words(&[
        ["-M", &machine.kind],
        ["-cpu", &machine.cpu],
        ["-m", &machine.memory.to_string()],
        ["-smp", &cpus.to_string()],
        ["-display", "none"],
    ]);
    // Only what is asked for, and a guest that resets ends QEMU instead of starting over.
    arguments.extend(["-nodefaults", "-no-reboot"].map(str::to_owned));
    // Linux invalidates the address translations of all CPUs page by page when it has loaded a module, 200 000 of
    // them, and for each QEMU's threads wait for one another: 25 s of a start, which take 4 s in one thread.
    if cpus > 1 {
        arguments.extend(["-accel", "tcg,thread=single"].map(str::to_owned));
    }
    // Ways in from this host are made when the node has said its address.
    let network = format!("user,id={NETWORK}");
    match start {
        Start::Memory { image, extra_files, disk } => {
            let initramfs = initramfs_of(image, extra_files, directory)?;
            arguments.extend(in_memory(image, &initramfs)?);
            arguments.extend(words(&[
                ["-netdev", &network],
                ["-device", &format!("virtio-net-device,netdev={NETWORK},mac={MAC}")],
            ]));
            if let Some(disk) = disk {
                arguments.extend(words(&[
                    ["-drive", &format!("if=none,id=disk,format=raw,file={}", path(disk))],
                    ["-device", "virtio-blk-device,drive=disk"],
                ]));
            }
        }
        // The machine's own network card; U-Boot gives it an address by the number of QEMU's chip.
        Start::Card { card, .. } => arguments.extend(words(&[
            ["-drive", &format!("if=sd,format=raw,file={}", path(card))],
            ["-nic", &network],
        ])),
    }
    if icount {
        arguments.extend(["-icount", "shift=0,sleep=off"].map(str::to_owned));
    }
    let (stdio, monitor) = match console {
        Console::Terminal { log, monitor } => {
            arguments.extend(words(&[["-mon", "chardev=console,mode=readline"]]));
            (format!("stdio,id=console,signal=off,mux=on,logfile={}", path(log)), monitor)
        }
        Console::Supervised { monitor } => ("stdio,id=console,signal=off".to_owned(), monitor),
    };
    arguments.extend(words(&[
        ["-chardev", &stdio],
        ["-serial", "chardev:console"],
        ["-chardev", &format!("socket,id=monitor,path={}", path(monitor))],
        ["-mon", "chardev=monitor,mode=control"],
    ]));
    Ok(arguments)
}

/// Xen as the kernel of the machine, and dom0's parts where the board has room for them.
fn in_memory(image: &Image, initramfs: &Path) -> Result<Vec<String>> {
    let board = &image.board;
    let length = |path: &Path| {
        Ok::<_, anyhow::Error>(fs::metadata(path).with_context(|| path.display().to_string())?.len())
    };
    check_layout(image, length(&image.kernel())?, length(initramfs)?)?;
    let kernel = format!(
        "guest-loader,addr={:#x},kernel={},bootargs={}",
        board.load.kernel,
        path(&image.kernel()),
        escaped(&board.dom0.args)
    );
    let initramfs = format!("guest-loader,addr={:#x},initrd={}", board.load.initramfs, path(initramfs));
    Ok(words(&[
        ["-kernel", &image.xen().display().to_string()],
        ["-append", &board.xen_args()],
        ["-device", &kernel],
        ["-device", &initramfs],
    ]))
}

fn words(pairs: &[[&str; 2]]) -> Vec<String> {
    pairs.iter().flatten().map(|&word| word.to_owned()).collect()
}

fn path(path: &Path) -> String {
    escaped(&path.display().to_string())
}

/// A comma ends a value in QEMU's options, unless doubled.
fn escaped(value: &str) -> String {
    value.replace(',', ",,")
}

/// Refuses an image whose parts would overwrite each other, or the machine's device tree, in RAM.
fn check_layout(image: &Image, kernel: u64, initramfs: u64) -> Result<()> {
    let (load, memory) = (&image.board.load, u64::from(image.board.machine()?.memory) << 20);
    image.board.check_apart(vec![
        ("the machine's device tree", load.device_tree, DEVICE_TREE_SIZE),
        ("dom0's kernel", load.kernel, kernel),
        ("the initramfs", load.initramfs, initramfs),
        ("the end of RAM", load.ram + memory, 0),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::{self, Board};

    fn image() -> Image {
        let board = Board::read(board::DEFAULT).expect("board");
        Image { board, directory: "/nowhere".into(), card: None }
    }

    #[test]
    fn layout_leaves_room_and_refuses_overlap() {
        let image = image();
        assert!(check_layout(&image, 24 << 20, 12 << 20).is_ok());
        let gap = image.board.load.initramfs - image.board.load.kernel;
        let error = check_layout(&image, gap + 1, 0).expect_err("overlap");
        assert!(error.to_string().contains("dom0's kernel"), "{error}");
        assert!(check_layout(&image, 0, 1 << 30).is_err());
    }

    #[test]
    fn commas_are_doubled() {
        assert_eq!(escaped("a,b"), "a,,b");
    }
}
