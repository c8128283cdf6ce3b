//! A web server over smoltcp, for files in memory.
//!
//! [`server`] keeps the connections. [`request`] turns what they bring into [`request::Request`]s, and
//! [`response::Response`]s are what goes back; [`files`] makes one of the other for a packed site, [`page`] for a
//! service without one. What a header field says is read in [`fields`], [`coding`], [`range`] and [`date`]. All of it runs
//! on the host too, where it is tested.
//!
//! HTTP is that of RFC 9110 and RFC 9112. What they leave open is decided so:
//!
//! - GET, HEAD and OPTIONS. A request with a body is answered, and its connection closed: the body is not read.
//! - Ranges of bytes for GET, several of them as `multipart/byteranges`; more than [`range::MOST`] of them, or ones that
//!   together are no less than the whole, get the whole. `If-Range` wants an entity tag: dates do not tell that nothing
//!   has changed.
//! - Encoded by gzip if the client prefers that, and never 406.
//! - No `Date`: there is no clock (RFC 9110, section 6.6.1).
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod coding;
pub mod date;
pub mod fields;
pub mod files;
pub mod page;
pub mod range;
pub mod request;
pub mod response;
pub mod server;
pub mod target;
