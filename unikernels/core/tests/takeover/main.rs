//! Connections that are taken over, with real TCPs (smoltcp's) on both sides and, between them, the part of the node's
//! that opens them: the very file.

#[path = "../../../../capture/src/handshake/connection.rs"]
#[allow(dead_code, missing_docs)]
mod connection;
mod guest;
mod link;
#[path = "../../../../capture/src/moment.rs"]
#[allow(dead_code, missing_docs)]
mod moment;
mod node;
mod refused;
mod world;
