//! Domains that xl makes, against the daemon's XenStore.

use super::guest::{CONNECTED, Guest};
use super::{ASK, PATIENCE, answers};
use crate::client::{RunningNode, Status};
use anyhow::{Context, Result, ensure};

/// What the daemon says when nothing of an introduced domain is left with it.
const RELEASED: &str = "a domain that a tool had introduced is released";

/// The most that Xen may have less of after a life, in bytes; the domain had 4 MiB. What xl maps of a domain comes on
/// top of the frames that jitsud sets aside in dom0: dom0 gives up more of its own now and then, and Xen needs
/// another page to map the rest of it.
const MAX_LOST: u64 = 64 << 10;

/// Types of messages (`xen/include/public/io/xs_wire.h`).
const INTRODUCE: u8 = 8;
const RELEASE: u8 = 9;

pub fn serves(node: &RunningNode) -> Result<()> {
    run(node)?;
    // The question waits until the guest is there to be asked for its Ethernet address.
    let page = node.shell(&format!("{ASK} | nc {} 80", CONNECTED.address))?;
    ensure!(page.contains(CONNECTED.name), "another page than the guest's:\n{page}");
    Ok(())
}

pub fn is_one_of_many(node: &RunningNode) -> Result<()> {
    let name = CONNECTED.name;
    node.summon("www")?;
    run(node)?;
    answers(node, CONNECTED.address)?;
    let list = node.shell("xl list")?;
    for known in ["Domain-0 ", "www ", name] {
        ensure!(list.lines().any(|line| line.starts_with(known)), "no line for {known}:\n{list}");
    }
    let shown =
        node.shell(&format!("timeout 3 xl console {name} > /tmp/shown < /dev/null; cat /tmp/shown"))?;
    let said = format!("ready on {}", CONNECTED.address);
    ensure!(shown.contains(&said), "no {said:?} in what its console showed: {shown:?}");

    node.shell(&format!("xl pause {name}"))?;
    let answered = answers(node, CONNECTED.address);
    let state = node.shell(&format!("xl list {name}"))?;
    node.shell(&format!("xl unpause {name}"))?;
    ensure!(answered.is_err(), "a paused guest answers");
    ensure!(state.contains("--p---"), "xl shows another state:\n{state}");
    answers(node, CONNECTED.address).context("after xl unpause")
}

/// Two lives: one ends by its own doing, the other does not see it coming.
pub fn ends(node: &RunningNode) -> Result<()> {
    run(node)?;
    answers(node, CONNECTED.address)?;
    end(node, &CONNECTED, "xl shutdown -F -w")?;
    let before = node.settled_status()?;
    run(node)?;
    answers(node, CONNECTED.address)?;
    let during = node.status()?;
    ensure!(during.xen.domains > before.xen.domains, "there is no domain: {:?}", during.xen);
    end(node, &CONNECTED, "xl destroy")?;
    let after = node.settled_status()?;
    ensure!(before.xen.domains == after.xen.domains, "from {:?} to {:?}", before.xen, after.xen);
    let lost = before.xen.free_bytes.zip(after.xen.free_bytes).map(|(was, is)| was.saturating_sub(is));
    ensure!(lost.is_some_and(|lost| lost <= MAX_LOST), "Xen had {:?} and has {:?}", before.xen, after.xen);
    ensure!(before.resources == after.resources, "from {:?} to {:?}", before.resources, after.resources);
    Ok(())
}

/// As a kernel needs it that another one has started in the same domain.
pub fn introduced_again(node: &RunningNode) -> Result<()> {
    run(node)?;
    answers(node, CONNECTED.address)?;
    let domid = node.shell(&format!("xl domid {}", CONNECTED.name))?;
    let read = |name| node.shell(&format!("xenstore-read /local/domain/{domid}/store/{name}"));
    let (frame, port) = (read("ring-ref")?, read("port")?);
    let held = |status: Status| {
        let all = status.resources;
        (all.xenstore_connections, all.event_channels, all.mapped_pages)
    };
    let before = held(node.status()?);
    ask(node, INTRODUCE, &[&domid, &frame, &port], "a tool has introduced a domain")?;
    ask(node, INTRODUCE, &["999", "1", "1"], "a domain that a tool introduces is not served domid=999")?;
    answers(node, CONNECTED.address)?;
    let after = held(node.status()?);
    ensure!(before == after, "from {before:?} to {after:?} connections, event channels, and pages mapped");
    end(node, &CONNECTED, "xl destroy")
}

