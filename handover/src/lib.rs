//! How a guest goes on with connections that were opened on its behalf: what both it and the node have to know.
//!
//! A guest that can says so in its image ([`Offer`]): on which ports it listens, and what its TCP is like. While it is
//! down or boots, the node answers clients there just as the guest would (SYN capture, the crate `capture`), and keeps
//! what they send. Each such connection is a [`Record`]. In XenStore, relative to the guest's directory:
//!
//! 1. The guest is connected and listens. It writes `data/ready`, by which it claims its address and what goes with
//!    it, and watches `control`.
//! 2. The node holds back what comes for the guest from now on. If there are records, it writes them to [`RECORDS`];
//!    else the guest has its address at once, and 3 is left out.
//! 3. The guest reads them, goes on with the connections, and writes [`TAKEN`]. Only then does the node give it its
//!    address, first of all what was held back: a segment that came to it earlier would be of a connection that it
//!    does not know, and answered by an RST.
//!
//! So a connection is the node's, or the guest's, and never both's; and a start where there is nothing to hand over
//! costs nothing more. [`pack`] makes values of records, [`unpack`] records of values.
//!
//! Without the standard library, so that the unikernels have it too. No I/O.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

mod offer;
mod parcel;
mod record;

pub use offer::{MOST_PORTS, NotAnOffer, Offer};
pub use parcel::{MOST_BYTES, further, pack, unpack};
pub use record::{FIXED, NotARecord, Record, State, Timestamps, WindowScales};

/// The node with the records, which the guest may read; see [`pack`]. Those that do not fit into it are in nodes below:
/// `control/handover/1` and so on.
pub const RECORDS: &str = "control/handover";

/// Written by the guest when it goes on with what was in [`RECORDS`]: how many connections these are, in decimal.
pub const TAKEN: &str = "data/taken";
