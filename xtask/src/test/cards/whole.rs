//! From the boot ROM to a page, on a machine that has the card in its slot.

use super::{Bench, LIMIT, PATIENCE, Test, ensure_in_order, ensure_problem, ensure_serves, fsck};
use crate::card::Edit;
use crate::card::layout::DATA;
use crate::client::{Fallback, Mark, NodeSpec, RunningNode};
use crate::qemu::Start;
use anyhow::{Context, Result, ensure};
use probe::dns::RecordType;
use std::net::Ipv4Addr;
use std::path::Path;

/// The tests, in order.
pub const TESTS: [Test; 4] = [
    (
        "as built, from the boot ROM to a page; its data partition grows; it takes another jitsu.toml",
        as_built,
    ),
    ("a/kernel cut off, data partition garbage, own address, one more service", changed_and_damaged),
    ("a broken jitsu.toml costs what is broken, and its lines are named", broken_configuration),
    ("no jitsu.toml, and the node does as if it were the one that came with it", no_configuration),
];

/// Bytes that are left when a kernel has been cut off.
const STUMP: u64 = 1_000_000;

/// What is added to the jitsu.toml of a card: the last table in it is that of www.
const TTL: &str = "ttl = 9\n";

fn boot(bench: &Bench<'_>, card: &Path, test: &str) -> Result<RunningNode> {
    let start = Start::Card { board: bench.image.board.clone(), card: card.to_owned() };
    RunningNode::boot(NodeSpec { start, icount: false, log: bench.log(test), timeout: LIMIT })
}

fn as_built(bench: &Bench<'_>) -> Result<()> {
    let card = bench.card(|_| Ok(()))?;
    let node = boot(bench, &card, "as-built")?;
    let steps = [
        "U-Boot SPL",
        "Trying to boot from MMC1",
        "\nU-Boot 20",
        "== Reading the system in a/",
        "== Starting Xen, and with it the system in a/",
        "(XEN) Xen version",
        "ready address=",
    ];
    ensure_in_order(&node.console(), &steps)?;

    let page = node.summon("www")?.page.body;
    let status = node.status()?;
    let domid = status.service("www")?.domid.context("/status has no domain for www")?;
    ensure!(
        page.contains(&format!("<dd id=\"domid\">{domid}</dd>")),
        "the page is not domain {domid}'s:\n{page}"
    );
    ensure!(status.boot.slot.as_deref() == Some("a"), "/status says {:?}", status.boot);
    ensure!(status.boot.fallback.is_empty(), "/status says {:?}", status.boot);
    ensure!(status.problems.is_empty(), "/status has problems: {:?}", status.problems);

    let grown = |line: &str| line.contains("the data partition has been made as long as the card");
    node.await_line(Mark::START, "the data partition to grow", PATIENCE, grown)?;
    let size = std::fs::metadata(&card).with_context(|| card.display().to_string())?.len();
    let on_card = node.status()?.card.context("/status has no card")?;
    ensure!(on_card.boot.state == "mounted" && on_card.data.state == "mounted", "/status says {on_card:?}");
    ensure!(on_card.data.bytes == Some(size - DATA.start), "of {size} bytes: {on_card:?}");

    reload(&node, domid)?;
    node.power_off()?;
    ensure!(
        Edit::open(&card)?.read("jitsu.toml")?.ends_with(TTL.as_bytes()),
        "the card has its old jitsu.toml"
    );
    fsck::check(&card, size - DATA.start, bench.directory.path())?;
    ensure!(Edit::open(&card)?.read("problems.txt").is_err(), "problems.txt is on a card without problems");
    Ok(())
}

/// Has the node take another jitsu.toml, which it puts on its card. Addresses are leased, and stay.
fn reload(node: &RunningNode, domid: u16) -> Result<()> {
    let before = node.status()?;
    node.shell(&format!("(cat /boot/jitsu.toml; echo '{}') >/tmp/new.toml", TTL.trim()))?;
    node.shell("jitsuctl reload /tmp/new.toml")?;
    let after = node.status()?;
    ensure!(after.boot.jitsud_started_ns != before.boot.jitsud_started_ns, "the daemon has not begun anew");
    ensure!(after.problems.is_empty(), "/status has problems: {:?}", after.problems);
    let (was, is) = (before.service("www")?, after.service("www")?);
    ensure!((is.address, is.domid) == (was.address, Some(domid)), "www was {was:?} and is {is:?}");
    // The log goes on where it was.
    let log = node.shell("NO_COLOR=1 jitsuctl logs -n 40")?;
    let (_, log) = log.split_once("begins anew").with_context(|| format!("the log is lost:\n{log}"))?;
    ensure!(!log.contains("waiting for an address"), "it has asked for its lease first:\n{log}");
    let mounted = node.shell("grep ' /boot ' /proc/mounts")?;
    ensure!(mounted.contains(" ro,"), "the partition for PCs is not read-only: {mounted}");
    let answer = node.resolver().ask("www.jitsu.test", RecordType::A)?.answer;
    ensure!(answer.ttl == Some(9), "its name is answered with {answer:?}");
    Ok(())
}

