//! `cold NODE SERVICE COUNT ADDRESS HOW`: connections to services that are not up, from another host on the node's
//! network.
//!
//! Runs inside the node, as root. The services are SERVICE1 to SERVICEn of the zone jitsu.test, with addresses from
//! ADDRESS on; with `COUNT*TIMES` they are gone through so many times. HOW is
//! - `connect`: each is connected to, without a question to the name server;
//! - `dns`: each is asked for, and connected to as soon as the answer is there;
//! - `points:SEED:IDLE`: two connections to each, at moments drawn from SEED, so that every part of its life is met:
//!   the second while it is being built, boots, or is ready, or around the time when it is stopped because nobody has
//!   asked for IDLE milliseconds.
//!
//! What the client's kernel sends and receives is watched by a packet socket. Prints [`MARK`] and a [`Report`].

mod wire;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use probe::cold::{MARK, Report};
use probe::dns::{MAX_UDP, Question, RecordType};
use probe::host::{self, now};

use wire::Wire;

/// How long one connection may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest page.
const MAX_REPLY: u64 = 1 << 20;
/// Failures that are told.
const MAX_FAILURES: usize = 5;
/// Where this host is.
const BRIDGE: &str = "br0";
const OWN: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 0, 2, 200), 22);

/// How a service is met.
#[derive(Clone, Copy)]
enum How {
    Connect,
    Dns,
    Points { random: u64, idle: Duration },
}

fn main() -> ExitCode {
    match run() {
        Ok(report) => {
            let json = serde_json::to_string(&report).unwrap_or_default();
            // In one write, so that nothing gets into the middle of it.
            let _ = std::io::stdout().write_all(format!("\n{MARK}{json}\n").as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            let report = Report { failures: vec![format!("{error:#}")], ..Report::default() };
            let json = serde_json::to_string(&report).unwrap_or_default();
            let _ = std::io::stdout().write_all(format!("\n{MARK}{json}\n").as_bytes());
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<Report> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [node, service, count, first, how] = arguments.as_slice() else {
        bail!("usage: cold NODE SERVICE COUNT[*TIMES] ADDRESS connect|dns|points:SEED:IDLE");
    };
    let node: Ipv4Addr = node.parse().with_context(|| format!("NODE {node:?}"))?;
    let first: Ipv4Addr = first.parse().with_context(|| format!("ADDRESS {first:?}"))?;
    let (count, times) = count.split_once('*').unwrap_or((count, "1"));
    let (count, times): (u32, u32) = (count.parse().context("COUNT")?, times.parse().context("TIMES")?);
    let mut how = how_of(how)?;

    host::become_one(BRIDGE, OWN.0, OWN.1)?;
    let wire = Wire::watch()?;
    let resolver = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("opening a UDP socket")?;
    resolver.connect((node, 53))?;
    resolver.set_read_timeout(Some(PATIENCE))?;
    ask(&resolver, "cold.invalid").context("the first question, which no service is meant by")?;

    let mut report = Report::default();
    for round in 0..count * times {
        let number = round % count;
        let name = format!("{service}{}", number + 1);
        let address = Ipv4Addr::from(u32::from(first) + number);
        let outcome = match &mut how {
            How::Connect => page(address, &name, &mut report),
            How::Dns => asked_for(&resolver, address, &name, &mut report),
            How::Points { random, idle } => at_points(address, &name, random, *idle, &mut report),
        };
        if let Err(error) = outcome
            && report.failures.len() < MAX_FAILURES
        {
            report.failures.push(format!("{name}, {address}, in round {round}: {error:#}"));
        }
        wire.take_in(&mut report)?;
    }
    Ok(report)
}

fn how_of(how: &str) -> Result<How> {
    let mut parts = how.split(':');
    Ok(match (parts.next(), parts.next(), parts.next()) {
        (Some("connect"), None, None) => How::Connect,
        (Some("dns"), None, None) => How::Dns,
        (Some("points"), Some(seed), Some(idle)) => How::Points {
            random: seed.parse().context("SEED")?,
            idle: Duration::from_millis(idle.parse().context("IDLE")?),
        },
        _ => bail!("HOW {how:?} is not known"),
    })
}

fn ask(resolver: &UdpSocket, name: &str) -> Result<Option<Ipv4Addr>> {
    let question = Question::new(name, RecordType::A)?;
    let mut buffer = [0; MAX_UDP];
    resolver.send(question.as_bytes()).context("sending the question")?;
    let length = resolver.recv(&mut buffer).with_context(|| format!("waiting for the address of {name}"))?;
    Ok(question.read(&buffer[..length])?.address().ok())
}

fn asked_for(resolver: &UdpSocket, address: Ipv4Addr, name: &str, report: &mut Report) -> Result<()> {
    let begin = now()?;
    let answered = ask(resolver, &format!("{name}.jitsu.test"))?;
    ensure!(answered == Some(address), "its name is answered with {answered:?}");
    page_since(begin, address, name, report)
}

fn page(address: Ipv4Addr, name: &str, report: &mut Report) -> Result<()> {
    page_since(now()?, address, name, report)
}

fn page_since(begin: u64, address: Ipv4Addr, name: &str, report: &mut Report) -> Result<()> {
    let peer = SocketAddrV4::new(address, 80);
    let syn = now()?;
    let mut stream = TcpStream::connect_timeout(&peer.into(), PATIENCE).context("connecting")?;
    let connected = now()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET / HTTP/1.0\r\nHost: {name}\r\n\r\n");
    stream.write_all(request.as_bytes()).context("asking for its page")?;
    let mut reply = vec![0; 4096];
    let length = stream.read(&mut reply).context("waiting for its page")?;
    let first_byte = now()?;
    reply.truncate(length);
    stream.take(MAX_REPLY).read_to_end(&mut reply).context("reading its page")?;
    let reply = String::from_utf8_lossy(&reply);
    ensure!(reply.contains(&format!("token-{name}-end")), "another page: {reply}");
    report.pages += 1;
    report.connected_ns.push(connected - syn);
    report.first_byte_ns.push(first_byte - begin);
    Ok(())
}

/// Two connections to a service, the second one some time after the first.
fn at_points(
    address: Ipv4Addr,
    name: &str,
    random: &mut u64,
    idle: Duration,
    report: &mut Report,
) -> Result<()> {
    let mut draw = |below: u64| {
        // SplitMix64.
        *random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = *random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    };
    if draw(2) == 0 {
        // While it is on its way up. The first connection is opened by another thread: both wait for the same guest.
        let pause = Duration::from_micros(draw(20_000));
        return std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                let mut report = Report::default();
                let outcome = page(address, name, &mut report);
                (outcome, report)
            });
            std::thread::sleep(pause);
            let own = page(address, name, report);
            let (outcome, theirs) = other.join().map_err(|_| anyhow::anyhow!("panicked"))?;
            report.pages += theirs.pages;
            report.connected_ns.extend(theirs.connected_ns);
            report.first_byte_ns.extend(theirs.first_byte_ns);
            own.and(outcome)
        });
    }
    // Around its end: while it is still up, is being stopped, or has just been.
    page(address, name, report)?;
    std::thread::sleep(idle.saturating_sub(Duration::from_millis(5)) + Duration::from_micros(draw(25_000)));
    page(address, name, report)
}
