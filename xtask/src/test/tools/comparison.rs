//! How long jitsud takes to make a domain and let it run, and how long xl does: one node, one clock that counts
//! instructions, the same kernel, memory and network card.
//!
//! Jitsud's figure is its own, from the beginning of the build to the hypercall that lets the domain run. It leaves
//! the connecting of the network card to dom0's kernel, and to the moment when there is an interface: that comes
//! after the figure, and is shown beside it. Xl's figure is the whole command, after which the domain runs: it reads
//! the configuration and the kernel, makes the domain, waits for the back half of the network card, runs the script
//! that connects it, lets the domain run, and leaves a process behind to wait for the domain's end. What is not as on
//! a Debian system favours xl: XenStore is jitsud's, all files are in memory, and what the script calls is busybox,
//! which starts faster than Debian's programs.

use super::guest::{CONNECTED, Guest, UNCONNECTED};
use super::{created, programs};
use crate::client::{NODE, NodeSpec, RunningNode, Status, token};
use crate::demo::{self, inside, ms};
use crate::image::Image;
use crate::initramfs::ExtraFile;
use crate::qemu::Start;
use crate::test::{Report, log_file, matches};
use crate::{debian, ui};
use anyhow::{Context, Result, ensure};
use std::time::Duration;

/// What the test is called.
const NAME: &str = "instruction time: a domain is made in a 20th of the time that xl create takes";

/// How many times less it has to be than with Debian's script.
const TIMES: u64 = 20;

/// How many domains jitsud makes.
const STARTS: usize = 12;

/// Longest life of the node, wall time.
const LIMIT: Duration = Duration::from_secs(300);

/// Runs a command and prints the microseconds that it took.
const STOPWATCH: &str = "/usr/bin/took";
const STOPWATCH_SCRIPT: &str =
    "#!/bin/bash\nbegin=${EPOCHREALTIME/./}\n\"$@\" || exit\necho took $((${EPOCHREALTIME/./} - begin))\n";

/// Runs it, on a node of its own.
pub fn run(
    image: &Image,
    options: &debian::Options,
    filter: Option<&str>,
    report: &mut Report,
) -> Result<()> {
    if !matches(NAME, filter) {
        return Ok(());
    }
    let log = log_file("console-comparison.log");
    println!("\na node with Xen's tools in QEMU, in instruction time; console: {}", log.display());
    let mut extra = programs::files(options)?;
    extra.extend(files()?);
    let start = Start::configured(image.clone(), config()?, extra);
    report.check_aloud(NAME, || {
        let node = {
            let _task = ui::Task::start("booting the node in QEMU, in instruction time");
            RunningNode::boot(NodeSpec { start, icount: true, log, timeout: LIMIT })?
        };
        compare(&node).map_err(|error| node.blame(error))
    });
    Ok(())
}

/// What [`compare`] needs on a node, beside Xen's tools.
pub fn files() -> Result<Vec<ExtraFile>> {
    let stopwatch = ExtraFile { path: STOPWATCH.into(), mode: 0o755, content: STOPWATCH_SCRIPT.into() };
    Ok(vec![inside::client()?, stopwatch, CONNECTED.file(), UNCONNECTED.file()])
}

/// The demo's configuration, and more services like the one in it.
///
/// # Errors
/// When there are no random numbers.
pub fn config() -> Result<String> {
    let more = (1..STARTS).map(|number| {
        let (name, address) = (service(number), 20 + number);
        format!(
            "\n[[service]]\nname = \"{name}\"\naddress = \"10.0.2.{address}\"\nkernel = \"www\"\nmemory = 4\n"
        )
    });
    Ok(demo::config(&token()?) + &more.collect::<String>())
}

fn service(number: usize) -> String {
    if number == 0 { "www".into() } else { format!("www{number}") }
}