fn changed_and_damaged(bench: &Bench<'_>) -> Result<()> {
    let address = Ipv4Addr::new(10, 0, 2, 50);
    let (token, other) = (&bench.token, format!("{}-hello", bench.token));
    let config = format!(
        "[node]\nname = \"shelf\"\ndomain = \"jitsu.test\"\naddress = \"{address}/24\"\ngateway = \"10.0.2.2\"\n\n\
         [[service]]\nname = \"www\"\nkernel = \"www\"\naddress = \"10.0.2.60\"\ncmdline = \"token={token}\"\n\n\
         [[service]]\nname = \"hello\"\nkernel = \"hello.img\"\naddress = \"10.0.2.61\"\ncmdline = \"token={other}\"\n"
    );
    let card = bench.card(|card| {
        card.write("jitsu.toml", config.as_bytes())?;
        card.write("unikernels/hello.img", bench.kernel)?;
        card.truncate("a/kernel", STUMP)?;
        card.garble_data()
    })?;
    let garbage_before = data_partition(&card)?;
    let node = boot(bench, &card, "damaged")?;

    ensure!(node.address() == address, "the node is at {}", node.address());
    ensure_serves(&node, "www", token)?;
    ensure_serves(&node, "hello", &other)?;

    let steps = [
        "== a/kernel:damaged",
        "== Reading the system in b/",
        "== a/kernel:damaged, so this is the second copy of the system",
        "== Starting Xen, and with it the system in b/",
        "a/kernel",
    ];
    ensure_in_order(&node.console(), &steps)?;
    let garbage = |line: &str| line.contains("holds no ext4 file system");
    node.await_line(Mark::START, "word of the garbage", PATIENCE, garbage)?;
    let status = node.status()?;
    let fallback = Fallback { file: "a/kernel".to_owned(), fault: "damaged".to_owned() };
    ensure!(status.boot.slot.as_deref() == Some("b"), "/status says {:?}", status.boot);
    ensure!(status.boot.fallback == [fallback], "/status says {:?}", status.boot);
    ensure_problem(&status, "a/kernel", 0, "damaged")?;
    ensure_problem(&status, "card", 0, "holds no ext4 file system")?;
    let data = status.card.context("/status has no card")?.data;
    ensure!(data.state == "unusable", "/status says {data:?}");

    let problems = problems_after_power_off(node, &card)?;
    for wanted in ["a/kernel", "holds no ext4 file system"] {
        ensure!(problems.contains(wanted), "problems.txt does not say {wanted:?}:\n{problems}");
    }
    // Nobody has made anything of it: it may be somebody's.
    ensure!(data_partition(&card)? == garbage_before, "the data partition was written to");
    Ok(())
}

fn broken_configuration(bench: &Bench<'_>) -> Result<()> {
    let config = format!(
        "[node]\nname = \"jitsu\"\ndomain = \"jitsu.test\"\naddress = \"10.0.2.300/24\"\n\n\
         [[service]]\nname = \"www\"\nkernel = \"www\"\ncmdline = \"token={}\"\n\n\
         [[service]]\nname = \"heavy\"\nkernel = \"www\"\nmemory = \"a lot\"\n",
        bench.token
    );
    let line = |wanted: &str| {
        let found = config.lines().position(|line| line.contains(wanted)).context("no such line")?;
        Ok::<_, anyhow::Error>(found as u32 + 1)
    };
    let mistakes = [(line("300")?, "10.0.2.300"), (line("a lot")?, "memory")];
    let card = bench.card(|card| card.write("jitsu.toml", config.as_bytes()))?;
    let node = boot(bench, &card, "broken")?;

    ensure_serves(&node, "www", &bench.token)?;
    let status = node.status()?;
    for (line, what) in mistakes {
        ensure_problem(&status, "jitsu.toml", line, what)?;
        let place = format!("jitsu.toml:{line}: ");
        ensure!(node.console().contains(&place), "{place} is not on the console");
    }
    ensure!(status.services.len() == 1, "heavy was to be left out: {:?}", status.services);

    let problems = problems_after_power_off(node, &card)?;
    for (line, what) in mistakes {
        let place = format!("jitsu.toml:{line}: ");
        let named = problems.lines().any(|text| text.contains(&place) && text.contains(what));
        ensure!(named, "problems.txt does not name line {line}:\n{problems}");
    }
    Ok(())
}

fn no_configuration(bench: &Bench<'_>) -> Result<()> {
    let card = bench.card(|card| card.remove("jitsu.toml"))?;
    let node = boot(bench, &card, "no-config")?;
    let page = node.summon("www")?.page.body;
    ensure!(page.contains("Hello from www"), "the page is another one:\n{page}");
    let status = node.status()?;
    ensure!(status.problems.is_empty(), "/status has problems: {:?}", status.problems);
    Ok(())
}

/// What the node has written for whoever has the card in a PC.
fn problems_after_power_off(node: RunningNode, card: &Path) -> Result<String> {
    let written = |line: &str| line.contains("problems.txt on the card brought in line");
    node.await_line(Mark::START, "problems.txt to be written", PATIENCE, written)?;
    node.power_off()?;
    let text = Edit::open(card)?.read("problems.txt")?;
    String::from_utf8(text).context("problems.txt")
}

/// The data partition, as long as it was at first.
fn data_partition(card: &Path) -> Result<Vec<u8>> {
    use std::os::unix::fs::FileExt;
    let mut content = vec![0; DATA.size as usize];
    let read = std::fs::File::open(card).and_then(|file| file.read_exact_at(&mut content, DATA.start));
    read.with_context(|| format!("reading {}", card.display()))?;
    Ok(content)
}
