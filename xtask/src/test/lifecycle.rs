//! Domains that come and go, and what must be left of them: nothing.

use super::config::{CYCLED, cycled};
use super::{Context, Test};
use crate::client::{RunningNode, Status};
use anyhow::{Context as _, Result, bail, ensure};
use std::thread;

/// How often each of the [`CYCLED`] services is summoned: 50 times in all.
const ROUNDS: u8 = 5;

/// The tests, in order.
pub const TESTS: [Test; 2] = [
    ("an idle service is stopped and its memory comes back", idle_service_is_stopped),
    ("50 summon and stop cycles leak nothing", cycles_leak_nothing),
];

fn idle_service_is_stopped(context: &Context) -> Result<()> {
    let node = context.node();
    context.await_off("brief")?;
    let before = node.status()?;
    let mark = node.mark();
    node.summon("brief")?;
    let during = node.status()?;
    let domains = (before.xen.domains, during.xen.domains);
    ensure!(during.xen.free_bytes < before.xen.free_bytes, "a domain that needs no memory: {:?}", during.xen);
    node.await_state(mark, "brief", "off")?;
    let after = node.status()?;
    ensure!(after.service("brief")?.domid.is_none(), "it still has a domain");
    ensure!(before.xen == after.xen, "Xen changed from {:?} to {:?} ({domains:?})", before.xen, after.xen);
    Ok(())
}

fn cycles_leak_nothing(context: &Context) -> Result<()> {
    let node = context.node();
    context.await_off("brief")?;
    let before = node.settled_status()?;
    for _ in 0..ROUNDS {
        round(node)?;
    }
    let after = node.settled_status()?;
    let started = starts(&after) - starts(&before);
    ensure!(started == u64::from(ROUNDS) * u64::from(CYCLED), "{started} domains were started");
    ensure!(before.xen == after.xen, "Xen changed from {:?} to {:?}", before.xen, after.xen);
    ensure!(before.resources == after.resources, "from {:?} to {:?}", before.resources, after.resources);
    let known = after.resources;
    let counts = [
        known.xenstore_nodes,
        known.xenstore_watches,
        known.xenstore_connections,
        known.event_channels,
        known.mapped_pages,
        known.vifs,
        known.devices,
        known.open_files,
    ];
    ensure!(counts.iter().all(Option::is_some), "/status does not count everything: {known:?}");
    Ok(())
}

/// All cycled services are summoned at once, serve a page, and are stopped.
fn round(node: &RunningNode) -> Result<()> {
    let mark = node.mark();
    let outcomes: Vec<Result<()>> = thread::scope(|scope| {
        let one = |number| {
            let (name, address) = cycled(number);
            let answer = node.resolver().a(&format!("{name}.jitsu.test"))?;
            let answered = answer.address().with_context(|| format!("summoning {name}"))?;
            if answered != address {
                bail!("{name} was answered with {answered}");
            }
            Ok(())
        };
        let summons: Vec<_> = (0..CYCLED).map(|number| scope.spawn(move || one(number))).collect();
        summons.into_iter().map(|summon| summon.join().unwrap_or_else(|_| bail!("panicked"))).collect()
    });
    outcomes.into_iter().collect::<Result<()>>()?;
    (0..CYCLED).try_for_each(|number| node.await_state(mark, &cycled(number).0, "off"))
}

fn starts(status: &Status) -> u64 {
    let cycled = status.services.iter().filter(|service| service.name.starts_with("cycle"));
    cycled.map(|service| service.starts).sum()
}
