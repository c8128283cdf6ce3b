//! What becomes of SYNs, with real TCPs (smoltcp's) on both sides.

#[path = "../takeover/link.rs"]
mod link;
mod server;
mod table;
mod world;
