//! The conformance cases once more, on the node in QEMU; and what only shows there of names and addresses.

use super::super::{LAST_LINES, Report, log_file, matches};
use super::conformance::{Target, behind_gateway, config_of_node, try_group};
use crate::client::{NodeSpec, RunningNode};
use crate::image::Image;
use crate::qemu::Start;
use anyhow::{Context, Result, ensure};
use probe::dns::RecordType;
use std::time::Duration;

/// Longest life of the node, wall time.
const LIMIT: Duration = Duration::from_secs(600);

/// Before the tests' names.
const PREFIX: &str = "conformance: ";

/// A test: its name, and what it does.
type Test = (&'static str, fn(&RunningNode) -> Result<()>);

/// What comes after the cases, with what they have left running.
const TESTS: [Test; 4] = [
    ("an instance finds its host name in XenStore", instance_knows_its_host),
    ("a host name has its instance also with the next jitsud", instance_is_kept),
    ("the bridge is where questions by multicast come in", listens_to_the_link),
    ("the bridge has its IPv6 address, answers DNS there, and a packet to a service's starts it", ipv6),
];

/// Tries the node.
pub fn run(image: &Image, filter: Option<&str>, report: &mut Report) -> Result<()> {
    if !matches(PREFIX, filter) {
        return Ok(());
    }
    let log = log_file("console-conformance.log");
    let upstreams = behind_gateway();
    println!("\nthe node in QEMU, asked by others' DNS clients; console: {}", log.display());
    let start = Start::configured(image.clone(), config_of_node(&upstreams), Vec::new());
    let spec = NodeSpec { start, icount: false, log, timeout: LIMIT };
    let boots = format!("{PREFIX}the node boots");
    let Some(node) = report.check(&boots, || RunningNode::boot(spec)) else { return Ok(()) };
    let (udp, tcp, http) = (node.resolver().address(), node.dns_over_tcp(), node.http());
    let target = Target { udp, tcp, http, upstreams, node: true };
    let before = report.failed;
    for group in ["authority", "forward"] {
        try_group(group, &target, PREFIX, report)?;
    }
    for (name, test) in TESTS {
        report.check(&format!("{PREFIX}{name}"), || test(&node));
    }
    if report.failed > before {
        println!("{}\n", node.last_lines(LAST_LINES));
    }
    Ok(())
}

fn instance_knows_its_host(node: &RunningNode) -> Result<()> {
    node.resolver().a("alice.users.jitsu.test")?;
    // The journal of XenStore's state has each node that was written, in the order of its bytes: path, value.
    let found =
        node.shell("grep -aoE 'data/host[^a-z/]+[a-z.]+' /run/jitsud/store | tr -c 'a-z/.\\n' ' '")?;
    ensure!(found.contains("alice.users.jitsu.test"), "XenStore has {found:?}");
    Ok(())
}

fn instance_is_kept(node: &RunningNode) -> Result<()> {
    let ask = |host: &str| {
        let reply = node.resolver().ask(&format!("{host}.users.jitsu.test"), RecordType::A)?;
        Ok::<_, anyhow::Error>(reply.answer.address().ok())
    };
    let before = (ask("alice")?, ask("bob")?);
    ensure!(before.0.is_some() && before.1.is_some() && before.0 != before.1, "{before:?}");
    let mark = node.mark();
    node.shell("kill -9 $(pidof jitsud)")?;
    node.await_ready(mark)?;
    let carol = ask("carol")?;
    ensure!(carol.is_none(), "carol is given {carol:?}, which is somebody else's");
    let after = (ask("alice")?, ask("bob")?);
    ensure!(before == after, "before {before:?}, after {after:?}");
    Ok(())
}

fn ipv6(node: &RunningNode) -> Result<()> {
    let addresses = node.shell("ip -6 addr show dev br0")?;
    ensure!(addresses.contains("fd00:6a::15/64"), "{addresses}");
    ensure!(!addresses.contains("tentative"), "{addresses}");
    let answer = node.shell("nslookup -type=aaaa six.jitsu.test fd00:6a::15")?;
    ensure!(answer.contains("fd00:6a::22"), "{answer}");
    let status = node.status()?;
    let packet =
        status.services.iter().find(|service| service.name == "packet").context("no service packet")?;
    ensure!(packet.state == "off", "it is {}", packet.state);
    let mark = node.mark();
    // Its guest speaks IPv4 alone: what counts is that it is started.
    node.shell("timeout -s KILL 1 nc fd00:6a::33 80 </dev/null; true")?;
    node.await_state(mark, "packet", "ready")
}

fn listens_to_the_link(node: &RunningNode) -> Result<()> {
    // 224.0.0.251 and 5353, as the kernel writes them (net/ipv4/igmp.c, net/ipv4/udp.c).
    let groups = node.shell("sed -n '/br0/,/^[0-9]/p' /proc/net/igmp")?;
    ensure!(groups.contains("FB0000E0"), "br0 is in no such group: {groups}");
    let sockets = node.shell("cat /proc/net/udp")?;
    ensure!(sockets.contains(":14E9 "), "nobody has the port: {sockets}");
    Ok(())
}
