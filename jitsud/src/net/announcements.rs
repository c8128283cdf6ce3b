//! What the kernel announces about interfaces: of each, the few things that are asked for.
//!
//! A message has a hundred attributes, and a guest's interface is announced half a dozen times while a client
//! waits. So nothing of a message is taken apart but what is needed (`include/uapi/linux/if_link.h` of Linux).

use std::io;

use netlink_packet_route::link::{LinkAttribute, LinkMessage, State};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use rtnetlink::packet_core::{NetlinkBuffer, NlasIterator};

/// `RTMGRP_LINK`.
const LINKS: u32 = 1;
const RTM_NEWLINK: u16 = 16;

/// `struct ifinfomsg`, and where the interface's number is in it.
const HEADER: usize = 16;
const INDEX: std::ops::Range<usize> = 4..8;

const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_OPERSTATE: u16 = 16;
/// `IF_OPER_UP`.
const UP: u8 = 6;

/// An interface as it is now.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Announced {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// It is a port of a bridge.
    pub is_port: bool,
    /// It has a carrier.
    pub is_up: bool,
}

impl Announced {
    /// Of what a whole list of interfaces says of one.
    pub fn of(link: &LinkMessage) -> Self {
        let mut announced = Announced { index: link.header.index, ..Announced::default() };
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::IfName(name) => announced.name.clone_from(name),
                LinkAttribute::Controller(_) => announced.is_port = true,
                LinkAttribute::OperState(state) => announced.is_up = *state == State::Up,
                _ => {}
            }
        }
        announced
    }
}

/// A socket that hears of every change.
pub struct Announcements(TokioSocket);

impl Announcements {
    /// Listens from now on.
    ///
    /// # Errors
    /// Whatever opening the socket fails with.
    pub fn listen() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        socket.socket_mut().bind(&SocketAddr::new(0, LINKS))?;
        Ok(Announcements(socket))
    }

    /// What is announced next; `None` when some announcements were lost, so that all interfaces are to be looked at.
    ///
    /// # Errors
    /// The socket has failed.
    pub async fn next(&mut self) -> io::Result<Option<Vec<Announced>>> {
        match self.0.recv_from_full().await {
            // Only the kernel itself has the port number 0.
            Ok((bytes, sender)) if sender.port_number() == 0 => Ok(Some(parse(&bytes))),
            Ok(_) => Ok(Some(Vec::new())),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The interfaces in a datagram, which has one message or more. What cannot be read ends it.
fn parse(mut bytes: &[u8]) -> Vec<Announced> {
    let mut all = Vec::new();
    while let Ok(message) = NetlinkBuffer::new_checked(bytes) {
        if message.message_type() == RTM_NEWLINK {
            all.extend(link(message.payload()));
        }
        let length = (message.length() as usize).next_multiple_of(4);
        bytes = bytes.get(length..).unwrap_or_default();
    }
    all
}

fn link(payload: &[u8]) -> Option<Announced> {
    let index = payload.get(INDEX)?.try_into().ok().map(u32::from_ne_bytes)?;
    let mut announced = Announced { index, ..Announced::default() };
    for attribute in NlasIterator::new(payload.get(HEADER..)?) {
        let attribute = attribute.ok()?;
        match (attribute.kind(), attribute.value()) {
            (IFLA_IFNAME, name) => {
                announced.name = std::str::from_utf8(name.strip_suffix(b"\0")?).ok()?.to_owned()
            }
            (IFLA_MASTER, _) => announced.is_port = true,
            (IFLA_OPERSTATE, state) => announced.is_up = state == [UP],
            _ => {}
        }
    }
    Some(announced)
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::RouteNetlinkMessage;
    use rtnetlink::packet_core::NetlinkMessage;

    use super::*;

    fn bytes(message: RouteNetlinkMessage) -> Vec<u8> {
        let mut message = NetlinkMessage::from(message);
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        bytes
    }

    fn message(index: u32, attributes: Vec<LinkAttribute>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes = attributes;
        message
    }

    #[test]
    fn of_a_message_what_is_asked_for_is_found() {
        let name = || LinkAttribute::IfName("vif3.0".into());
        let (port, up) = (LinkAttribute::Controller(2), LinkAttribute::OperState(State::Up));
        let new = |index, attributes| bytes(RouteNetlinkMessage::NewLink(message(index, attributes)));
        let mut datagram =
            new(7, vec![LinkAttribute::Mtu(1500), name(), LinkAttribute::OperState(State::Down)]);
        datagram.extend(bytes(RouteNetlinkMessage::DelLink(message(8, vec![name()]))));
        datagram.extend(new(9, vec![port, name(), up]));
        let expected = |index, both| Announced { index, name: "vif3.0".into(), is_port: both, is_up: both };
        assert_eq!(parse(&datagram), [expected(7, false), expected(9, true)]);
        // Cut off anywhere, it is never more than that.
        for length in 0..datagram.len() {
            assert!(expected(7, false) == *parse(&datagram[..length]).first().unwrap_or(&expected(7, false)));
        }
    }
}
