//! The tap at which frames for services that are not up arrive: a port of the bridge, and a file here.

use std::fs::{File, OpenOptions};
use std::io;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::net::if_::if_nametoindex;
use tokio::io::unix::AsyncFd;

use super::sys;
use crate::succession::Succession;

/// The device that taps are made with. There when the module `tun` is loaded.
const TUN: &str = "/dev/net/tun";

/// The tap. It stays when this process ends, and so do the bridge's entries that point at it: what comes for services that
/// are not up is lost until the next daemon opens it, and not sent to everybody else.
#[derive(Debug)]
pub struct Tap {
    file: AsyncFd<File>,
    index: u32,
}

impl Tap {
    /// Makes it, or opens the one that an earlier daemon has left. A new one is down, and no port of anything yet. What
    /// has come for one that the daemon before has left open is in its queue.
    ///
    /// # Errors
    /// The kernel has no taps, or another process has that one.
    pub fn open(name: &str, succession: &Succession) -> io::Result<Self> {
        let file = succession.take_or("tap", || {
            let file = OpenOptions::new().read(true).write(true).open(TUN)?;
            sys::name_tap(&file, name)?;
            Ok(file)
        })?;
        fcntl(&file, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Tap { index: if_nametoindex(name)?, file: sys::readiness_of_tap(file)? })
    }

    /// The interface's number.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Waits until there is a frame. Cancelling it loses nothing.
    pub async fn readable(&self) -> io::Result<()> {
        self.file.readable().await.map(|mut ready| ready.retain_ready())
    }

    /// The length of the next frame, which is now in `buffer`; `None` when there is none. What is longer than
    /// `buffer` is cut.
    pub fn read(&self, buffer: &mut [u8]) -> Option<usize> {
        // At once, whatever tokio knows of it: that may be of before the last frame.
        match io::Read::read(&mut self.file.get_ref(), buffer) {
            Ok(length) => Some(length),
            // Nothing is wrong with a tap but that it is empty, or down.
            Err(_) => {
                sys::has_been_read(&self.file);
                None
            }
        }
    }

    /// Sends a frame out through the bridge. The kernel drops it when it is in need of memory.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        io::Write::write(&mut self.file.get_ref(), frame).map(drop)
    }
}
