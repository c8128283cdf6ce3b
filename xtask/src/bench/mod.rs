//! `cargo xtask bench`: the figures of the paper, measured here, in one run.
//!
//! Everything is in instruction time: a nanosecond is an instruction, and figures repeat whatever else the host does.
//! Clients and the programs that measure run inside the node (`probe`), which has one processor.

mod creation;
mod density;
pub mod dns;
mod http;
mod idle;
mod linux;
mod node;
mod paper;
mod plot;
mod report;
mod response;
mod starts;
mod statistics;
mod table;

use crate::board;
use crate::fail::{Class, Fail};
use crate::image::{self, Image, SourceArgs};
use crate::test::{self, XEN_OF_TOOLS};
use crate::{paths, ui};
use anyhow::{Context, Result, ensure};
use node::Node;
use report::{Environment, Report, VERSION, XL_LINUX};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Measure the paper's figures in QEMU, in instruction time: making domains by memory, starts at once, cold and warm
/// responses, HTTP under load, density, idle cost; with Debian's xl, C xenstored and a Linux guest beside. Writes
/// bench.json, table.md and plots (SVG), and prints the table.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask bench --quick\n  cargo xtask bench --json figures.json\n  \
                        cargo xtask bench --only cold --only warm\n  \
                        cargo xtask bench --from docs/bench/bench.json --out docs/bench")]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    other: Option<Other>,
    /// Fewer sizes and runs of the same measurements, in five minutes on two idle CPUs
    #[arg(long)]
    quick: bool,
    /// Also write the figures to this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where figures, table and plots go [default: out/bench]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Measure this part only; may be given again
    #[arg(long, value_name = "PART")]
    only: Vec<Part>,
    /// Measure nothing, and draw what an earlier run has written to this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "only", "json"])]
    from: Option<PathBuf>,
    #[command(flatten)]
    source: SourceArgs,
}

/// What is measured in another way.
#[derive(clap::Subcommand)]
enum Other {
    /// DNS servers on this host, in wall time
    Dns(dns::Args),
}

/// What can be measured by itself.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Part {
    /// Making domains, by their memory
    Creation,
    /// From the DNS query to the first byte, of services that do not run
    Cold,
    /// The same of one that runs
    Warm,
    /// Web servers under load
    Http,
    /// Starts at once, as far as XenStore is concerned
    Starts,
    /// How many guests run at once
    Density,
    /// What nothing costs
    Idle,
}

/// Guests that are idle.
const GUESTS: u32 = 50;

/// How much is measured.
pub struct Plan {
    quick: bool,
    /// Domains' memory, MiB: even.
    sizes: &'static [u32],
    /// How many domains of each size jitsud makes,
    builds: usize,
    /// the hypervisor alone,
    charges: usize,
    /// and xl.
    creates: usize,
    /// Cold starts of each kind.
    summons: usize,
    /// Requests for a service that runs.
    warm: usize,
    /// Linux guests that xl makes, at least one.
    linux: usize,
    /// Requests to each web server under load.
    requests: u32,
    /// How many starts at once.
    starts: &'static [u32],
    /// When C xenstored is given up, in nanoseconds.
    patience_ns: u64,
    /// How long nothing is looked at, in seconds.
    idle_s: u32,
}

const FULL: Plan = Plan {
    quick: false,
    sizes: &[4, 8, 16, 32, 64, 128, 256],
    builds: 10,
    charges: 5,
    creates: 3,
    summons: 100,
    warm: 100,
    linux: 5,
    requests: 400,
    starts: &[1, 10, 50, 100, 200],
    patience_ns: 10_000_000_000,
    idle_s: 600,
};

const QUICK: Plan = Plan {
    quick: true,
    sizes: &[4, 16, 64, 256],
    builds: 3,
    charges: 2,
    creates: 1,
    summons: 20,
    warm: 30,
    linux: 1,
    requests: 80,
    starts: &[1, 10, 200],
    patience_ns: 3_000_000_000,
    idle_s: 120,
};

pub fn run(args: &Args) -> Result<()> {
    if let Some(Other::Dns(args)) = &args.other {
        return dns::run(args);
    }
    let directory = args.out.clone().unwrap_or_else(|| paths::out("bench"));
    let report = match &args.from {
        Some(file) => read(file)?,
        None => measure(args)?,
    };
    if let Some(file) = &args.json {
        write(file, &json(&report)?)?;
    }
    // First of all: should drawing fail, the figures are not lost.
    write(&directory.join("bench.json"), &json(&report)?)?;
    let table = table::markdown(&report);
    write(&directory.join("table.md"), &table)?;
    for (name, svg) in plot::all(&report)? {
        write(&directory.join(name), &svg)?;
    }
    print!("{table}");
    Ok(())
}

fn json(report: &Report) -> Result<String> {
    Ok(serde_json::to_string_pretty(report).context("writing the figures as JSON")? + "\n")
}

fn write(path: &Path, text: &str) -> Result<()> {
    paths::write_atomic(path, text.as_bytes())?;
    ui::say(format!("written: {}", path.display()));
    Ok(())
}

