//! How many services run at once: 100 that are started one after another and all answer, then as many more as there is
//! room for. None of them may be ended for another one: so who finds no room is refused. How room is made otherwise is in
//! `policies.rs`. On a node of their own, in instruction time.

use super::{Report, log_file, matches};
use crate::client::Status;
use crate::demo::inside::{self, Node, Series};
use crate::demo::ms;
use crate::image::Image;
use crate::ui::human_bytes;
use anyhow::{Context as _, Result, bail, ensure};
use probe::{Crowd, Measurement};
use std::cell::RefCell;
use std::fmt::Write as _;
use std::time::Duration;

/// The tests, in order. Each goes on where the one before has stopped.
const NAMES: [&str; 5] = [
    "100 services at once: each is summoned, then all answer together",
    "100 services at once: creating the 100th takes at most 1.2 times as long as the first, and 3 ms",
    "100 services at once: one that is larger than what is free is refused, and the others go on",
    "100 services at once: of 60 more at the same moment those are started that fit, and the others go on",
    "100 services at once: what was refused is started when another one has gone",
];

/// How many run at once.
const CROWD: usize = 100;

/// How many are asked for beside them, all at the same moment: more than fit.
const BURST: usize = 60;

/// How many there are.
const ALL: usize = 250;

/// Each has so much memory, in MiB.
const MEMORY: u32 = 4;

/// The one that is stopped when nobody has asked for it for so long, in seconds: longer than all tests before the last
/// one take. No service is ended for another before it has been up for as long as it may be idle.
const SHORT_LIVED: usize = 2;
const IDLE: u32 = 60;

/// One that finds no room beside the crowd, and its memory in MiB. There would be room for it alone.
const LARGE: &str = "large";
const LARGE_MEMORY: u32 = 512;

/// The longest that the last creation may take, compared with the first, in percent.
const MAX_RATIO: u64 = 120;

/// The longest that a creation may take, in nanoseconds. Here one start follows the other at once, and dom0's kernel makes
/// interfaces after domains; at other times it does so in between, on the one processor that there is.
const MAX_NS: u64 = 3_000_000;

/// Why one is refused when dom0 has no room for what it would have to map.
const NO_ROOM_IN_DOM0: &str = "dom0 has not enough memory";

/// How the client says that the name server refuses.
const SERVFAIL: &str = "Server Failure";

/// Longest life of the node, wall time.
const LIMIT: Duration = Duration::from_secs(900);

/// What is known so far.
struct Crowded {
    node: Node,
    token: String,
    status: Option<Status>,
    /// The numbers of those that run, first and last of each uninterrupted sequence.
    running: Vec<(usize, usize)>,
    /// One that was refused.
    refused: usize,
    note: RefCell<Option<String>>,
}

/// Runs them. All of them if one is wanted.
pub fn run(image: &Image, filter: Option<&str>, report: &mut Report) -> Result<()> {
    if !NAMES.iter().any(|name| matches(name, filter)) {
        return Ok(());
    }
    let client = inside::client()?;
    let log = log_file("console-density.log");
    println!("\nthe node in QEMU with {ALL} services, in instruction time; console: {}", log.display());
    let token = crate::client::token()?;
    let boot = || {
        let node = Node::boot(image, client, &config(&token), log, LIMIT)?;
        // dom0 gives up what it does not need while it serves already.
        node.0.shell("cd /sys/devices/system/xen_memory/xen_memory0")?;
        node.0.shell("until [ $(cat target_kb) = $(cat info/current_kb) ]; do sleep 1; done")?;
        Ok(node)
    };
    let Some(node) = report.check("a node with 250 services boots", boot) else { return Ok(()) };
    let mut crowded =
        Crowded { node, token, status: None, running: Vec::new(), refused: 0, note: RefCell::default() };
    let tests: [fn(&mut Crowded) -> Result<()>; 5] = [
        all_answer,
        the_last_is_like_the_first,
        a_large_one_is_refused,
        one_too_many_is_refused,
        room_is_used_again,
    ];
    for (name, test) in NAMES.iter().zip(tests) {
        let note = RefCell::default();
        let passed = report.check_noting(name, &note, || {
            let outcome = test(&mut crowded);
            note.replace(crowded.note.take());
            outcome
        });
        if passed.is_none() {
            println!("{}\n", crowded.node.0.last_lines(super::LAST_LINES));
            break;
        }
    }
    Ok(())
}

