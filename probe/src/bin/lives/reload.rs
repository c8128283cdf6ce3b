//! The configuration changes, and the daemon takes it over: what changes, what does not, and what clients notice.

use std::collections::HashSet;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use probe::dns::{MAX_UDP, Question, RecordType, ResponseCode};
use probe::host::now;
use probe::lives::{IDLE, JOINS, RELOADED};

use crate::node::{Node, is_a_page, page, since};

/// Where the node's configuration is.
const FILE: &str = "/etc/jitsu.toml";

/// Between two questions, and between two connections, while the configuration changes.
const PACE: Duration = Duration::from_millis(5);

/// For so long questions are asked before and after a change.
const AROUND: Duration = Duration::from_millis(300);

/// Who has no answer by then has none.
const LOST: Duration = Duration::from_secs(5);

/// Linux sends a SYN again after a second (RFC 6298).
const SYN_AGAIN: Duration = Duration::from_secs(1);

/// What jitsuctl says by its exit code when the configuration has mistakes.
const MISTAKES: i32 = 5;

/// With a mistake, nothing changes.
pub fn mistake(node: &Node) -> Result<String> {
    let steady = node.visit("steady")?;
    let before = node.status()?.boot.jitsud_started_ns;
    let good = std::fs::read_to_string(FILE)?;
    let (bad, line) = changed(&good, "memory = 4 # grows", "memroy = 4")?;
    std::fs::write(FILE, bad)?;
    let output = jitsuctl(&["reload"]);
    std::fs::write(FILE, &good)?;
    let output = output?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.code() == Some(MISTAKES), "jitsuctl ended with {}: {said}", output.status);
    let wanted = format!("{FILE}:{line}: service grows: unknown key \"memroy\"");
    ensure!(said.contains(&wanted), "it says {said:?}, not {wanted:?}");
    let after = node.service("steady")?;
    ensure!(node.status()?.boot.jitsud_started_ns == before, "the daemon has begun anew");
    ensure!(
        (after.domid, after.starts) == (steady.domid, steady.starts),
        "it was {steady:?} and is {after:?}"
    );
    Ok(String::new())
}

/// A service's TTL changes, another's memory; one goes, and one comes. Meanwhile questions are asked, and cold services
/// connected to.
pub fn reload(node: &Node) -> Result<String> {
    let [steady, grows, leaves] = ["steady", "grows", "leaves"].map(|name| node.visit(name));
    let (steady, grows, _leaves) = (steady?, grows?, leaves?);
    let mut open = node.connect(steady.address)?;
    open.write_all(b"GET / HTTP/1.0\r\nHo").context("half a request")?;
    let ttl = node.ask("steady")?.ttl;
    let started = node.status()?.boot.jitsud_started_ns;

    let text = std::fs::read_to_string(FILE)?;
    let text = changed(&text, "ttl = 1 # steady", &format!("ttl = {}", RELOADED.as_secs()))?.0;
    let text = changed(&text, "memory = 4 # grows", "memory = 6")?.0;
    let text = changed(&text, "name = \"leaves\"", &format!("name = \"{JOINS}\""))?.0;
    std::fs::write(FILE, text)?;
    let cold = ["young", "watched", "download"].map(|name| node.once(name, "off", 20 * IDLE));
    let cold: Vec<Ipv4Addr> = cold.into_iter().map(|service| Ok(service?.address)).collect::<Result<_>>()?;

    let stop = AtomicBool::new(false);
    let (asked, connected) = thread::scope(|scope| -> Result<_> {
        let asking = scope.spawn(|| ask_on(node.address(), &stop));
        let connecting = scope.spawn(|| connect_on(node, &cold, &stop));
        thread::sleep(AROUND);
        let reloaded = jitsuctl(&["reload"]);
        thread::sleep(AROUND);
        stop.store(true, Ordering::Relaxed);
        let both = (asking.join(), connecting.join());
        let reloaded = reloaded?;
        let said = String::from_utf8_lossy(&reloaded.stderr).into_owned();
        ensure!(reloaded.status.success(), "jitsuctl ended with {}: {said}", reloaded.status);
        let (Ok(asked), Ok(connected)) = both else { bail!("a client panicked") };
        Ok((asked?, connected?))
    })?;
    let Asked { questions, gap } = asked;

    ensure!(node.status()?.boot.jitsud_started_ns != started, "the daemon has not begun anew");
    // What has not changed runs on.
    let after = node.service("steady")?;
    ensure!(
        (after.domid, after.starts, after.state.as_str()) == (steady.domid, steady.starts, "ready"),
        "it was {steady:?} and is {after:?}"
    );
    open.write_all(b"st: x\r\n\r\n")
        .context("the rest of a request, on a connection that is older than the daemon")?;
    is_a_page(&rest(open)?)?;
    let (before, now) = (ttl, node.ask("steady")?.ttl);
    ensure!(
        (before, now) == (Some(1), Some(RELOADED.as_secs() as u32)),
        "its TTL was {before:?} and is {now:?}"
    );
    // What would be another domain by now has ended, and its next one is.
    let after = node.once("grows", "off", 5 * IDLE)?;
    ensure!((after.memory_mib, grows.memory_mib) == (6, 4), "it was {grows:?} and is {after:?}");
    let again = node.visit("grows")?;
    ensure!(again.domid != grows.domid, "it has its domain of before");
    // What is not there any more is not, and what has come is.
    let gone = node.ask("leaves")?;
    ensure!(gone.code == ResponseCode::NXDomain, "a service that has gone is answered with {gone:?}");
    ensure!(node.service("leaves").is_err(), "a service that has gone is in the status");
    node.visit(JOINS)?;
    Ok(format!(
        "{questions} questions and {connected} connections, none lost; longest wait for an answer {:.1} ms",
        gap.as_secs_f64() * 1e3
    ))
}

