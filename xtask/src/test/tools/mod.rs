//! Other people's tools in dom0, against the daemon's XenStore: those of Debian's Xen packages, on a node of their
//! own.

mod comparison;
mod created;
mod guest;
mod programs;
mod service;

pub use created::release;
pub use programs::{files, xenstored};

use super::{Report, log_file, matches};
use crate::client::{NodeSpec, RunningNode, token};
use crate::debian;
use crate::demo;
use crate::image::Image;
use crate::qemu::Start;
use anyhow::{Context, Result, ensure};
use std::net::Ipv4Addr;
use std::time::Duration;

/// The version of Xen that they are of, and that they work with.
pub const XEN: &str = "4.17";

/// Longest life of the node.
const LIMIT: Duration = Duration::from_secs(600);

/// Longest wait for a tool, or for a page.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lines of the console shown after a failure.
const LAST_LINES: usize = 30;

/// A test: its name, and what it does.
type Test = (&'static str, fn(&RunningNode) -> Result<()>);

/// The tests, in order.
const TESTS: [Test; 15] = [
    ("Xen's tools: test-xenstore passes all its cases", test_xenstore),
    ("Xen's tools: xenstore-write, -read, -exists, -chmod, -ls and -rm do what they say", xenstore_client),
    ("Xen's tools: xenstore-watch hears of what another tool changes", xenstore_watch),
    ("Xen's tools: xl list and xl info know the node and its domain", xl_list),
    ("Xen's tools: xl console shows what the guest has said", xl_console),
    ("Xen's tools: xl pause stops a domain from answering, and xl unpause lets it answer again", xl_pause),
    ("Xen's tools: a service has the weight, the keys and the disk of its table", service::is_as_configured),
    ("Xen's tools: xl create makes a domain, and it serves its page", created::serves),
    ("Xen's tools: xl list, console, pause and unpause work on a domain of xl's", created::is_one_of_many),
    ("Xen's tools: a domain of xl's is gone for good after xl shutdown, and after xl destroy", created::ends),
    (
        "Xen's tools: a domain can be introduced again, and one that is not there is not",
        created::introduced_again,
    ),
    ("Xen's tools: no tool can introduce or release a domain of jitsud's own", created::own_is_refused),
    ("Xen's tools: a domain of xl's goes on when jitsud has been killed", created::goes_on),
    (
        "Xen's tools: XenStore holds the same, to the permission, when jitsud has been killed",
        contents_survive,
    ),
    ("Xen's tools: jitsud comes through all of it, and leaves nothing behind", nothing_is_left),
];

/// Runs them.
pub fn run(
    image: &Image,
    options: &debian::Options,
    filter: Option<&str>,
    report: &mut Report,
) -> Result<()> {
    comparison::run(image, options, filter, report)?;
    let tests: Vec<Test> = TESTS.into_iter().filter(|(name, _)| matches(name, filter)).collect();
    if tests.is_empty() {
        return Ok(());
    }
    let log = log_file("console-tools.log");
    println!("\na node with Xen's tools in QEMU; console: {}", log.display());
    let mut files = programs::files(options)?;
    files.extend([guest::CONNECTED.file(), service::disk()]);
    let config = demo::config(&token()?) + service::CONFIG;
    let start = Start::configured(image.clone(), config, files);
    let spec = NodeSpec { start, icount: false, log, timeout: LIMIT };
    let Some(node) = report.check("the node with Xen's tools boots", || RunningNode::boot(spec)) else {
        return Ok(());
    };
    let before = report.failed;
    for (name, test) in tests {
        report.check(name, || test(&node));
    }
    if report.failed > before {
        println!("\nlast lines of the console:\n{}\n", node.last_lines(LAST_LINES));
    }
    Ok(())
}

fn test_xenstore(node: &RunningNode) -> Result<()> {
    // Every case a hundred times; it ends at the first that fails, and says so by its exit code.
    const PROGRAM: &str = "/usr/lib/xen-4.17/bin/test-xenstore";
    let cases = node.shell(&format!("{PROGRAM} -l"))?;
    let printed = node.shell(&format!("{PROGRAM} -i 100"))?;
    for case in cases.lines().filter_map(|line| line.split(':').next()) {
        ensure!(printed.contains(case.trim()), "it did not run {case:?}:\n{printed}");
    }
    ensure!(cases.lines().count() >= 12, "it knows hardly any case:\n{cases}");
    let listed = node.shell("xenstore-ls /local/domain/0")?;
    ensure!(!listed.contains("xenstore-test"), "it left its nodes behind:\n{listed}");
    Ok(())
}

fn xenstore_client(node: &RunningNode) -> Result<()> {
    node.shell("xenstore-write /tools/a one /tools/b two")?;
    let read = node.shell("xenstore-read /tools/a /tools/b")?;
    ensure!(read == "one\ntwo", "read {read:?}");
    node.shell("xenstore-chmod /tools/a n0 r7")?;
    let listed = node.shell("xenstore-ls -fp /tools")?;
    ensure!(listed.contains("/tools/a = \"one\"") && listed.contains("(n0,r7)"), "listed {listed:?}");
    node.shell("xenstore-exists /tools/b && xenstore-rm /tools/b && ! xenstore-exists /tools/b")?;
    let names = node.shell("xenstore-list /tools")?;
    ensure!(names == "a", "what is left is {names:?}");
    node.shell("xenstore-rm /tools")?;
    Ok(())
}

fn xenstore_watch(node: &RunningNode) -> Result<()> {
    // A watch fires once when it is set, and then for each change: so the second line is the change.
    node.shell("xenstore-watch -n 2 /watched > /tmp/events & echo $! > /tmp/watcher")?;
    let mark = node.mark();
    node.send_line(
        "until [ -s /tmp/events ]; do usleep 10000; done; xenstore-write /watched/x 1; wait; echo he'a'rd",
    )?;
    node.await_line(mark, "xenstore-watch to end", PATIENCE, |line| line.trim() == "heard")?;
    let events = node.shell("cat /tmp/events; xenstore-rm /watched")?;
    ensure!(events == "/watched\n/watched/x", "it heard of {events:?}");
    Ok(())
}

fn xl_list(node: &RunningNode) -> Result<()> {
    node.summon("www")?;
    let list = node.shell("xl list")?;
    let line = |name: &str| {
        let found = list.lines().find(|line| line.starts_with(name));
        found.with_context(|| format!("no line for {name}:\n{list}"))
    };
    ensure!(line("Domain-0")?.split_whitespace().nth(1) == Some("0"), "{list}");
    line("www ")?;
    let info = node.shell("xl info")?;
    ensure!(info.contains("xen_version") && info.contains("free_memory"), "xl info said:\n{info}");
    let by_name = node.shell("xl domid www")?;
    let by_number = node.shell(&format!("xl domname {by_name}"))?;
    ensure!(by_number == "www", "domain {by_name} is {by_number:?}");
    Ok(())
}

/// The console waits for whoever comes: the line was said before the tool was started.
fn xl_console(node: &RunningNode) -> Result<()> {
    let summoned = node.summon("www")?;
    // The tool stays until it is ended: it goes on to show what the guest says next.
    let shown = node.shell("timeout 3 xl console www > /tmp/shown < /dev/null; cat /tmp/shown")?;
    let said = format!("ready on {}", summoned.address);
    ensure!(shown.contains(&said), "no {said:?} in what it showed: {shown:?}");
    Ok(())
}

fn xl_pause(node: &RunningNode) -> Result<()> {
    let summoned = node.summon("www")?;
    answers(node, summoned.address)?;
    node.shell("xl pause www")?;
    let answered = answers(node, summoned.address);
    let state = node.shell("xl list www")?;
    node.shell("xl unpause www")?;
    ensure!(answered.is_err(), "a paused guest answers");
    ensure!(state.contains("--p---"), "xl shows another state:\n{state}");
    answers(node, summoned.address).context("after xl unpause")?;
    let status = node.status()?;
    ensure!(status.service("www")?.state == "ready", "the daemon lost it: {:?}", status.service("www")?);
    Ok(())
}

fn contents_survive(node: &RunningNode) -> Result<()> {
    // With the domain of www, and what a tool has written. A terminal is the daemon's own, and may have another name.
    const LIST: &str = "xenstore-ls -fp / | grep -v '/console/tty = '";
    node.summon("www")?;
    node.shell("xenstore-write /kept/x y; xenstore-chmod /kept/x n0 r1")?;
    node.shell(&format!("{LIST} > /tmp/before"))?;
    let mark = node.mark();
    node.shell("kill -9 $(pidof jitsud)")?;
    node.await_ready(mark)?;
    node.shell(&format!("{LIST} > /tmp/after"))?;
    let before = node.shell("cat /tmp/before")?;
    let after = node.shell("cat /tmp/after; rm /tmp/before /tmp/after; xenstore-rm /kept")?;
    ensure!(before.lines().count() > 40 && before.contains("/kept/x = \"y\"   (n0,r1)"), "listed:\n{before}");
    ensure!(before == after, "it held\n{before}\nand holds\n{after}");
    let summoned = node.summon("www")?;
    ensure!(summoned.page.code == 200, "www answers with {}", summoned.page.code);
    Ok(())
}

/// Asks for a page. Not by wget: busybox is static, and looking up a port's name it would load the tools' C library.
const ASK: &str = r"printf 'GET / HTTP/1.0\r\n\r\n'";

/// Fails unless a guest's server answers within 3 s.
fn answers(node: &RunningNode, address: Ipv4Addr) -> Result<()> {
    node.shell(&format!("{ASK} | timeout 3 nc {address} 80 | grep -q '^HTTP/1'")).map(drop)
}

fn nothing_is_left(node: &RunningNode) -> Result<()> {
    let status = node.status()?;
    ensure!(status.service("www")?.starts <= 1, "www was started {} times", status.service("www")?.starts);
    let connections = status.resources.xenstore_connections;
    let domains = status.xen.domains;
    ensure!(connections == domains, "{connections:?} connections to XenStore, {domains:?} domains");
    Ok(())
}
