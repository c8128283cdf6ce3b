//! `jitsuctl console`: this terminal, and the guest's.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Read, Write};
use std::os::fd::AsFd as _;
use std::path::PathBuf;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use super::Failure;
use super::client::Client;
use crate::control::protocol::{Command, Reply};

/// What is typed to leave: Ctrl-].
const LEAVE: u8 = 0x1d;

/// Shows what the guest says and hands it what is typed, until the guest or the input ends, or Ctrl-] is typed.
pub fn attach(client: &mut Client, service: &str) -> Result<(), Failure> {
    let mut path = PathBuf::new();
    client.ask(Command::Terminal { service: service.to_owned() }, |reply| {
        if let Reply::Terminal { path: told } = reply {
            path = told;
        }
        Ok(())
    })?;
    let guest = OpenOptions::new().read(true).write(true).open(&path).map_err(|error| {
        io::Error::new(error.kind(), format!("{service}'s terminal {}: {error}", path.display()))
    })?;
    let raw = Raw::begin()?;
    if raw.is_some() {
        eprint!("{service}: leave with Ctrl-]\r\n");
    }
    let why = carry(guest)?;
    drop(raw);
    eprintln!("\njitsuctl: {why}");
    Ok(())
}

/// Carries bytes both ways; why it has ended.
fn carry(mut guest: File) -> io::Result<&'static str> {
    let (mut input, mut output) = (io::stdin(), io::stdout());
    let mut buffer = [0; 4096];
    loop {
        let (typed, said) = {
            let mut sources = [
                PollFd::new(input.as_fd(), PollFlags::POLLIN),
                PollFd::new(guest.as_fd(), PollFlags::POLLIN),
            ];
            poll(&mut sources, PollTimeout::NONE)?;
            (sources[0].any().unwrap_or(true), sources[1].any().unwrap_or(true))
        };
        if said {
            match guest.read(&mut buffer) {
                // The daemon has closed its end.
                Ok(0) => return Ok("the guest has ended"),
                Err(error) if error.raw_os_error() == Some(nix::libc::EIO) => {
                    return Ok("the guest has ended");
                }
                Err(error) => return Err(error),
                Ok(length) => {
                    output.write_all(&buffer[..length])?;
                    output.flush()?;
                }
            }
        }
        if typed {
            let length = input.read(&mut buffer)?;
            let typed = &buffer[..length];
            let before = typed.iter().position(|&byte| byte == LEAVE);
            guest.write_all(&typed[..before.unwrap_or(length)])?;
            match before {
                Some(_) => return Ok("left"),
                None if length == 0 => return Ok("the input has ended"),
                None => {}
            }
        }
    }
}

/// This terminal passes on every key as it is, until this is dropped.
struct Raw(Termios);

impl Raw {
    /// `None` when standard input is no terminal.
    fn begin() -> io::Result<Option<Self>> {
        let input = io::stdin();
        if !input.is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(&input)?;
        let mut settings = before.clone();
        cfmakeraw(&mut settings);
        tcsetattr(&input, SetArg::TCSANOW, &settings)?;
        Ok(Some(Raw(before)))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.0);
    }
}