/// Makes the domains, prints the table, and fails unless jitsud is fast enough. The node is one in instruction time,
/// with this [`config`] and these [`files`], on which nothing has run yet.
///
/// # Errors
/// When it is not, or something does not run.
pub fn compare(node: &RunningNode) -> Result<()> {
    node.shell("mkdir -p /run/xen")?;
    // Each domain of xl's has a random UUID: a kernel that has just started makes it wait for seconds.
    node.shell("head -c 1 /dev/random > /dev/null")?;
    let with_script = create(node, &CONNECTED)?;
    let without = create(node, &UNCONNECTED)?;
    // Afterwards, since domains that are there make it longer for both.
    let jitsud = Builds::of(node)?;
    let times = |ns: u64| ns / jitsud.mean;

    println!("  from nothing to a domain that runs, in instruction time:");
    let Builds { mean, least, most, forwarding } = jitsud;
    println!("  jitsud, {STARTS} times: {} to {} ms, on average   {:>9} ms", ms(least), ms(most), ms(mean));
    println!("  {:<47} {:>9} ms", "jitsud, until the bridge forwards to it as well", ms(forwarding));
    for (what, ns) in [
        ("xl create, Debian's script vif-bridge", with_script),
        ("xl create, a script that does nothing", without),
    ] {
        println!("  {what:<47} {:>9} ms  {:>3} times jitsud's", ms(ns), times(ns));
    }
    ensure!(times(with_script) >= TIMES, "less than {TIMES} times with Debian's script");
    Ok(())
}

/// How long jitsud took to make domains, in nanoseconds. It varies: there is one processor, and what dom0's kernel
/// does for the network card falls sometimes into this time and sometimes behind it.
struct Builds {
    /// From the beginning to the hypercall that lets the domain run: on average, and the extremes.
    mean: u64,
    least: u64,
    most: u64,
    /// From the beginning to the moment when the bridge forwards to the domain, on average.
    forwarding: u64,
}

impl Builds {
    /// Summons all services.
    fn of(node: &RunningNode) -> Result<Self> {
        for number in 1..STARTS {
            node.shell(&format!("nslookup {}.jitsu.test {NODE} > /dev/null", service(number)))?;
        }
        let status = inside::request(node, &service(0))?.status;
        let status: Status = serde_json::from_value(status).context("reading the status")?;
        let (mut builds, mut forwarding) = (Vec::new(), 0);
        for number in 0..STARTS {
            let service = status.service(&service(number))?;
            let since_start =
                |stage| Ok::<_, anyhow::Error>(service.at(stage)? - service.at("build_started")?);
            builds.push(since_start("unpaused")?);
            forwarding += since_start("vif_up")?;
        }
        let count = builds.len() as u64;
        Ok(Builds {
            mean: builds.iter().sum::<u64>() / count,
            least: builds.iter().copied().min().unwrap_or_default(),
            most: builds.iter().copied().max().unwrap_or_default(),
            forwarding: forwarding / count,
        })
    }
}

/// Has xl make a domain, and end it. Returns how long making it took, in nanoseconds.
fn create(node: &RunningNode, guest: &Guest) -> Result<u64> {
    let printed = node.shell(&format!("took xl create -q {}", guest.path()))?;
    let micros = printed.lines().find_map(|line| line.strip_prefix("took ")?.parse::<u64>().ok());
    let micros = micros.with_context(|| format!("the stopwatch printed {printed:?}"))?;
    let state = node.shell(&format!("xl list {}", guest.name))?;
    ensure!(!state.contains("--p---"), "it does not run:\n{state}");
    // Neither the script nor jitsud may have done what the other is there for.
    let ports = node.shell("ls /sys/class/net/br0/brif")?;
    let domid = node.shell(&format!("xl domid {}", guest.name))?;
    let is_port = ports.split_whitespace().any(|port| port == format!("vif{domid}.0"));
    ensure!(is_port == guest.script.is_none(), "the ports of the bridge are {ports:?}");
    created::end(node, guest, "xl destroy")?;
    Ok(micros * 1000)
}
