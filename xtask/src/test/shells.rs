//! Domains that are made before it is known for which service: how long a client waits with them and without, and what
//! becomes of them. Two nodes of their own, alike but for the shells, in instruction time.

use super::{Report, log_file, matches};
use crate::client::Status;
use crate::demo::inside::{self, Node};
use crate::demo::ms;
use crate::image::Image;
use anyhow::{Context as _, Result, ensure};
use std::cell::RefCell;
use std::fmt::Write as _;
use std::time::Duration;

/// A test: its name, and what it does.
type Test = (&'static str, fn(&Warm) -> Result<()>);

/// The tests of the node with shells, in order.
const TESTS: [Test; 4] = [
    ("shells: 100 summons, from the query to the first byte in 8 ms", with_shells),
    ("shells: one that serves outlives its daemon, and those that nobody uses do not", a_kill),
    ("shells: a service that only fits without them is started, and then they come back", pressure),
    ("shells: they end with the daemon", shutdown),
];

/// And that of the node without.
const WITHOUT: &str = "no shells: 100 summons, from the query to the first byte in 15 ms, a domain in 3 ms";

/// Services that are summoned one after another, and their memory in MiB.
const SERVICES: usize = 100;
const MEMORY: u32 = 4;

/// Shells of each shape.
const SHELLS: u64 = 2;

/// Shapes: that of the many services, and that of [`BIG`].
const SHAPES: u64 = 2;

/// A service is stopped when nobody has used it for so long, in seconds; before the next one is asked for, it has gone.
const IDLE: u32 = 1;
const REST: Duration = Duration::from_millis(1500);

/// One whose shells take much memory, in MiB.
const BIG: (&str, u32) = ("big", 96);

/// One for which there is room without shells only; no shell is for it, because its weight is another.
const LARGE: (&str, u32) = ("large", 600);

/// One that runs on.
const STEADY: &str = "steady";

/// When the daemon is killed, in microseconds after it is ready: with all its shells, while it makes them, and before.
const KILLED_AFTER_US: [u32; 6] = [0, 50_000, 100_000, 110_000, 130_000, 160_000];

/// Longest medians from the query to the first byte.
const WITH_SHELLS_NS: u64 = 8_000_000;
const WITHOUT_SHELLS_NS: u64 = 15_000_000;
/// And of making a domain.
const CREATION_NS: u64 = 3_000_000;

/// The 99th percentile is at most so many times the median.
const TAIL: u64 = 2;

/// What a daemon says of a domain that the one before has not ended.
const FOUND: &str = "ending a domain that the daemon before was making or ending";

/// Longest life of a node, wall time.
const LIMIT: Duration = Duration::from_secs(900);

struct Warm {
    node: Node,
    note: RefCell<Option<String>>,
}

/// Runs them.
pub fn run(image: &Image, filter: Option<&str>, report: &mut Report) -> Result<()> {
    let tests: Vec<Test> = TESTS.into_iter().filter(|(name, _)| matches(name, filter)).collect();
    if !tests.is_empty() {
        let boot = || {
            let warm = Warm::boot(image, SHELLS)?;
            let Status { shells, .. } = warm.node.0.status_with_shells()?;
            ensure!((shells.wanted, shells.ready) == (SHELLS * SHAPES, SHELLS * SHAPES), "{shells:?}");
            Ok(warm)
        };
        if let Some(warm) = report.check("shells: the node boots and makes them", boot) {
            warm.check(&tests, report);
        }
    }
    if matches(WITHOUT, filter)
        && let Some(warm) = report.check("no shells: the node boots", || Warm::boot(image, 0))
    {
        warm.check(&[(WITHOUT, without_shells)], report);
    }
    Ok(())
}

fn config(shells: u64) -> String {
    let mut config = format!(
        "[node]\nname = \"node\"\ndomain = \"jitsu.test\"\naddress = \"10.0.2.15/22\"\nntp = []\nshells = {shells}\n"
    );
    let mut service = |name: &str, last: [u8; 2], memory: u32, keys: &str| {
        let [c, d] = last;
        let _ = write!(
            config,
            "\n[[service]]\nname = \"{name}\"\naddress = \"10.0.{c}.{d}\"\nkernel = \"www\"\nmemory = {memory}\n\
             ttl = 1\ncmdline = \"token=token-{name}-end\"\n{keys}\n"
        );
    };
    let idle = format!("idle = {IDLE}");
    for number in 1..=SERVICES {
        service(&format!("d{number}"), [1, number as u8], MEMORY, &idle);
    }
    service(STEADY, [2, 100], MEMORY, "idle = 36000");
    service(BIG.0, [2, 101], BIG.1, &idle);
    service(LARGE.0, [2, 102], LARGE.1, &format!("{idle}\nweight = 300"));
    config
}

impl Warm {
    fn boot(image: &Image, shells: u64) -> Result<Self> {
        let log = log_file(&format!("console-shells-{shells}.log"));
        println!(
            "\nthe node in QEMU with {shells} shells of a shape, in instruction time; console: {}",
            log.display()
        );
        let node = Node::boot(image, inside::client()?, &config(shells), log, LIMIT)?;
        node.0.frames_set_aside()?;
        Ok(Warm { node, note: RefCell::default() })
    }

    fn check(&self, tests: &[Test], report: &mut Report) {
        let before = report.failed;
        for (name, test) in tests {
            report.check_noting(name, &self.note, || test(self));
        }
        if report.failed > before {
            println!("{}\n", self.node.0.last_lines(super::LAST_LINES));
        }
    }

    /// Summons all services, each when the one before has gone. Returns the status right after the last one, and how
    /// long domains took, sorted.
    fn series(&self, bar_ns: u64) -> Result<(Status, Vec<u64>)> {
        let series = self.node.series_with_rests(&format!("d{{1..{SERVICES}}}"), REST)?;
        let crowd = series.end.map_err(anyhow::Error::msg)?;
        let status: Status = serde_json::from_value(crowd.status).context("reading the status")?;
        ensure!(series.served.len() == SERVICES, "{} were served", series.served.len());
        for (number, served) in (1..).zip(&series.served) {
            let token = format!("token-d{number}-end");
            ensure!(served.reply.contains(&token), "there is no {token} in the page:\n{}", served.reply);
        }
        let waited = series.served.iter().map(|served| served.first_byte_ns - served.query_sent_ns);
        let waited = sorted(waited.collect());
        let built = (1..=SERVICES).map(|number| {
            let service = status.service(&format!("d{number}"))?;
            Ok(service.at("unpaused")?.saturating_sub(service.at("build_started")?))
        });
        let built = sorted(built.collect::<Result<_>>()?);
        let figures = |of: &[u64]| {
            let [median, tail, most] = [at(of, 50), at(of, 99), at(of, 100)].map(ms);
            format!("{median} ms (99 %: {tail}, all: {most})")
        };
        self.note.replace(Some(format!(
            "first byte after {}, domain in {}",
            figures(&waited),
            figures(&built)
        )));
        let (median, tail) = (at(&waited, 50), at(&waited, 99));
        ensure!(median <= bar_ns, "a median of {} ms", ms(median));
        ensure!(tail <= TAIL * median, "99 % in {} ms, with a median of {} ms", ms(tail), ms(median));
        Ok((status, built))
    }
}

/// Where so many percent of them are no larger (the nearest rank).
fn at(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

fn sorted(mut all: Vec<u64>) -> Vec<u64> {
    all.sort_unstable();
    all
}

/// Each finds a shell, and when all have gone and shells are there again, everything is as it was.
fn with_shells(warm: &Warm) -> Result<()> {
    let node = &warm.node.0;
    let before = node.status_with_shells()?;
    let (status, _) = warm.series(WITH_SHELLS_NS)?;
    let taken = status.shells.taken - before.shells.taken;
    ensure!(taken == SERVICES as u64, "{taken} of {SERVICES} services had shells");
    let last = status.service(&format!("d{SERVICES}"))?;
    ensure!((last.state.as_str(), last.in_shell) == ("ready", true), "the last one is {last:?}");
    ensure_as(&before, &node.status_as_before(&before)?)
}

fn without_shells(warm: &Warm) -> Result<()> {
    let before = warm.node.0.status()?;
    let (status, built) = warm.series(WITHOUT_SHELLS_NS)?;
    ensure!((status.shells.wanted, status.shells.taken) == (0, 0), "{:?}", status.shells);
    ensure!(at(&built, 50) <= CREATION_NS, "making a domain takes {} ms", ms(at(&built, 50)));
    ensure_as(&before, &warm.node.0.status_as_before(&before)?)
}

fn ensure_as(before: &Status, after: &Status) -> Result<()> {
    ensure!(before.xen == after.xen, "Xen changed from {:?} to {:?}", before.xen, after.xen);
    ensure!(before.resources == after.resources, "from {:?} to {:?}", before.resources, after.resources);
    Ok(())
}

fn a_kill(warm: &Warm) -> Result<()> {
    let node = &warm.node.0;
    warm.node.request(STEADY)?;
    let before = node.status_with_shells()?;
    for after_us in KILLED_AFTER_US {
        let mark = node.mark();
        node.shell(&format!("usleep {after_us}; kill -9 $(pidof jitsud)"))?;
        node.await_ready(mark)?;
    }
    let after = node.status_as_before(&before)?;
    ensure_as(&before, &after)?;
    let (was, is) = (before.service(STEADY)?, after.service(STEADY)?);
    ensure!(was.in_shell && is.in_shell, "it was {was:?} and is {is:?}");
    ensure!((was.domid, "ready") == (is.domid, is.state.as_str()), "it was {was:?} and is {is:?}");
    // One of its own, too.
    let measured = warm.node.request("d1")?;
    ensure!(measured.reply.contains("token-d1-end"), "another page came:\n{}", measured.reply);
    ensure!(node.status()?.shells.taken == 1, "the new daemon's shells are of no use");
    ensure_as(&before, &node.status_as_before(&before)?)
}

fn pressure(warm: &Warm) -> Result<()> {
    let node = &warm.node.0;
    let before = node.status_with_shells()?;
    let free = before.xen.free_bytes.context("Xen does not say what is free")?;
    ensure!(free < u64::from(LARGE.1) << 20, "{free} bytes are free beside the shells: enough for all");
    let mark = node.mark();
    let measured = warm.node.request(LARGE.0)?;
    ensure!(measured.reply.contains("token-large-end"), "another page came:\n{}", measured.reply);
    let status: Status = serde_json::from_value(measured.status).context("reading the status")?;
    let large = status.service(LARGE.0)?;
    ensure!(!large.in_shell && large.failures == 0, "{large:?}");
    let waited = measured.first_byte_ns - measured.query_sent_ns;
    warm.note.replace(Some(format!("first byte after {} ms", ms(waited))));
    node.await_state(mark, LARGE.0, "off")?;
    ensure_as(&before, &node.status_as_before(&before)?)
}

/// SIGTERM: the daemon ends when nothing is left, and init starts the next one.
fn shutdown(warm: &Warm) -> Result<()> {
    let node = &warm.node.0;
    let before = node.status_with_shells()?;
    let found = || node.console().matches(FOUND).count();
    let (found_before, mark) = (found(), node.mark());
    node.shell("kill $(pidof jitsud)")?;
    node.await_ready(mark)?;
    ensure!(found() == found_before, "it has left domains behind");
    let after = node.status_with_shells()?;
    ensure!(after.service(STEADY)?.state == "off", "{STEADY} has not ended");
    let (was, is) = (before.resources.vifs, after.resources.vifs);
    ensure!(was == is.map(|vifs| vifs + 1), "from {was:?} interfaces to {is:?}");
    Ok(())
}
