//! What no crate of ours has a safe call for: a tap by name, and packet sockets.
//!
//! From Linux's `include/uapi/linux/if_tun.h`, `if_packet.h` and `filter.h`; the layouts are libc's.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

nix::ioctl_write_int_bad!(tun_set_persist, nix::request_code_write!(b'T', 203, size_of::<libc::c_int>()));
nix::ioctl_write_int_bad!(tun_set_iff, nix::request_code_write!(b'T', 202, size_of::<libc::c_int>()));

/// Makes an open `/dev/net/tun` the tap `name`, which stays when the file is closed, without a header in front of its
/// frames. The kernel has all checksums filled in, and frames cut to the MTU: nothing else was agreed to.
pub fn name_tap(tun: &File, name: &str) -> io::Result<()> {
    // SAFETY: all zeros is a value of this plain struct.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() {
        return Err(io::ErrorKind::InvalidFilename.into());
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: the kernel reads and writes one `ifreq`, which lives until the call returns.
    unsafe { tun_set_iff(tun.as_raw_fd(), (&raw mut request) as usize as _) }?;
    // SAFETY: the call takes a number.
    unsafe { tun_set_persist(tun.as_raw_fd(), 1) }?;
    Ok(())
}

/// Lets a task wait until `tap` can be read.
pub fn readiness_of_tap(tap: File) -> io::Result<AsyncFd<File>> {
    // SAFETY: a `File` is the only owner of its descriptor and always returns that one; it stays open for as long as
    // the `AsyncFd` owns it.
    Ok(unsafe { AsyncFd::register_with_interest(tap, Interest::READABLE) }?)
}

/// Lets a task wait until `socket` can be read.
pub fn readiness_of_socket(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: as for a tap.
    Ok(unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?)
}

/// Has tokio wait for the next event of a file that has been read until it was empty. `AsyncFd::try_io` alone will not
/// do for reading: it does not even try when the last event is not known yet.
pub fn has_been_read<T: AsRawFd>(file: &AsyncFd<T>) {
    let nothing = |_: &T| Err::<(), _>(io::ErrorKind::WouldBlock.into());
    let _ = file.try_io(Interest::READABLE, nothing);
}

/// A packet socket on the interface `index` that receives, in either direction, what `filter` accepts.
pub fn packet_socket(index: u32, filter: &[libc::sock_filter]) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // Without a protocol it receives nothing until it has its filter and is bound.
    // SAFETY: the call takes numbers.
    let descriptor = nix::errno::Errno::result(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
    // SAFETY: it has just been opened, and belongs to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let length = libc::c_ushort::try_from(filter.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the kernel copies the program of `len` instructions before the call returns, and writes nothing.
    nix::errno::Errno::result(unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    })?;
    // SAFETY: all zeros is a value of this plain struct.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as libc::c_ushort;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = libc::c_int::try_from(index).map_err(io::Error::other)?;
    // SAFETY: the kernel reads one `sockaddr_ll`, which lives until the call returns.
    nix::errno::Errno::result(unsafe {
        libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of::<libc::sockaddr_ll>() as libc::socklen_t,
        )
    })?;
    Ok(socket)
}

/// Returns when no other processor is any more at work on a packet that it was at work on before. Where Linux cannot
/// say that, at once: then one may still be under way, for microseconds.
pub fn let_packets_pass() {
    /// `MEMBARRIER_CMD_GLOBAL` (`include/uapi/linux/membarrier.h`): waits for all readers of RCU, which whoever forwards
    /// a packet is.
    const GLOBAL: libc::c_int = 1;
    // SAFETY: the call takes numbers.
    let _ = unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) };
}
