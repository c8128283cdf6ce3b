//! The daemon is killed, or ends at SIGHUP, and the next one takes everything over.

use super::config::{CYCLED, cycled};
use super::{Context, Test};
use crate::client::{RunningNode, Status};
use anyhow::{Context as _, Result, bail, ensure};
use probe::dns::{Question, RecordType};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How often it is killed under load.
const KILLS: u32 = 20;

/// Longest time from one kill to the next, milliseconds: longer than the daemon takes to be ready again.
const LONGEST_LIFE: u64 = 2500;

/// Longest wait for a byte of a page.
const PATIENCE: Duration = Duration::from_secs(30);

/// A question that has no answer by then is not answered any more: its daemon is gone.
const LOST: Duration = Duration::from_millis(400);

/// The services that come and go are asked for once in this time: twice their idle time.
const ROUND: Duration = Duration::from_secs(2);

/// Services that run all the time, and must not notice.
const STEADY: [&str; 2] = ["www", "crowd"];

/// The tests, in order.
pub const TESTS: [Test; 4] = [
    ("jitsud killed with SIGKILL: its guest runs on, and an open connection too", one_kill),
    ("jitsud at SIGHUP: the same", one_hangup),
    ("20 SIGKILLs at random moments under load: no guest dies, no connection breaks", many_kills),
    ("a damaged state is set aside, and the node serves again", damaged_state),
];

fn one_kill(context: &Context) -> Result<()> {
    restart(context, "-9")
}

fn one_hangup(context: &Context) -> Result<()> {
    restart(context, "-HUP")
}

fn restart(context: &Context, signal: &str) -> Result<()> {
    let node = context.node();
    context.ensure_www_serves()?;
    let before = node.settled_status()?;
    let old = node.shell("pidof jitsud")?;
    let open = HalfAsked::connect(node.reach(before.service("www")?.address, 80)?)?;
    let mark = node.mark();
    node.shell(&format!("kill {signal} $(pidof jitsud)"))?;
    node.await_ready(mark)?;
    ensure!(node.shell("pidof jitsud")? != old, "jitsud has not ended");
    context.ensure_token("www", &open.finish()?)?;
    let after = node.settled_status()?;
    let (was, is) = (before.service("www")?, after.service("www")?);
    ensure!(
        (was.domid, was.starts, is.state.as_str()) == (is.domid, is.starts, "ready"),
        "www was {was:?} and is {is:?}"
    );
    ensure!(is.console.iter().any(|line| line.contains("ready on")), "its console is lost: {:?}", is.console);
    ensure!(before.xen == after.xen, "Xen changed from {:?} to {:?}", before.xen, after.xen);
    ensure!(before.resources == after.resources, "from {:?} to {:?}", before.resources, after.resources);
    // What it watches for goes on, too: a service that was off starts, and stops.
    let mark = node.mark();
    node.summon("brief")?;
    node.await_state(mark, "brief", "off")?;
    context.ensure_www_serves()
}

/// Pages are fetched from guests that run, names of services that are off are asked for, and jitsud is killed
/// again and again, in whatever it is doing.
fn many_kills(context: &Context) -> Result<()> {
    let node = context.node();
    let mut random = Random::seeded()?;
    // Twice: what belongs to a guest's first connection is over when it serves the second.
    for service in [STEADY, STEADY].concat() {
        node.summon(service)?;
    }
    let before = node.settled_status()?;
    let servers =
        STEADY.map(|service| before.service(service).and_then(|known| node.reach(known.address, 80)));
    let stop = AtomicBool::new(false);
    let pages = thread::scope(|scope| -> Result<u64> {
        let steady: Vec<_> = servers
            .into_iter()
            .map(|server| {
                Ok(scope.spawn({
                    let (server, stop) = (server?, &stop);
                    move || fetch_pages(server, stop)
                }))
            })
            .collect::<Result<_>>()?;
        let summons = scope.spawn(|| summon_again_and_again(node, &stop));
        let killed = kill_again_and_again(node, &mut random);
        stop.store(true, Ordering::SeqCst);
        let pages = steady.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("panicked")));
        let pages = pages.sum::<Result<u64>>();
        let answers = summons.join().unwrap_or_else(|_| bail!("panicked"))?;
        ensure!(answers > 0, "no question at all was answered");
        killed.and(pages)
    })
    .with_context(|| format!("with seed {}", random.seed))?;
    let after = node.settled_status()?;
    for service in STEADY {
        let (was, is) = (before.service(service)?, after.service(service)?);
        ensure!(
            (was.domid, was.starts, is.state.as_str()) == (is.domid, is.starts, "ready"),
            "{service} was {was:?} and is {is:?} (seed {})",
            random.seed
        );
    }
    all_idle(node, &before)?;
    context.note(format!("{pages} pages meanwhile, {} starts", starts(&after) - starts(&before)));
    context.ensure_www_serves()
}

