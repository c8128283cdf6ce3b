//! The socket, and the services that are started for who asks there.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt};
use smoltcp::wire::Ipv4Cidr;
use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::records::hosts;
use super::responder::{Effect, GROUP, PORT, Responder, Ticket};
use crate::config::Config;
use crate::directory::Moment;
use crate::dns::Limits;
use crate::dns::limits::Admission;
use crate::random::Random;
use crate::summoner::Summoner;

/// Longest message (RFC 6762, section 17).
const MAX_MESSAGE: usize = 9000;

/// Pause after a failed `recv`, lest a broken network makes a busy loop.
const RECEIVE_PAUSE: Duration = Duration::from_millis(100);

/// Messages come from the link, and go no further (RFC 6762, section 11).
const TTL: u32 = 255;

/// A socket for mDNS on one interface.
#[derive(Debug)]
pub struct Socket(UdpSocket);

impl Socket {
    /// On this interface, where the node has this address.
    ///
    /// # Errors
    /// When Linux refuses.
    pub fn open(interface: &str, address: Ipv4Addr) -> io::Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let raw = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
        // Others on the same host may listen, too.
        setsockopt(&raw, sockopt::ReuseAddr, &true)?;
        bind(raw.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT)))?;
        let socket = UdpSocket::from_std(raw.into())?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.join_multicast_v4(*GROUP.ip(), address)?;
        socket.set_multicast_ttl_v4(TTL)?;
        socket.set_ttl(TTL)?;
        Ok(Socket(socket))
    }
}

/// Announces the node and its services until `shutdown`, and says goodbye then.
/// Questions are within the same limits as those over DNS.
pub async fn serve(
    Socket(socket): Socket,
    config: Config,
    summoner: Summoner,
    limits: Arc<Limits>,
    shutdown: CancellationToken,
) {
    let (own, prefix) = (config.node.address, config.node.prefix);
    let responder = Responder::new(own, hosts(&config), Random::from_system(), Moment::now());
    let mut responder = match responder {
        Ok(responder) => responder,
        Err(error) => {
            tracing::error!("nothing is announced on the link: {error}");
            return;
        }
    };
    let link = Ipv4Cidr::new(own, prefix);
    let mut summons: JoinSet<(Ticket, Option<Duration>)> = JoinSet::new();
    let mut buffer = vec![0; MAX_MESSAGE];
    loop {
        let mut effects = Vec::new();
        let deadline = responder.deadline();
        let due = async {
            match deadline {
                Some(deadline) => sleep(deadline.since(Moment::now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            received = socket.recv_from(&mut buffer) => match received {
                // Whoever is not on the link is answered nothing (RFC 6762, section 11).
                Ok((length, SocketAddr::V4(from))) if link.contains_addr(from.ip()) => {
                    let now = Moment::now();
                    if limits.admit(now, IpAddr::V4(*from.ip()), None) == Admission::Yes {
                        responder.received(&buffer[..length], from, now, &mut effects);
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!("mDNS: cannot receive: {error}");
                    sleep(RECEIVE_PAUSE).await;
                }
            },
            Some(Ok((ticket, ttl))) = summons.join_next() => {
                responder.summoned(ticket, ttl, Moment::now(), &mut effects);
            }
            () = due => responder.tick(Moment::now(), &mut effects),
            () = shutdown.cancelled() => break,
        }
        for effect in effects {
            match effect {
                Effect::Send(to, message) => send(&socket, to, &message).await,
                Effect::Summon(service, ticket, source) => {
                    let (summoner, received) = (summoner.clone(), Moment::now());
                    let may = limits.may_start(received, IpAddr::V4(source)).is_ok();
                    summons.spawn(async move {
                        let outcome = match may {
                            true => summoner.summon(service, received.0).await.ok(),
                            false => None,
                        };
                        (ticket, outcome.map(|summoned| summoned.ttl))
                    });
                }
            }
        }
    }
    let mut effects = Vec::new();
    responder.farewell(&mut effects);
    for effect in effects {
        if let Effect::Send(to, message) = effect {
            send(&socket, to, &message).await;
        }
    }
}

async fn send(socket: &UdpSocket, to: SocketAddrV4, message: &[u8]) {
    if let Err(error) = socket.send_to(message, to).await {
        tracing::debug!(%to, "mDNS: cannot send: {error}");
    }
}
