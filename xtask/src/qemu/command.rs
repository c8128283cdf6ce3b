//! QEMU's command line for a board: Xen as the kernel, dom0's kernel and initramfs placed in RAM by
//! `guest-loader`, which also describes them in the device tree as Xen expects it.

use super::Forward;
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
    Terminal,
    /// Pipes, and a monitor that connects to this socket.
    Supervised {
        /// A Unix socket that somebody listens on.
        monitor: &'a Path,
    },
}

/// Everything behind `qemu-system-arm`.
pub fn arguments(
    image: &Image,
    initramfs: &Path,
    cpus: u32,
    icount: bool,
    forwards: &[Forward],
    console: &Console<'_>,
) -> Result<Vec<String>> {
    let board = &image.board;
    let machine = board.machine()?;
    let length = |path: &Path| {
        Ok::<_, anyhow::Error>(fs::metadata(path).with_context(|| path.display().to_string())?.len())
    };
    check_layout(image, length(&image.kernel())?, length(initramfs)?)?;

    let mut netdev = format!("user,id={NETWORK}");
    for forward in forwards {
        netdev += &format!(",hostfwd={}", forward.rule());
    }
    let mut arguments: Vec<String> = [
        ["-M", &machine.kind],
        ["-cpu", &machine.cpu],
        ["-m", &machine.memory.to_string()],
        ["-smp", &cpus.to_string()],
        ["-kernel", &image.xen().display().to_string()],
        ["-append", &board.xen_args()],
        [
            "-device",
            &format!(
                "guest-loader,addr={:#x},kernel={},bootargs={}",
                board.load.kernel,
                escaped(&image.kernel().display().to_string()),
                escaped(&board.dom0.args)
            ),
        ],
        [
            "-device",
            &format!(
                "guest-loader,addr={:#x},initrd={}",
                board.load.initramfs,
                escaped(&initramfs.display().to_string())
            ),
        ],
        ["-netdev", &netdev],
        ["-device", &format!("virtio-net-device,netdev={NETWORK},mac={MAC}")],
        ["-display", "none"],
    ]
    .concat()
    .into_iter()
    .map(str::to_owned)
    .collect();
    // Only what is asked for, and a guest that resets ends QEMU instead of starting over.
    arguments.extend(["-nodefaults", "-no-reboot"].map(str::to_owned));
    if icount {
        arguments.extend(["-icount", "shift=0,sleep=off"].map(str::to_owned));
    }
    match console {
        Console::Terminal => arguments.extend(["-serial", "mon:stdio"].map(str::to_owned)),
        Console::Supervised { monitor } => {
            let socket = format!("socket,id=monitor,path={}", escaped(&monitor.display().to_string()));
            let words = [
                "-serial",
                "chardev:console",
                "-chardev",
                "stdio,id=console,signal=off",
                "-chardev",
                &socket,
            ];
            arguments.extend(words.map(str::to_owned));
            arguments.extend(["-mon", "chardev=monitor,mode=control"].map(str::to_owned));
        }
    }
    Ok(arguments)
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
