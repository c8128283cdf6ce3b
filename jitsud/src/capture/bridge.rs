//! The bridge's forwarding entries of services: to which port the frames for a guest's address go. By rtnetlink(7), at
//! once: the kernel does what a message asks for before the call that sends it returns.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{self, MsgFlags, SockFlag, SockProtocol, SockType};
use rtnetlink::packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use rtnetlink::packet_route::neighbour::{
    NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::config::Mac;

/// Unit of the kernel's ages for user space: `USER_HZ`, 100 a second on all machines that matter here.
const TICK: Duration = Duration::from_millis(10);

/// Longest reply: one entry, or an error with the request in it.
const MAX_REPLY: usize = 1024;

/// The forwarding entries of one bridge.
#[derive(Debug)]
pub struct ForwardingTable {
    socket: OwnedFd,
    bridge: u32,
}

impl ForwardingTable {
    /// Of the bridge of that number.
    pub fn of(bridge: u32) -> io::Result<Self> {
        let (kind, protocol) = (SockType::Raw, SockProtocol::NetlinkRoute);
        let socket = socket::socket(socket::AddressFamily::Netlink, kind, SockFlag::SOCK_CLOEXEC, protocol)?;
        Ok(ForwardingTable { socket, bridge })
    }

    /// Frames for `mac` go to the port of that number from now on. The entry is static and sticky: neither time nor
    /// what guests send makes it go or move.
    pub fn point(&self, mac: Mac, port: u32) -> io::Result<()> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.header.ifindex = port;
        message.header.state = NeighbourState::Noarp;
        message.header.flags = NeighbourFlags::Controller | NeighbourFlags::Sticky;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        match self.request(RouteNetlinkMessage::NewNeighbour(message), flags)? {
            // An acknowledgement is an error without a code.
            NetlinkPayload::Error(error) if error.code.is_none() => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// For how long no frame has been forwarded to `mac` from another port, and none has come from it.
    pub fn quiet_for(&self, mac: Mac) -> io::Result<Duration> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.header.flags = NeighbourFlags::Controller;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
        message.attributes.push(NeighbourAttribute::Controller(self.bridge));
        let reply = self.request(RouteNetlinkMessage::GetNeighbour(message), 0)?;
        let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNeighbour(entry)) = reply else {
            return Err(unexpected(&reply));
        };
        let ages = entry.attributes.iter().find_map(|attribute| match attribute {
            NeighbourAttribute::CacheInfo(ages) => Some(ages.used.min(ages.updated)),
            _ => None,
        });
        ages.map(|ticks| TICK * ticks).ok_or_else(|| io::Error::other("the bridge's entry has no ages"))
    }

    fn request(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<NetlinkPayload<RouteNetlinkMessage>> {
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | flags;
        message.finalize();
        let mut request = vec![0; message.buffer_len()];
        message.serialize(&mut request);
        socket::send(self.socket.as_raw_fd(), &request, MsgFlags::empty())?;
        let mut reply = [0; MAX_REPLY];
        let length = socket::recv(self.socket.as_raw_fd(), &mut reply, MsgFlags::empty())?;
        let reply = NetlinkMessage::deserialize(&reply[..length]).map_err(io::Error::other)?;
        Ok(reply.payload)
    }
}

fn unexpected(payload: &NetlinkPayload<RouteNetlinkMessage>) -> io::Error {
    match payload {
        NetlinkPayload::Error(error) => error.to_io(),
        other => io::Error::other(format!("the bridge replied with {other:?}")),
    }
}
