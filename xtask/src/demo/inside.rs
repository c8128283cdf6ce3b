//! The measurement in instruction time: the client is the `probe` binary, inside the node as another host on
//! its network. From outside nothing can be timed there, since virtual time runs on while this host thinks.

use crate::client::{NODE, NodeSpec, RunningNode};
use crate::fail::{Class, Fail};
use crate::image::Image;
use crate::initramfs::ExtraFile;
use crate::qemu::Start;
use crate::{cross, paths, ui};
use anyhow::{Context, Result};
use probe::{MARK, Measurement, Outcome};
use std::path::PathBuf;
use std::time::Duration;

/// The client's address in the node's network.
const CLIENT: &str = "10.0.2.200/24";

/// The node's bridge, by its default name.
const BRIDGE: &str = "br0";

/// Longest time for the request, wall time.
const LIMIT: Duration = Duration::from_secs(120);

/// The client, built for the node.
///
/// # Errors
/// When it cannot be built.
pub fn client() -> Result<ExtraFile> {
    let binary = cross::node_binary("probe", "probe", None)?;
    Ok(ExtraFile { path: "/usr/bin/probe".into(), mode: 0o755, content: paths::read(&binary)? })
}

/// Boots a node with `config` in instruction time and has `client` make one request for `service`.
///
/// # Errors
/// When the node does not boot, or the request fails; the message says which step.
pub fn measure(
    image: &Image,
    client: ExtraFile,
    config: &str,
    service: &str,
    log: PathBuf,
) -> Result<Measurement> {
    let node = {
        let _task = ui::Task::start("booting the node in QEMU, in instruction time");
        RunningNode::boot(NodeSpec {
            start: Start::configured(image.clone(), config.to_owned(), vec![client]),
            icount: true,
            log,
            timeout: Duration::from_secs(300),
        })?
    };
    request(&node, service).map_err(|error| node.blame(error))
}

/// Has the [`client`] on a node make one request for `service`.
///
/// # Errors
/// When it fails; the message says which step.
pub fn request(node: &RunningNode, service: &str) -> Result<Measurement> {
    let mark = node.mark();
    node.send_line(&format!("probe {NODE} {service}.jitsu.test {BRIDGE} {CLIENT}"))?;
    let line = node.await_line(mark, "the client inside the node", LIMIT, |line| line.starts_with(MARK))?;
    let json = line.trim_end().trim_start_matches(MARK);
    match serde_json::from_str(json).with_context(|| format!("reading what the client printed: {json}"))? {
        Outcome::Served(measurement) => Ok(*measurement),
        Outcome::Failed(why) => Err(Fail::new(Class::Node, format!("the client inside the node: {why}"))),
    }
}
