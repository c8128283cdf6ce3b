//! How long a client waits: from its DNS query to the first byte of the page, of services that do not run yet and of one
//! that does.

use super::Plan;
use super::node::{LONG, Node, SHORT, Service};
use super::report::{Response, Responses};
use super::statistics::median;
use super::table::ms;
use crate::ui;
use anyhow::{Result, anyhow, ensure};
use probe::Measurement;

/// A way of serving clients of a service that does not run.
pub struct Case {
    /// Its name in the report, and the service's.
    pub id: &'static str,
    /// What it is, for people.
    what: &'static str,
    /// Lines of the node's table: cases that agree in them are measured on one node.
    pub node: &'static str,
    /// Lines of the service's table.
    service: &'static str,
    /// In which state the service is before each request.
    before: &'static str,
    /// Whether its domain is one that was there already.
    in_shell: bool,
}

/// All of them.
pub const CASES: [Case; 4] = [
    Case {
        id: "shells",
        what: "answered at once, in a shell",
        node: "shells = 2",
        service: "",
        before: "off",
        in_shell: true,
    },
    Case {
        id: "start",
        what: "answered at once, packets kept",
        node: "",
        service: "answer = \"start\"",
        before: "off",
        in_shell: false,
    },
    Case {
        id: "ready",
        what: "answered when the guest is ready",
        node: "",
        service: "answer = \"ready\"",
        before: "off",
        in_shell: false,
    },
    Case {
        id: "paused",
        what: "the guest stood still",
        node: "",
        service: "stop = \"pause\"",
        before: "paused",
        in_shell: false,
    },
];

/// The service that runs, and its address.
pub const WARM: &str = "warm";
pub const WARM_ADDRESS: &str = "10.0.2.19";

/// The services of the cases that have these lines in their node's table, and one that is to stay.
pub fn services(node: &str) -> Vec<Service> {
    let cases = cases(node).enumerate().map(|(at, case)| Service {
        name: case.id.into(),
        address: [2, 20 + at as u8],
        memory: 4,
        idle: SHORT,
        keys: case.service,
    });
    let warm = Service { name: WARM.into(), address: [2, 19], memory: 4, idle: LONG, keys: "" };
    cases.chain([warm]).collect()
}

/// The cases that have these lines in their node's table.
pub fn cases(node: &str) -> impl Iterator<Item = &'static Case> {
    CASES.iter().filter(move |case| case.node == node)
}

/// What else nodes have in their tables: a node of its own for each.
pub fn other_nodes() -> Vec<&'static str> {
    let mut nodes: Vec<&str> = CASES.iter().map(|case| case.node).filter(|node| !node.is_empty()).collect();
    nodes.dedup();
    nodes
}

/// Summons a service again and again, each time when it is as it has to be before that.
///
/// # Errors
/// When the node fails, or the service's domain is not what it should be.
pub fn cold(node: &Node, case: &Case, plan: &Plan) -> Result<Responses> {
    let Case { id, what, before, in_shell, .. } = *case;
    let _task = ui::Task::start(format!("{} cold starts: {what}", plan.summons));
    if before != "off" {
        node.request_until(id, before)?;
    }
    let (mut samples, mut failures) = (Vec::new(), Vec::new());
    for _ in 0..plan.summons {
        let Some(measured) = node.try_until(id, before, &mut failures)? else { continue };
        let services = measured.status["services"].as_array().into_iter().flatten();
        let was_in_shell = services.filter(|service| service["name"] == id).any(|it| it["in_shell"] == true);
        ensure!(was_in_shell == in_shell, "the domain of {id} is a shell: {was_in_shell}");
        samples.push(response(&measured));
    }
    Ok(told(Responses { id: id.into(), what: what.into(), samples, failures }))
}

/// Says what it was, for who watches.
pub fn told(responses: Responses) -> Responses {
    let samples: Vec<u64> = responses.samples.iter().map(|sample| sample.first_byte_ns).collect();
    let median = median(&samples).map_or(String::new(), |ns| format!(": {} ms in the median", ms(ns)));
    ui::say(format!("{}{median}", responses.what));
    responses
}

/// Asks for one that runs.
///
/// # Errors
/// When a request fails.
pub fn warm(node: &Node, plan: &Plan) -> Result<Responses> {
    let _task = ui::Task::start(format!("{} requests for a service that runs", plan.warm));
    node.request(WARM)?;
    let series = node.series(&format!("{WARM}*{}", plan.warm))?;
    series.end.map_err(|why| anyhow!("asking for {WARM}: {why}"))?;
    ensure!(series.served.len() == plan.warm, "{} of {} were served", series.served.len(), plan.warm);
    let samples = series.served.iter().map(response).collect();
    Ok(told(Responses { id: WARM.into(), what: "the guest runs".into(), samples, failures: Vec::new() }))
}

fn response(measured: &Measurement) -> Response {
    let after = |ns: u64| ns.saturating_sub(measured.query_sent_ns);
    Response {
        answered_ns: Some(after(measured.answer_received_ns)),
        connected_ns: Some(after(measured.connected_ns)),
        first_byte_ns: after(measured.first_byte_ns),
    }
}
