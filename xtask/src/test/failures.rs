//! Guests, clients and configurations that misbehave.

use super::serving::ensure_nothing_booted;
use super::{Context, Test, config};
use anyhow::{Context as _, Result, ensure};
use probe::dns::ResponseCode;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// The tests, in order.
pub const TESTS: [Test; 7] = [
    ("mistakes in the configuration are listed by line", mistakes_are_listed),
    ("a guest that crashes fails with a reason and backs off", |context| fails(context, "crash", "crash")),
    ("a guest that never gets ready fails and backs off", |context| {
        fails(context, "hang", "ready within 2 s")
    }),
    ("a client that was answered early is told when the guest fails", early_answer),
    ("a guest that crashes while it serves fails with a reason", late_crash),
    ("malformed DNS messages disturb nobody", malformed_dns),
    ("garbage on TCP disturbs nobody", garbage_on_tcp),
];

/// The address of the service that misbehaving clients speak to.
const WWW: [u8; 4] = [10, 0, 2, 20];

/// How long a reply to a malformed message is waited for. There may rightly be none.
const SILENCE: Duration = Duration::from_millis(200);

fn mistakes_are_listed(context: &Context) -> Result<()> {
    let status = context.node().status()?;
    let expected = config::mistakes();
    for (line, phrase) in &expected {
        let found = status.problems.iter().find(|problem| problem.line == *line);
        let problem = found.with_context(|| format!("nothing is said about line {line} ({phrase})"))?;
        ensure!(problem.what.contains(phrase), "line {line}: {:?} instead of {phrase:?}", problem.what);
        ensure!(problem.file == "/etc/jitsu.toml" && !problem.fix.is_empty(), "line {line}: {problem:?}");
    }
    ensure!(status.problems.len() == expected.len(), "more than was wrong: {:#?}", status.problems);
    ensure!(
        !status.services.iter().any(|service| service.name.starts_with("bad-")),
        "a bad service is offered"
    );
    context.ensure_www_serves()
}

/// `service` does not get ready; its failure's reason contains `reason`.
fn fails(context: &Context, service: &str, reason: &str) -> Result<()> {
    let node = context.node();
    context.ensure_www_serves()?;
    let before = node.status()?;
    let name = format!("{service}.jitsu.test");
    let mark = node.mark();
    let answer = node.resolver().a(&name)?;
    // At once, while the back-off lasts (of a second after the first failure).
    let again = node.resolver().a(&name)?;
    for answer in [answer, again] {
        ensure!(answer.code == ResponseCode::ServFail, "the client is told {answer:?}");
    }
    node.await_state(mark, service, "failed")?;
    let after = node.status()?;
    let (was, is) = (before.service(service)?, after.service(service)?);
    ensure!(is.state == "failed", "its state is {}", is.state);
    ensure!(is.starts == was.starts + 1, "{} starts for two queries", is.starts - was.starts);
    ensure!(is.failures == was.failures + 1, "{} failures were counted", is.failures - was.failures);
    ensure!(is.reason.as_ref().is_some_and(|said| said.contains(reason)), "its reason is {:?}", is.reason);
    ensure!(before.xen == after.xen, "Xen changed from {:?} to {:?}", before.xen, after.xen);
    context.ensure_www_serves()
}

fn early_answer(context: &Context) -> Result<()> {
    let node = context.node();
    let before = node.status()?;
    let mark = node.mark();
    let address = node.resolver().a("hasty.jitsu.test")?.address()?;
    let mut stream = TcpStream::connect(node.reach(address, 80)?).context("connecting")?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    // QEMU has accepted the connection, and ends it when the node refuses it.
    let read = stream.read(&mut [0; 1]);
    ensure!(
        matches!(&read, Ok(0))
            || read.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionReset),
        "the client was told {read:?}"
    );
    node.await_state(mark, "hasty", "failed")?;
    let after = node.status()?;
    ensure!(before.xen == after.xen, "Xen changed from {:?} to {:?}", before.xen, after.xen);
    context.ensure_www_serves()
}

fn late_crash(context: &Context) -> Result<()> {
    let node = context.node();
    let before = node.status()?;
    let mark = node.mark();
    let address = node.resolver().a("late.jitsu.test")?.address()?;
    // There will be no reply to wait for.
    let mut stream = TcpStream::connect(node.reach(address, 80)?).context("connecting to the guest")?;
    stream.write_all(b"GET /crash HTTP/1.0\r\n\r\n").context("asking the guest to crash")?;
    node.await_state(mark, "late", "failed")?;
    let after = node.status()?;
    let service = after.service("late")?;
    ensure!(
        service.reason.as_ref().is_some_and(|said| said.contains("crash")),
        "reason: {:?}",
        service.reason
    );
    ensure!(before.xen == after.xen, "Xen changed from {:?} to {:?}", before.xen, after.xen);
    context.ensure_www_serves()
}

fn malformed_dns(context: &Context) -> Result<()> {
    let node = context.node();
    let (before, daemon) = (node.status()?, node.shell("pidof jitsud")?);
    let header = |counts: [u8; 8], flags: [u8; 2]| [&[0x12, 0x34], &flags[..], &counts[..]].concat();
    let one = [0, 1, 0, 0, 0, 0, 0, 0];
    let loops = [header(one, [1, 0]), vec![0xc0, 0x0c, 0, 1, 0, 1]].concat();
    let long_label = [header(one, [1, 0]), vec![63], vec![b'a'; 20]].concat();
    let cut_off = [header(one, [1, 0]), b"\x03www\x05jitsu".to_vec()].concat();
    let a_reply = [header(one, [0x81, 0]), b"\x03www\x05jitsu\x04test\0\0\x01\0\x01".to_vec()].concat();
    let messages = [
        vec![],
        vec![0],
        vec![0xff; 11],
        vec![0xff; 512],
        (0..=255).collect(),
        header([0xff; 8], [1, 0]),
        header([0; 8], [0x28, 0]),
        loops,
        long_label,
        cut_off,
        a_reply,
    ];
    for message in &messages {
        if let Some(reply) = node.resolver().send_raw(message, SILENCE)? {
            let code = reply.get(3).map_or(0, |flags| flags & 0x0f);
            ensure!(code != 0, "{message:02x?} was answered with success: {reply:02x?}");
        }
    }
    ensure_nothing_booted(&before, &node.status()?)?;
    ensure!(node.shell("pidof jitsud")? == daemon, "jitsud has been started anew");
    context.ensure_www_serves()
}

fn garbage_on_tcp(context: &Context) -> Result<()> {
    let node = context.node();
    let daemon = node.shell("pidof jitsud")?;
    let garbage: [&[u8]; 5] = [b"", b"\0", b"\xff\xff\xff\xff garbage", b"GET", &[0x80; 9000]];
    for port in [node.dns_over_tcp(), node.http(), node.reach(WWW.into(), 80)?] {
        for bytes in garbage {
            let mut stream = TcpStream::connect(port).with_context(|| format!("connecting to {port}"))?;
            stream.set_read_timeout(Some(SILENCE))?;
            // The node may close the connection at any point; what counts is what it does afterwards.
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read(&mut [0; 512]);
        }
    }
    ensure!(node.shell("pidof jitsud")? == daemon, "jitsud has been started anew");
    context.ensure_www_serves()
}
