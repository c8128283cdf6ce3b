//! A response on its way to TCP.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use smoltcp::socket::tcp::Socket;

use crate::response::Piece;

/// What is left of a response. A piece that has been handed over is dropped; a file's is never copied as a whole, but
/// only as much of it as TCP has room for.
#[derive(Debug)]
pub struct Answer<'s> {
    pieces: VecDeque<Piece<'s>>,
    /// Bytes of the first piece that have been handed over.
    sent: usize,
    left: usize,
}

impl<'s> Answer<'s> {
    /// One of which nothing has been sent.
    pub fn new(pieces: Vec<Piece<'s>>) -> Self {
        let left = pieces.iter().map(|piece| piece.bytes().len()).sum();
        Answer { pieces: pieces.into(), sent: 0, left }
    }

    /// Bytes that are left.
    pub fn left(&self) -> usize {
        self.left
    }

    /// Hands as much to TCP as it has room for.
    pub fn send(&mut self, socket: &mut Socket<'_>) {
        while let Some(piece) = self.pieces.front() {
            let rest = &piece.bytes()[self.sent..];
            // An error means that the client has reset the connection, which its state says too.
            let count = socket.send_slice(rest).unwrap_or(0);
            self.sent += count;
            self.left -= count;
            if count < rest.len() {
                return;
            }
            self.pieces.pop_front();
            self.sent = 0;
        }
    }
}
