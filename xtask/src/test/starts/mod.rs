//! What many starts of domains at once cost of XenStore, in instruction time: here and with the server written in C
//! (out of Debian's packages), one after the other in the same node, asked the same by the same client.
//!
//! xl makes a start of four transactions. The server written in C refuses one whenever another has been committed
//! that created something in the same directory, as all starts do in `/local/domain`; so its cost per start grows
//! with their number. At 200 it would take minutes of virtual time: it is given only as long as the claim needs.

mod table;

use super::{Report, log_file, matches, tools};
use crate::client::{NodeSpec, RunningNode, token};
use crate::image::Image;
use crate::initramfs::ExtraFile;
use crate::qemu::Start;
use crate::{cross, debian, demo, paths};
use anyhow::{Context, Result, ensure};
use probe::starts::{RUN_MARK, Run};
use std::cell::RefCell;
use std::time::Duration;
use table::Table;

/// How many starts at once are measured.
const SIZES: [u32; 8] = [1, 2, 5, 10, 20, 50, 100, MOST];

/// Of those, how many C xenstored is given time to end.
const SIZES_OF_XENSTORED: [u32; 4] = [1, 2, 5, 10];

/// The number that the claims are about.
const MOST: u32 = 200;

/// C xenstored takes at least so many times as long, for as many starts.
const FASTER: u64 = 3;
/// And so many times as long as starts that need no socket.
const FASTER_IN_PROCESS: u64 = 20;
/// A start beside others costs at most so many hundredths of what it costs beside fewer, however few.
const FLAT: u64 = 120;

/// So many starts at least are in each figure.
const ENOUGH: u32 = 20;

/// Longest run of the client, wall time.
const LIMIT: Duration = Duration::from_secs(300);

/// Where jitsud's socket is, and that of C xenstored in its place.
pub const OURS: &str = "/run/xenstored/socket";
pub const XENSTORED: &str = "/tmp/xenstored/socket";
/// What the client takes for a store of its own.
pub const IN_PROCESS: &str = "process";

/// What is measured.
struct Measured {
    ours: Vec<Run>,
    in_process: Vec<Run>,
    xenstored: Vec<Run>,
}