/// The figures of an earlier run.
fn read(file: &Path) -> Result<Report> {
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|e| Fail::new(Class::Input, format!("figures {}: {e}", file.display())))?;
    let report: Report = serde_json::from_str(&text)
        .map_err(|e| Fail::new(Class::Input, format!("{} is no report: {e}", file.display())))?;
    ensure!(report.version == VERSION, "{} has version {}, not {VERSION}", file.display(), report.version);
    Ok(report)
}

fn measure(args: &Args) -> Result<Report> {
    let plan = if args.quick { QUICK } else { FULL };
    let wanted = |part| args.only.is_empty() || args.only.contains(&part);
    let options = args.source.options();
    let image = image::build(board::DEFAULT, &options)?;
    if image.board.xen.version != XEN_OF_TOOLS {
        let message = format!("the tools that it is compared with are those of Xen {XEN_OF_TOOLS}");
        return Err(Fail::new(Class::Input, message));
    }
    let mut report = Report {
        version: VERSION,
        quick: plan.quick,
        environment: environment(&image)?,
        creation: None,
        starts: None,
        cold: Vec::new(),
        warm: None,
        http: Vec::new(),
        density: None,
        idle: Vec::new(),
    };
    let hypercalls = node::program("jitsud", "hypercalls")?;
    if [Part::Creation, Part::Cold, Part::Warm, Part::Http, Part::Starts].into_iter().any(wanted) {
        let mut files = test::tools(&options)?;
        files.extend(test::starts_files(&options)?);
        files.extend(linux::files(&options)?);
        files.extend(creation::files(&plan));
        files.extend([node::program("probe", "xl-create")?, node::program("probe", "load")?]);
        files.push(hypercalls.clone());
        let mut services = creation::services(&plan);
        services.extend(response::services(""));
        let node = Node::boot(&image, "main", "", &services, files)?;
        compare(&node, &plan, wanted, &mut report).map_err(|error| node.running.blame(error))?;
    }
    if wanted(Part::Cold) {
        for (number, keys) in response::other_nodes().into_iter().enumerate() {
            let name = format!("cold-{number}");
            let node = Node::boot(&image, &name, keys, &response::services(keys), Vec::new())?;
            for case in response::cases(keys) {
                let measured = response::cold(&node, case, &plan);
                report.cold.push(measured.map_err(|error| node.running.blame(error))?);
            }
        }
    }
    // Ours first.
    report.cold.sort_by_key(|responses| responses.id == XL_LINUX);
    if [Part::Density, Part::Idle].into_iter().any(wanted) {
        let node = Node::boot(&image, "crowd", "", &density::services(), vec![hypercalls])?;
        crowd(&node, &plan, wanted, &mut report).map_err(|error| node.running.blame(error))?;
    }
    Ok(report)
}

/// What is measured beside Xen's tools, on one node.
fn compare(node: &Node, plan: &Plan, wanted: impl Fn(Part) -> bool, report: &mut Report) -> Result<()> {
    // Whatever is done for the first time only is done now.
    let status = node.request(response::WARM)?.status;
    let text = |name: &str| status["node"]["versions"][name].as_str().unwrap_or_default().to_owned();
    (report.environment.xen, report.environment.kernel) = (text("xen"), text("kernel"));
    if wanted(Part::Creation) {
        report.creation = Some(creation::measure(node, plan)?);
    }
    if wanted(Part::Warm) {
        report.warm = Some(response::warm(node, plan)?);
    }
    if wanted(Part::Cold) {
        for case in response::cases("") {
            report.cold.push(response::cold(node, case, plan)?);
        }
    }
    if wanted(Part::Cold) || wanted(Part::Http) {
        report.cold.push(linux::cold(node, plan)?);
        if wanted(Part::Http) {
            report.http = http::measure(node, plan)?;
        }
        linux::end(node)?;
    }
    // Last of all: it ends jitsud.
    if wanted(Part::Starts) {
        report.starts = Some(starts::measure(node, plan)?);
    }
    Ok(())
}

/// What is measured with many guests, on another node.
fn crowd(node: &Node, plan: &Plan, wanted: impl Fn(Part) -> bool, report: &mut Report) -> Result<()> {
    let before = density::Free::now(node)?;
    if wanted(Part::Idle) {
        report.idle.push(idle::measure(node, 0, plan.idle_s)?);
    }
    density::start(node, 1, GUESTS)?;
    if wanted(Part::Idle) {
        report.idle.push(idle::measure(node, GUESTS, plan.idle_s)?);
    }
    if wanted(Part::Density) {
        report.density = Some(density::measure(node, GUESTS, before)?);
    }
    Ok(())
}

/// What is known before a node runs.
fn environment(image: &Image) -> Result<Environment> {
    let qemu = Command::new(crate::host::QEMU).arg("--version").output().context("asking QEMU's version")?;
    let qemu = String::from_utf8_lossy(&qemu.stdout);
    let version = qemu.lines().next().and_then(|line| line.split("version ").nth(1)).unwrap_or("unknown");
    let describe = ["describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"];
    let commit = Command::new("git").args(describe).current_dir(paths::root()).output();
    let commit = commit.ok().filter(|output| output.status.success());
    Ok(Environment {
        board: image.board.name.clone(),
        qemu: version.to_owned(),
        commit: commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        ..Environment::default()
    })
}
