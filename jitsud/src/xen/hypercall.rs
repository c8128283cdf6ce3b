//! Hypercalls: synchronous functions on owned data.
//!
//! A call's argument is copied into memory that Xen can reach, and what Xen wrote is copied out again.
//! Buffers are pooled, so that domains can be built in parallel without waiting for one another.

use std::fs::{File, OpenOptions};
use std::io;
use std::sync::Mutex;

use super::sys::{self, HypercallBuffer};

/// Where in a buffer the things begin that an argument points to; the argument itself is at 0.
pub const INDIRECT: usize = 512;

/// The most 64-bit words that can stand at [`INDIRECT`].
pub const MAX_WORDS: usize = (HypercallBuffer::SIZE - INDIRECT) / 8;

/// Access to the hypervisor.
#[derive(Debug)]
pub struct Hypercalls {
    privcmd: File,
    buffer_device: File,
    buffers: Mutex<Vec<HypercallBuffer>>,
}

impl Hypercalls {
    /// Opens Linux's devices.
    ///
    /// # Errors
    /// Names the device that is missing: no Xen, not dom0, or a module that is not loaded.
    pub fn open() -> io::Result<Self> {
        Ok(Hypercalls {
            privcmd: open_device("/dev/xen/privcmd")?,
            buffer_device: open_device("/dev/xen/hypercall")?,
            buffers: Mutex::new(Vec::new()),
        })
    }

    /// The device through which foreign frames are mapped.
    pub fn privcmd(&self) -> &File {
        &self.privcmd
    }

    /// Makes the call `op` with a buffer: `prepare` fills it and returns the call's arguments (addresses
    /// come from [`HypercallBuffer::address`]), `finish` takes Xen's answer out of it.
    pub fn call<R>(
        &self,
        op: u32,
        prepare: impl FnOnce(&mut HypercallBuffer) -> [u64; 5],
        finish: impl FnOnce(u32, &HypercallBuffer) -> R,
    ) -> io::Result<R> {
        let pooled = self.pool().pop();
        let mut buffer = pooled.map_or_else(|| HypercallBuffer::new(&self.buffer_device), Ok)?;
        let arguments = prepare(&mut buffer);
        let result = sys::hypercall(&self.privcmd, op, arguments).map(|value| finish(value, &buffer));
        self.pool().push(buffer);
        result
    }

    fn pool(&self) -> std::sync::MutexGuard<'_, Vec<HypercallBuffer>> {
        self.buffers.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Opens a device for reading and writing; the error names it and what its absence means.
pub fn open_device(path: &str) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path).map_err(|error| {
        let hint = "is this dom0 under Xen, and are its xen modules loaded?";
        io::Error::new(error.kind(), format!("{path}: {error} ({hint})"))
    })
}
