//! One frame that has been received, as a device.

use smoltcp::phy::{self, Device, DeviceCapabilities, TxToken};
use smoltcp::time::Instant;

/// A device that brings one frame, and has room for one answer.
pub(super) struct Handed<'f, T>(Option<(Frame<'f>, T)>);

pub(super) struct Frame<'f>(&'f [u8]);

impl<'f, T> Handed<'f, T> {
    pub(super) fn new(frame: &'f [u8], tx: T) -> Self {
        Handed(Some((Frame(frame), tx)))
    }
}

impl<'f, T: TxToken> Device for Handed<'f, T> {
    type RxToken<'a>
        = Frame<'f>
    where
        Self: 'a;
    type TxToken<'a>
        = T
    where
        Self: 'a;

    fn receive(&mut self, _: Instant) -> Option<(Frame<'f>, T)> {
        self.0.take()
    }

    fn transmit(&mut self, _: Instant) -> Option<T> {
        None
    }

    fn capabilities(&self) -> DeviceCapabilities {
        // An interface looks at these when it is made, by the device that it is made for.
        DeviceCapabilities::default()
    }
}

impl phy::RxToken for Frame<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}
