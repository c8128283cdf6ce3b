//! The node's wall clock, kept by NTP servers where there are any (SNTP: RFC 4330, RFC 5905 section 14).
//!
//! Boards have no battery: at power-on it is 1970. Nothing in the node hangs on the time of day (every timer and
//! every figure is of the monotonic clock); it is for guests, for the times of files, and for people.
//!
//! [`discipline`] decides, [`lookup`] makes and reads DNS messages, both without I/O; the `sntpc` crate makes
//! and checks NTP's packets (RFC 5905, A.5.1.1: mode, origin timestamp, stratum, kiss-of-death, root distance).

pub mod discipline;
pub mod lookup;
mod sys;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sntpc::{KissOfDeathCode, NtpContext, NtpTimestampGenerator, NtpUdpSocket};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::directory::Moment;
use crate::random::Random;
use crate::schema::ClockStatus;
use discipline::{Discipline, Sample, Verdict};

/// How long an answer may take, by DNS or NTP.
const PATIENCE: Duration = Duration::from_secs(2);
const NTP: u16 = 123;
const DNS: u16 = 53;

/// It is later than this: 2026-01-01, in seconds since 1970. A clock that says otherwise was never set, and an NTP
/// server that does has not been either. NTP's own seconds repeat every 136 years; with a clock that begins here,
/// they are told apart until 2094.
const EARLIEST: u64 = 1_767_225_600;

/// The wall clock. Clones are the same clock.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    status: Arc<watch::Sender<ClockStatus>>,
}

