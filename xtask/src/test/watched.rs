//! The node's own HTTP port, when somebody looks at its page, and when somebody means harm. What is tried in more detail
//! without a node is in `faces/`.

use super::faces::{Attack, Browser, SCREENS, median_answer, read_metrics, seen};
use super::{Context, Test};
use crate::client::RunningNode;
use crate::paths;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// The tests, in order.
pub const TESTS: [Test; 3] = [
    ("a summon is seen on the node's page, without a reload", summon_is_seen),
    ("Prometheus's parser reads the node's metrics, and its starts add up", metrics_add_up),
    ("silent, slow, greedy and nonsensical clients leave the node's DNS, summons and memory alone", attack),
];

/// Connections that say nothing. QEMU's own network, which is between, takes one after the other.
const SILENT: usize = 100;
/// Questions for a service that is up, before and during the attack.
const QUESTIONS: usize = 30;
/// How often its memory is looked at meanwhile.
const LOOKS: usize = 5;
/// Most memory that the HTTP port may take.
const MOST_MEMORY: u64 = 1 << 20;

fn summon_is_seen(context: &Context) -> Result<()> {
    let (node, browser) = (context.node(), Browser::start()?);
    context.await_off("brief")?;
    let summon = || node.summon("brief").map(drop);
    seen(&browser, node.http(), ("brief", "www"), summon)?;
    for screen in SCREENS {
        browser.show(screen, "light")?;
        browser.open(&format!("http://{}/", node.http()))?;
        browser.picture(&paths::out("test").join(format!("page-of-the-node-{}.png", screen.name)))?;
    }
    browser.open("about:blank")
}

fn metrics_add_up(context: &Context) -> Result<()> {
    context.ensure_www_serves()?;
    context.note(format!("{} families", read_metrics(context.node().http())?.len()));
    Ok(())
}

fn attack(context: &Context) -> Result<()> {
    let node = context.node();
    context.ensure_www_serves()?;
    let (resolver, www) = (node.resolver(), "www.jitsu.test");
    let before = (resident(node)?, median_answer(&resolver, www, QUESTIONS)?);

    let attack = Attack::begin(node.http(), SILENT, false)?;
    let during = median_answer(&resolver, www, QUESTIONS)?;
    let mut most = before.0;
    for _ in 0..LOOKS {
        most = most.max(resident(node)?);
    }
    node.summon("brief")?;
    context.ensure_www_serves()?;
    let opened = attack.opened();
    drop(attack);
    let grown = most.saturating_sub(before.0);
    context.note(format!(
        "{opened} connections, {} KiB; half of the answers within {:.1} ms, {:.1} ms before",
        grown >> 10,
        during.as_secs_f64() * 1e3,
        before.1.as_secs_f64() * 1e3
    ));
    ensure!(grown < MOST_MEMORY, "the HTTP port has taken {} KiB", grown >> 10);
    Ok(())
}

/// The daemon's memory, in bytes. It is not among what is compared over services' lives: an allocator keeps what it has.
fn resident(node: &RunningNode) -> Result<u64> {
    let url = format!("http://{}/status", node.http());
    let text = ureq::get(&url).call().and_then(|mut answer| answer.body_mut().read_to_string());
    let status: Value = serde_json::from_str(&text.with_context(|| format!("reading {url}"))?)?;
    status["resources"]["resident_bytes"].as_u64().context("/status does not know the daemon's memory")
}
