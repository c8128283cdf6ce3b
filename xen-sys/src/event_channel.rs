//! Event channels: one-bit notifications between domains (`xen/include/public/event_channel.h`).
//!
//! A hypercall is `event_channel_op(EVTCHNOP_x, &argument)`; fields marked OUT are written by Xen.
//! Where the bits themselves live is in [`crate::shared_info`] (the two-level ABI; the FIFO ABI is left out).

use core::mem::{offset_of, size_of};

use crate::{DomId, EvtchnPort};

/// Connect to a port that a remote domain has left unbound for us; [`EvtchnBindInterdomain`].
pub const EVTCHNOP_BIND_INTERDOMAIN: u32 = 0;
/// Receive a virtual interrupt as an event; [`EvtchnBindVirq`].
pub const EVTCHNOP_BIND_VIRQ: u32 = 1;
/// Close a local port; [`EvtchnClose`].
pub const EVTCHNOP_CLOSE: u32 = 3;
/// Notify the other end; [`EvtchnSend`].
pub const EVTCHNOP_SEND: u32 = 4;
/// What a port is connected to; [`EvtchnStatus`].
pub const EVTCHNOP_STATUS: u32 = 5;
/// Allocate a port that one remote domain may bind; [`EvtchnAllocUnbound`].
pub const EVTCHNOP_ALLOC_UNBOUND: u32 = 6;
/// Unmask a port, raising the upcall if it is pending; [`EvtchnUnmask`].
pub const EVTCHNOP_UNMASK: u32 = 9;
/// Close all ports of a domain; [`EvtchnReset`].
pub const EVTCHNOP_RESET: u32 = 10;

/// `VIRQ_DOM_EXC`: some domain was shut down, crashed or died. Global, for the toolstack
/// (`xen/include/public/xen.h`).
pub const VIRQ_DOM_EXC: u32 = 3;

/// Argument of [`EVTCHNOP_ALLOC_UNBOUND`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct EvtchnAllocUnbound {
    /// IN: whose port; only the toolstack may name another domain than [`DomId::SELF`].
    pub dom: DomId,
    /// IN: who may bind it.
    pub remote_dom: DomId,
    /// OUT: the new port.
    pub port: EvtchnPort,
}

/// Argument of [`EVTCHNOP_BIND_INTERDOMAIN`]. Xen sets the new port pending at once.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct EvtchnBindInterdomain {
    /// IN: the domain with the unbound port.
    pub remote_dom: DomId,
    /// IN: that port.
    pub remote_port: EvtchnPort,
    /// OUT: our end.
    pub local_port: EvtchnPort,
}

/// Argument of [`EVTCHNOP_BIND_VIRQ`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct EvtchnBindVirq {
    /// IN: `VIRQ_*`.
    pub virq: u32,
    /// IN: the virtual CPU to notify; 0 for global and per-domain interrupts.
    pub vcpu: u32,
    /// OUT: the new port.
    pub port: EvtchnPort,
}

/// Argument of [`EVTCHNOP_CLOSE`]. The other end becomes unbound.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct EvtchnClose {
    /// IN: the port.
    pub port: EvtchnPort,
}

/// Argument of [`EVTCHNOP_SEND`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct EvtchnSend {
    /// IN: the local port whose other end is notified.
    pub port: EvtchnPort,
}

/// Argument of [`EVTCHNOP_UNMASK`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct EvtchnUnmask {
    /// IN: the local port.
    pub port: EvtchnPort,
}

/// Argument of [`EVTCHNOP_RESET`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct EvtchnReset {
    /// IN: whose ports; only the toolstack may name another domain than [`DomId::SELF`].
    pub dom: DomId,
}

/// [`EvtchnStatus::status`]: the port is not in use.
pub const EVTCHNSTAT_CLOSED: u32 = 0;
/// [`EvtchnStatus::status`]: the port waits for a remote domain to bind it.
pub const EVTCHNSTAT_UNBOUND: u32 = 1;
/// [`EvtchnStatus::status`]: the port is connected to a remote port.
pub const EVTCHNSTAT_INTERDOMAIN: u32 = 2;
/// [`EvtchnStatus::status`]: the port is bound to a physical interrupt.
pub const EVTCHNSTAT_PIRQ: u32 = 3;
/// [`EvtchnStatus::status`]: the port is bound to a virtual interrupt.
pub const EVTCHNSTAT_VIRQ: u32 = 4;
/// [`EvtchnStatus::status`]: the port is bound to a virtual inter-processor interrupt.
pub const EVTCHNSTAT_IPI: u32 = 5;

/// Argument of [`EVTCHNOP_STATUS`].
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
pub struct EvtchnStatus {
    /// IN: whose port; only the toolstack may name another domain than [`DomId::SELF`].
    pub dom: DomId,
    /// IN: the port.
    pub port: EvtchnPort,
    /// OUT: `EVTCHNSTAT_*`.
    pub status: u32,
    /// OUT: the virtual CPU that is notified.
    pub vcpu: u32,
    /// OUT, `u.unbound.dom` and `u.interdomain.dom`: the remote domain. For a physical or virtual
    /// interrupt its number begins here instead.
    pub remote_dom: DomId,
    /// OUT, `u.interdomain.port`: the remote port.
    pub remote_port: EvtchnPort,
}

const _: () = {
    assert!(size_of::<EvtchnAllocUnbound>() == 8);
    assert!(offset_of!(EvtchnAllocUnbound, port) == 4);
    assert!(size_of::<EvtchnBindInterdomain>() == 12);
    assert!(offset_of!(EvtchnBindInterdomain, remote_port) == 4);
    assert!(offset_of!(EvtchnBindInterdomain, local_port) == 8);
    assert!(size_of::<EvtchnBindVirq>() == 12);
    assert!(offset_of!(EvtchnBindVirq, port) == 8);
    assert!(size_of::<EvtchnClose>() == 4);
    assert!(size_of::<EvtchnSend>() == 4);
    assert!(size_of::<EvtchnUnmask>() == 4);
    assert!(size_of::<EvtchnReset>() == 2);
    assert!(size_of::<EvtchnStatus>() == 24);
    assert!(offset_of!(EvtchnStatus, port) == 4);
    assert!(offset_of!(EvtchnStatus, status) == 8);
    assert!(offset_of!(EvtchnStatus, vcpu) == 12);
    assert!(offset_of!(EvtchnStatus, remote_dom) == 16);
    assert!(offset_of!(EvtchnStatus, remote_port) == 20);
};