/// Why a server's answer is of no use.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("its name is not answered for: {0}")]
    Lookup(#[from] lookup::Error),
    #[error("no DNS server is known to ask for its name")]
    NoResolver,
    #[error("no answer in {} s", PATIENCE.as_secs())]
    Silence,
    #[error("network: {0}")]
    Network(#[from] io::Error),
    #[error("a wrong answer: {0:?}")]
    Answer(sntpc::Error),
    #[error("the time it gives is not one this node can have: {0} s since 1970")]
    Time(i128),
    #[error("its answer took {0} µs, too long to say what time it is")]
    Late(u64),
}

impl Error {
    /// Whether the server must not be asked again (RFC 5905, section 7.4).
    fn is_refusal(&self) -> bool {
        matches!(
            self,
            Error::Answer(sntpc::Error::KissOfDeath(KissOfDeathCode::Deny | KissOfDeathCode::Rstr))
        )
    }
}

impl Clock {
    /// The clock for `/status`.
    pub fn status(&self) -> ClockStatus {
        let mut status = self.status.borrow().clone();
        status.unix_s = status.server.is_some().then(|| since_1970().as_secs());
        status
    }

    /// Returns when an NTP server has set the clock: never, if none does.
    pub async fn has_been_set(&self) {
        // Ends with an error when the clock is gone, which is when nobody waits for it.
        let _ = self.status.subscribe().wait_for(|status| status.server.is_some()).await;
    }

    /// Keeps the clock by these servers, names or addresses, the first that answers. `resolvers` are the DNS servers
    /// that know the names. Returns only when no server is left to ask.
    pub async fn keep(&self, mut servers: Vec<String>, resolvers: Vec<Ipv4Addr>) {
        if since_1970().as_secs() < EARLIEST
            && let Err(error) = sys::set(Duration::from_secs(EARLIEST))
        {
            tracing::warn!(%error, "the clock cannot be set");
            return;
        }
        let mut discipline = Discipline::default();
        while !servers.is_empty() {
            self.round(&mut servers, &resolvers, &mut discipline).await;
            sleep(discipline.interval()).await;
        }
    }

    /// Asks one server after the other until one gives the time.
    async fn round(&self, servers: &mut Vec<String>, resolvers: &[Ipv4Addr], discipline: &mut Discipline) {
        for turn in 0..servers.len() {
            let error = match ask(&servers[turn], resolvers).await {
                Ok(sample) => match self.judge(&servers[turn], sample, discipline) {
                    Ok(()) => {
                        // The one that answers is asked first from now on.
                        servers.rotate_left(turn);
                        return;
                    }
                    Err(error) => error,
                },
                Err(error) => error,
            };
            tracing::debug!(server = servers[turn], "no time from it: {error}");
            if error.is_refusal() {
                tracing::warn!(
                    server = servers[turn],
                    "an NTP server refuses to serve and is not asked again"
                );
                servers.remove(turn);
                break;
            }
        }
        if discipline.silence() {
            tracing::warn!(servers = servers.join(", "), "no NTP server answers; the clock goes on as it is");
        }
    }

    fn judge(&self, server: &str, sample: Sample, discipline: &mut Discipline) -> Result<(), Error> {
        let now = since_1970();
        let then = i128::from(now.as_secs()) + i128::from(sample.offset_us / 1_000_000);
        if then < i128::from(EARLIEST) || libc::time_t::try_from(then).is_err() {
            return Err(Error::Time(then));
        }
        let offset = sample.offset_us;
        let done = match discipline.answer(sample) {
            Verdict::Late => return Err(Error::Late(sample.roundtrip_us)),
            Verdict::Doubtful => {
                tracing::info!(
                    server,
                    offset_us = offset,
                    "far from the clock; asked again before it is believed"
                );
                return Ok(());
            }
            Verdict::Step => sys::set(shifted(now, offset))
                .inspect(|()| tracing::info!(server, offset_us = offset, "the clock has been set")),
            Verdict::Slew => i32::try_from(offset).map_err(io::Error::other).and_then(sys::slew),
        };
        if let Err(error) = done {
            tracing::warn!(%error, "the clock cannot be adjusted");
            return Ok(());
        }
        self.status.send_replace(ClockStatus {
            server: Some(server.to_owned()),
            offset_us: Some(offset),
            roundtrip_us: Some(sample.roundtrip_us),
            checked_ns: Some(Moment::now().0),
            unix_s: None,
        });
        Ok(())
    }
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn shifted(now: Duration, offset_us: i64) -> Duration {
    let offset = Duration::from_micros(offset_us.unsigned_abs());
    if offset_us < 0 { now.saturating_sub(offset) } else { now.saturating_add(offset) }
}

/// Asks one server for the time.
async fn ask(server: &str, resolvers: &[Ipv4Addr]) -> Result<Sample, Error> {
    let address = match server.parse() {
        Ok(address) => address,
        Err(_not_an_address) => resolve(server, resolvers).await?,
    };
    exchange((address, NTP).into()).await
}

async fn exchange(server: SocketAddr) -> Result<Sample, Error> {
    let socket = Socket(connected(server).await?);
    let answer = sntpc::get_time(server, &socket, NtpContext::new(Wall::default()));
    match timeout(PATIENCE, answer).await.map_err(|_elapsed| Error::Silence)? {
        Ok(answer) => Ok(Sample { offset_us: answer.offset, roundtrip_us: answer.roundtrip }),
        Err(error) => Err(Error::Answer(error)),
    }
}

/// A new socket, and so a new port, for each question: an answer from elsewhere would have to guess it.
async fn connected(server: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.connect(server).await?;
    Ok(socket)
}

async fn resolve(name: &str, resolvers: &[Ipv4Addr]) -> Result<IpAddr, Error> {
    let mut outcome = Err(Error::NoResolver);
    for resolver in resolvers {
        match question((*resolver, DNS).into(), name).await {
            Ok(address) => return Ok(address.into()),
            Err(error) => outcome = Err(error),
        }
    }
    outcome
}

async fn question(resolver: SocketAddr, name: &str) -> Result<Ipv4Addr, Error> {
    // hickory's own numbers come from /dev/random, and the whole daemon would wait until the kernel has enough of them.
    let id = Random::from_system().number() as u16;
    let question = lookup::Question::new(name, id)?;
    let socket = connected(resolver).await?;
    socket.send(&question.to_bytes()?).await?;
    let answer = async {
        let mut buffer = [0; lookup::LONGEST_REPLY];
        loop {
            let length = socket.recv(&mut buffer).await?;
            match question.answer(&buffer[..length]) {
                // Not to this question: the right answer may follow.
                Err(lookup::Error::Stray) => {}
                other => return Ok(other?),
            }
        }
    };
    timeout(PATIENCE, answer).await.map_err(|_elapsed| Error::Silence)?
}

/// The wall clock as `sntpc` reads it.
#[derive(Clone, Copy, Default)]
struct Wall(Duration);

impl NtpTimestampGenerator for Wall {
    fn init(&mut self) {
        self.0 = since_1970();
    }

    fn timestamp_sec(&self) -> u64 {
        self.0.as_secs()
    }

    fn timestamp_subsec_micros(&self) -> u32 {
        self.0.subsec_micros()
    }
}

/// A connected socket as `sntpc` uses it.
struct Socket(UdpSocket);

impl NtpUdpSocket for Socket {
    async fn send_to(&self, bytes: &[u8], _server: SocketAddr) -> sntpc::Result<usize> {
        self.0.send(bytes).await.map_err(|_| sntpc::Error::Network)
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> sntpc::Result<(usize, SocketAddr)> {
        self.0.recv_from(buffer).await.map_err(|_| sntpc::Error::Network)
    }
}

#[cfg(test)]
mod tests;
