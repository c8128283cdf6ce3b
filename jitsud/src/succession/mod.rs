//! A daemon that begins anew in the same process, and hands open files to itself: sockets that face the network, and the
//! tap. What comes for them meanwhile waits in the kernel, and none of it is lost.
//!
//! They are kept open over execve(2), and named on the next one's command line: `--inherit NAME=NUMBER,…`. One that takes
//! nothing of it (another version, another address) opens its own, and what is left over is closed.

mod sys;

use std::collections::HashMap;
use std::ffi::{CString, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::sync::{Arc, Mutex, MutexGuard};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::execv;

/// The option by which files are named to the next daemon.
pub const OPTION: &str = "--inherit";

/// The program that runs, even if its file has another one's name by now.
const OURSELVES: &str = "/proc/self/exe";

/// Files that go from a daemon to the next one. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Succession(Arc<Mutex<Files>>);

#[derive(Debug, Default)]
struct Files {
    /// From the daemon before, and not taken yet.
    found: HashMap<String, OwnedFd>,
    /// For the next one.
    kept: Vec<(String, OwnedFd)>,
}

impl Succession {
    /// Takes what the daemon before has left, as the command line names it. To be called before any file is opened.
    ///
    /// # Errors
    /// It names what is no open file, or none that was left.
    pub fn inherit(list: &str) -> Result<Self, String> {
        let mut found = HashMap::new();
        for item in list.split(',').filter(|item| !item.is_empty()) {
            let parts = item.rsplit_once('=').and_then(|(name, number)| Some((name, number.parse().ok()?)));
            let (name, number) = parts.ok_or_else(|| format!("{OPTION}: {item:?} is not NAME=NUMBER"))?;
            let file = sys::adopt(number).map_err(|error| format!("{OPTION}: {item}: {error}"))?;
            found.insert(name.to_owned(), file);
        }
        Ok(Succession(Arc::new(Mutex::new(Files { found, kept: Vec::new() }))))
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The file of that name from the daemon before, or what `open` makes if there is none. It goes to the next one, too.
    ///
    /// # Errors
    /// Those of `open`, and the want of file descriptors.
    pub fn take_or<T: From<OwnedFd> + AsFd>(
        &self,
        name: &str,
        open: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let found = self.files().found.remove(name);
        let file = match found {
            Some(found) => T::from(found),
            None => open()?,
        };
        let copy = file.as_fd().try_clone_to_owned()?;
        self.files().kept.push((name.to_owned(), copy));
        Ok(file)
    }

    /// Whether the daemon before has left anything.
    pub fn is_heir(&self) -> bool {
        let files = self.files();
        !files.found.is_empty() || !files.kept.is_empty()
    }

    /// Closes what the daemon before has left and nobody has taken.
    pub fn settle(&self) {
        let left = std::mem::take(&mut self.files().found);
        let mut names: Vec<&str> = left.keys().map(String::as_str).collect();
        names.sort_unstable();
        if !names.is_empty() {
            tracing::info!("not needed any more, and closed: {}", names.join(", "));
        }
    }

    /// Begins anew, with these arguments. What it is to do at SIGTERM and the like is done by the next one, as soon as
    /// it can.
    ///
    /// Returns only when it cannot, and says why; then all is as before.
    pub fn begin_anew(&self, arguments: &[OsString]) -> io::Error {
        let files = self.files();
        let list: Vec<String> =
            files.kept.iter().map(|(name, file)| format!("{name}={}", file.as_raw_fd())).collect();
        let inherit = [OPTION.into(), list.join(",").into()];
        let name = OsString::from("jitsud");
        let all = [&name].into_iter().chain(arguments).chain(&inherit);
        let Ok(all) = all.map(|word| CString::new(word.clone().into_vec())).collect::<Result<Vec<_>, _>>()
        else {
            return io::ErrorKind::InvalidInput.into();
        };
        let begin = || -> io::Result<()> {
            for (_, file) in &files.kept {
                keep_open(file.as_fd(), true)?;
            }
            let program = CString::new(OURSELVES)?;
            hold_signals(SigmaskHow::SIG_BLOCK)?;
            let Err(error) = execv(&program, &all);
            hold_signals(SigmaskHow::SIG_UNBLOCK)?;
            Err(error.into())
        };
        let error = begin().err().unwrap_or_else(|| io::ErrorKind::Other.into());
        for (_, file) in &files.kept {
            let _ = keep_open(file.as_fd(), false);
        }
        error
    }
}

/// Whether a file stays open over execve(2).
fn keep_open(file: BorrowedFd<'_>, open: bool) -> io::Result<()> {
    let flags = if open { FdFlag::empty() } else { FdFlag::FD_CLOEXEC };
    fcntl(file, FcntlArg::F_SETFD(flags))?;
    Ok(())
}

/// Lets signals through that the daemon before has held back. To be called when there is somebody who hears them.
///
/// # Errors
/// None that Linux has.
pub fn hear_signals() -> io::Result<()> {
    hold_signals(SigmaskHow::SIG_UNBLOCK)
}

/// Those that end a daemon, if it is not there to hear them. What is blocked stays so over execve(2), and waits.
fn hold_signals(how: SigmaskHow) -> io::Result<()> {
    let signals: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect();
    Ok(sigprocmask(how, Some(&signals), None)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn a_file_goes_from_one_to_the_next() {
        let first = Succession::default();
        let socket = first.take_or("udp", || UdpSocket::bind("127.0.0.1:0")).expect("a socket");
        let address = socket.local_addr().expect("an address");
        assert_eq!(first.files().kept.len(), 1);
        // As execve(2) leaves it.
        let copy = first.files().kept.pop().expect("one").1;
        keep_open(copy.as_fd(), true).expect("kept open");
        let number = copy.as_raw_fd();
        std::mem::forget(copy);
        drop(socket);
        let next = Succession::inherit(&format!("udp={number}")).expect("inherited");
        assert!(next.is_heir());
        // It has an owner by now.
        assert!(Succession::inherit(&format!("udp={number}")).is_err());
        let unused = || -> io::Result<UdpSocket> { panic!("there is one already") };
        let again = next.take_or("udp", unused).expect("the same one");
        assert_eq!(again.local_addr().expect("an address"), address);
        next.settle();
    }

    #[test]
    fn what_was_not_left_is_not_taken() {
        // Somebody's own: Rust opens all files to be closed by execve(2).
        let file = std::fs::File::open("/dev/null").expect("a file");
        for list in ["x", "x=", "x=y", "x=-1", "x=0", "x=1", "x=999999", &format!("x={}", file.as_raw_fd())] {
            assert!(Succession::inherit(list).is_err(), "{list}");
        }
        assert!(!Succession::inherit("").expect("nothing").is_heir());
    }
}
