//! Datagrams.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::{JoinSet, yield_now};
use tokio::time::sleep;

use super::batch::{Datagram, Incoming, Outgoing};
use super::known::{Key, Known};
use super::waiting::Waiting;
use super::{Front, report};
use crate::directory::Moment;
use crate::dns::brief;
use crate::dns::counters::count;
use crate::dns::limits::{Admission, Kind, Sending};
use crate::dns::reply::{Begun, Transport};

/// Pause after a failed `recvmmsg`, lest a broken network makes a busy loop.
const RECEIVE_PAUSE: Duration = Duration::from_millis(20);

/// Answers on one socket, for ever.
pub async fn serve(socket: UdpSocket, front: &Arc<Front>) {
    let mut incoming = Incoming::new();
    let mut server = Server {
        front: Arc::clone(front),
        socket: Arc::new(socket),
        known: Known::default(),
        outgoing: Outgoing::default(),
        waiting: Waiting::default(),
        tasks: JoinSet::new(),
    };
    loop {
        let more = tokio::select! {
            received = incoming.receive(&server.socket) => match received {
                Ok(more) => more,
                Err(error) => {
                    tracing::warn!("DNS over UDP: cannot receive: {error}");
                    sleep(RECEIVE_PAUSE).await;
                    continue;
                }
            },
            Some(ended) = server.tasks.join_next() => {
                report(ended);
                continue;
            }
        };
        let received = Moment::now();
        for (datagram, message) in incoming.datagrams() {
            server.deal(datagram, message, received);
        }
        server.outgoing.send(&server.socket).await;
        // In a flood, those have their turn for whom the flood is not.
        if more {
            yield_now().await;
        }
    }
}

struct Server {
    front: Arc<Front>,
    socket: Arc<UdpSocket>,
    known: Known,
    outgoing: Outgoing,
    waiting: Waiting,
    tasks: JoinSet<()>,
}

impl Server {
    fn deal(&mut self, datagram: Datagram, message: &[u8], received: Moment) {
        let (front, peer) = (&self.front, datagram.peer);
        match front.admit(peer, datagram.local.map(|local| local.address), Transport::Udp, received) {
            Admission::Yes => {}
            Admission::Refuse => {
                if let Some(reply) = brief::prohibited(message) {
                    front.answer(&mut self.outgoing, datagram, &reply, received);
                }
                return;
            }
            Admission::Ignore | Admission::TooMuch(_) => return,
        }
        let key = Key::of(message);
        if let Some(key) = &key
            && let Some((reply, kind)) = self.known.find(key, received, &front.warm)
        {
            if let Some(reply) = front.put(&mut self.outgoing, datagram, reply, kind, received) {
                key.adapt(reply, message);
            }
            return;
        }
        match front.begin(message, peer, Transport::Udp, received) {
            Begun::Silence => {}
            Begun::Now(reply) => front.answer(&mut self.outgoing, datagram, &reply, received),
            Begun::Always(reply, services) => {
                if let Some(key) = key {
                    self.known.keep(&key, &reply, front.limits.kind(&reply), services, &front.warm);
                }
                front.answer(&mut self.outgoing, datagram, &reply, received);
            }
            Begun::Later(reply) => {
                let Some(place) = self.waiting.place(peer.ip()) else {
                    tracing::debug!(%peer, "DNS over UDP: too many questions wait; one is dropped");
                    return count(&front.counters.dropped);
                };
                let (socket, asking, front) =
                    (Arc::clone(&self.socket), front.summoner.asks(), Arc::clone(front));
                self.tasks.spawn(async move {
                    if let Some(reply) = reply.await {
                        let mut outgoing = Outgoing::default();
                        front.answer(&mut outgoing, datagram, &reply, Moment::now());
                        outgoing.send(&socket).await;
                    }
                    drop((place, asking));
                });
            }
        }
    }
}

impl Front {
    /// Adds a reply to those that go out, as far as the limits let it.
    fn answer(&self, outgoing: &mut Outgoing, to: Datagram, reply: &[u8], now: Moment) {
        let _sent = self.put(outgoing, to, reply, self.limits.kind(reply), now);
    }

    /// As [`Self::answer`]; what is sent may still be changed, but for its length.
    fn put<'o>(
        &self,
        outgoing: &'o mut Outgoing,
        to: Datagram,
        reply: &[u8],
        kind: Kind,
        now: Moment,
    ) -> Option<&'o mut [u8]> {
        let slipped = match self.limits.respond(now, to.peer.ip(), kind) {
            Sending::Whole => None,
            Sending::Slipped => Some(brief::slipped(reply)?),
            Sending::Not => return None,
        };
        count(&self.counters.answered);
        Some(outgoing.push(to, slipped.as_deref().unwrap_or(reply)))
    }
}