/// The text with `this` replaced, which is there once, and on which line it was.
fn changed(text: &str, this: &str, by: &str) -> Result<(String, usize)> {
    let (before, after) = text.split_once(this).with_context(|| format!("{FILE} has no {this:?}"))?;
    ensure!(!after.contains(this), "{FILE} has {this:?} twice");
    Ok((format!("{before}{by}{after}"), before.matches('\n').count() + 1))
}

fn jitsuctl(arguments: &[&str]) -> Result<Output> {
    Command::new("jitsuctl").args(arguments).output().context("running jitsuctl")
}

struct Asked {
    questions: usize,
    /// The longest time from a question to its answer.
    gap: Duration,
}

/// Asks for one that is up, again and again, whether the last question has been answered or not. Each must be.
fn ask_on(node: Ipv4Addr, stop: &AtomicBool) -> Result<Asked> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("opening a UDP socket")?;
    socket.connect((node, 53))?;
    let mut sent: Vec<(Question, u64)> = Vec::new();
    let (mut ids, mut gap) = (HashSet::new(), Duration::ZERO);
    let mut open: HashSet<usize> = HashSet::new();
    let mut buffer = [0; MAX_UDP];
    let mut deadline = None;
    loop {
        let stopped = stop.load(Ordering::Relaxed);
        if stopped && open.is_empty() {
            return Ok(Asked { questions: sent.len(), gap });
        }
        if !stopped {
            let question = Question::new("steady.jitsu.test", RecordType::A)?;
            // Two with the same number could not be told apart.
            if ids.insert(question.as_bytes()[..2].to_vec()) {
                socket.send(question.as_bytes()).context("sending a question")?;
                open.insert(sent.len());
                sent.push((question, now()?));
            }
        } else {
            let deadline = *deadline.get_or_insert(now()? + LOST.as_nanos() as u64);
            ensure!(now()? < deadline, "{} of {} questions were not answered", open.len(), sent.len());
        }
        let until = now()? + PACE.as_nanos() as u64;
        loop {
            let left = Duration::from_nanos(until.saturating_sub(now()?));
            if left.is_zero() {
                break;
            }
            socket.set_read_timeout(Some(left))?;
            match socket.recv(&mut buffer) {
                Ok(length) => {
                    let answered = open.iter().copied().find(|&number| {
                        let answer = sent[number].0.read(&buffer[..length]);
                        answer.is_ok_and(|answer| answer.address().is_ok())
                    });
                    let answered =
                        answered.context("an answer that nobody has asked for, or without an address")?;
                    open.remove(&answered);
                    gap = gap.max(since(sent[answered].1)?);
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => break,
                Err(error) => return Err(error).context("waiting for an answer"),
            }
        }
    }
}

/// Connects to these in turn, whether they are up or not, and fetches a page of each. No SYN must be lost.
fn connect_on(node: &Node, services: &[Ipv4Addr], stop: &AtomicBool) -> Result<usize> {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        for service in services {
            let begin = now()?;
            let stream = node.connect(*service)?;
            let took = since(begin)?;
            ensure!(took < SYN_AGAIN, "connecting to {service} took {took:?}: its SYN was lost");
            is_a_page(&page(stream, "/")?)?;
            count += 1;
            thread::sleep(PACE);
        }
    }
    Ok(count)
}

fn rest(mut stream: TcpStream) -> Result<Vec<u8>> {
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).context("reading a page")?;
    Ok(reply)
}
