//! A file by its number, which no safe call of a crate of ours has.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd as _, OwnedFd, RawFd};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// Takes a file that was left open by the program before this one, and has it closed by the next execve(2).
///
/// # Errors
/// There is no such file, it is one of the standard ones, or it has an owner in this program.
pub fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    if number <= libc::STDERR_FILENO {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "that is not the number of a file that was left",
        ));
    }
    // SAFETY: the number is not -1, and is used for calls alone that answer EBADF if no file has it.
    let file = unsafe { BorrowedFd::borrow_raw(number) };
    // What this program has opened itself, and what it has adopted, is to be closed by execve(2).
    if FdFlag::from_bits_truncate(fcntl(file, FcntlArg::F_GETFD)?).contains(FdFlag::FD_CLOEXEC) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a file of this program's own"));
    }
    fcntl(file, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    // SAFETY: it is open, and nobody in this program owns it: whoever did would have it closed by execve(2), as Rust does
    // with all that it opens, and as has just been done here.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
