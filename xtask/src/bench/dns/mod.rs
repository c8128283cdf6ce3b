//! `cargo xtask bench dns`: how many questions our DNS server answers a second, beside Debian's dnsmasq, Unbound, Knot and
//! NSD, on this host, in one run.
//!
//! The one figure of this project in wall time: it says which is faster here, not how fast any of them is elsewhere. So
//! each round asks every server, one after the other, whatever else the host does hits all of them, and the median round
//! counts. Client and server share a processor while it is counted how much is answered: what a server takes less of it is
//! left for more questions. With a processor each, dnsperf is the slowest of all, and says nothing about the others. Only
//! how long answers take is measured with a processor for each, if there are two.

mod client;
mod servers;
mod table;

use crate::fail::{Class, Fail};
use crate::host::unpacked::Unpacked;
use crate::{paths, ui};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use servers::{Kind, Server};
use std::path::PathBuf;
use std::process::Command;

use super::statistics::{median, percentile};

/// Compare our DNS server with dnsmasq, Unbound, Knot and NSD by dnsperf: questions a second for names that run, and how
/// long answers take. Writes dns.json and dns.md, and prints the table.
#[derive(clap::Args)]
#[command(
    after_help = "The servers are unpacked from their packages and not installed: nothing of this host is changed.\n\n\
                        Examples:\n  cargo xtask bench dns\n  cargo xtask bench dns --rounds 9 --out docs/bench"
)]
pub struct Args {
    /// How often each server is asked; the median counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// For how many seconds each time
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Where figures and table go [default: out/bench]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// What a run has measured.
#[derive(Debug, Serialize, Deserialize)]
pub struct Report {
    /// The processor's name.
    processor: String,
    /// Whether client and server were on one processor, or on one each, as is meant; with only one there is no choice.
    pinned: bool,
    rounds: u32,
    seconds: u32,
    /// Questions a second at which it was measured how long answers take.
    paced: u32,
    servers: Vec<Figures>,
}

/// Of one server.
#[derive(Debug, Serialize, Deserialize)]
pub struct Figures {
    /// Its name.
    pub server: String,
    version: String,
    /// Answers a second, in each round.
    pub answers_per_second: Vec<u64>,
    /// Processor time for an answer, in nanoseconds, in each round.
    processor_ns: Vec<u64>,
    /// Questions that were not answered, in all rounds.
    lost: u64,
    /// How long answers took at a pace that all servers can keep up with: the 50th and 99th percentile in microseconds, of
    /// all rounds.
    latency_us: [u64; 2],
}

/// How much is measured.
pub struct Plan {
    rounds: u32,
    seconds: u32,
    servers: &'static [Kind],
    /// How long, in seconds, it is measured how long answers take; 0 for not at all.
    latency_s: u32,
}

/// Questions a second at which it is measured how long answers take: a sixth of what the slowest of them can do.
const PACE: u32 = 15_000;

/// What `cargo xtask test` has time for.
pub const SHORT: Plan = Plan { rounds: 9, seconds: 1, servers: &[Kind::Jitsud, Kind::Dnsmasq], latency_s: 0 };

/// The names by which reports know these two.
pub const OURS: &str = "jitsud";
pub const DNSMASQ: &str = "dnsmasq";

/// Which build of ours is measured.
#[derive(Clone, Copy, Debug)]
pub enum Profile {
    /// As on the node.
    Release,
    /// Nearly so, and built in less time.
    Rehearsal,
}

pub fn run(args: &Args) -> Result<()> {
    let plan = Plan { rounds: args.rounds, seconds: args.seconds, servers: &Kind::ALL, latency_s: 2 };
    let report = measure(&plan, Profile::Release)?;
    let directory = args.out.clone().unwrap_or_else(|| paths::out("bench"));
    let json = serde_json::to_string_pretty(&report).context("writing the figures as JSON")? + "\n";
    super::write(&directory.join("dns.json"), &json)?;
    let table = table::markdown(&report);
    super::write(&directory.join("dns.md"), &table)?;
    print!("{table}");
    Ok(())
}

/// Measures.
///
/// # Errors
/// When a server does not answer, or answers wrongly.
pub fn measure(plan: &Plan, profile: Profile) -> Result<Report> {
    let packages: Vec<&str> =
        [servers::CLIENT].into_iter().chain(plan.servers.iter().filter_map(|kind| kind.package())).collect();
    let unpacked = Unpacked::get(&packages.join("+"), &packages)?;
    let rehearsal = build(profile)?;
    let folder = paths::out("dns-servers");
    let questions = folder.join("questions");
    paths::write_atomic(&questions, servers::questions().as_bytes())?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let pinned = processors > 1;
    // Knot binds its only worker to the first processor, whatever it is told; so the others have that one, too.
    let (for_server, beside) = if pinned { (Some(0), Some(1)) } else { (None, None) };

    let mut running = Vec::new();
    for kind in plan.servers {
        let place = folder.join(kind.name().replace(' ', "-"));
        running.push(Server::start(*kind, &unpacked, &rehearsal, &place, for_server)?);
    }
    let on = |processor| client::Client { unpacked: &unpacked, questions: &questions, processor };
    let (sharing, beside) = (on(for_server), on(beside));
    let mut figures: Vec<Figures> = Vec::new();
    for server in &running {
        figures.push(Figures {
            server: server.kind.name().to_owned(),
            version: server.kind.version(&unpacked)?,
            answers_per_second: Vec::new(),
            processor_ns: Vec::new(),
            lost: 0,
            latency_us: [0; 2],
        });
    }
    let mut latencies: Vec<Vec<u64>> = running.iter().map(|_| Vec::new()).collect();
    for round in 1..=plan.rounds {
        ui::say(format!("DNS servers, round {round} of {}", plan.rounds));
        for ((server, figures), latencies) in running.iter().zip(&mut figures).zip(&mut latencies) {
            let before = server.processor_time()?;
            let run = sharing.flood(server.at, plan.seconds)?;
            let used = server.processor_time()?.saturating_sub(before);
            figures.answers_per_second.push(run.answers_per_second);
            figures.processor_ns.push(used.as_nanos() as u64 / run.answers.max(1));
            figures.lost += run.lost;
            if plan.latency_s > 0 {
                latencies.extend(beside.latencies(server.at, PACE, plan.latency_s)?);
            }
        }
    }
    for (figures, latencies) in figures.iter_mut().zip(&latencies) {
        figures.latency_us = [50, 99].map(|percent| percentile(latencies, percent).unwrap_or(0));
    }
    Ok(Report {
        processor: processor_name(),
        pinned,
        rounds: plan.rounds,
        seconds: plan.seconds,
        paced: PACE,
        servers: figures,
    })
}

impl Report {
    /// The best round of a server, in answers a second.
    ///
    /// # Errors
    /// When it was not asked.
    pub fn best(&self, server: &str) -> Result<u64> {
        let figures = self.servers.iter().find(|figures| figures.server == server);
        figures
            .and_then(|figures| figures.answers_per_second.iter().max().copied())
            .with_context(|| format!("{server} was not asked"))
    }
}

/// Builds ours.
fn build(profile: Profile) -> Result<PathBuf> {
    let name = match profile {
        Profile::Release => "release",
        Profile::Rehearsal => "rehearsal",
    };
    ui::say(format!("building the rehearsal, profile {name}"));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args(["build", "--quiet", "--package", "rehearsal", "--profile", name])
        .current_dir(paths::root());
    let status = command.status().with_context(|| format!("starting {command:?}"))?;
    if !status.success() {
        return Err(Fail::new(Class::Build, format!("building the rehearsal: {status}, see above")));
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| paths::root().join("target"), Into::into);
    Ok(target.join(name).join("rehearsal"))
}

/// As Linux calls it.
fn processor_name() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, name)| name).to_owned()
}
