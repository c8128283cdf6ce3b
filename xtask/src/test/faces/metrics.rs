//! `/metrics`, read by Prometheus's own parser for Python.

use super::{Rehearsal, Test};
use crate::fail::{Class, Fail};
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;
use std::collections::HashMap;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::thread;

/// The tests, in order.
pub const TESTS: [Test; 1] =
    [("Prometheus's parser reads the metrics, and the histograms add up to the summons made", metrics)];

/// Services that start, one that cannot and one that never gets ready.
const CONFIG: &str = r#"[node]
address = "192.168.1.10/24"

[[service]]
name = "one"
address = "192.168.1.20"
kernel = "k"

[[service]]
name = "two"
address = "192.168.1.21"
kernel = "k"
answer = "ready"

[[service]]
name = "crowd"
address = "192.168.1.22"
kernel = "k"

[[service]]
name = "broken"
address = "192.168.1.23"
kernel = "fails"

[[service]]
name = "endless"
address = "192.168.1.24"
kernel = "hangs"

[[service]]
name = "never"
address = "192.168.1.25"
kernel = "k"
"#;

/// Those that get ready when they are asked for.
const GOOD: [&str; 3] = ["one", "two", "crowd"];
/// Questions at the same time for one of them.
const CROWD: u64 = 20;

/// Debian's Python, for which Debian's modules are.
const PYTHON: &str = "/usr/bin/python3";

/// Prints what the parser has understood, as JSON.
const PARSE: &str = "
import json, sys
from prometheus_client.parser import text_string_to_metric_families as parse
print(json.dumps([
    {'name': f.name, 'kind': f.type, 'help': f.documentation,
     'samples': [{'name': s.name, 'labels': s.labels, 'value': s.value} for s in f.samples]}
    for f in parse(sys.stdin.read())]))
";

/// What the parser has understood.
#[derive(Debug, Deserialize)]
pub struct Family {
    name: String,
    kind: String,
    help: String,
    samples: Vec<Sample>,
}

#[derive(Debug, Deserialize)]
struct Sample {
    name: String,
    labels: HashMap<String, String>,
    value: f64,
}

fn metrics() -> Result<String> {
    let node = Rehearsal::start("metrics", CONFIG, &[])?;
    let ask = |name: &str| node.resolver().a(&format!("{name}.jitsu.test"));
    for name in ["one", "two", "broken", "endless"] {
        ask(name)?;
    }
    thread::scope(|scope| {
        let askers: Vec<_> = (0..CROWD).map(|_| scope.spawn(|| ask("crowd"))).collect();
        askers.into_iter().try_for_each(|asker| match asker.join() {
            Ok(answer) => answer?.address().map(drop),
            Err(_) => anyhow::bail!("panicked"),
        })
    })?;
    // Warm by now, so that it starts nothing.
    ask("one")?;
    node.await_states("ready", &GOOD)?;

    let families = read(node.at.http)?;
    let status = node.json("/status")?;
    check_starts(&families, &status)?;
    let value = |name: &str, labels: &[(&str, &str)]| value(&families, name, labels);
    for (name, requests) in [("one", 2), ("crowd", CROWD), ("broken", 1), ("never", 0)] {
        let counted = value("jitsu_service_requests_total", &[("service", name)])?;
        ensure!(counted == requests as f64, "{counted} requests for {name}, not {requests}");
    }
    for (state, count) in [("ready", 3.0), ("failed", 1.0), ("booting", 1.0), ("off", 1.0)] {
        let counted = value("jitsu_services", &[("state", state)])?;
        ensure!(counted == count, "{counted} services are {state}, not {count}");
    }
    let samples: usize = families.iter().map(|family| family.samples.len()).sum();
    Ok(format!("{} families, {samples} samples", families.len()))
}

/// Fails unless the parser reads what the node at `node` has to say, and its starts add up; what it has understood.
pub fn read(node: SocketAddr) -> Result<Vec<Family>> {
    let url = format!("http://{node}/metrics");
    let mut answer = ureq::get(&url).call().with_context(|| format!("reading {url}"))?;
    let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).map(str::to_owned);
    ensure!(
        kind.as_deref() == Some("text/plain; version=0.0.4; charset=utf-8"),
        "its content type is {kind:?}"
    );
    let families = parse(&answer.body_mut().read_to_string()?)?;
    check_families(&families)?;
    let value = |name: &str, labels: &[(&str, &str)]| value(&families, name, labels);
    let (begun, mut sum) = (value("jitsu_starts_total", &[])?, value("jitsu_starts_under_way", &[])?);
    for outcome in ["ready", "failed", "no_room", "cancelled"] {
        sum += value("jitsu_starts_ended_total", &[("outcome", outcome)])?;
    }
    ensure!(begun == sum, "{begun} starts have begun, and {sum} are known");
    let ready = value("jitsu_starts_ended_total", &[("outcome", "ready")])?;
    let observed = value("jitsu_start_stage_seconds_count", &[("stage", "guest_ready")])?;
    ensure!(ready == observed, "{ready} starts got ready, and {observed} are in the histogram");
    Ok(families)
}

