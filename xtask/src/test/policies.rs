//! How services live: who starts them, what keeps them up, who has to go when there is no room, and what becomes of them
//! with another configuration. On a node of their own, in
//! instruction time, with the client inside as another host; what it does is in `probe/src/bin/lives/`.

use super::{Report, log_file, matches};
use crate::client::{NODE, NodeSpec, RunningNode};
use crate::image::Image;
use crate::initramfs::ExtraFile;
use crate::qemu::Start;
use crate::{cross, paths};
use anyhow::{Context as _, Result, bail};
use probe::lives::{self, IDLE, KEPT_TTL, LONG_IDLE, MAX_UPTIME, MIN_UPTIME, Outcome, ROOMS};
use std::cell::RefCell;
use std::fmt::Write as _;
use std::time::Duration;

/// The tests, in order: their names, and what the client calls them.
const TESTS: [(&str, &str); 12] = [
    (
        "policies: one that is to run always does, and again with a back-off when it has ended by itself",
        "always",
    ),
    ("policies: a manual one is started by nobody, and everybody is told why", "manual"),
    (
        "policies: one is up for min_uptime though it is idle, and for max_uptime though it is in use",
        "uptimes",
    ),
    ("policies: who is only looking, by network or name, gets the address and starts nothing", "quiet"),
    (
        "policies: a slow download and a silent connection keep their guests up for ten idle periods",
        "connections",
    ),
    ("policies: connections outlive a pause, which a segment, a question and a new connection end", "pause"),
    (
        "policies: a paused guest stays paused when another jitsud takes over, and its connection works",
        "restart",
    ),
    (
        "policies: who was used least recently goes for another, paused or not; not with an open connection",
        "order",
    ),
    ("policies: when nobody can go, a question and a packet are refused at once, and nobody suffers", "full"),
    (
        "policies: one that packets do not start stays for as long as its address may be cached, then goes",
        "promise",
    ),
    ("reload: with a mistake nothing changes, and it is told with its line", "mistake"),
    ("reload: what changes changes, the rest runs on; no question is lost, no SYN, no connection", "reload"),
];

/// Memory of each of those that are not to fit all together, in MiB.
const LARGE: u32 = 96;

/// Longest life of the node, and longest time for a test, wall time.
const LIMIT: Duration = Duration::from_secs(900);
const PATIENCE: Duration = Duration::from_secs(300);

/// Runs them.
pub fn run(image: &Image, filter: Option<&str>, report: &mut Report) -> Result<()> {
    let tests: Vec<_> = TESTS.into_iter().filter(|(name, _)| matches(name, filter)).collect();
    if tests.is_empty() {
        return Ok(());
    }
    let binary = cross::node_binary("probe", "lives", None)?;
    let client = ExtraFile { path: "/usr/bin/lives".into(), mode: 0o755, content: paths::read(&binary)? };
    let log = log_file("console-policies.log");
    println!("\nthe node in QEMU, in instruction time; console: {}", log.display());
    let start = Start::configured(image.clone(), config(), vec![client]);
    let spec = NodeSpec { start, icount: true, log, timeout: LIMIT };
    let boot = || {
        let node = RunningNode::boot(spec)?;
        // What there is room for says nothing before.
        node.frames_set_aside()?;
        Ok(node)
    };
    let Some(node) = report.check("policies: the node boots", boot) else { return Ok(()) };
    let before = report.failed;
    for (name, scenario) in tests {
        let note = RefCell::default();
        report.check_noting(name, &note, || {
            let good = play(&node, scenario)?;
            note.replace(Some(good).filter(|good| !good.is_empty()));
            Ok(())
        });
    }
    if report.failed > before {
        println!("{}\n", node.last_lines(super::LAST_LINES));
    }
    Ok(())
}

fn play(node: &RunningNode, scenario: &str) -> Result<String> {
    // The cable of the one before goes some time after its owner, and has the same Ethernet address.
    node.shell("while ls /sys/class/net | grep -q ^probe; do usleep 10000; done")?;
    let mut mark = node.mark();
    node.send_line(&format!("lives {NODE} {scenario}"))?;
    let what = "the client inside the node";
    let line = node.next_line(&mut mark, what, PATIENCE, |line| line.starts_with(lives::MARK))?;
    let json = line.trim_end().trim_start_matches(lives::MARK);
    let outcome = serde_json::from_str(json);
    match outcome.with_context(|| format!("reading what the client printed: {json}"))? {
        Outcome::Good(note) => Ok(note),
        Outcome::Bad(why) => bail!("{why}"),
    }
}

fn config() -> String {
    let mut config =
        "[node]\nname = \"node\"\ndomain = \"jitsu.test\"\naddress = \"10.0.2.15/22\"\nntp = []\n".to_owned();
    let mut number = 0;
    let mut service = |name: &str, kernel: &str, memory: u32, more: &str| {
        number += 1;
        let _ = write!(
            config,
            "\n[[service]]\nname = \"{name}\"\naddress = \"10.0.1.{number}\"\nmemory = {memory}\n{more}\n"
        );
        let _ = match kernel {
            "www" => writeln!(config, "kernel = \"www\""),
            fault => writeln!(config, "kernel = \"faulty\"\ncmdline = \"fault={fault}\""),
        };
    };
    let [idle, long] = [IDLE, LONG_IDLE].map(|idle| format!("ttl = 1\nidle = {}", idle.as_secs()));
    let (min, max) = (MIN_UPTIME.as_secs(), MAX_UPTIME.as_secs());
    // This one ends itself when it is told to; the others that are no www wait for their clients for as long as they like.
    service("always", "poweroff", 4, "start = \"always\"");
    service("manual", "www", 4, "start = \"manual\"");
    service("young", "www", 4, &format!("{idle}\nmin_uptime = {min}"));
    service("old", "patience", 4, &format!("{long}\nmax_uptime = {max}"));
    service("unseen", "www", 4, "quiet = { networks = [\"10.0.2.200\"] }");
    let names = "dns = [\"watched.jitsu.test\", \"monitor.watched.jitsu.test\"]";
    service("watched", "www", 4, &format!("{idle}\n{names}\nquiet = {{ names = [\"monitor.*\"] }}"));
    service("download", "patience", 4, &idle);
    service("silent", "patience", 4, &idle);
    service("nap", "patience", 4, &format!("{idle}\nstop = \"pause\""));
    service("sleeper", "patience", 4, &format!("{idle}\nstop = \"pause\""));
    service("large", "patience", LARGE, &format!("{idle}\nstop = \"pause\""));
    for room in 1..=ROOMS {
        service(&format!("room{room}"), "patience", LARGE, &long);
    }
    let (ttl, idle) = (KEPT_TTL.as_secs(), LONG_IDLE.as_secs());
    service("roomkept", "patience", LARGE, &format!("wake = false\nttl = {ttl}\nidle = {idle}"));
    service("steady", "www", 4, "ttl = 1 # steady\nidle = 3600");
    service("leaves", "www", 4, "idle = 3600");
    let grows =
        "name = \"grows\"\naddress = \"10.0.1.250\"\nkernel = \"www\"\nmemory = 4 # grows\nidle = 3600";
    let _ = write!(config, "\n[[service]]\n{grows}\n");
    config
}
