//! Event channels as futures, through `/dev/xen/evtchn`.
//!
//! Linux masks a port when it delivers its event; reading the device returns the port, writing it back
//! unmasks it. A port is unmasked when its owner waits again, so a guest that fires without end gets one
//! turn per round of work that its owner does, no more.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use xen_sys::{DomId, EvtchnPort};

use super::sys;

#[derive(Debug, Default)]
struct Waiter {
    /// Delivered and not yet unmasked.
    masked: AtomicBool,
    notify: Notify,
}

#[derive(Debug)]
struct Shared {
    device: AsyncFd<File>,
    waiters: Mutex<HashMap<u32, Arc<Waiter>>>,
}

impl Shared {
    fn waiters(&self) -> MutexGuard<'_, HashMap<u32, Arc<Waiter>>> {
        self.waiters.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The event channels of this process.
#[derive(Clone, Debug)]
pub struct EventChannels(Arc<Shared>);

/// A bound event channel; dropping it closes it.
#[derive(Debug)]
pub struct Port {
    port: u32,
    waiter: Arc<Waiter>,
    shared: Arc<Shared>,
}

impl EventChannels {
    /// Opens the device. Must be called on a tokio runtime with I/O enabled.
    pub fn open() -> io::Result<Self> {
        const PATH: &str = "/dev/xen/evtchn";
        let device = File::options()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(PATH)
            .map_err(|error| io::Error::new(error.kind(), format!("{PATH}: {error}")))?;
        Ok(EventChannels(Arc::new(Shared { device: sys::readiness(device)?, waiters: Mutex::default() })))
    }

    /// Delivers events for as long as it is polled.
    ///
    /// # Errors
    /// Only when the device itself fails; nothing can be waited for after that.
    pub async fn run(&self) -> io::Result<()> {
        let mut ports = [0u8; 256];
        loop {
            let mut ready = self.0.device.readable().await?;
            match ready.try_io(|device| device.get_ref().read(&mut ports)) {
                // It is read until it is empty: of an event that comes during a read the kernel does not tell, when the
                // ring was not empty yet (`evtchn_interrupt` in Linux's `drivers/xen/evtchn.c`).
                Ok(Ok(read)) => self.deliver(&ports[..read]),
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
    }

    fn deliver(&self, ports: &[u8]) {
        let waiters = self.0.waiters();
        for port in ports.chunks_exact(4) {
            let port = u32::from_ne_bytes(port.try_into().expect("chunks of four"));
            if let Some(waiter) = waiters.get(&port) {
                waiter.masked.store(true, Ordering::Release);
                waiter.notify.notify_one();
            }
        }
    }

    /// Binds a virtual interrupt of this domain, such as `VIRQ_DOM_EXC`.
    pub fn bind_virq(&self, virq: u32) -> io::Result<Port> {
        self.bound(|device| sys::bind_virq(device, virq))
    }

    /// Binds to a port that another domain has opened for this one.
    pub fn bind_interdomain(&self, domid: DomId, remote: EvtchnPort) -> io::Result<Port> {
        self.bound(|device| sys::bind_interdomain(device, domid, remote.0))
    }

    fn bound(&self, bind: impl FnOnce(&File) -> io::Result<u32>) -> io::Result<Port> {
        // Held over the binding, so that an event that comes at once finds its waiter.
        let mut waiters = self.0.waiters();
        let port = bind(self.0.device.get_ref())?;
        let waiter = Arc::new(Waiter::default());
        waiters.insert(port, waiter.clone());
        Ok(Port { port, waiter, shared: self.0.clone() })
    }

    /// How many ports are bound.
    pub fn count(&self) -> usize {
        self.0.waiters().len()
    }
}

impl Port {
    /// Waits for the next event. Events that came while nobody waited count as one.
    pub async fn wait(&self) {
        self.unmask();
        self.waiter.notify.notified().await;
    }

    /// Sends an event to the other side.
    pub fn notify(&self) {
        // Fails only when the other side is gone, which is learnt from VIRQ_DOM_EXC.
        if let Err(error) = sys::notify(self.shared.device.get_ref(), self.port) {
            tracing::debug!(port = self.port, %error, "event not sent");
        }
    }

    fn unmask(&self) {
        if self.waiter.masked.swap(false, Ordering::AcqRel) {
            let port = self.port.to_ne_bytes();
            if let Err(error) = self.shared.device.get_ref().write(&port) {
                tracing::error!(port = self.port, %error, "event channel cannot be unmasked");
            }
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        let mut waiters = self.shared.waiters();
        waiters.remove(&self.port);
        if let Err(error) = sys::unbind(self.shared.device.get_ref(), self.port) {
            tracing::error!(port = self.port, %error, "event channel cannot be closed");
        }
    }
}
