//! Any number of clients on one socket.

use std::collections::VecDeque;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep};

use super::message::{CLIENT_PORT, ROOM, Reply, SERVER_PORT};
use super::{Client, Event, Identity, Kept};
use crate::directory::Moment;
use crate::random::Random;

/// Pause after a failed `recv`, lest a broken network makes a busy loop.
const RECEIVE_PAUSE: Duration = Duration::from_millis(100);

/// The clients, and the socket that they share.
#[derive(Debug)]
pub struct Clients {
    socket: UdpSocket,
    random: Random,
    clients: Vec<Client>,
    /// To be sent. Bounded: each client adds one message when its time has come or a reply has come for it.
    outbox: VecDeque<Vec<u8>>,
    events: VecDeque<(usize, Event)>,
    /// Sending has failed, and that has been said.
    mute: bool,
}

impl Clients {
    /// No clients yet, on an interface that needs no address.
    ///
    /// # Errors
    /// When another DHCP client has the port, or there is no such interface.
    pub async fn open(interface: &str) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, CLIENT_PORT)).await?;
        socket.bind_device(Some(interface.as_bytes()))?;
        socket.set_broadcast(true)?;
        Ok(Clients {
            socket,
            random: Random::from_system(),
            clients: Vec::new(),
            outbox: VecDeque::new(),
            events: VecDeque::new(),
            mute: false,
        })
    }

    /// One more client, which asks for a lease from now on. Returns its number, counted from 0.
    pub fn add(&mut self, identity: Identity) -> usize {
        self.clients.push(Client::new(identity, Moment::now(), &mut self.random));
        self.clients.len() - 1
    }

    /// As [`Self::add`], for a client that has a lease already.
    pub fn resume(&mut self, identity: Identity, kept: &Kept) -> usize {
        let asked = Moment(kept.asked_ns);
        let client = Client::resume(identity, kept.lease.clone(), asked, Moment::now(), &mut self.random);
        self.clients.push(client);
        self.clients.len() - 1
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Client> {
        self.clients.iter()
    }

    /// The client of that number.
    pub fn get(&self, client: usize) -> Option<&Client> {
        self.clients.get(client)
    }

    /// Works until something happens to a lease; returns which client's. Cancel safe.
    pub async fn next(&mut self) -> (usize, Event) {
        let mut buffer = [0; ROOM];
        loop {
            self.timers(Moment::now());
            while let Some(message) = self.outbox.front() {
                let sent = self.socket.send_to(message, (Ipv4Addr::BROADCAST, SERVER_PORT)).await;
                self.outbox.pop_front();
                self.complain(sent.err());
            }
            if let Some(event) = self.events.pop_front() {
                return event;
            }
            let deadline = self.clients.iter().map(Client::deadline).min();
            tokio::select! {
                received = self.socket.recv(&mut buffer) => match received {
                    Ok(length) => self.received(Moment::now(), &buffer[..length]),
                    Err(error) => {
                        tracing::warn!(%error, "receiving DHCP messages");
                        sleep(RECEIVE_PAUSE).await;
                    }
                },
                () = until(deadline) => {}
            }
        }
    }

    fn timers(&mut self, now: Moment) {
        for (number, client) in self.clients.iter_mut().enumerate() {
            let output = client.timer(now, &mut self.random);
            self.outbox.extend(output.send);
            self.events.extend(output.event.map(|event| (number, event)));
        }
    }

    fn received(&mut self, now: Moment, bytes: &[u8]) {
        let Some(reply) = Reply::parse(bytes) else { return };
        for (number, client) in self.clients.iter_mut().enumerate() {
            let output = client.receive(now, &reply, &mut self.random);
            self.outbox.extend(output.send);
            self.events.extend(output.event.map(|event| (number, event)));
        }
    }

    /// A message that could not be sent is lost like any other; it is said once until one gets out again.
    fn complain(&mut self, error: Option<io::Error>) {
        match &error {
            Some(error) if !self.mute => tracing::warn!(%error, "sending DHCP messages; they are repeated"),
            _ => {}
        }
        self.mute = error.is_some();
    }
}

async fn until(deadline: Option<Moment>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(Instant::now() + deadline.since(Moment::now())).await,
        None => std::future::pending().await,
    }
}
