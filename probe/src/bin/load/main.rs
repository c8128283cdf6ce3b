//! `load SERVER REQUESTS CONNECTIONS BRIDGE ADDRESS/PREFIX`: a web server's load, from another host on the node's
//! network.
//!
//! Runs inside the node, as root. Each of CONNECTIONS threads asks for the page and reads it to its end, over a
//! connection of its own, and again, until REQUESTS are done. Prints one line: [`LOAD_MARK`] and a [`Load`] as JSON.
//! Requests that are refused are an error: with fewer connections than a server has, none is.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use probe::host::{self, now};
use probe::http;
use probe::load::{LOAD_MARK, Load};

/// How long each step of a request may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// More would be more threads than are needed to keep a server busy.
const MAX_CONNECTIONS: u32 = 64;

fn main() -> ExitCode {
    let line = run().and_then(|load| Ok(serde_json::to_string(&load)?));
    match line {
        // In one write, so that nothing gets into the middle of it. The line before may not be finished.
        Ok(json) => match std::io::stdout().write_all(format!("\n{LOAD_MARK}{json}\n").as_bytes()) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) => eprintln!("load: {error}"),
        },
        Err(error) => eprintln!("load: {error:#}"),
    }
    ExitCode::FAILURE
}

fn run() -> Result<Load> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, requests, connections, bridge, address] = arguments.as_slice() else {
        bail!(
            "usage: load SERVER REQUESTS CONNECTIONS BRIDGE ADDRESS/PREFIX, as in: \
             load 10.0.2.20 100 8 br0 10.0.2.200/24"
        );
    };
    let server: Ipv4Addr = server.parse().with_context(|| format!("SERVER {server:?}"))?;
    let requests: u32 = requests.parse().with_context(|| format!("REQUESTS {requests:?}"))?;
    let connections: u32 = connections.parse().with_context(|| format!("CONNECTIONS {connections:?}"))?;
    ensure!(
        (1..=MAX_CONNECTIONS).contains(&connections),
        "CONNECTIONS {connections}: 1 to {MAX_CONNECTIONS}"
    );
    ensure!(requests >= connections, "REQUESTS {requests}: one for each connection at least");
    let (address, prefix) = address.split_once('/').context("ADDRESS/PREFIX has no slash")?;
    let address = address.parse().with_context(|| format!("ADDRESS {address:?}"))?;
    let prefix = prefix.parse().with_context(|| format!("PREFIX {prefix:?}"))?;
    host::become_one(bridge, address, prefix)?;

    let server = SocketAddrV4::new(server, 80);
    // Until then, addresses are looked for and the bridge learns; the server has answered before.
    let first = http::get(server, PATIENCE)?;
    let page = http::body(&first.reply).len();
    ensure!(page > 0, "the page of {server} is empty");

    let left = AtomicU32::new(requests);
    let take = || left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
    let client = || -> Result<Vec<(u64, u64)>> {
        let mut done = Vec::new();
        while take() {
            let got = http::get(server, PATIENCE)?;
            let length = http::body(&got.reply).len();
            ensure!(length == page, "{server} sent {length} bytes, and {page} before");
            done.push((got.done_ns, got.done_ns - got.syn_sent_ns));
        }
        Ok(done)
    };
    let begin = now()?;
    let mut done = std::thread::scope(|scope| -> Result<Vec<(u64, u64)>> {
        let clients: Vec<_> = (0..connections).map(|_| scope.spawn(client)).collect();
        let mut all = Vec::new();
        for client in clients {
            all.extend(client.join().map_err(|_| anyhow::anyhow!("a client has panicked"))??);
        }
        Ok(all)
    })?;
    done.sort_unstable();
    let end = done.last().map_or(begin, |(at, _)| *at);
    let latencies_ns = done.into_iter().map(|(_, took)| took).collect();
    Ok(Load { connections, ns: end - begin, page_bytes: page as u64, latencies_ns })
}