fn config(token: &str) -> String {
    let mut config =
        "[node]\nname = \"node\"\ndomain = \"jitsu.test\"\naddress = \"10.0.2.15/22\"\nntp = []\n".to_owned();
    let mut service = |name: &str, last: [u8; 2], memory: u32, idle: u32| {
        let [c, d] = last;
        let _ = write!(
            config,
            "\n[[service]]\nname = \"{name}\"\naddress = \"10.0.{c}.{d}\"\nkernel = \"www\"\nmemory = {memory}\n\
             idle = {idle}\nmin_uptime = {idle}\ncmdline = \"token={name}-{token}.\"\n"
        );
    };
    for number in 1..=ALL {
        let idle = if number == SHORT_LIVED { IDLE } else { 36_000 };
        service(&format!("d{number}"), [1, number as u8], MEMORY, idle);
    }
    service(LARGE, [2, 100], LARGE_MEMORY, 36_000);
    config
}

fn all_answer(crowded: &mut Crowded) -> Result<()> {
    let (served, crowd) = crowded.all_of(1, CROWD)?;
    let first_byte = |of: usize| ms(served[of - 1].first_byte_ns - served[of - 1].query_sent_ns);
    let [first, middle, last] = [1, CROWD / 2, CROWD].map(first_byte);
    crowded.note(format!("first byte after {first}, {middle}, {last} ms (1st, 50th, 100th)"));
    let domains = crowd.xen.domains;
    ensure!(domains == Some(CROWD as u64 + 1), "{domains:?} domains run, dom0 included");
    crowded.running = vec![(1, CROWD)];
    crowded.status = Some(crowd);
    Ok(())
}

fn the_last_is_like_the_first(crowded: &mut Crowded) -> Result<()> {
    let status = crowded.status.as_ref().context("nothing has been measured")?;
    let built = |number: usize| -> Result<u64> {
        let service = status.service(&format!("d{number}"))?;
        Ok(service.at("unpaused")?.saturating_sub(service.at("build_started")?))
    };
    let [first, middle, last] = [built(1)?, built(CROWD / 2)?, built(CROWD)?];
    crowded.note(format!("{}, {}, {} ms (1st, 50th, 100th)", ms(first), ms(middle), ms(last)));
    ensure!(last * 100 <= first * MAX_RATIO, "{} % of the first", last * 100 / first);
    // Nor do two lucky ones hide what the others took.
    let median = |of: std::ops::RangeInclusive<usize>| -> Result<u64> {
        let mut all = of.map(built).collect::<Result<Vec<u64>>>()?;
        all.sort_unstable();
        Ok(all[all.len() / 2])
    };
    let (begin, end) = (median(1..=10)?, median(CROWD - 9..=CROWD)?);
    ensure!(end <= MAX_NS, "a median of {} ms", ms(end));
    ensure!(end * 100 <= begin * MAX_RATIO, "medians of ten: {} and {} ms", ms(begin), ms(end));
    Ok(())
}

fn a_large_one_is_refused(crowded: &mut Crowded) -> Result<()> {
    let free = crowded.is_refused(LARGE, "the node has not enough memory")?;
    crowded.note(format!("{LARGE_MEMORY} MiB are wanted, {} are free", human_bytes(free)));
    crowded.nobody_suffers()
}

fn one_too_many_is_refused(crowded: &mut Crowded) -> Result<()> {
    let (first, last) = (CROWD + 1, CROWD + BURST);
    let ask = format!("nslookup -type=a d$i.jitsu.test {} >/dev/null", crowded.node.0.address());
    crowded.node.0.shell(&format!("for i in $(seq {first} {last}); do {ask} & done; wait"))?;
    let (_, status) = crowded.all_of(1, CROWD)?;
    for number in first..=last {
        let service = status.service(&format!("d{number}"))?;
        let reason = service.reason.as_deref().unwrap_or_default();
        match service.state.as_str() {
            "ready" => crowded.runs(number),
            "failed" if reason.contains(NO_ROOM_IN_DOM0) => crowded.refused = number,
            _ => bail!("d{number} is {}: {reason:?}", service.state),
        }
    }
    ensure!(crowded.refused > 0, "{last} services run: give the test more");
    let free = crowded.is_refused(&format!("d{}", crowded.refused), NO_ROOM_IN_DOM0)?;
    let count = crowded.count();
    crowded.note(format!(
        "{count} of {MEMORY} MiB run on 1 GiB, dom0 included; {} are left for larger ones",
        human_bytes(free)
    ));
    crowded.nobody_suffers()
}

