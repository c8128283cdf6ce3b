//! Web servers under load: `www`, and busybox's in a Linux guest, on the same bridge, with the same page.

use super::node::Node;
use super::report::Http;
use super::{Plan, linux, response};
use crate::demo::inside::{BRIDGE, CLIENT};
use crate::ui;
use anyhow::{Result, ensure};
use probe::load::{LOAD_MARK, Load};

/// Connections at a time. `www` has 16.
const CONNECTIONS: [u32; 2] = [1, 8];

/// Measures it, on a node on which the service [`response::WARM`] and the [`linux`] guest run.
///
/// # Errors
/// When one of them does not serve.
pub fn measure(node: &Node, plan: &Plan) -> Result<Vec<Http>> {
    linux::take_page_of(node, response::WARM_ADDRESS)?;
    let mut all: Vec<Http> = Vec::new();
    for (server, address) in [("www", response::WARM_ADDRESS), ("busybox-httpd", linux::ADDRESS)] {
        for connections in CONNECTIONS {
            let _task =
                ui::Task::start(format!("{} requests to {server}, {connections} at a time", plan.requests));
            let command = format!("load {address} {} {connections} {BRIDGE} {CLIENT}", plan.requests);
            let load: Load = node.measure(&command, LOAD_MARK)?;
            ensure!(
                load.latencies_ns.len() == plan.requests as usize,
                "{} requests",
                load.latencies_ns.len()
            );
            all.push(Http {
                server: server.into(),
                connections,
                ns: load.ns,
                page_bytes: load.page_bytes,
                latencies_ns: load.latencies_ns,
            });
        }
    }
    let bytes = all.first().map(|run| run.page_bytes);
    ensure!(all.iter().all(|run| Some(run.page_bytes) == bytes), "the servers have different pages");
    Ok(all)
}