/// A claim: its name, and what is seen, or what contradicts it.
type Claim = (&'static str, fn(&Measured) -> Result<String>);

const CLAIMS: [Claim; 4] = [
    ("instruction time: 200 starts at once take C xenstored 3 times as long as ours", faster),
    ("instruction time: none of 200 starts at once is refused", never_refused),
    ("instruction time: 200 starts in process take a 20th of what they take C xenstored", faster_in_process),
    ("instruction time: what a start costs does not grow, from 1 to 200 at once", flat),
];

/// Runs them.
pub fn run(
    image: &Image,
    options: &debian::Options,
    filter: Option<&str>,
    report: &mut Report,
) -> Result<()> {
    let claims: Vec<Claim> = CLAIMS.into_iter().filter(|(name, _)| matches(name, filter)).collect();
    if claims.is_empty() {
        return Ok(());
    }
    let files = files(options)?;
    let log = log_file("console-starts.log");
    println!("\na node with C xenstored in QEMU, in instruction time; console: {}", log.display());
    let spec = NodeSpec {
        start: Start::configured(image.clone(), demo::config(&token()?), files),
        icount: true,
        log,
        timeout: Duration::from_secs(900),
    };
    let name = "instruction time: starts of domains at once are measured";
    let Some(measured) = report.check_aloud(name, || measure(&RunningNode::boot(spec)?)) else {
        return Ok(());
    };
    for (name, claim) in claims {
        let note = RefCell::default();
        report.check_noting(name, &note, || {
            note.replace(Some(claim(&measured)?));
            Ok(())
        });
    }
    Ok(())
}

/// What is needed on a node for it: C xenstored, and the client.
///
/// # Errors
/// When one of them cannot be had.
pub fn files(options: &debian::Options) -> Result<Vec<ExtraFile>> {
    let mut files = tools::xenstored(options)?;
    let executable = |path: &str, content| ExtraFile { path: path.into(), mode: 0o755, content };
    files.push(executable("/usr/bin/starts", paths::read(&cross::node_binary("probe", "starts", None)?)?));
    files.push(executable("/usr/bin/c-xenstored", include_bytes!("xenstored.sh").to_vec()));
    Ok(files)
}

fn measure(node: &RunningNode) -> Result<Measured> {
    let run = || {
        // Whatever is done for the first time only is done now.
        starts(node, OURS, SIZES[2], None)?;
        let ours = all(node, OURS, &SIZES)?;
        let in_process = all(node, IN_PROCESS, &SIZES)?;

        node.shell("c-xenstored")?;
        starts(node, XENSTORED, SIZES[2], None)?;
        let mut xenstored = all(node, XENSTORED, &SIZES_OF_XENSTORED)?;
        let enough = (FASTER * of(&ours, MOST)?.ns).max(FASTER_IN_PROCESS * of(&in_process, MOST)?.ns);
        xenstored.push(starts(node, XENSTORED, MOST, Some(enough))?);

        println!("{}", Table { ours: &ours, xenstored: &xenstored, in_process: &in_process });
        Ok(Measured { ours, in_process, xenstored })
    };
    run().map_err(|error| node.blame(error))
}

fn all(node: &RunningNode, target: &str, sizes: &[u32]) -> Result<Vec<Run>> {
    sizes.iter().map(|count| mean(node, target, *count)).collect()
}

/// Of few starts at once, the mean of several runs: what a server does once in many starts, as ours writes its whole
/// state down, would count for all of that in one run, and for nothing in the next.
///
/// # Errors
/// When a start fails, or they do not end.
pub fn mean(node: &RunningNode, target: &str, count: u32) -> Result<Run> {
    let runs = (ENOUGH / count).max(1);
    let mut sum = Run { starts: count, finished: count, ns: 0, retries: 0 };
    for _ in 0..runs {
        let run = starts(node, target, count, None)?;
        sum.ns += run.ns;
        sum.retries += run.retries;
    }
    Ok(Run { ns: sum.ns / u64::from(runs), retries: sum.retries / u64::from(runs), ..sum })
}

/// `count` starts at once against `target`, which is given up after `patience`, in nanoseconds.
///
/// # Errors
/// When a start fails, or they do not end.
pub fn starts(node: &RunningNode, target: &str, count: u32, patience: Option<u64>) -> Result<Run> {
    let patience = patience.map(|ns| ns.div_ceil(1_000_000).to_string()).unwrap_or_default();
    let mark = node.mark();
    node.send_line(&format!("starts {target} {count} {patience} || echo 'starts'': failed'"))?;
    let what = format!("{count} starts against {target}");
    let ended = |line: &str| line.starts_with(RUN_MARK) || line.starts_with("starts: ");
    let line = node.await_line(mark, &what, LIMIT, ended)?;
    let json = line.trim_end().strip_prefix(RUN_MARK).with_context(|| format!("{what}: {line}"))?;
    serde_json::from_str(json).with_context(|| format!("reading what the client printed: {json}"))
}

/// The run of that many starts.
fn of(runs: &[Run], starts: u32) -> Result<Run> {
    let run = runs.iter().find(|run| run.starts == starts);
    run.copied().with_context(|| format!("{starts} starts were not measured"))
}

fn faster(measured: &Measured) -> Result<String> {
    compare(of(&measured.ours, MOST)?, of(&measured.xenstored, MOST)?, FASTER)
}

fn faster_in_process(measured: &Measured) -> Result<String> {
    compare(of(&measured.in_process, MOST)?, of(&measured.xenstored, MOST)?, FASTER_IN_PROCESS)
}

fn compare(ours: Run, xenstored: Run, times: u64) -> Result<String> {
    let ratio = xenstored.ns as f64 / ours.ns as f64;
    ensure!(xenstored.ns >= times * ours.ns, "only {ratio:.2} times as long");
    if xenstored.finished == xenstored.starts {
        return Ok(format!("{ratio:.1} times"));
    }
    Ok(format!("{} of {} were done after {ratio:.1} times as long", xenstored.finished, xenstored.starts))
}

fn never_refused(measured: &Measured) -> Result<String> {
    for run in &measured.ours {
        ensure!(run.retries == 0, "{} transactions of {} starts", run.retries, run.starts);
    }
    let theirs = of(&measured.xenstored, MOST)?;
    Ok(format!("by C xenstored {} were, until then", theirs.retries))
}

fn flat(measured: &Measured) -> Result<String> {
    let per_start = |run: &Run| run.ns / u64::from(run.starts);
    // A start that is alone is dearest by socket: nobody shares its server's wake-ups.
    let growth = |runs: &[Run]| {
        let mut most = 100;
        for (at, more) in runs.iter().enumerate() {
            for fewer in &runs[..at] {
                let percent = 100 * per_start(more) / per_start(fewer).max(1);
                ensure!(
                    percent <= FLAT,
                    "one of {} costs {percent} % of one of {}",
                    more.starts,
                    fewer.starts
                );
                most = most.max(percent);
            }
        }
        Ok(most - 100)
    };
    let (ours, in_process) = (growth(&measured.ours)?, growth(&measured.in_process)?);
    let (one, many) = (per_start(&of(&measured.ours, 1)?), per_start(&of(&measured.ours, MOST)?));
    Ok(format!(
        "grows by {ours} % at most, in process {in_process} %; one of {MOST} costs {} % of one alone",
        100 * many / one.max(1)
    ))
}
