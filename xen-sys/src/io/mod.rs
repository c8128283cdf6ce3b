//! Shared pages of the paravirtual drivers (`xen/include/public/io`).

pub mod console;
pub mod netif;
pub mod ring;
pub mod xenbus;
pub mod xs_wire;
