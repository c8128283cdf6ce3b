//! Two ioctls that make a partition and the file system on it longer while it is in use.
//!
//! From Linux's `include/uapi/linux/blkpg.h` and `include/uapi/linux/ext4.h`; the layouts are those of 32-bit ARM
//! and of 64-bit machines alike, as far as they are asserted below.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// `BLKPG_RESIZE_PARTITION`.
const RESIZE_PARTITION: libc::c_int = 3;

#[repr(C)]
struct BlkpgIoctlArg {
    op: libc::c_int,
    flags: libc::c_int,
    datalen: libc::c_int,
    data: *const BlkpgPartition,
}

/// `struct blkpg_partition`: start and length in bytes.
#[repr(C)]
struct BlkpgPartition {
    start: libc::c_longlong,
    length: libc::c_longlong,
    pno: libc::c_int,
    devname: [u8; 64],
    volname: [u8; 64],
}

const _: () = assert!(size_of::<BlkpgPartition>() == 152 && std::mem::offset_of!(BlkpgPartition, pno) == 16);
const _: () =
    assert!(std::mem::offset_of!(BlkpgIoctlArg, data) == 12usize.next_multiple_of(size_of::<usize>()));

nix::ioctl_write_ptr_bad!(blkpg, nix::request_code_none!(0x12, 105), BlkpgIoctlArg);
nix::ioctl_write_ptr!(ext4_resize_fs, b'f', 16, u64);

/// Tells the kernel that partition `number` of `disk` has `length` bytes from `start` on. The partition may be in
/// use; the kernel refuses what overlaps another one or reaches beyond the disk.
pub fn resize_partition(disk: &File, number: u8, start: u64, length: u64) -> io::Result<()> {
    let bytes = |value: u64| libc::c_longlong::try_from(value).map_err(io::Error::other);
    let partition = BlkpgPartition {
        start: bytes(start)?,
        length: bytes(length)?,
        pno: number.into(),
        devname: [0; 64],
        volname: [0; 64],
    };
    let arg = BlkpgIoctlArg {
        op: RESIZE_PARTITION,
        flags: 0,
        datalen: size_of::<BlkpgPartition>() as libc::c_int,
        data: &raw const partition,
    };
    // SAFETY: the kernel reads `arg` and, through its `data`, `partition`, both of the layouts asserted above;
    // both live until the call returns, and the kernel keeps neither pointer.
    unsafe { blkpg(disk.as_raw_fd(), &raw const arg) }?;
    Ok(())
}

/// Makes the mounted ext4 file system that `inside` is a file or folder of `blocks` of its own blocks long.
pub fn resize_file_system(inside: &File, blocks: u64) -> io::Result<()> {
    // SAFETY: the kernel reads the one `u64`, which lives until the call returns. A descriptor on another file
    // system makes it fail with `ENOTTY`.
    unsafe { ext4_resize_fs(inside.as_raw_fd(), &raw const blocks) }?;
    Ok(())
}
