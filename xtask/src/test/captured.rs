//! Connections to services that are not up, from an ordinary Linux: none is lost, and the client's kernel has nothing to
//! send twice. On a node of their own, in instruction time, with the client inside as another host.

use super::{Report, log_file, matches};
use crate::client::{NODE, NodeSpec, RunningNode};
use crate::image::Image;
use crate::initramfs::ExtraFile;
use crate::qemu::Start;
use crate::{cross, paths};
use anyhow::{Context as _, Result, ensure};
use probe::cold;
use std::cell::RefCell;
use std::fmt::Write as _;
use std::time::Duration;

/// A test: its name, and what it does.
type Test = (&'static str, fn(&Captured) -> Result<()>);

/// The tests, in order.
const TESTS: [Test; 5] = [
    (
        "captured: 200 connections to services that are off, none of which was asked for by name",
        by_connection,
    ),
    ("captured: 200 connections right after the answer of the name server", by_name),
    ("captured: 240 connections at every point of a service's life", at_every_point),
    ("captured: 50 connections that are open before their guests are there", open_early),
    ("captured: 200 connections, and jitsud killed eight times meanwhile", kills),
];

/// Services of a test, and how many times longer than for being connected half of the clients wait for the page there, at
/// least: what is left is the guest's boot. If the guest itself answered, it would be a tenth longer.
const EARLY: u32 = 50;
const RATIO: u64 = 4;

/// Services with a page each.
const SERVICES: u32 = 200;
/// Those whose lives are gone through, and how often.
const POINTS: u32 = 4;
const ROUNDS: u32 = 30;

/// A service is stopped when nobody has used it for so long, in seconds.
const IDLE: u32 = 1;

/// Longest life of the node, and longest time for a series, wall time.
const LIMIT: Duration = Duration::from_secs(900);
const PATIENCE: Duration = Duration::from_secs(400);

struct Captured {
    node: RunningNode,
    note: RefCell<Option<String>>,
}

/// Runs them.
pub fn run(image: &Image, filter: Option<&str>, report: &mut Report) -> Result<()> {
    let tests: Vec<Test> = TESTS.into_iter().filter(|(name, _)| matches(name, filter)).collect();
    if tests.is_empty() {
        return Ok(());
    }
    let binary = cross::node_binary("probe", "cold", None)?;
    let client = ExtraFile { path: "/usr/bin/cold".into(), mode: 0o755, content: paths::read(&binary)? };
    let log = log_file("console-captured.log");
    println!("\nthe node in QEMU, in instruction time; console: {}", log.display());
    let start = Start::configured(image.clone(), config(), vec![client]);
    let spec = NodeSpec { start, icount: true, log, timeout: LIMIT };
    let boot = || RunningNode::boot(spec);
    let Some(node) = report.check("captured: the node boots", boot) else { return Ok(()) };
    let captured = Captured { node, note: RefCell::default() };
    let before = report.failed;
    for (name, test) in tests {
        report.check_noting(name, &captured.note, || test(&captured));
    }
    if report.failed > before {
        println!("{}\n", captured.node.last_lines(super::LAST_LINES));
    }
    Ok(())
}

fn config() -> String {
    let mut config =
        "[node]\nname = \"node\"\ndomain = \"jitsu.test\"\naddress = \"10.0.2.15/22\"\nntp = []\n".to_owned();
    let mut service = |name: String, address: String| {
        let _ = write!(
            config,
            "\n[[service]]\nname = \"{name}\"\naddress = \"{address}\"\nkernel = \"www\"\nmemory = 4\nttl = 1\n\
             idle = {IDLE}\ncmdline = \"token=token-{name}-end\"\n"
        );
    };
    (1..=SERVICES).for_each(|number| service(format!("c{number}"), format!("10.0.1.{number}")));
    (1..=POINTS).for_each(|number| service(format!("p{number}"), format!("10.0.3.{number}")));
    config
}

impl Captured {
    /// Has the client connect, and sees that each connection got its page, without anything being sent twice.
    fn all_served(&self, arguments: &str, pages: u32) -> Result<cold::Report> {
        let report = self.served(arguments, pages)?;
        let cold::Report { syns, syn_retransmits, data_retransmits, resets, .. } = report;
        ensure!(
            (syns, syn_retransmits, data_retransmits, resets) == (pages, 0, 0, 0),
            "{syns} SYNs were sent, {syn_retransmits} again, {data_retransmits} segments of data again; {resets} resets"
        );
        Ok(report)
    }

    /// Has the client connect, and sees that each connection got its page.
    fn served(&self, arguments: &str, pages: u32) -> Result<cold::Report> {
        // The cable of the one before goes some time after its owner.
        self.node.shell("while ls /sys/class/net | grep -q ^probe; do usleep 10000; done")?;
        let mut mark = self.node.mark();
        self.node.send_line(&format!("cold {NODE} {arguments}"))?;
        let what = "the client inside the node";
        let line = self.node.next_line(&mut mark, what, PATIENCE, |line| line.starts_with(cold::MARK))?;
        let json = line.trim_end().trim_start_matches(cold::MARK);
        let report: cold::Report =
            serde_json::from_str(json).with_context(|| format!("reading what the client printed: {json}"))?;
        let [first_byte, connected] = [&report.first_byte_ns, &report.connected_ns].map(|of| summary(of));
        self.note.replace(Some(format!("first byte after {first_byte}, connected after {connected}")));
        ensure!(
            report.pages == pages && report.failures.is_empty(),
            "{} of {pages} pages came: {:#?}",
            report.pages,
            report.failures
        );
        Ok(report)
    }
}

/// Median and 99th percentile.
fn summary(of: &[u64]) -> String {
    let mut sorted = of.to_vec();
    sorted.sort_unstable();
    let at = |percent: usize| sorted.get(sorted.len() * percent / 100).copied().unwrap_or_default();
    format!("{} ms (99 %: {})", crate::demo::ms(at(50)), crate::demo::ms(at(99)))
}

fn by_connection(captured: &Captured) -> Result<()> {
    captured.all_served(&format!("c {SERVICES} 10.0.1.1 connect"), SERVICES).map(drop)
}

fn by_name(captured: &Captured) -> Result<()> {
    captured.all_served(&format!("c {SERVICES} 10.0.1.1 dns"), SERVICES).map(drop)
}

fn at_every_point(captured: &Captured) -> Result<()> {
    let seed = 20_151_103_u64;
    let points = format!("p {POINTS}*{ROUNDS} 10.0.3.1 points:{seed}:{}", IDLE * 1000);
    captured.all_served(&points, 2 * POINTS * ROUNDS).map(drop)
}

/// Connections that the daemon has opened and keeps are the next one's. What is sent while there is none is lost, and
/// sent again.
fn kills(captured: &Captured) -> Result<()> {
    let kills = "(sleep 1; for i in 1 2 3 4 5 6 7 8; do usleep 1170000; killall -9 jitsud; done) & :";
    captured.node.shell(kills)?;
    let mut mark = captured.node.mark();
    let report = captured.served(&format!("c {SERVICES} 10.0.1.1 connect"), SERVICES)?;
    ensure!(report.resets == 0, "{} connections were reset", report.resets);
    let kept_on = "a connection that the next daemon has kept on";
    captured.node.next_line(&mut mark, kept_on, Duration::ZERO, |line| line.contains("is kept on"))?;
    Ok(())
}

/// The node opens connections on the guests' behalf, and keeps what the clients ask for; the guests go on with the very
/// connections.
fn open_early(captured: &Captured) -> Result<()> {
    let before = captured.node.status()?.packets;
    let report = captured.all_served(&format!("c {EARLY} 10.0.1.1 connect"), EARLY)?;
    let after = captured.node.status()?.packets;
    let counts = (after.opened - before.opened, after.handed_over - before.handed_over);
    ensure!(counts == (u64::from(EARLY), u64::from(EARLY)), "{counts:?} were opened, and handed over");
    let [connected, first_byte] = [&report.connected_ns, &report.first_byte_ns].map(|of| {
        let mut sorted = of.clone();
        sorted.sort_unstable();
        sorted[sorted.len() / 2]
    });
    ensure!(
        connected * RATIO < first_byte,
        "half of the clients were connected after {} ms, and had their pages after {} ms: the guests answered their SYNs",
        crate::demo::ms(connected),
        crate::demo::ms(first_byte)
    );
    Ok(())
}
