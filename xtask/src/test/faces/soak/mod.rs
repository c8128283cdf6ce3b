//! DNS messages that are good, bad and worse, for a while, at a rehearsal: it lives, takes no more memory, and another client
//! is served all the time. The server that it forwards to lies as well.
//!
//! Everything comes from one seed. What is tried in how much time depends on the host all the same.

mod generator;

use super::super::Report;
use super::Rehearsal;
use crate::client::Resolver;
use anyhow::{Context, Result, ensure};
use generator::{Random, message};
use probe::dns::{Question, RecordType};
use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const SEED: u64 = 6;

/// How long, and how long it is until memory is looked at for the first time.
const SHORT: [Duration; 2] = [Duration::from_secs(8), Duration::from_secs(3)];
const LONG: [Duration; 2] = [Duration::from_secs(600), Duration::from_secs(60)];

/// How much more memory it may take after that, in bytes. Tables that are bounded fill up for a while.
const MORE: u64 = 6 << 20;

/// Datagrams at a time: as many as surely fit into the buffer of its socket.
const BATCH: usize = 16;

/// How long the other client waits for an answer, which is not asked for again.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sources of datagrams: 127.0.0.0/16 with this as the last number but one, up to this.
const SOURCES: u8 = 16;

/// What it shows.
pub const NAME: &str = "DNS: malformed and random messages neither end it nor grow it, and others are served";

fn config(upstream: SocketAddr) -> String {
    format!(
        "[node]\nname = \"node\"\ndomain = \"jitsu.test\"\naddress = \"10.0.2.15/24\"\nforward = [\"{upstream}\"]\n\
         [node.dns]\nqueries_per_second = 0\nboots_per_second = 0\nresponses_per_second = 1000\nslip = 1\ntcp_idle = 2\n\
         [[service]]\nname = \"www\"\naddress = \"10.0.2.20\"\nkernel = \"www\"\nttl = 1\nidle = 1\n\
         [[service]]\nname = \"slow\"\naddress = \"10.0.2.21\"\nkernel = \"hangs\"\nanswer = \"ready\"\nboot_timeout = 1\n\
         [[service]]\nname = \"fails\"\naddress = \"10.0.2.22\"\nkernel = \"fails\"\n\
         [[service]]\nname = \"users\"\ndns = [\"*.users.jitsu.test\"]\ninstances = [\"10.0.2.30\", \"10.0.2.31\"]\n\
         kernel = \"www\"\nttl = 1\nidle = 1\n"
    )
}

/// What has been done.
#[derive(Clone, Copy, Default, Debug)]
struct Tally {
    datagrams: u64,
    replies: u64,
    connections: u64,
    served: u64,
}

/// Tries it, for ten minutes if `long`.
pub fn run(long: bool, report: &mut Report) {
    let note = RefCell::default();
    report.check_noting(NAME, &note, || {
        let (tally, memory) = soak(if long { LONG } else { SHORT })?;
        note.replace(Some(format!(
            "{} datagrams, {} connections, {} questions of another client, {memory} KiB more",
            tally.datagrams, tally.connections, tally.served
        )));
        Ok(())
    });
}

fn soak([time, warm_up]: [Duration; 2]) -> Result<(Tally, i64)> {
    let upstream = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("a server that lies")?;
    let rehearsal = Rehearsal::start("dns-soak", &config(upstream.local_addr()?), &[])?;
    let (at, over) = (rehearsal.at.dns, AtomicBool::new(false));
    let begin = Instant::now();
    let (tally, before) = thread::scope(|scope| {
        let lying = scope.spawn(|| lie(&upstream, &over));
        let datagrams = scope.spawn(|| datagrams(at, &over));
        let connections = scope.spawn(|| connections(at, &over));
        let witness = scope.spawn(|| witness(at, &over));
        let workers = [&datagrams, &connections, &witness];
        let mut before = None;
        while begin.elapsed() < time && workers.iter().all(|worker| !worker.is_finished()) {
            thread::sleep(Duration::from_millis(100));
            if before.is_none() && begin.elapsed() >= warm_up {
                before = Some(rehearsal.resident());
            }
        }
        over.store(true, Ordering::Relaxed);
        lying.join().expect("it does not panic")?;
        let mut tally = Tally::default();
        for worker in [datagrams, connections, witness] {
            let part = worker.join().expect("it does not panic")?;
            tally.datagrams += part.datagrams;
            tally.replies += part.replies;
            tally.connections += part.connections;
            tally.served += part.served;
        }
        anyhow::Ok((tally, before))
    })?;
    let (before, after) =
        (before.context("it was over before memory was looked at")??, rehearsal.resident()?);
    let said = rehearsal.said()?;
    let bad = said.lines().find(|line| line.contains("panic") || line.contains(" ERROR "));
    ensure!(bad.is_none(), "it said: {}", bad.unwrap_or_default());
    ensure!(after <= before + MORE, "{before} bytes at {} s, {after} at the end", warm_up.as_secs());
    let Tally { datagrams, replies, connections, served } = tally;
    ensure!(
        datagrams > 1000 && replies > 100 && connections > 10 && served > 10,
        "too little was tried: {tally:?}"
    );
    Ok((tally, (after as i64 - before as i64) >> 10))
}

