//! Requests to the kernel's rtnetlink, one at a time (rtnetlink(7)).

use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result, bail};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

/// A socket to the kernel, in the namespace in which it was opened.
pub struct Netlink {
    socket: OwnedFd,
}

impl Netlink {
    /// Opens one in the current namespace.
    pub fn open() -> Result<Self> {
        let protocol = SockProtocol::NetlinkRoute;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)
            .context("opening a netlink socket")?;
        Ok(Netlink { socket })
    }

    /// Has the kernel carry out `message`; `new` for making something that must not exist yet.
    pub fn request(&mut self, message: RouteNetlinkMessage, new: bool) -> Result<()> {
        let mut message = NetlinkMessage::from(message);
        let kind = if new { NLM_F_CREATE | NLM_F_EXCL } else { 0 };
        message.header.flags = NLM_F_REQUEST | NLM_F_ACK | kind;
        message.finalize();
        let mut request = vec![0; message.buffer_len()];
        message.serialize(&mut request);
        send(self.socket.as_raw_fd(), &request, MsgFlags::empty()).context("sending to netlink")?;

        let mut reply = [0; 4096];
        let length =
            recv(self.socket.as_raw_fd(), &mut reply, MsgFlags::empty()).context("waiting for netlink")?;
        let reply = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&reply[..length])
            .context("reading netlink's reply")?;
        match reply.payload {
            // An acknowledgement is an error without a code.
            NetlinkPayload::Error(error) if error.code.is_none() => Ok(()),
            NetlinkPayload::Error(error) => Err(error.to_io().into()),
            other => bail!("netlink replied with {other:?} instead of an acknowledgement"),
        }
    }
}
