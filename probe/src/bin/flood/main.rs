//! `flood NODE SECONDS RATE ADDRESS COUNT NAME`: RATE SYNs a second from forged sources, for SECONDS, to the COUNT
//! addresses from ADDRESS on, while the service NAME is asked for and its page fetched.
//!
//! Runs inside the node, as root, as another host on its network. Prints [`MARK`] and a [`Report`].

mod syn;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use probe::dns::{MAX_UDP, Question, RecordType};
use probe::flood::{MARK, Report};
use probe::host::{self, now};
use probe::http;

/// An answer that takes longer counts as lost.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a page may take.
const PAGE_PATIENCE: Duration = Duration::from_secs(10);
/// From one question to the next, and how many questions there are to a page.
const PAUSE: Duration = Duration::from_millis(50);
const QUESTIONS_A_PAGE: u32 = 10;
/// SYNs are sent in bursts of this length.
const BURST: Duration = Duration::from_millis(1);
/// Failures that are told.
const MAX_FAILURES: usize = 5;
/// Where this host is.
const BRIDGE: &str = "br0";
const OWN: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 0, 2, 200), 22);

fn main() -> ExitCode {
    let (report, code) = match run() {
        Ok(report) => (report, ExitCode::SUCCESS),
        Err(error) => {
            (Report { failures: vec![format!("{error:#}")], ..Report::default() }, ExitCode::FAILURE)
        }
    };
    let json = serde_json::to_string(&report).unwrap_or_default();
    // In one write, so that nothing gets into the middle of it.
    let _ = std::io::stdout().write_all(format!("\n{MARK}{json}\n").as_bytes());
    code
}

fn run() -> Result<Report> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [node, seconds, rate, first, count, name] = arguments.as_slice() else {
        bail!("usage: flood NODE SECONDS RATE ADDRESS COUNT NAME");
    };
    let node: Ipv4Addr = node.parse().with_context(|| format!("NODE {node:?}"))?;
    let first: Ipv4Addr = first.parse().with_context(|| format!("ADDRESS {first:?}"))?;
    let seconds: u64 = seconds.parse().context("SECONDS")?;
    let rate: u64 = rate.parse().context("RATE")?;
    let count: u32 = count.parse().context("COUNT")?;

    host::become_one(BRIDGE, OWN.0, OWN.1)?;
    let resolver = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("opening a UDP socket")?;
    resolver.connect((node, 53))?;
    resolver.set_read_timeout(Some(PATIENCE))?;
    let address = ask(&resolver, name).context("the first question")?.context("no address for NAME")?;
    page(address, name).context("the first page")?;

    let mut report = Report::default();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let outcome = flood(first, count, seconds, rate);
            over.store(true, Ordering::Release);
            outcome
        });
        while !over.load(Ordering::Acquire) {
            another_client(&resolver, address, name, &mut report);
            std::thread::sleep(PAUSE);
        }
        let (syns, took) = flood.join().map_err(|_| anyhow::anyhow!("the flood panicked"))??;
        (report.syns, report.took_ns) = (syns, took);
        Ok(report)
    })
}

/// Sends SYNs until the time is over. Returns how many, and how long it took.
fn flood(first: Ipv4Addr, count: u32, seconds: u64, rate: u64) -> Result<(u64, u64)> {
    let mut source = syn::Source::open()?;
    let begin = now()?;
    let mut sent = 0;
    loop {
        let elapsed = now()? - begin;
        if elapsed >= seconds * 1_000_000_000 {
            return Ok((sent, elapsed));
        }
        // As many as are due by now; what could not be sent in time is made up for.
        let due = u128::from(elapsed) * u128::from(rate) / 1_000_000_000;
        while u128::from(sent) < due {
            let to = Ipv4Addr::from(u32::from(first) + (sent % u64::from(count)) as u32);
            source.send(to)?;
            sent += 1;
        }
        std::thread::sleep(BURST);
    }
}

fn another_client(resolver: &UdpSocket, address: Ipv4Addr, name: &str, report: &mut Report) {
    let begin = now().unwrap_or_default();
    let answer = ask(resolver, name);
    let took = now().unwrap_or_default() - begin;
    report.questions += 1;
    report.slowest_answer_ns = report.slowest_answer_ns.max(took);
    let answered = matches!(answer, Ok(Some(answered)) if answered == address);
    report.answers += u32::from(answered);
    let mut failures = Vec::new();
    if !answered {
        failures.push(format!("question {}: {answer:?} after {took} ns", report.questions));
    }
    if report.questions.is_multiple_of(QUESTIONS_A_PAGE) {
        report.pages_wanted += 1;
        match page(address, name) {
            Ok(()) => report.pages += 1,
            Err(error) => failures.push(format!("page {}: {error:#}", report.pages_wanted)),
        }
    }
    let room = MAX_FAILURES.saturating_sub(report.failures.len());
    report.failures.extend(failures.into_iter().take(room));
}

fn ask(resolver: &UdpSocket, name: &str) -> Result<Option<Ipv4Addr>> {
    let question = Question::new(&format!("{name}.jitsu.test"), RecordType::A)?;
    let mut buffer = [0; MAX_UDP];
    resolver.send(question.as_bytes()).context("sending the question")?;
    loop {
        let length = resolver.recv(&mut buffer).with_context(|| format!("the address of {name}"))?;
        // The answer to a question that was given up may come late.
        if let Ok(answer) = question.read(&buffer[..length]) {
            return Ok(answer.address().ok());
        }
    }
}

fn page(address: Ipv4Addr, name: &str) -> Result<()> {
    let page = http::get(SocketAddrV4::new(address, 80), PAGE_PATIENCE)?;
    let reply = String::from_utf8_lossy(&page.reply);
    ensure!(reply.contains(&format!("token-{name}-end")), "another page: {reply}");
    Ok(())
}
