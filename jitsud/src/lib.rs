//! The just-in-time toolstack: a DNS query makes a virtual machine run.
//!
//! `ARCHITECTURE.md` at the root of the repository is the map. Decisions live in modules without I/O
//! ([`config`], [`directory`], [`domain::devicetree`], [`domain::nodes`]); the others connect them to Xen,
//! Linux and the network.

pub mod addresses;
pub mod afterwards;
pub mod capture;
pub mod card;
pub mod clock;
pub mod config;
pub mod console;
pub mod control;
pub mod ctl;
pub mod dhcp;
pub mod directory;
pub mod dns;
pub mod domain;
pub mod histogram;
pub mod led;
mod listener;
pub mod logging;
pub mod mdns;
pub mod net;
pub mod node;
pub mod random;
pub mod reload;
pub mod schema;
pub mod status;
pub mod store;
pub mod succession;
pub mod summary;
pub mod summoner;
pub mod text;
pub mod xen;