/// Sends any messages, a few at a time, from several sources; looks at what comes back.
fn datagrams(at: SocketAddr, over: &AtomicBool) -> Result<Tally> {
    let mut random = Random::new(SEED);
    let mut tally = Tally::default();
    let sockets = (1..=SOURCES)
        .map(|host| {
            let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 1, host), 0))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        })
        .collect::<Result<Vec<_>>>()?;
    let mut buffer = [0; 65536];
    while !over.load(Ordering::Relaxed) {
        for _ in 0..BATCH {
            let socket = &sockets[random.below(sockets.len())];
            socket.send_to(&message(&mut random), at).context("sending a datagram")?;
            tally.datagrams += 1;
        }
        // The next ones when these have been taken.
        let marker = Question::new("node.jitsu.test", RecordType::A)?;
        let taken = Resolver::new(at).send_raw(marker.as_bytes(), PATIENCE)?;
        ensure!(taken.is_some(), "after {} datagrams nothing is answered any more", tally.datagrams);
        for socket in &sockets {
            loop {
                match socket.recv_from(&mut buffer) {
                    Ok((length, from)) => {
                        let reply = &buffer[..length];
                        ensure!(from == at, "a reply from {from}");
                        ensure!(
                            (12..=1232).contains(&length) && reply[2] & 0x80 != 0,
                            "no reply: {reply:02x?}"
                        );
                        tally.replies += 1;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error).context("receiving a reply"),
                }
            }
        }
    }
    Ok(tally)
}

/// Opens connections one after the other and sends on each what may be messages, in pieces; closes it in some way.
fn connections(at: SocketAddr, over: &AtomicBool) -> Result<Tally> {
    let mut random = Random::new(!SEED);
    let mut tally = Tally::default();
    // Some stay open for a while.
    let mut kept: Vec<TcpStream> = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let mut stream = TcpStream::connect_timeout(&at, PATIENCE).context("opening a connection")?;
        stream.set_read_timeout(Some(Duration::from_millis(20)))?;
        stream.set_write_timeout(Some(Duration::from_millis(200)))?;
        stream.set_nodelay(true)?;
        tally.connections += 1;
        let mut bytes = Vec::new();
        for _ in 0..random.below(30) {
            let message = message(&mut random);
            let length = if random.below(20) == 0 { random.next() as u16 } else { message.len() as u16 };
            bytes.extend(length.to_be_bytes());
            bytes.extend(message);
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(1 + random.below(rest.len().min(700)));
            rest = after;
            // It may have been closed, for what was sent before.
            if stream.write_all(piece).is_err() {
                break;
            }
        }
        match random.below(4) {
            0 => _ = stream.shutdown(Shutdown::Write),
            1 => _ = stream.read(&mut [0; 4096]),
            2 => kept.push(stream),
            _ => {}
        }
        if kept.len() > 40 {
            kept.drain(..random.below(40));
        }
    }
    Ok(tally)
}

/// Another client, who asks good questions and gets answers.
fn witness(at: SocketAddr, over: &AtomicBool) -> Result<Tally> {
    let mut tally = Tally::default();
    while !over.load(Ordering::Relaxed) {
        ask(at, "www.jitsu.test").context("a client who does no harm")?;
        tally.served += 1;
        thread::sleep(Duration::from_millis(20));
    }
    Ok(tally)
}

/// Asks once, and no again.
fn ask(at: SocketAddr, name: &str) -> Result<()> {
    let reply = Resolver::new(at).ask_within(name, RecordType::A, PATIENCE)?;
    ensure!(!reply.answer.addresses.is_empty(), "no address of {name}: {:?}", reply.answer);
    Ok(())
}

/// Answers what is forwarded to it: with anything.
fn lie(upstream: &UdpSocket, over: &AtomicBool) -> Result<()> {
    let mut random = Random::new(SEED << 32);
    upstream.set_read_timeout(Some(Duration::from_millis(50)))?;
    let mut buffer = [0; 4096];
    while !over.load(Ordering::Relaxed) {
        let Ok((length, from)) = upstream.recv_from(&mut buffer) else { continue };
        let mut reply = match random.below(4) {
            0 => continue,
            1 => message(&mut random),
            _ => buffer[..length].to_vec(),
        };
        if reply.len() >= 12 {
            reply[..2].copy_from_slice(&buffer[..2]);
            reply[2] |= 0x80;
            for _ in 0..random.below(3) {
                let at = 3 + random.below(reply.len() - 3);
                reply[at] = random.next() as u8;
            }
        }
        // Who asked may have gone.
        let _ = upstream.send_to(&reply, from);
    }
    Ok(())
}
