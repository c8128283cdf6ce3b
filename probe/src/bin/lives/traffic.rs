//! Open connections: they keep a service up, or outlive its pause.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::thread::{self, sleep};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, setsockopt, socket, sockopt};
use probe::host::now;
use probe::lives::IDLE;

use crate::node::{Node, is_a_page, page};

/// Idle periods that a connection is to last.
const PERIODS: u32 = 10;
/// What a slow client reads at a time.
const PORTION: usize = 1024;
/// Less than the rest of a page: so the guest has always something left to send.
const SMALL_BUFFER: usize = 2048;

/// A slow download, and a connection on which nothing is said at all, each with a service of its own.
pub fn connections(node: &Node) -> Result<String> {
    let [download, silent] = ["download", "silent"].map(|name| node.visit(name));
    let (download, silent) = (download?, silent?);
    let slow = connect_narrowly(download.address)?;
    let said_nothing = node.connect(silent.address)?;
    let begin = now()?;
    let slow = thread::scope(|scope| {
        let reader = scope.spawn(|| read_slowly(slow));
        sleep(IDLE * PERIODS);
        reader.join().map_err(|_| anyhow!("panicked"))?
    })?;
    for before in [&download, &silent] {
        let after = node.service(&before.name)?;
        ensure!(
            (after.state.as_str(), after.domid, after.starts) == ("ready", before.domid, before.starts),
            "it was {before:?} and is {after:?}"
        );
    }
    let lasted = Duration::from_nanos(now()? - begin);
    // It can still be used.
    is_a_page(&page(said_nothing, "/")?)?;
    drop(slow);
    let closed = now()?;
    let mut after = Vec::new();
    for name in ["download", "silent"] {
        node.once(name, "off", 5 * IDLE)?;
        let ended = node.last_event(name, "ready", "stopping")?;
        let idle = Duration::from_nanos(ended.at_ns.saturating_sub(closed));
        ensure!(
            idle > IDLE * 9 / 10 && idle < IDLE * 3 / 2,
            "{name} was ended {idle:?} after its last connection"
        );
        ensure!(ended.why.contains("no query and no packet"), "{ended:?}");
        after.push(format!("{:.3}", idle.as_secs_f64()));
    }
    Ok(format!("open for {:.1} s, ended after {} s", lasted.as_secs_f64(), after.join(" and ")))
}

/// With a buffer that is small from the start: a window that has been offered cannot be taken back.
fn connect_narrowly(address: Ipv4Addr) -> Result<TcpStream> {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    setsockopt(&socket, sockopt::RcvBuf, &SMALL_BUFFER).context("making the receive buffer small")?;
    let peer = SocketAddrV4::new(address, 80);
    connect(socket.as_raw_fd(), &SockaddrIn::from(peer)).with_context(|| format!("connecting to {peer}"))?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(IDLE * PERIODS))?;
    Ok(stream)
}

/// Reads a part of a long page, some of it in each idle period.
fn read_slowly(mut stream: TcpStream) -> Result<TcpStream> {
    stream.write_all(b"GET /long HTTP/1.0\r\n\r\n")?;
    for portion in 0..PERIODS * 5 / 4 {
        sleep(IDLE * 4 / 5);
        let read = stream.read_exact(&mut [0; PORTION]);
        read.with_context(|| format!("reading slowly, after {portion} portions"))?;
    }
    Ok(stream)
}

/// Connections outlive a pause, whoever ends it.
pub fn pause(node: &Node) -> Result<String> {
    let address = node.service("nap")?.address;
    // The first packet starts it.
    let [first, second] = [node.connect(address)?, node.connect(address)?];
    let ready = node.once("nap", "ready", IDLE)?;
    let same = |state: &str| -> Result<()> {
        let now = node.once("nap", state, 5 * IDLE)?;
        ensure!((now.domid, now.starts) == (ready.domid, 1), "it was {ready:?} and is {now:?}");
        Ok(())
    };
    ensure!(ready.domid.is_some(), "{ready:?}");
    same("paused")?;
    sleep(PERIODS * IDLE);
    same("paused")?;
    // The next segment of a connection lets it go on,
    is_a_page(&page(first, "/")?).context("on a connection that is older than the pause")?;
    same("ready")?;
    same("paused")?;
    // a question,
    ensure!(node.ask("nap")?.address()? == address, "another address");
    same("ready")?;
    is_a_page(&page(second, "/")?).context("on a connection that is older than two pauses")?;
    same("paused")?;
    // or a new connection.
    is_a_page(&page(node.connect(address)?, "/")?)?;
    same("ready")?;
    Ok(String::new())
}

/// A daemon that takes over a paused guest leaves it paused. It believes in nothing but Xen's word.
pub fn restart(node: &Node) -> Result<String> {
    let asleep = node.visit("sleeper")?;
    let open = node.connect(asleep.address)?;
    let paused = node.once("sleeper", "paused", 5 * IDLE)?;
    node.restart()?;
    let after = node.service("sleeper")?;
    ensure!(
        (after.state.as_str(), after.domid, after.starts) == ("paused", paused.domid, paused.starts),
        "it was {paused:?} and is {after:?}"
    );
    sleep(3 * IDLE);
    is_a_page(&page(open, "/")?).context("on a connection that is older than pause and daemon")?;
    let after = node.service("sleeper")?;
    ensure!(
        (after.state.as_str(), after.domid, after.starts) == ("ready", paused.domid, paused.starts),
        "it was {paused:?} and is {after:?}"
    );
    Ok(String::new())
}
