//! Who starts a service, and for how long it is up at least and at the most.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use probe::dns::ResponseCode;
use probe::lives::{IDLE, MAX_UPTIME, MIN_UPTIME};

use crate::node::{AT_ONCE, Node, is_a_page, page};

/// More than any start takes.
const START: Duration = Duration::from_secs(5);

/// Runs without having been asked for, and again when its guest has ended by itself, each time after a longer back-off.
pub fn always(node: &Node) -> Result<String> {
    let mut service = node.once("always", "ready", START)?;
    ensure!((service.starts, service.requests, service.wakes) == (1, 0, 0), "it was asked for: {service:?}");
    for back_off in [1, 2].map(Duration::from_secs) {
        let before = service;
        // Its guest ends at this request, and does not answer it.
        let _ = page(node.connect(before.address)?, "/end");
        service = node.once_it("always", START + back_off, |service| {
            service.state == "ready" && service.domid != before.domid
        })?;
        let died = node.last_event("always", "ready", "stopping")?.at_ns;
        let started = node.last_event("always", "failed", "building")?;
        let waited = Duration::from_nanos(started.at_ns - died);
        ensure!(
            waited >= back_off && waited < back_off + AT_ONCE,
            "it was started again after {waited:?}, not {back_off:?}"
        );
        ensure!(started.why.contains("always"), "{started:?}");
        ensure!((service.starts, service.requests) == (before.starts + 1, 0), "{service:?}");
    }
    Ok(String::new())
}

/// Nobody starts it, and everybody is told so.
pub fn manual(node: &Node) -> Result<String> {
    let answer = node.ask("manual")?;
    let text = answer.extended_error.map(|(code, text)| format!("{code} {text}")).unwrap_or_default();
    ensure!(answer.code == ResponseCode::ServFail, "it is answered with {}", answer.code);
    ensure!(
        text.starts_with("0 ") && text.contains("only an administrator"),
        "the extended error is {text:?}"
    );
    node.is_refused(&node.service("manual")?)?;
    let service = node.service("manual")?;
    ensure!((service.state.as_str(), service.starts, service.domid) == ("off", 0, None), "{service:?}");
    Ok(text)
}

/// One is not ended too early, though it is idle, the other one in time, though it is in use.
pub fn uptimes(node: &Node) -> Result<String> {
    let ready = node.visit("young")?.ready_since_ns.context("it has not been ready")?;
    node.once("young", "off", MIN_UPTIME + 5 * IDLE)?;
    let young = Duration::from_nanos(node.last_event("young", "ready", "stopping")?.at_ns - ready);
    ensure!(young >= MIN_UPTIME && young < MIN_UPTIME + 2 * IDLE, "young was ended after {young:?}");

    let first = node.visit("old")?;
    let ready = first.ready_since_ns.context("it has not been ready")?;
    let open = node.connect(first.address)?;
    while node.service("old")?.domid == first.domid {
        // The last one may meet its end.
        let _ = page(node.connect(first.address)?, "/");
        sleep(IDLE / 5);
    }
    let ended = node.last_event("old", "ready", "stopping")?;
    let old = Duration::from_nanos(ended.at_ns - ready);
    ensure!(old >= MAX_UPTIME && old < MAX_UPTIME + AT_ONCE, "old was ended after {old:?}");
    ensure!(ended.why.contains("has been up for"), "{ended:?}");
    ensure!(page(open, "/").is_err(), "a connection has outlived its guest");
    let next = node.visit("old")?;
    ensure!(next.domid.is_some() && next.domid != first.domid && next.starts > first.starts, "{next:?}");
    ensure!(next.failures == 0, "it counts as a failure: {next:?}");
    Ok(format!("{:.3} and {:.3} s", young.as_secs_f64(), old.as_secs_f64()))
}

/// Who is only looking gets the address, and starts nothing.
pub fn quiet(node: &Node) -> Result<String> {
    // This host is in the one's quiet networks; the other one has a quiet name.
    for (service, name) in [("unseen", "unseen"), ("watched", "monitor.watched")] {
        let before = node.service(service)?;
        let answer = node.ask(name)?;
        ensure!(answer.address()? == before.address, "{name} is answered with {answer:?}");
        ensure!(answer.ttl == Some(0), "{name} may be cached for {:?} s", answer.ttl);
        let after = node.service(service)?;
        ensure!(
            (after.state.as_str(), after.starts, after.requests) == ("off", 0, 0),
            "{name} was asked for, and {after:?}"
        );
    }
    node.is_refused(&node.service("unseen")?)?;
    let unseen = node.service("unseen")?;
    ensure!((unseen.state.as_str(), unseen.starts) == ("off", 0), "a packet came, and {unseen:?}");
    // By its other name it is like any.
    let answer = node.ask("watched")?;
    ensure!(answer.ttl == Some(1), "watched may be cached for {:?} s", answer.ttl);
    is_a_page(&page(node.connect(answer.address()?)?, "/")?)?;
    Ok(String::new())
}