/// All that is asked of every family.
fn check_families(families: &[Family]) -> Result<()> {
    for Family { name, kind, help, samples } in families {
        ensure!(name.starts_with("jitsu_") && !help.is_empty(), "{name}: {help:?}");
        ensure!(["counter", "gauge", "histogram"].contains(&kind.as_str()), "{name} is {kind}");
        ensure!(!samples.is_empty() || name.starts_with("jitsu_service_"), "{name} has no samples");
        // As Prometheus's naming has it; the parser takes it off the name of a counter's family.
        let total = |sample: &Sample| sample.name.ends_with("_total");
        ensure!(samples.iter().all(|sample| total(sample) == (kind == "counter")), "{name}: {samples:?}");
        let twice = |index: usize| {
            let (one, others) = (&samples[index], &samples[..index]);
            others.iter().any(|other| other.name == one.name && other.labels == one.labels)
        };
        ensure!(!(0..samples.len()).any(twice), "{name} has a sample twice: {samples:?}");
    }
    let names: Vec<&str> = families.iter().map(|family| family.name.as_str()).collect();
    let twice = names.iter().enumerate().find(|(index, name)| names[..*index].contains(name));
    ensure!(twice.is_none(), "a family is there twice: {twice:?}");
    Ok(())
}

/// The histograms, against the summons made and the services' own timelines.
fn check_starts(families: &[Family], status: &Value) -> Result<()> {
    let value = |name: &str, labels: &[(&str, &str)]| value(families, name, labels);
    let good = GOOD.len() as f64;
    let ended = |outcome| value("jitsu_starts_ended_total", &[("outcome", outcome)]);
    let outcomes = [ended("ready")?, ended("failed")?, ended("no_room")?, ended("cancelled")?];
    ensure!(outcomes == [good, 1.0, 0.0, 0.0], "the outcomes are {outcomes:?}");
    let (begun, under_way) = (value("jitsu_starts_total", &[])?, value("jitsu_starts_under_way", &[])?);
    ensure!((begun, under_way) == (good + 2.0, 1.0), "{begun} starts, {under_way} under way");

    let histogram = "jitsu_start_stage_seconds";
    let buckets = format!("{histogram}_bucket");
    let family = families.iter().find(|family| family.name == histogram).context("no histogram")?;
    let stages = status["starts"]["stages"].as_array().context("/status has no stages of starts")?;
    for stage in stages {
        let name = stage["stage"].as_str().unwrap_or_default();
        let of_stage = |sample: &&Sample| sample.labels.get("stage").is_some_and(|other| other == name);
        let buckets: Vec<f64> = family
            .samples
            .iter()
            .filter(of_stage)
            .filter(|sample| sample.name == buckets)
            .map(|sample| sample.value)
            .collect();
        let label = [("stage", name)];
        let count = value(&format!("{histogram}_count"), &label)?;
        ensure!(buckets.len() > 10 && buckets.is_sorted(), "{name}: {buckets:?}");
        ensure!(buckets.last() == Some(&count), "{name}: the last bucket of {buckets:?} is not {count}");
        // Each of them has started once, so that its last start is all of it.
        let times: Vec<u64> = GOOD.iter().filter_map(|service| reached(status, service, name)).collect();
        let (sum, expected) = (stage["sum_ns"].as_u64(), times.iter().sum::<u64>());
        ensure!(count == times.len() as f64, "{name}: {count} of {} starts", times.len());
        ensure!(sum == Some(expected), "{name}: all took {sum:?} ns, and the services {expected} ns");
        let seconds = value(&format!("{histogram}_sum"), &label)?;
        ensure!((seconds * 1e9 - expected as f64).abs() < 1.0, "{name}: {seconds} s is not {expected} ns");
    }
    let ready = value(&format!("{histogram}_count"), &[("stage", "guest_ready")])?;
    ensure!(ready == good, "{ready} starts in the histogram, and {good} services are ready");
    Ok(())
}

/// How long after what it was begun for a service's last start reached a stage, in nanoseconds.
fn reached(status: &Value, service: &str, stage: &str) -> Option<u64> {
    let service = status["services"].as_array()?.iter().find(|other| other["name"] == service)?;
    let stage = service["last_start"].as_array()?.iter().find(|other| other["stage"] == stage)?;
    stage["after_ns"].as_u64()
}

/// The value of the one sample with this name and these labels.
fn value(families: &[Family], name: &str, labels: &[(&str, &str)]) -> Result<f64> {
    let wanted: HashMap<String, String> =
        labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
    let mut samples = families.iter().flat_map(|family| &family.samples);
    let found = samples.find(|sample| sample.name == name && sample.labels == wanted);
    Ok(found.with_context(|| format!("there is no {name} with {labels:?}"))?.value)
}

fn parse(text: &str) -> Result<Vec<Family>> {
    let mut command = Command::new(PYTHON);
    command.args(["-c", PARSE]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut python = command.spawn().with_context(|| format!("starting {PYTHON}"))?;
    // Dropped when it is written, which is the end of its input.
    python.stdin.take().context("no way to write to it")?.write_all(text.as_bytes())?;
    let output = python.wait_with_output().with_context(|| format!("running {PYTHON}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Fail::new(Class::Node, format!("the parser does not read the metrics: {said}\n{text}")));
    }
    serde_json::from_slice(&output.stdout).context("reading what the parser has understood")
}
