//! Two ioctls of Linux's loop driver (`include/uapi/linux/loop.h`); the layouts are the same on all machines.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};

const LOOP_CONFIGURE: libc::c_int = 0x4c0a;
const LOOP_CTL_GET_FREE: libc::c_int = 0x4c82;

const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// `struct loop_config`.
#[repr(C, align(8))]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo64,
    reserved: [u64; 8],
}

/// `struct loop_info64`; zero for whatever is left to the driver.
#[repr(C, align(8))]
struct LoopInfo64 {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

const _: () = assert!(size_of::<LoopInfo64>() == 232 && std::mem::offset_of!(LoopInfo64, flags) == 52);
const _: () = assert!(size_of::<LoopConfig>() == 304 && std::mem::offset_of!(LoopConfig, info) == 8);

nix::ioctl_none_bad!(get_free, LOOP_CTL_GET_FREE);
nix::ioctl_write_ptr_bad!(configure, LOOP_CONFIGURE, LoopConfig);

/// The number of a loop device that was free just now; made if there is none. `control` is `/dev/loop-control`.
pub fn free_loop_device(control: &File) -> io::Result<u32> {
    // SAFETY: the call has no argument.
    let number = unsafe { get_free(control.as_raw_fd()) }?;
    u32::try_from(number).map_err(io::Error::other)
}

/// Makes `device` a block device with the content of `file`. The driver keeps the file open for as long as somebody
/// has the device open.
///
/// # Errors
/// `EBUSY` when it is one already.
pub fn configure_loop_device(device: &File, file: &File, read_only: bool) -> io::Result<()> {
    let descriptor: RawFd = file.as_raw_fd();
    let config = LoopConfig {
        fd: u32::try_from(descriptor).map_err(io::Error::other)?,
        block_size: 0,
        info: LoopInfo64 {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: LO_FLAGS_AUTOCLEAR | if read_only { LO_FLAGS_READ_ONLY } else { 0 },
            file_name: [0; 64],
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        },
        reserved: [0; 8],
    };
    // SAFETY: the kernel reads `config`, of the layout asserted above, which lives until the call returns; it takes
    // a reference of its own to the file behind the descriptor, which is open.
    unsafe { configure(device.as_raw_fd(), &raw const config) }?;
    Ok(())
}
