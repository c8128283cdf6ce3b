//! A small web server over smoltcp, and the page that the unikernel `www` serves.
//!
//! [`http`] turns requests into structs and structs into responses, [`server`] keeps the connections,
//! [`page`] has something to say. All of it runs on the host too, where it is tested.
#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod http;
pub mod page;
pub mod server;
