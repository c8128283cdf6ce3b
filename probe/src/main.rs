//! `probe NODE NAME BRIDGE ADDRESS/PREFIX`: one request, from another host on the node's network.
//!
//! Runs inside the node, as root. Prints one line: [`MARK`] and an [`Outcome`] as JSON.

mod host;
mod netlink;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::time::{ClockId, clock_gettime};
use probe::dns::{MAX_UDP, Question, RecordType};
use probe::{MARK, Measurement, Outcome};

/// How long a single answer may take before the request counts as failed. A service that never gets ready
/// is given up by the node well before.
const PATIENCE: Duration = Duration::from_secs(30);
/// A question is repeated after this long; datagrams may be lost (as any resolver does, RFC 1035, 4.2.1).
const RETRY: Duration = Duration::from_secs(1);
/// How often a question is repeated while the network settles.
const TRIES: u32 = 10;
/// Longest reply that is kept, in bytes.
const MAX_REPLY: u64 = 1 << 20;

fn main() -> ExitCode {
    let outcome = match run() {
        Ok(measurement) => Outcome::Served(Box::new(measurement)),
        Err(error) => Outcome::Failed(format!("{error:#}")),
    };
    match serde_json::to_string(&outcome) {
        // In one write, so that nothing gets into the middle of it. The line before may not be finished.
        Ok(json) => drop(std::io::stdout().write_all(format!("\n{MARK}{json}\n").as_bytes())),
        Err(error) => eprintln!("probe: {error}"),
    }
    if matches!(outcome, Outcome::Served(_)) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run() -> Result<Measurement> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [node, name, bridge, address] = arguments.as_slice() else {
        bail!(
            "usage: probe NODE NAME BRIDGE ADDRESS/PREFIX, as in: probe 10.0.2.15 www.jitsu.test br0 10.0.2.200/24"
        );
    };
    let node: Ipv4Addr = node.parse().with_context(|| format!("NODE {node:?}"))?;
    let (address, prefix) = address.split_once('/').context("ADDRESS/PREFIX has no slash")?;
    let address = address.parse().with_context(|| format!("ADDRESS {address:?}"))?;
    let prefix = prefix.parse().with_context(|| format!("PREFIX {prefix:?}"))?;

    host::become_one(bridge, address, prefix)?;
    let resolver = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("opening a UDP socket")?;
    resolver.connect((node, 53)).with_context(|| format!("pointing a socket at {node}:53"))?;
    settle(&resolver)?;
    let mut measurement = request(&resolver, name)?;
    measurement.status = status(node)?;
    Ok(measurement)
}

/// Returns when this host and the node have met: the bridge forwards, and each knows where the other is, as
/// hosts of a network that share a name server do. The question summons nothing.
fn settle(resolver: &UdpSocket) -> Result<()> {
    let question = Question::new("probe.invalid", RecordType::A)?;
    let mut buffer = [0; MAX_UDP];
    resolver.set_read_timeout(Some(RETRY))?;
    for _ in 0..TRIES {
        resolver.send(question.as_bytes()).context("sending a first question")?;
        match resolver.recv(&mut buffer) {
            Ok(length) if question.read(&buffer[..length]).is_ok() => return Ok(()),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error).context("waiting for the node's name server"),
        }
    }
    bail!("the node's name server did not answer in {TRIES} tries")
}

fn request(resolver: &UdpSocket, name: &str) -> Result<Measurement> {
    let question = Question::new(name, RecordType::A)?;
    let mut buffer = [0; MAX_UDP];
    resolver.set_read_timeout(Some(PATIENCE))?;

    let query_sent_ns = now()?;
    resolver.send(question.as_bytes()).context("sending the question")?;
    let length = resolver.recv(&mut buffer).with_context(|| format!("waiting for the address of {name}"))?;
    let answer_received_ns = now()?;
    let address =
        question.read(&buffer[..length])?.address().with_context(|| format!("asking for {name}"))?;

    let peer = SocketAddrV4::new(address, 80);
    let syn_sent_ns = now()?;
    let mut stream = TcpStream::connect_timeout(&peer.into(), PATIENCE)
        .with_context(|| format!("connecting to {peer}"))?;
    let connected_ns = now()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    ask_for(&mut stream, "/", name).with_context(|| format!("asking {peer} for its page"))?;
    let mut reply = vec![0; 4096];
    let first = stream.read(&mut reply).with_context(|| format!("waiting for the page of {peer}"))?;
    let first_byte_ns = now()?;
    reply.truncate(first);
    if first > 0 {
        stream.take(MAX_REPLY).read_to_end(&mut reply).with_context(|| format!("reading from {peer}"))?;
    }
    let done_ns = now()?;

    Ok(Measurement {
        name: name.to_owned(),
        address,
        query_sent_ns,
        answer_received_ns,
        syn_sent_ns,
        connected_ns,
        first_byte_ns,
        done_ns,
        reply: String::from_utf8_lossy(&reply).into_owned(),
        status: serde_json::Value::Null,
    })
}

fn status(node: Ipv4Addr) -> Result<serde_json::Value> {
    let fetch = || -> Result<serde_json::Value> {
        let mut stream = TcpStream::connect_timeout(&SocketAddrV4::new(node, 80).into(), PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        ask_for(&mut stream, "/status", &node.to_string())?;
        let mut reply = Vec::new();
        stream.take(MAX_REPLY).read_to_end(&mut reply)?;
        let head = reply.windows(4).position(|window| window == b"\r\n\r\n").context("no end of its head")?;
        Ok(serde_json::from_slice(&reply[head + 4..])?)
    };
    fetch().with_context(|| format!("reading http://{node}/status"))
}

/// HTTP/1.0, so that the end of the connection is the end of the page, and it never comes in chunks.
fn ask_for(stream: &mut TcpStream, path: &str, host: &str) -> std::io::Result<()> {
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())
}

/// `CLOCK_MONOTONIC` in nanoseconds.
fn now() -> Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).context("reading CLOCK_MONOTONIC")?;
    Ok(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}
