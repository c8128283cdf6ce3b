//! Capture as its driver sees it: frames, phases and time in, frames and summons out.

mod answers;
mod build;
mod bytes;
mod client;
mod flood;
mod flows;
mod handshake;
mod held;
mod refusals;
mod summons;
mod world;
