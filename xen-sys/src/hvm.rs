//! Parameters that the domain builder leaves for a guest (`xen/include/public/hvm/{hvm_op,params}.h`).
//!
//! All ARM guests count as hardware-assisted; a hypercall is `hvm_op(HVMOP_x, &argument)`.

use core::mem::{offset_of, size_of};

use crate::DomId;

/// Set a parameter; [`XenHvmParam`].
pub const HVMOP_SET_PARAM: u32 = 0;
/// Read a parameter; [`XenHvmParam`].
pub const HVMOP_GET_PARAM: u32 = 1;

/// How the guest hears of events. On ARM it is set by Xen or the builder: `2 << 56`, with the
/// interrupt's number in the low byte and [`HVM_PARAM_CALLBACK_TYPE_PPI_FLAG_LOW_LEVEL`] in bits 8 to 15.
pub const HVM_PARAM_CALLBACK_IRQ: u32 = 0;
/// Guest frame of the XenStore ring ([`crate::io::xs_wire`]).
pub const HVM_PARAM_STORE_PFN: u32 = 1;
/// Port of the XenStore ring.
pub const HVM_PARAM_STORE_EVTCHN: u32 = 2;
/// Guest frame of the console ring ([`crate::io::console`]).
pub const HVM_PARAM_CONSOLE_PFN: u32 = 17;
/// Port of the console ring.
pub const HVM_PARAM_CONSOLE_EVTCHN: u32 = 18;

/// Top byte of [`HVM_PARAM_CALLBACK_IRQ`] on ARM: the low byte names a per-processor interrupt.
pub const HVM_PARAM_CALLBACK_TYPE_PPI: u64 = 2;
/// Bits 8 to 15 of [`HVM_PARAM_CALLBACK_IRQ`]: the interrupt is level triggered, active low.
pub const HVM_PARAM_CALLBACK_TYPE_PPI_FLAG_LOW_LEVEL: u64 = 2;

/// Argument of [`HVMOP_SET_PARAM`] and [`HVMOP_GET_PARAM`].
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct XenHvmParam {
    /// IN: whose parameter; only the toolstack may name another domain than [`DomId::SELF`].
    pub domid: DomId,
    /// Unused.
    pub pad: u16,
    /// IN: `HVM_PARAM_*`.
    pub index: u32,
    /// IN to set, OUT to read.
    pub value: u64,
}

const _: () = {
    assert!(size_of::<XenHvmParam>() == 16);
    assert!(offset_of!(XenHvmParam, index) == 4);
    assert!(offset_of!(XenHvmParam, value) == 8);
};