fn room_is_used_again(crowded: &mut Crowded) -> Result<()> {
    let mark = crowded.node.0.mark();
    crowded.node.0.await_state(mark, &format!("d{SHORT_LIVED}"), "off")?;
    let measured = crowded.node.request(&format!("d{}", crowded.refused))?;
    crowded.ensure_tokens(crowded.refused, std::iter::once(&measured.reply))
}

impl Crowded {
    fn note(&self, figure: String) {
        self.note.replace(Some(figure));
    }

    /// Has all of these services asked for, and sees that each answers, alone and with the others.
    fn all_of(&self, first: usize, last: usize) -> Result<(Vec<Measurement>, Status)> {
        let Series { served, end } = self.node.series(&range(first, last))?;
        let Crowd { replies, status } = end.map_err(anyhow::Error::msg)?;
        self.ensure_tokens(first, served.iter().map(|measured| &measured.reply))?;
        self.ensure_tokens(first, replies.iter())?;
        let count = last + 1 - first;
        ensure!(
            served.len() == count && replies.len() == count,
            "{} and {} replies",
            served.len(),
            replies.len()
        );
        Ok((served, serde_json::from_value(status).context("reading the status")?))
    }

    /// Fails unless these are the pages of services, from number `first` on, in this very run.
    fn ensure_tokens<'r>(&self, first: usize, replies: impl Iterator<Item = &'r String>) -> Result<()> {
        for (number, reply) in (first..).zip(replies) {
            let token = format!("d{number}-{}.", self.token);
            ensure!(
                reply.contains(&token),
                "the page of d{number} does not have the token {token}:\n{reply}"
            );
        }
        Ok(())
    }

    /// Fails unless `service` is refused for `reason`, and leaves nothing behind. Returns what Xen has free.
    fn is_refused(&self, service: &str, reason: &str) -> Result<u64> {
        // Longer than the pause after an earlier try.
        self.node.0.shell("sleep 2")?;
        let free = self.free_bytes()?;
        let why = self.node.request(service).err().map(|error| format!("{error:#}")).unwrap_or_default();
        ensure!(why.contains(SERVFAIL), "{service} was not refused: {why:?}");
        let free_after = self.free_bytes()?;
        ensure!(free == free_after, "{free} bytes were free before, {free_after} after");
        let console = self.node.0.console();
        let said = |line: &str| line.contains(reason) && line.contains(&format!("service=\"{service}\""));
        ensure!(console.lines().any(said), "{service} was not refused because {reason}");
        Ok(free)
    }

    /// Notes that one more runs.
    fn runs(&mut self, number: usize) {
        match self.running.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => self.running.push((number, number)),
        }
    }

    /// How many run.
    fn count(&self) -> usize {
        self.running.iter().map(|(first, last)| last + 1 - first).sum()
    }

    /// Fails unless all that run go on as if nothing had been.
    fn nobody_suffers(&self) -> Result<()> {
        let mut status = None;
        for &(first, last) in &self.running {
            status = Some(self.all_of(first, last)?.1);
        }
        let status = status.context("nothing runs")?;
        let failed: Vec<_> = status.services.iter().filter(|service| service.failures > 0).collect();
        ensure!(failed.is_empty(), "it counts as a failure: {failed:?}");
        let starts: u64 = status.services.iter().map(|service| service.starts).sum();
        ensure!(starts == self.count() as u64, "{starts} starts for {} services", self.count());
        let console = self.node.0.console();
        ensure!(!console.contains("Out of memory"), "dom0 has run out of memory");
        ensure!(console.matches(" ready address=").count() == 1, "jitsud has been started anew");
        Ok(())
    }

    /// What Xen has free, as the node says inside.
    fn free_bytes(&self) -> Result<u64> {
        let line = self.node.0.shell("wget -qO- http://10.0.2.15/status | grep free_bytes")?;
        let digits: String = line.chars().filter(char::is_ascii_digit).collect();
        digits.parse().with_context(|| format!("wget printed {line:?}"))
    }
}

/// As the client takes it.
fn range(first: usize, last: usize) -> String {
    format!("d{{{first}..{last}}}")
}
