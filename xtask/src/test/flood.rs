//! A flood of SYNs from forged sources: others are served meanwhile, memory stays within its bounds, and afterwards all is
//! as it was. On a node of its own, in instruction time, with the attacker inside as another host.

use super::{Report, log_file, matches};
use crate::client::{NODE, NodeSpec, RunningNode};
use crate::image::Image;
use crate::initramfs::ExtraFile;
use crate::qemu::Start;
use crate::ui::human_bytes;
use crate::{cross, paths};
use anyhow::{Context as _, Result, ensure};
use probe::{cold, flood};
use std::cell::RefCell;
use std::fmt::Write as _;
use std::time::Duration;

/// The tests, in order.
const NAMES: [&str; 2] = [
    "flood: during 20,000 SYNs a second others are answered, and memory stays within its bounds",
    "flood: afterwards nobody has to do anything",
];

/// The flood, in seconds: usually, and with `--long`.
const SECONDS: u32 = 3;
const LONG: u32 = 30;
const RATE: u32 = 20_000;

/// Services that are flooded: so many never get ready, so that their packets are held all the time, and one does.
const HANGING: u32 = 4;
const FLOODED: u32 = HANGING + 1;

/// Services that are connected to afterwards: the flooded one that got ready, and others.
const AFTERWARDS: u32 = 7;

/// What may be held, in bytes: the default of `held`.
const HELD: u64 = 1 << 20;
/// By how much the daemon's memory may have grown, in bytes: the held frames, their bookkeeping, the connections that were
/// opened (3 MiB by the documentation of `capture`), and what the allocator makes of that.
const GROWTH: u64 = 8 << 20;

/// Longest life of the node, and longest time for the flood, wall time.
const LIMIT: Duration = Duration::from_secs(1500);
const PATIENCE: Duration = Duration::from_secs(1200);

/// Runs them.
pub fn run(image: &Image, long: bool, filter: Option<&str>, report: &mut Report) -> Result<()> {
    if !NAMES.iter().any(|name| matches(name, filter)) {
        return Ok(());
    }
    let clients = ["cold", "flood"].map(|name| -> Result<ExtraFile> {
        let content = paths::read(&cross::node_binary("probe", name, None)?)?;
        Ok(ExtraFile { path: format!("/usr/bin/{name}"), mode: 0o755, content })
    });
    let clients = clients.into_iter().collect::<Result<Vec<_>>>()?;
    let log = log_file("console-flood.log");
    println!("\nthe node in QEMU, in instruction time; console: {}", log.display());
    let start = Start::configured(image.clone(), config(), clients);
    let spec = NodeSpec { start, icount: true, log, timeout: LIMIT };
    let Some(node) = report.check("flood: the node boots", || RunningNode::boot(spec)) else { return Ok(()) };
    let note = RefCell::default();
    let before = report.failed;
    report.check_noting(NAMES[0], &note, || {
        others_are_answered(&node, if long { LONG } else { SECONDS }, &note)
    });
    report.check_noting(NAMES[1], &note, || as_before(&node, &note));
    if report.failed > before {
        println!("{}\n", node.last_lines(super::LAST_LINES));
    }
    Ok(())
}

fn config() -> String {
    let mut config =
        "[node]\nname = \"node\"\ndomain = \"jitsu.test\"\naddress = \"10.0.2.15/22\"\nntp = []\n".to_owned();
    let mut service = |name: &str, address: &str, kernel: &str, rest: &str| {
        let _ = write!(
            config,
            "\n[[service]]\nname = \"{name}\"\naddress = \"{address}\"\nkernel = \"{kernel}\"\nmemory = 4\n\
             ttl = 1\nidle = 1\n{rest}\n"
        );
    };
    for number in 0..HANGING {
        let (name, address) = (format!("hang{number}"), format!("10.0.1.{}", 100 + number));
        service(&name, &address, "faulty", "boot_timeout = 60\ncmdline = \"fault=hang\"");
    }
    for number in 1..=AFTERWARDS {
        let (name, address) = (format!("f{number}"), format!("10.0.1.{}", 99 + HANGING + number));
        service(&name, &address, "www", &format!("cmdline = \"token=token-{name}-end\""));
    }
    service("other", "10.0.1.20", "www", "cmdline = \"token=token-other-end\"");
    config
}

