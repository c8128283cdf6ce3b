//! The measurement in instruction time: the client is the `probe` binary, inside the node as another host on
//! its network. From outside nothing can be timed there, since virtual time runs on while this host thinks.

use crate::client::{NODE, NodeSpec, RunningNode};
use crate::fail::{Class, Fail};
use crate::image::Image;
use crate::initramfs::ExtraFile;
use crate::qemu::Start;
use crate::{cross, paths, ui};
use anyhow::{Context, Result};
use probe::{Crowd, MARK, Measurement, Outcome};
use std::path::PathBuf;
use std::time::Duration;

/// The client's address in the node's network.
pub const CLIENT: &str = "10.0.2.200/22";

/// The node's bridge, by its default name.
pub const BRIDGE: &str = "br0";

/// Longest time for a request, wall time.
const LIMIT: Duration = Duration::from_secs(120);

/// Longest life of a node for one request, wall time.
pub const TIMEOUT: Duration = Duration::from_secs(300);

/// The client, built for the node.
///
/// # Errors
/// When it cannot be built.
pub fn client() -> Result<ExtraFile> {
    let binary = cross::node_binary("probe", "probe", None)?;
    Ok(ExtraFile { path: "/usr/bin/probe".into(), mode: 0o755, content: paths::read(&binary)? })
}

/// A node in instruction time, which has the client in it.
pub struct Node(pub RunningNode);

/// What came of a series of requests.
pub struct Series {
    /// Those that were served, in order.
    pub served: Vec<Measurement>,
    /// What all of them served in the end, or why there was no getting so far.
    pub end: Result<Crowd, String>,
}

impl Node {
    /// Boots a node with `config` and `client`. It is killed when it runs longer than `timeout`.
    ///
    /// # Errors
    /// When it does not boot.
    pub fn boot(
        image: &Image,
        client: ExtraFile,
        config: &str,
        log: PathBuf,
        timeout: Duration,
    ) -> Result<Self> {
        let _task = ui::Task::start("booting the node in QEMU, in instruction time");
        let start = Start::configured(image.clone(), config.to_owned(), vec![client]);
        RunningNode::boot(NodeSpec { start, icount: true, log, timeout }).map(Node)
    }

    /// Has the client make one request for `service`.
    ///
    /// # Errors
    /// When it fails; the message says which step.
    pub fn request(&self, service: &str) -> Result<Measurement> {
        request(&self.0, service).map_err(|error| self.0.blame(error))
    }

    /// Has the client ask for many services, one after another. `services` stands for all of them, as
    /// `d{1..100}` does for `d1` to `d100`, and `www*100` for a hundred times the same.
    ///
    /// # Errors
    /// When the client does not come to an end. That it came to no good end is in [`Series::end`].
    pub fn series(&self, services: &str) -> Result<Series> {
        series(&self.0, services, None).map_err(|error| self.0.blame(error))
    }

    /// As [`Node::series`], with a rest between two requests, of whole milliseconds. What all serve in the end is not
    /// asked.
    ///
    /// # Errors
    /// As there.
    pub fn series_with_rests(&self, services: &str, rest: Duration) -> Result<Series> {
        series(&self.0, services, Some(rest)).map_err(|error| self.0.blame(error))
    }
}

/// See [`Node::series`].
///
/// # Errors
/// As there.
pub fn series(node: &RunningNode, services: &str, rest: Option<Duration>) -> Result<Series> {
    let mut next = ask(node, services, rest)?;
    let mut served = Vec::new();
    let end = loop {
        match next()? {
            Outcome::Served(measurement) => served.push(*measurement),
            Outcome::Crowd(crowd) => break Ok(*crowd),
            Outcome::Failed(why) => break Err(why),
        }
    };
    Ok(Series { served, end })
}

/// Has the [`client`] on a node make one request for `service`.
///
/// # Errors
/// When it fails; the message says which step.
pub fn request(node: &RunningNode, service: &str) -> Result<Measurement> {
    match ask(node, service, None)?()? {
        Outcome::Served(measurement) => Ok(*measurement),
        Outcome::Failed(why) => Err(Fail::new(Class::Node, format!("the client inside the node: {why}"))),
        Outcome::Crowd(_) => Err(Fail::new(Class::Node, "the client inside the node made a series of it")),
    }
}

/// Starts the client. What is returned waits for what it prints.
fn ask(
    node: &RunningNode,
    services: &str,
    rest: Option<Duration>,
) -> Result<impl FnMut() -> Result<Outcome>> {
    let mut mark = node.mark();
    let rest = rest.map_or(String::new(), |rest| format!(" {}", rest.as_millis()));
    let (name, count) = services.split_at(services.find('*').unwrap_or(services.len()));
    node.send_line(&format!("probe {NODE} '{name}.jitsu.test{count}' {BRIDGE} {CLIENT}{rest}"))?;
    Ok(move || {
        let what = "the client inside the node";
        let line = node.next_line(&mut mark, what, LIMIT, |line| line.starts_with(MARK))?;
        let json = line.trim_end().trim_start_matches(MARK);
        serde_json::from_str(json).with_context(|| format!("reading what the client printed: {json}"))
    })
}
