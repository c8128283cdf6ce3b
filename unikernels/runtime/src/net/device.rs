//! smoltcp's view of the network device.

use smoltcp::phy::{self, Checksum, Device, DeviceCapabilities, Medium};
use smoltcp::time::Instant;

use crate::net::netfront::{MAX_FRAME, Netfront, Receiver};
use crate::net::transmit::Transmitter;

/// A network device as smoltcp drives it.
#[derive(Debug)]
pub struct NetDevice(pub Netfront);

/// A packet that has come.
#[derive(Debug)]
pub struct RxToken<'a>(&'a [u8]);

/// Room for a packet to be sent.
#[derive(Debug)]
pub struct TxToken<'a>(&'a mut Transmitter);

impl Device for NetDevice {
    type RxToken<'a> = RxToken<'a>;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, _: Instant) -> Option<(RxToken<'_>, TxToken<'_>)> {
        let Netfront { tx, rx, .. } = &mut self.0;
        receive(rx, tx)
    }

    fn transmit(&mut self, _: Instant) -> Option<TxToken<'_>> {
        let tx = &mut self.0.tx;
        tx.has_room().then_some(TxToken(tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = MAX_FRAME;
        // Filled in, or begun, by the transmitter.
        capabilities.checksum.tcp = Checksum::Rx;
        capabilities
    }
}

/// A packet is taken only when the answer to it can be sent.
fn receive<'a>(rx: &'a mut Receiver, tx: &'a mut Transmitter) -> Option<(RxToken<'a>, TxToken<'a>)> {
    if !rx.has_response() || !tx.has_room() {
        return None;
    }
    Some((RxToken(rx.receive()?), TxToken(tx)))
}

impl phy::RxToken for RxToken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        self.0.compose(length, f)
    }
}
