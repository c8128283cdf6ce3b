//! A Linux guest with everything that a service can have, and builds that fail: on a node of their own.

pub mod guest;

use super::{Report, log_file, matches};
use crate::client::{Mark, NODE, NodeSpec, RunningNode, Status, token};
use crate::debian;
use crate::demo::ms;
use crate::image::Image;
use crate::initramfs::ExtraFile;
use crate::qemu::Start;
use crate::{cross, paths};
use anyhow::{Context as _, Result, ensure};
use probe::cold;
use probe::dns::ResponseCode;
use std::cell::RefCell;
use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

/// Longest life of the node.
const LIMIT: Duration = Duration::from_secs(900);

/// Longest time in which the guest boots: most of it goes into unpacking its kernel.
const GUEST_BOOTS: Duration = Duration::from_secs(300);

/// Lines of the console shown after a failure.
const LAST_LINES: usize = 30;

/// A disk's length in bytes.
const DISK: usize = 64 << 10;

/// A test: its name, and what it does.
type Test = (&'static str, fn(&Context) -> Result<()>);

/// The tests, in order. After the last one there is no node any more.
const TESTS: [Test; 7] = [
    ("Linux: Debian's kernel serves a page from its disk, and switches itself off when asked", linux_serves),
    ("captured: an ordinary Linux is woken by a SYN, and answers that very connection", linux_is_captured),
    ("a guest is ready by the value of a key", ready_by_value),
    ("a guest that does not switch itself off when asked is destroyed", deaf_guest),
    ("builds that fail leave nothing behind", failed_builds),
    ("IPv6: an ordinary Linux is woken by a SYN, and answers that very connection", linux_by_ipv6),
    ("Linux: a node that is switched off lets it switch itself off first", linux_ends),
];

struct Context {
    node: RunningNode,
    token: String,
    /// What the running test has measured.
    note: RefCell<Option<String>>,
}

/// Runs them.
pub fn run(
    image: &Image,
    options: &debian::Options,
    filter: Option<&str>,
    report: &mut Report,
) -> Result<()> {
    let tests: Vec<Test> = TESTS.into_iter().filter(|(name, _)| matches(name, filter)).collect();
    if tests.is_empty() {
        return Ok(());
    }
    let log = log_file("console-linux.log");
    println!("\na node with a Linux guest in QEMU; console: {}", log.display());
    let token = token()?;
    let config = include_str!("jitsu.toml").replace("TOKEN", &token);
    let start = Start::configured(image.clone(), config, files(options, &token)?);
    let spec = NodeSpec { start, icount: false, log, timeout: LIMIT };
    let Some(node) = report.check("the node with a Linux guest boots", || RunningNode::boot(spec)) else {
        return Ok(());
    };
    node.frames_set_aside()?;
    let context = Context { node, token, note: RefCell::default() };
    let before = report.failed;
    for (name, test) in tests {
        report.check_noting(name, &context.note, || test(&context));
    }
    if report.failed > before {
        println!("\nlast lines of the console:\n{}\n", context.node.last_lines(LAST_LINES));
    }
    Ok(())
}

/// The guest, and the disks of all services.
fn files(options: &debian::Options, token: &str) -> Result<Vec<ExtraFile>> {
    let guest = guest::provide(options, include_bytes!("guest/rcS"), &[])?;
    let disk = |text: &str| {
        let mut content = text.as_bytes().to_vec();
        content.resize(DISK, 0);
        content
    };
    let file = |path: &str, content| ExtraFile { path: path.into(), mode: 0o644, content };
    let client = paths::read(&cross::node_binary("probe", "cold", None)?)?;
    Ok(vec![
        ExtraFile { path: "/usr/bin/cold".into(), mode: 0o755, content: client },
        file("/usr/lib/jitsu/kernels/debian", guest.kernel),
        file("/usr/lib/jitsu/kernels/debian.initramfs", guest.ramdisk),
        file("/srv/page.img", disk(&format!("This was on the disk: disk-{token}\n"))),
        file("/srv/notes.img", disk("")),
        file("/srv/plain.img", disk("token-plain1-end\n")),
        file("/srv/more.img", disk("")),
        file("/srv/there.img", disk("")),
        file("/srv/gone.img", disk("")),
    ])
}

fn linux_serves(context: &Context) -> Result<()> {
    let (node, token) = (&context.node, &context.token);
    let (before, mark) = (node.settled_status()?, node.mark());
    node.resolver().a_within("linux.jitsu.test", GUEST_BOOTS)?.address()?;
    let page = node.summon("linux")?.page;
    ensure!(page.code == 200 && page.body.contains(&format!("disk-{token}")), "another page: {page:?}");

    let status = node.status()?;
    let console = status.service("linux")?.console.join("\n");
    let said = [
        "Run /init as init process".to_owned(),
        "guest: 2 processors".to_owned(),
        "guest: interfaces /sys/class/net/eth0 /sys/class/net/eth1 /sys/class/net/lo".to_owned(),
        "guest: xvda is for reading".to_owned(),
        format!("guest: found hello-{token}"),
    ];
    for line in said {
        ensure!(console.contains(&line), "it did not say {line:?} but:\n{console}");
    }
    let ports = node.shell("ls /sys/class/net/br1/brif")?;
    ensure!(ports.starts_with("vif") && ports.ends_with(".1"), "the ports of br1 are {ports:?}");
    ensure!(node.shell(LOOP_DEVICES)?.lines().count() == 2, "not two disks of files");

    node.await_state(mark, "linux", "shutting_down")?;
    node.await_state(mark, "linux", "off")?;
    ensure_said(node, mark, "its domain switched itself off service=\"linux\"")?;
    let written = node.shell("head -c 64 /srv/notes.img | tr -d '\\000'")?;
    ensure!(written == format!("written by {token}"), "what it wrote is {written:?}");
    ensure_as_before(node, &before)
}

fn linux_is_captured(context: &Context) -> Result<()> {
    let node = &context.node;
    let before = node.settled_status()?;
    let mut mark = node.mark();
    node.send_line(&format!("cold {NODE} plain 1 10.0.2.50 connect"))?;
    let what = "the client inside the node";
    let line = node.next_line(&mut mark, what, GUEST_BOOTS, |line| line.starts_with(cold::MARK))?;
    let json = line.trim_end().trim_start_matches(cold::MARK);
    let report: cold::Report =
        serde_json::from_str(json).with_context(|| format!("reading what it printed: {json}"))?;
    let cold::Report { pages, syns, syn_retransmits, data_retransmits, resets, connected_ns, .. } = &report;
    ensure!((*pages, *syns) == (1, 1), "no page came: {:#?}", report.failures);
    let status = node.status()?;
    let plain = status.service("plain1")?;
    let ready = plain.at("guest_ready")?.saturating_sub(plain.at("packet_received")?);
    let connected = connected_ns.first().copied().unwrap_or_default();
    context.note.replace(Some(format!(
        "ready after {} ms, connected after {} ms, {syn_retransmits} SYNs sent again meanwhile",
        ms(ready),
        ms(connected)
    )));
    // Linux sends a SYN again after 1, 3, 7, 15... seconds (RFC 6298, section 5.5).
    let unavoidable = (connected / 1_000_000_000 + 1).ilog2();
    let sent_again = (*syn_retransmits, *data_retransmits, *resets);
    ensure!(
        sent_again.0 <= unavoidable,
        "{} SYNs were sent again, {unavoidable} could not be avoided",
        sent_again.0
    );
    ensure!((sent_again.1, sent_again.2) == (0, 0), "{sent_again:?}: SYNs and data sent again, resets");
    // The SYN that was held was answered, and not one that the client sent later.
    let late = connected.saturating_sub(ready);
    ensure!(late < 500_000_000, "connected {} ms after it was ready", ms(late));
    node.await_state(mark, "plain1", "off")?;
    ensure_as_before(node, &before)
}

fn linux_by_ipv6(context: &Context) -> Result<()> {
    let (node, mark) = (&context.node, context.node.mark());
    ensure!(node.status()?.service("linux")?.state == "off", "it is up");
    // By the node itself, as any other host on its bridge. What it prints is the page.
    node.send_line("wget -q -O - 'http://[fd00:6b::30]/' || echo no page")?;
    let page = format!("disk-{}", context.token);
    let what = "the page over IPv6";
    let line =
        node.await_line(mark, what, GUEST_BOOTS, |line| line.contains(&page) || line.starts_with("no page"))?;
    ensure!(line.contains(&page), "wget says {line:?}");
    let status = node.status()?;
    let linux = status.service("linux")?;
    let ready = linux.at("guest_ready")?.saturating_sub(linux.at("packet_received")?);
    context.note.replace(Some(format!("ready {} ms after the packet", ms(ready))));
    Ok(())
}

fn linux_ends(context: &Context) -> Result<()> {
    let (node, mark) = (&context.node, context.node.mark());
    node.resolver().a_within("linux.jitsu.test", GUEST_BOOTS)?.address()?;
    node.summon("linux")?;
    node.send_line("poweroff")?;
    node.await_state(mark, "linux", "off")?;
    ensure_said(node, mark, "its domain switched itself off service=\"linux\"")?;
    let halted = |line: &str| line.contains("Hardware Dom0 halted");
    node.await_line(mark, "the node to be off", Duration::from_secs(60), halted).map(drop)
}

/// Prints the file of each loop device that has one.
const LOOP_DEVICES: &str = "cat /sys/block/loop*/loop/backing_file 2>/dev/null || true";

fn ready_by_value(context: &Context) -> Result<()> {
    let node = &context.node;
    let page = node.summon("connected")?.page;
    ensure!(page.body.contains(&format!("connected-{}", context.token)), "another page: {page:?}");
    ensure_fails(node, "never", "ready within 2 s: it writes data/ready=never")
}

fn deaf_guest(context: &Context) -> Result<()> {
    let node = &context.node;
    let (before, mark) = (node.settled_status()?, node.mark());
    let address = node.summon("deaf")?.address;
    // There will be no reply to wait for.
    let mut stream = TcpStream::connect(node.reach(address, 80)?).context("connecting to the guest")?;
    stream.write_all(b"GET /hang HTTP/1.0\r\n\r\n").context("asking the guest to hang")?;
    node.await_state(mark, "deaf", "shutting_down")?;
    node.await_state(mark, "deaf", "off")?;
    ensure_said(node, mark, "its domain did not switch itself off within 2 s: it is destroyed")?;
    ensure_as_before(node, &before)
}

fn failed_builds(context: &Context) -> Result<()> {
    let node = &context.node;
    let before = node.settled_status()?;
    node.shell("mv /srv/gone.img /srv/elsewhere.img")?;
    ensure_fails(node, "gone", "disk /srv/gone.img cannot be opened: No such file")?;
    ensure_fails(node, "greedy", "the node has not enough memory")?;
    ensure_fails(node, "tight", "the kernel, unpacked and with what goes with it, needs")?;
    ensure_as_before(node, &before)?;
    node.summon("connected").context("what can be built must not be disturbed")?;
    Ok(())
}

/// Fails unless `service` does not get ready, for a reason that contains `reason`.
fn ensure_fails(node: &RunningNode, service: &str, reason: &str) -> Result<()> {
    let mark = node.mark();
    let answer = node.resolver().a(&format!("{service}.jitsu.test"))?;
    ensure!(answer.code == ResponseCode::ServFail, "the client of {service} is told {answer:?}");
    node.await_state(mark, service, "failed")?;
    let status = node.status()?;
    let said = &status.service(service)?.reason;
    ensure!(said.as_ref().is_some_and(|said| said.contains(reason)), "the reason of {service} is {said:?}");
    Ok(())
}

/// Fails unless all that services take is as it was, loop devices included.
fn ensure_as_before(node: &RunningNode, before: &Status) -> Result<()> {
    let after = node.status_as_before(before)?;
    ensure!(before.xen == after.xen, "Xen changed from {:?} to {:?}", before.xen, after.xen);
    ensure!(before.resources == after.resources, "from {:?} to {:?}", before.resources, after.resources);
    ensure_no_loops(node)
}

fn ensure_no_loops(node: &RunningNode) -> Result<()> {
    let loops = node.shell(LOOP_DEVICES)?;
    ensure!(loops.is_empty(), "loop devices are left, on {loops}");
    Ok(())
}

fn ensure_said(node: &RunningNode, mark: Mark, what: &str) -> Result<()> {
    node.await_line(mark, what, Duration::ZERO, |line| line.contains(what)).map(drop)
}
