//! Network device rings (`xen/include/public/io/netif.h`), as seen by a front end: a transmit and a
//! receive ring of [`crate::io::ring`], one page each. Of extra segments there is that for large packets.
//!
//! Key words in XenStore under `device/vif/N`: `tx-ring-ref`, `rx-ring-ref`, `event-channel` (or
//! `event-channel-tx` and `-rx`), `request-rx-copy`, `feature-rx-notify`, `feature-no-csum-offload`,
//! `feature-gso-tcpv4`, `feature-sg`, `state`; and `mac`, written by the toolstack.

use core::mem::{offset_of, size_of};

use crate::GrantRef;
use crate::io::ring;

/// `netif_tx_request`: send a part of a granted page.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct TxRequest {
    /// The page.
    pub gref: GrantRef,
    /// Where in the page the data begin, in bytes.
    pub offset: u16,
    /// `NETTXF_*`.
    pub flags: u16,
    /// Echoed in the response.
    pub id: u16,
    /// Bytes of the whole packet in a packet's first request, of this part in the others.
    pub size: u16,
}

/// `netif_tx_response`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct TxResponse {
    /// Of the request.
    pub id: u16,
    /// `NETIF_RSP_*`.
    pub status: i16,
}

/// `netif_rx_request`: a granted page that the back end may write a packet to.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct RxRequest {
    /// Echoed in the response.
    pub id: u16,
    /// Unused.
    pub pad: u16,
    /// The page.
    pub gref: GrantRef,
}

/// `netif_rx_response`. It stands in the same place of the ring as its request.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct RxResponse {
    /// Of the request.
    pub id: u16,
    /// Where in the page the data begin, in bytes.
    pub offset: u16,
    /// `NETRXF_*`.
    pub flags: u16,
    /// Bytes received; negative: `NETIF_RSP_*`.
    pub status: i16,
}

/// `netif_extra_info` of the type `gso`: the packet is to be cut. It stands in the ring behind the packet's first request,
/// and its response means nothing ([`NETIF_RSP_NULL`]).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct GsoInfo {
    /// [`NETIF_EXTRA_TYPE_GSO`].
    pub kind: u8,
    /// Whether another extra segment follows: 1.
    pub flags: u8,
    /// Bytes of data of each packet.
    pub size: u16,
    /// [`NETIF_GSO_TYPE_TCPV4`].
    pub gso_kind: u8,
    /// 0.
    pub pad: u8,
    /// 0.
    pub features: u16,
}

/// [`GsoInfo::kind`].
pub const NETIF_EXTRA_TYPE_GSO: u8 = 1;
/// TCP over IPv4.
pub const NETIF_GSO_TYPE_TCPV4: u8 = 1;
/// Requests of one packet that every back end takes (`XEN_NETIF_NR_SLOTS_MIN`).
pub const NETIF_NR_SLOTS_MIN: usize = 18;

/// Entries of a transmit ring.
pub const TX_RING_SIZE: u32 = ring::entries(size_of::<TxRequest>());
/// Entries of a receive ring.
pub const RX_RING_SIZE: u32 = ring::entries(size_of::<RxRequest>());

/// The back end shall complete the protocol's checksum: the field has the pseudo header's sum.
pub const NETTXF_CSUM_BLANK: u16 = 1 << 0;
/// The protocol's checksum is known to be right.
pub const NETTXF_DATA_VALIDATED: u16 = 1 << 1;
/// The packet goes on in the next request.
pub const NETTXF_MORE_DATA: u16 = 1 << 2;
/// Extra segments follow.
pub const NETTXF_EXTRA_INFO: u16 = 1 << 3;

/// The protocol's checksum is known to be right.
pub const NETRXF_DATA_VALIDATED: u16 = 1 << 0;
/// The protocol's checksum is not filled in.
pub const NETRXF_CSUM_BLANK: u16 = 1 << 1;
/// The packet goes on in the next response.
pub const NETRXF_MORE_DATA: u16 = 1 << 2;
/// Extra segments follow.
pub const NETRXF_EXTRA_INFO: u16 = 1 << 3;

/// The packet was dropped.
pub const NETIF_RSP_DROPPED: i16 = -2;
/// The request was wrong.
pub const NETIF_RSP_ERROR: i16 = -1;
/// The packet was sent.
pub const NETIF_RSP_OKAY: i16 = 0;
/// Answer to an extra segment; means nothing.
pub const NETIF_RSP_NULL: i16 = 1;

const _: () = {
    assert!(size_of::<TxRequest>() == 12);
    assert!(offset_of!(TxRequest, offset) == 4);
    assert!(offset_of!(TxRequest, flags) == 6);
    assert!(offset_of!(TxRequest, id) == 8);
    assert!(offset_of!(TxRequest, size) == 10);
    assert!(size_of::<TxResponse>() == 4);
    assert!(offset_of!(TxResponse, status) == 2);
    assert!(size_of::<RxRequest>() == 8);
    assert!(offset_of!(RxRequest, gref) == 4);
    assert!(size_of::<RxResponse>() == 8);
    assert!(offset_of!(RxResponse, offset) == 2);
    assert!(offset_of!(RxResponse, flags) == 4);
    assert!(offset_of!(RxResponse, status) == 6);
    assert!(size_of::<GsoInfo>() == 8);
    assert!(offset_of!(GsoInfo, size) == 2);
    assert!(offset_of!(GsoInfo, gso_kind) == 4);
    assert!(offset_of!(GsoInfo, features) == 6);
    assert!(TX_RING_SIZE == 256);
    assert!(RX_RING_SIZE == 256);
};
