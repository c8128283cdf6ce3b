//! What a client sees when all is well.

use super::{Context, Test};
use crate::client::Status;
use anyhow::{Result, ensure};
use probe::dns::{RecordType, ResponseCode};
use std::thread;

/// Questions for one cold service at the same time.
const CROWD: usize = 20;

/// The tests, in order.
pub const TESTS: [Test; 6] = [
    ("the Xen that runs is that of the image", xen_is_that_of_the_image),
    ("the page comes from the guest", page_comes_from_guest),
    ("a warm service answers without a start", warm_service_is_not_started),
    ("an unknown name is NXDOMAIN and boots nothing", unknown_name_boots_nothing),
    ("AAAA of a service is NODATA and boots nothing", aaaa_boots_nothing),
    ("20 queries for one cold service make one domain", crowd_makes_one_domain),
];

fn xen_is_that_of_the_image(context: &Context) -> Result<()> {
    let (runs, wanted) = (context.node().status()?.node.versions.xen, &context.image.board.xen.version);
    context.note(runs.clone());
    ensure!(
        runs.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('.')),
        "{runs} instead of {wanted}"
    );
    Ok(())
}

fn page_comes_from_guest(context: &Context) -> Result<()> {
    let node = context.node();
    let summoned = node.summon("www")?;
    ensure!(summoned.page.code == 200, "the page has status {}", summoned.page.code);
    context.ensure_token("www", &summoned.page.body)?;
    let status = node.status()?;
    let service = status.service("www")?;
    ensure!(service.state == "ready" && service.domid.is_some(), "/status says {service:?}");
    ensure!(summoned.answer.ttl == Some(60), "the answer's TTL is {:?}", summoned.answer.ttl);
    Ok(())
}

fn warm_service_is_not_started(context: &Context) -> Result<()> {
    let node = context.node();
    node.summon("www")?;
    let before = node.status()?;
    context.ensure_token("www", &node.summon("www")?.page.body)?;
    let after = node.status()?;
    ensure_nothing_booted(&before, &after)?;
    let (before, after) = (before.service("www")?.requests, after.service("www")?.requests);
    ensure!(after == before + 1, "requests went from {before} to {after}");
    Ok(())
}

fn unknown_name_boots_nothing(context: &Context) -> Result<()> {
    let node = context.node();
    let before = node.status()?;
    for name in ["nobody.jitsu.test", "www.www.jitsu.test", "bad-memory.jitsu.test"] {
        let answer = node.resolver().a(name)?;
        ensure!(answer.code == ResponseCode::NXDomain, "{name}: {}", answer.code);
        ensure!(answer.has_soa && answer.addresses.is_empty(), "{name}: {answer:?}");
    }
    let answer = node.resolver().a("www.example.com")?;
    ensure!(answer.code == ResponseCode::Refused, "a name of somebody else's zone: {}", answer.code);
    ensure_nothing_booted(&before, &node.status()?)
}

fn aaaa_boots_nothing(context: &Context) -> Result<()> {
    let node = context.node();
    let before = node.status()?;
    let answer = node.resolver().ask("crowd.jitsu.test", RecordType::AAAA)?.answer;
    ensure!(answer.code == ResponseCode::NoError && answer.addresses.is_empty(), "{answer:?}");
    ensure!(answer.has_soa, "without an SOA record the absence cannot be cached");
    ensure_nothing_booted(&before, &node.status()?)
}

fn crowd_makes_one_domain(context: &Context) -> Result<()> {
    let node = context.node();
    let before = node.status()?;
    let resolver = node.resolver();
    let answers: Vec<_> = thread::scope(|scope| {
        let askers: Vec<_> = (0..CROWD).map(|_| scope.spawn(|| resolver.a("crowd.jitsu.test"))).collect();
        askers.into_iter().map(|asker| asker.join().unwrap_or_else(|_| anyhow::bail!("panicked"))).collect()
    });
    for answer in answers {
        answer?.address()?;
    }
    let after = node.status()?;
    let (was, is) = (before.service("crowd")?, after.service("crowd")?);
    ensure!(is.starts == was.starts + 1, "{} starts for {CROWD} queries", is.starts - was.starts);
    ensure!(is.requests == was.requests + CROWD as u64, "{} requests were counted", is.requests);
    let domains = (before.xen.domains.unwrap_or(0), after.xen.domains.unwrap_or(0));
    ensure!(domains.1 == domains.0 + 1, "Xen had {} domains and has {}", domains.0, domains.1);
    context.ensure_token("crowd", &node.summon("crowd")?.page.body)
}

/// Fails when a service was started, or Xen's domains changed, between the two.
pub fn ensure_nothing_booted(before: &Status, after: &Status) -> Result<()> {
    let starts = |status: &Status| -> u64 { status.services.iter().map(|service| service.starts).sum() };
    ensure!(starts(before) == starts(after), "{} services were started", starts(after) - starts(before));
    ensure!(before.xen.domains.is_some(), "/status does not know Xen's domains");
    ensure!(before.xen == after.xen, "Xen changed from {:?} to {:?}", before.xen, after.xen);
    Ok(())
}