/// What was started is stopped again, and nothing is left of it.
fn all_idle(node: &RunningNode, before: &Status) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mark = node.mark();
        let status = node.settled_status()?;
        let Some(service) = status.services.iter().find(|s| s.name.starts_with("cycle") && s.domid.is_some())
        else {
            // The state of the store has grown and shrunk: what it holds must be the same.
            let (was, is) = (before.resources, status.resources);
            ensure!(
                (
                    was.xenstore_nodes,
                    was.xenstore_watches,
                    was.xenstore_connections,
                    was.event_channels,
                    was.vifs
                ) == (
                    is.xenstore_nodes,
                    is.xenstore_watches,
                    is.xenstore_connections,
                    is.event_channels,
                    is.vifs
                ),
                "from {was:?} to {is:?}"
            );
            ensure!(before.xen == status.xen, "Xen changed from {:?} to {:?}", before.xen, status.xen);
            return Ok(());
        };
        ensure!(Instant::now() < deadline, "{} is {} and does not stop", service.name, service.state);
        node.await_state(mark, &service.name, "off")?;
    }
}

fn kill_again_and_again(node: &RunningNode, random: &mut Random) -> Result<()> {
    for kill in 1..=KILLS {
        thread::sleep(Duration::from_millis(random.below(LONGEST_LIFE)));
        let mark = node.mark();
        node.send_line("killall -9 jitsud")?;
        // Now and then the next daemon is killed before it is ready, or even there.
        if random.below(3) > 0 || kill == KILLS {
            node.await_ready(mark)?;
        }
    }
    Ok(())
}

/// Every page must come, whatever becomes of the daemon.
fn fetch_pages(server: SocketAddr, stop: &AtomicBool) -> Result<u64> {
    let mut pages = 0;
    while !stop.load(Ordering::SeqCst) {
        let asked = HalfAsked::connect(server)?;
        thread::sleep(Duration::from_millis(150));
        let page = asked.finish().with_context(|| format!("after {pages} pages"))?;
        ensure!(page.contains("token") || page.contains("200"), "no page: {page}");
        pages += 1;
    }
    Ok(pages)
}

/// Answers are lost with the daemon that was asked.
fn summon_again_and_again(node: &RunningNode, stop: &AtomicBool) -> Result<u64> {
    let mut answers = 0;
    for number in (0..CYCLED).cycle() {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let question = Question::new(&format!("{}.jitsu.test", cycled(number).0), RecordType::A)?;
        // Others are lost, or nobody listens just now.
        if let Ok(Some(_)) = node.resolver().send_raw(question.as_bytes(), LOST) {
            answers += 1;
        }
        // So that each has stopped again when it is asked for next: domains come and go all the time.
        thread::sleep(ROUND / u32::from(CYCLED));
    }
    Ok(answers)
}

fn damaged_state(context: &Context) -> Result<()> {
    let node = context.node();
    context.ensure_www_serves()?;
    // Into the middle of the first record of the state; a running daemon does not read it.
    node.shell("printf X | dd of=/run/jitsud/store bs=1 seek=100 conv=notrunc 2>/dev/null")?;
    let mark = node.mark();
    node.shell("kill -9 $(pidof jitsud)")?;
    node.await_line(mark, "the daemon to say so", PATIENCE, |line| {
        line.contains("/run/jitsud/store cannot be taken over") && line.contains("/run/jitsud/store.damaged")
    })?;
    node.await_ready(mark)?;
    node.shell("[ -s /run/jitsud/store.damaged ]")?;
    let status = node.settled_status()?;
    ensure!(status.xen.domains == Some(1), "Xen has {:?} domains, dom0 included", status.xen.domains);
    ensure!(status.resources.vifs == Some(0), "{:?} interfaces are left", status.resources.vifs);
    ensure!(status.service("www")?.state == "off", "www is {}", status.service("www")?.state);
    context.ensure_www_serves()?;
    let status = node.status()?;
    ensure!(status.service("www")?.starts == 1, "www was not started anew");
    Ok(())
}

fn starts(status: &Status) -> u64 {
    status.services.iter().map(|service| service.starts).sum()
}

/// A connection over which half a request has been sent.
struct HalfAsked(TcpStream);

impl HalfAsked {
    fn connect(server: SocketAddr) -> Result<Self> {
        let mut stream = TcpStream::connect(server).with_context(|| format!("connecting to {server}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET / HTTP/1.0\r\nHo")?;
        Ok(HalfAsked(stream))
    }

    fn finish(mut self) -> Result<String> {
        let mut page = String::new();
        let rest = self.0.write_all(b"st: x\r\n\r\n");
        rest.and_then(|()| self.0.read_to_string(&mut page)).context("an open connection broke")?;
        ensure!(page.starts_with("HTTP/1."), "what came over an open connection is no page: {page:?}");
        Ok(page)
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    /// Another one in each run; a failure names it.
    fn seeded() -> Result<Self> {
        let seed = u64::from_str_radix(&crate::client::token()?, 16)?;
        Ok(Random { seed, state: seed })
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}