fn others_are_answered(node: &RunningNode, seconds: u32, note: &RefCell<Option<String>>) -> Result<()> {
    let before = resident(node)?;
    let mut mark = node.mark();
    node.send_line(&format!("flood {NODE} {seconds} {RATE} 10.0.1.100 {FLOODED} other"))?;
    let what = "the attacker inside the node";
    let line = node.next_line(&mut mark, what, PATIENCE, |line| line.starts_with(flood::MARK))?;
    let json = line.trim_end().trim_start_matches(flood::MARK);
    let flood::Report { syns, took_ns, questions, answers, slowest_answer_ns, pages_wanted, pages, failures } =
        serde_json::from_str(json).with_context(|| format!("reading what it printed: {json}"))?;
    let status = node.status()?;
    let seen = status.packets;
    let starts: u64 = status.services.iter().map(|service| service.starts).sum();
    let growth = resident(node)?.saturating_sub(before);
    note.replace(Some(format!(
        "{syns} SYNs, {} captured, {} held, {} evicted, {} answered; {starts} starts; {answers} of {questions} answers, \
         the slowest after {} ms; {pages} of {pages_wanted} pages; memory grew by {}",
        seen.frames,
        seen.held,
        seen.evicted,
        seen.opened,
        crate::demo::ms(slowest_answer_ns),
        human_bytes(growth)
    )));
    let per_second = u128::from(syns) * 1_000_000_000 / u128::from(took_ns.max(1));
    ensure!(per_second * 100 >= u128::from(RATE) * 95, "{per_second} SYNs a second were sent");
    ensure!(
        failures.is_empty() && answers == questions && questions > 10 * seconds,
        "not all were answered: {failures:#?}"
    );
    ensure!(pages == pages_wanted && pages > seconds / 2, "not all pages came: {failures:#?}");
    ensure!(seen.held_bytes <= HELD, "{} bytes are held", seen.held_bytes);
    ensure!(growth <= GROWTH, "the daemon's memory grew by {}", human_bytes(growth));
    // Each flooded service is started, and again when it has been stopped or has failed; never more.
    let bound = u64::from(FLOODED * seconds);
    ensure!((1..=bound).contains(&starts), "{starts} starts");
    Ok(())
}

/// The daemon's resident memory, in bytes.
fn resident(node: &RunningNode) -> Result<u64> {
    let kib = node.shell("awk '/^VmRSS/ { print $2 }' /proc/$(pidof jitsud)/status")?;
    Ok(kib.parse::<u64>().with_context(|| format!("the daemon's memory is {kib:?}"))? << 10)
}

fn as_before(node: &RunningNode, note: &RefCell<Option<String>>) -> Result<()> {
    node.shell("while ls /sys/class/net | grep -q ^probe; do usleep 10000; done")?;
    let mut mark = node.mark();
    node.send_line(&format!("cold {NODE} f {AFTERWARDS} 10.0.1.104 connect"))?;
    let what = "the client inside the node";
    let line = node.next_line(&mut mark, what, PATIENCE, |line| line.starts_with(cold::MARK))?;
    let json = line.trim_end().trim_start_matches(cold::MARK);
    let report: cold::Report =
        serde_json::from_str(json).with_context(|| format!("reading what it printed: {json}"))?;
    note.replace(Some(format!("{} pages, {} SYNs sent again", report.pages, report.syn_retransmits)));
    ensure!(report.pages == AFTERWARDS, "{} pages came: {:#?}", report.pages, report.failures);
    ensure!(report.resets == 0, "{} resets", report.resets);
    // The guest that was flooded may still hold half-open connections that are too young to give way.
    ensure!(report.syn_retransmits <= 1, "{} SYNs were sent again", report.syn_retransmits);
    Ok(())
}
