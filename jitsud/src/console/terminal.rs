//! A guest's console as a terminal of dom0's, for `xl console`.
//!
//! A pair of pseudo-terminals for each guest. This end is written what the guest says and read for what is typed.
//! The other end stays open here too: so it never hangs up when a tool leaves, and what is said while nobody
//! looks is waiting for whoever comes, the last few KiB of it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::mount::{MsFlags, mount};
use nix::pty::openpty;
use nix::sys::termios::{FlushArg, SetArg, cfmakeraw, tcflush, tcgetattr, tcsetattr};
use nix::unistd::ttyname;
use tokio::io::unix::AsyncFd;

use crate::xen::sys;

/// Where Linux has terminals of this kind.
const DIRECTORY: &str = "/dev/pts";

/// Both ends.
#[derive(Debug)]
pub struct Terminal {
    ours: AsyncFd<File>,
    theirs: OwnedFd,
    name: String,
}

impl Terminal {
    /// Makes one. Must be called on a tokio runtime with I/O enabled.
    ///
    /// # Errors
    /// Names what the kernel refused.
    pub fn open() -> io::Result<Self> {
        provide_file_system()?;
        let pair = openpty(None, None)?;
        let mut settings = tcgetattr(&pair.slave)?;
        // Bytes as they are: it is for the guest to echo and to end lines.
        cfmakeraw(&mut settings);
        tcsetattr(&pair.slave, SetArg::TCSANOW, &settings)?;
        fcntl(&pair.master, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let name = ttyname(&pair.slave)?.to_string_lossy().into_owned();
        Ok(Terminal { ours: sys::readiness(File::from(pair.master))?, theirs: pair.slave, name })
    }

    /// The other end's path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Shows what the guest has said. Where that does not fit, because nobody has read for a while, what was
    /// said before gives way.
    pub fn show(&self, bytes: &[u8]) {
        let mut rest = bytes;
        let mut made_room = false;
        while !rest.is_empty() {
            match self.ours.get_ref().write(rest) {
                Ok(length) => {
                    rest = &rest[length..];
                    made_room = false;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !made_room => {
                    made_room = true;
                    if tcflush(&self.theirs, FlushArg::TCIFLUSH).is_err() {
                        return;
                    }
                }
                // It is in the log all the same.
                Err(_) => return,
            }
        }
    }

    /// Waits for something to be typed; returns how many bytes. Cancel safe: what is not waited for stays.
    ///
    /// # Errors
    /// The terminal is of no use any more.
    pub async fn typed(&self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.ours.readable().await?;
            if let Ok(read) = ready.try_io(|terminal| terminal.get_ref().read(into)) {
                return read;
            }
        }
    }
}

/// Mounts the terminals' file system, if nobody has yet: nothing on the node needs it before the first guest.
fn provide_file_system() -> io::Result<()> {
    if fs::exists(format!("{DIRECTORY}/ptmx"))? {
        return Ok(());
    }
    fs::create_dir_all(DIRECTORY)?;
    let options = Some("mode=600,ptmxmode=666");
    mount(Some("devpts"), DIRECTORY, Some("devpts"), MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC, options)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_directions_carry_bytes_as_they_are() {
        let terminal = Terminal::open().expect("a terminal");
        let mut tool = File::options().read(true).write(true).open(terminal.name()).expect("the other end");
        terminal.show(b"hello\n");
        let mut heard = [0; 6];
        tool.read_exact(&mut heard).expect("what was said");
        assert_eq!(&heard, b"hello\n");
        tool.write_all(b"\x03x\r").expect("typing");
        let mut typed = [0; 16];
        let length = terminal.typed(&mut typed).await.expect("what was typed");
        assert_eq!(&typed[..length], b"\x03x\r");
    }

    #[tokio::test]
    async fn what_was_said_last_is_there_for_who_comes_late() {
        let terminal = Terminal::open().expect("a terminal");
        for _ in 0..10_000 {
            terminal.show(b"a line that nobody reads\n");
        }
        terminal.show(b"the end\n");
        let mut tool = File::open(terminal.name()).expect("the other end");
        let mut heard = Vec::new();
        while !heard.ends_with(b"the end\n") {
            let mut chunk = [0; 1024];
            let length = tool.read(&mut chunk).expect("what was said");
            heard.extend_from_slice(&chunk[..length]);
        }
        assert!(heard.len() < 100_000, "{} bytes were kept", heard.len());
    }
}
