//! The hypervisor, as seen from dom0 through Linux's Xen devices.
//!
//! [`sys`] is the only module with unsafe code: ioctls and shared pages, checked in one place. Above it
//! stand [`hypercall`] (synchronous calls on owned data), [`event`] (event channels as futures) and
//! [`hypervisor`] (the calls that the toolstack makes, each with its object named in the error).

pub mod event;
pub mod hypercall;
pub mod hypervisor;
pub mod sys;

pub use event::{EventChannels, Port};
pub use hypervisor::{Created, Error, Hypervisor};
pub use sys::SharedPages;
