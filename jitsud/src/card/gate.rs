//! How a script of dom0 learns that the card is mounted: a FIFO.
//!
//! Opening one for reading blocks until somebody has it open for writing. The script (`/etc/init.d/ssh`) opens it,
//! and the daemon opens it for good once the card has been mounted; no data passes. Whichever of the two is first
//! makes the file.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::Mode;

/// On a memory-backed file system, gone with the boot.
const PATH: &str = "/run/card";

/// Open as long as this lives.
#[derive(Debug)]
pub struct Gate {
    _writer: File,
}

impl Gate {
    /// Lets everybody through who waits, or will come to wait, for the card.
    pub fn open() -> io::Result<Self> {
        Self::open_at(Path::new(PATH))
    }

    fn open_at(path: &Path) -> io::Result<Self> {
        match nix::unistd::mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(error) => return Err(error.into()),
        }
        // For reading too: with no reader yet, opening for writing alone would block.
        Ok(Gate { _writer: OpenOptions::new().read(true).write(true).open(path)? })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_reader_waits_until_the_gate_is_open() {
        let path = std::env::temp_dir().join(format!("jitsud-gate-{}", std::process::id()));
        nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        let (sender, receiver) = mpsc::channel();
        let reader = {
            let path = path.clone();
            std::thread::spawn(move || {
                let opened = File::open(path).map(drop);
                sender.send(opened).unwrap();
            })
        };
        assert!(receiver.recv_timeout(Duration::from_millis(50)).is_err(), "it waits");
        let gate = Gate::open_at(&path).unwrap();
        receiver.recv_timeout(Duration::from_secs(10)).unwrap().unwrap();
        // Late comers are let through at once.
        File::open(&path).unwrap();
        drop(gate);
        reader.join().unwrap();
        std::fs::remove_file(path).unwrap();
    }
}
