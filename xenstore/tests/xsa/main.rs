//! The faults that XenStore daemons have had, by their Xen security advisories: one test at least for
//! each, named after it. XSA-38 and half of XSA-326 are about rings, which a driver serves and not this
//! crate.

#[path = "../protocol/client.rs"]
#[allow(dead_code, reason = "shared with other tests, which use more of it")]
mod client;

mod disclosure;
mod input;
mod lifetime;
mod memory;
mod quota;
mod transactions;