/// The next daemon serves it. What it has asked of XenStore holds: it hears of `xl shutdown`.
pub fn goes_on(node: &RunningNode) -> Result<()> {
    run(node)?;
    answers(node, CONNECTED.address)?;
    let domid = node.shell(&format!("xl domid {}", CONNECTED.name))?;
    // The one that waits in the background has a connection to XenStore, and ends with that.
    node.shell("killall xl")?;
    let mark = node.mark();
    node.shell("kill -9 $(pidof jitsud)")?;
    node.await_ready(mark)?;
    answers(node, CONNECTED.address)?;
    let after = node.shell(&format!("xl domid {}", CONNECTED.name))?;
    ensure!(domid == after, "it was domain {domid} and is {after}");
    node.shell(&format!("xl shutdown -w {}", CONNECTED.name))?;
    end(node, &CONNECTED, "xl destroy")
}

pub fn own_is_refused(node: &RunningNode) -> Result<()> {
    node.summon("www")?;
    let before = node.status()?;
    let domid = before.service("www")?.domid.context("www has no domain")?;
    let (number, refused) = (domid.to_string(), "a domain of jitsud's own: refused");
    ask(node, INTRODUCE, &[&number, "1", "1"], refused)?;
    ask(node, RELEASE, &[&number], refused)?;
    let after = node.status()?;
    ensure!(before.resources == after.resources, "from {:?} to {:?}", before.resources, after.resources);
    ensure!(after.service("www")?.domid == Some(domid), "www has lost its domain");
    answers(node, after.service("www")?.address)
}

/// Asks something of XenStore that no tool does by itself, and waits for the daemon to say `said`. It goes through
/// dom0's kernel, which passes on what is written to its device.
fn ask(node: &RunningNode, kind: u8, strings: &[&str], said: &str) -> Result<()> {
    let payload: String = strings.iter().map(|text| format!(r"{text}\000")).collect();
    let length: usize = strings.iter().map(|text| text.len() + 1).sum();
    let mark = node.mark();
    // In two lines, since what can be typed is bounded.
    node.shell(&format!(r#"zero='\0\0\0\0'; payload='{payload}'"#))?;
    let header = format!(r"\{kind:03o}\0\0\0$zero$zero\{length:03o}\0\0\000");
    node.shell(&format!("printf \"{header}$payload\" > /dev/xen/xenbus"))?;
    node.await_line(mark, "the daemon's answer", PATIENCE, |line| line.contains(said)).map(drop)
}

/// Has xl make the domain, unless it is there.
fn run(node: &RunningNode) -> Result<()> {
    if node.shell(&format!("xl domid {} > /dev/null 2>&1", CONNECTED.name)).is_ok() {
        return Ok(());
    }
    // As Xen's own start-up does; the rest of that is jitsud's.
    node.shell("mkdir -p /run/xen")?;
    node.shell(&format!("xl create -q {}", CONNECTED.path())).map(drop)
}

/// Ends a domain by a command that takes its name, and sees whether something of it is left.
pub fn end(node: &RunningNode, guest: &Guest, command: &str) -> Result<()> {
    let domid = node.shell(&format!("xl domid {}", guest.name))?;
    release(node, guest.name, command)?;
    let nodes = node.shell("xenstore-ls -f")?;
    let left = |line: &&str| line.split([' ', '/']).any(|part| part == domid);
    let left: Vec<&str> = nodes.lines().filter(left).collect();
    ensure!(left.is_empty(), "nodes of domain {domid} are left:\n{}", left.join("\n"));
    Ok(())
}

/// Ends a domain by a command that takes its name, and returns when the daemon and xl have let go of it.
///
/// # Errors
/// When they do not.
pub fn release(node: &RunningNode, name: &str, command: &str) -> Result<()> {
    let mark = node.mark();
    node.shell(&format!("{command} {name}"))?;
    node.await_line(mark, "the daemon to release the domain", PATIENCE, |line| line.contains(RELEASED))?;
    // One xl has waited in the background for the end of its domain.
    node.shell("while pidof xl > /dev/null; do usleep 10000; done").map(drop)
}
