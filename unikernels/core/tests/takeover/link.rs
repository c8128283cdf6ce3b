//! A cable between two, on which frames take their time, overtake each other and are lost.

use std::collections::VecDeque;

use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::time::Instant;

/// Knuth's MMIX generator; a seed tells all.
pub struct Random(pub u64);

impl Random {
    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n.max(1)
    }
}

/// What a cable is like.
#[derive(Clone, Copy, Debug)]
pub struct Quality {
    /// ms that a frame takes at the least, and at the most.
    pub delay: (u64, u64),
    /// One frame in so many is lost; 0 for none.
    pub loss: u64,
}

/// One direction of a cable: frames with the time at which they arrive, in ms.
pub struct Cable {
    quality: Quality,
    random: Random,
    frames: Vec<(u64, Vec<u8>)>,
}

impl Cable {
    pub fn new(quality: Quality, seed: u64) -> Self {
        Cable { quality, random: Random(seed), frames: Vec::new() }
    }

    pub fn send(&mut self, now: u64, frame: Vec<u8>) {
        let Quality { delay: (least, most), loss } = self.quality;
        if loss == 0 || self.random.below(loss) > 0 {
            self.frames.push((now + least + self.random.below(most - least + 1), frame));
        }
    }

    /// Frames that have arrived.
    pub fn take(&mut self, now: u64) -> Vec<Vec<u8>> {
        // Stable, so that frames of one moment stay in order.
        self.frames.sort_by_key(|(at, _)| *at);
        let later = self.frames.split_off(self.frames.partition_point(|(at, _)| *at <= now));
        std::mem::replace(&mut self.frames, later).into_iter().map(|(_, frame)| frame).collect()
    }

    /// When the next frame arrives.
    pub fn next(&self) -> Option<u64> {
        self.frames.iter().map(|(at, _)| *at).min()
    }
}

/// A network card: frames that have come, and frames to be sent.
#[derive(Default)]
pub struct Card {
    /// Bytes of a frame.
    pub mtu: usize,
    pub come: VecDeque<Vec<u8>>,
    pub sent: VecDeque<Vec<u8>>,
}

pub struct Come(Vec<u8>);
pub struct Sends<'a>(&'a mut VecDeque<Vec<u8>>);

impl phy::RxToken for Come {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl phy::TxToken for Sends<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut frame = vec![0; length];
        let result = f(&mut frame);
        self.0.push_back(frame);
        result
    }
}

impl Device for Card {
    type RxToken<'a> = Come;
    type TxToken<'a> = Sends<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Come, Sends<'_>)> {
        Some((Come(self.come.pop_front()?), Sends(&mut self.sent)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sends<'_>> {
        Some(Sends(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.mtu;
        capabilities
    }
}
