//! `probe NODE NAME BRIDGE ADDRESS/PREFIX [REST]`: a request, or a series of them, from another host on the node's network.
//!
//! Runs inside the node, as root. Prints lines of [`MARK`] and an [`Outcome`] as JSON: one for a NAME. One with
//! numbers in it, as `d{1..100}.jitsu.test`, or with a count behind it, as `www.jitsu.test*100`, stands for a series,
//! which are asked for one after another, with a line for each; if all could be had, one more line says what they all
//! serve then. With REST, so many milliseconds lie between the requests of a series: services may have ended in between,
//! so that last line does without pages.

mod series;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use probe::dns::{MAX_UDP, Question, RecordType};
use probe::host::{self, now};
use probe::{Crowd, MARK, Measurement, Outcome};

/// How long a single answer may take before the request counts as failed. A service that never gets ready
/// is given up by the node well before.
const PATIENCE: Duration = Duration::from_secs(30);
/// A question is repeated after this long; datagrams may be lost (as any resolver does, RFC 1035, 4.2.1).
const RETRY: Duration = Duration::from_secs(1);
/// How often a question is repeated while the network settles.
const TRIES: u32 = 10;
/// Longest reply that is kept, in bytes. The status of a node with many services is the longest.
const MAX_REPLY: u64 = 4 << 20;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            print(&Outcome::Failed(format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

fn print(outcome: &Outcome) {
    match serde_json::to_string(outcome) {
        // In one write, so that nothing gets into the middle of it. The line before may not be finished.
        Ok(json) => drop(std::io::stdout().write_all(format!("\n{MARK}{json}\n").as_bytes())),
        Err(error) => eprintln!("probe: {error}"),
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (required, rest) = arguments.split_at(arguments.len().min(4));
    let ([node, name, bridge, address], [] | [_]) = (required, rest) else {
        bail!(
            "usage: probe NODE NAME BRIDGE ADDRESS/PREFIX [REST], as in: \
             probe 10.0.2.15 www.jitsu.test br0 10.0.2.200/24"
        );
    };
    let milliseconds = |rest: &String| rest.parse().with_context(|| format!("REST {rest:?}"));
    let rest = rest.first().map(milliseconds).transpose()?.map(Duration::from_millis);
    let node: Ipv4Addr = node.parse().with_context(|| format!("NODE {node:?}"))?;
    let (address, prefix) = address.split_once('/').context("ADDRESS/PREFIX has no slash")?;
    let address = address.parse().with_context(|| format!("ADDRESS {address:?}"))?;
    let prefix = prefix.parse().with_context(|| format!("PREFIX {prefix:?}"))?;
    let series = series::of(name)?;

    host::become_one(bridge, address, prefix)?;
    let resolver = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("opening a UDP socket")?;
    resolver.connect((node, 53)).with_context(|| format!("pointing a socket at {node}:53"))?;
    settle(&resolver, node)?;
    let Some(names) = series else {
        let mut measurement = request(&resolver, name)?;
        measurement.status = status(node)?;
        print(&Outcome::Served(Box::new(measurement)));
        return Ok(());
    };
    let mut served = Vec::new();
    for (number, name) in names.into_iter().enumerate() {
        if let Some(rest) = rest.filter(|_| number > 0) {
            thread::sleep(rest);
        }
        let measurement = request(&resolver, &name)?;
        let service = (name, measurement.address);
        if !served.contains(&service) {
            served.push(service);
        }
        print(&Outcome::Served(Box::new(measurement)));
    }
    let replies = if rest.is_none() { at_once(&served)? } else { Vec::new() };
    let crowd = Crowd { replies, status: series::without_long_texts(status(node)?) };
    print(&Outcome::Crowd(Box::new(crowd)));
    Ok(())
}

/// Returns when this host and the node have met: the bridge forwards, and each knows where the other is, as
/// hosts of a network that share a name server do. The question summons nothing.
fn settle(resolver: &UdpSocket, node: Ipv4Addr) -> Result<()> {
    let question = Question::new("probe.invalid", RecordType::A)?;
    let mut buffer = [0; MAX_UDP];
    resolver.set_read_timeout(Some(RETRY))?;
    for _ in 0..TRIES {
        resolver.send(question.as_bytes()).context("sending a first question")?;
        match resolver.recv(&mut buffer) {
            Ok(length) if question.read(&buffer[..length]).is_ok() => return connect_once(node),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error).context("waiting for the node's name server"),
        }
    }
    bail!("the node's name server did not answer in {TRIES} tries")
}

/// Makes a first connection. Linux fills a table with 256 KiB of random numbers for it, once after a boot
/// (`net/ipv4/inet_hashtables.c`), which takes 7 ms of the only processor: this client's, and not the node's matter.
fn connect_once(node: Ipv4Addr) -> Result<()> {
    let connected = TcpStream::connect_timeout(&SocketAddrV4::new(node, 80).into(), PATIENCE);
    connected.map(drop).with_context(|| format!("connecting to http://{node}/ for a start"))
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

/// What each of them serves while the connections to all the others are open, too.
fn at_once(served: &[(String, Ipv4Addr)]) -> Result<Vec<String>> {
    let connect = |(name, address): &(String, Ipv4Addr)| -> Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&SocketAddrV4::new(*address, 80).into(), PATIENCE)
            .with_context(|| format!("connecting to {name} again"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    };
    let mut streams: Vec<TcpStream> = served.iter().map(connect).collect::<Result<_>>()?;
    for (stream, (name, _)) in streams.iter_mut().zip(served) {
        ask_for(stream, "/", name).with_context(|| format!("asking {name} for its page again"))?;
    }
    let read = |(stream, (name, _)): (TcpStream, &(String, Ipv4Addr))| -> Result<String> {
        let mut reply = Vec::new();
        stream
            .take(MAX_REPLY)
            .read_to_end(&mut reply)
            .with_context(|| format!("reading from {name} again"))?;
        Ok(String::from_utf8_lossy(&reply).into_owned())
    };
    streams.into_iter().zip(served).map(read).collect()
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
