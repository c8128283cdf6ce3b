//! `cargo xtask test`: the tests of the host, then the node in QEMU.
//!
//! Node tests share one node, in the order of their tables; each states what it needs of the node itself, so that a
//! filter can pick any of them. What is measured in instruction time, what needs Xen's own tools, and a Linux guest have
//! nodes of their own. Then a node for each other version of Xen does what the first did. The tests of cards start a
//! node each. What a test shows is its name.

mod captured;
mod cards;
mod config;
mod control;
mod density;
mod faces;
mod failures;
mod flood;
mod footprint;
mod host;
mod latency;
mod lifecycle;
mod linux;
mod policies;
mod restart;
mod serving;
mod shells;
mod starts;
mod tools;
mod watched;
mod www;

// What `cargo xtask bench` measures with, too.
pub use linux::guest;
pub use starts::{
    IN_PROCESS, OURS, XENSTORED, files as starts_files, mean as mean_of_starts, starts as starts_at_once,
};
pub use tools::{XEN as XEN_OF_TOOLS, files as tools, release};

use crate::board::{self, Board};
use crate::client::{NodeSpec, RunningNode, token};
use crate::fail::{self, Class, Fail};
use crate::image::{self, Image, SourceArgs};
use crate::qemu::Start;
use crate::{debian, paths};
use anyhow::{Context as _, Result, ensure};
use std::cell::RefCell;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Run every test: cargo's on this host, then those of the node in QEMU. The last line counts them.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  cargo xtask test\n  cargo xtask test --node-only crash\n  \
                        cargo xtask test --node-only --xen 4.20\n  cargo xtask test --node-only --board bananapi-m2-ultra")]
pub struct Args {
    /// Only the tests that need no node
    #[arg(long, conflicts_with = "node_only")]
    host_only: bool,
    /// Only the tests of the node
    #[arg(long)]
    node_only: bool,
    /// The flood of packets for 30 s instead of 3, and that of DNS messages for 10 minutes instead of 8 s
    #[arg(long)]
    long: bool,
    /// Only tests with this in their names, without those that cargo runs
    filter: Option<String>,
    /// Only this one of the folders in board/
    #[arg(long)]
    board: Option<String>,
    #[command(flatten)]
    source: SourceArgs,
}

/// A test of the node: its name, which is what it shows, and what it does.
type Test = (&'static str, fn(&Context) -> Result<()>);

/// Longest life of the node under test.
const LIMIT: Duration = Duration::from_secs(900);

/// Lines of the console shown after a failure.
const LAST_LINES: usize = 30;

/// What tests work with.
pub struct Context {
    image: Image,
    node: RunningNode,
    token: String,
    /// What the running test has measured.
    note: RefCell<Option<String>>,
}

/// Runs what is asked for. The counts are the last line of all, after whatever went wrong.
pub fn run(args: &Args) -> ExitCode {
    let mut report = Report::default();
    let code = match run_all(args, &mut report) {
        Ok(()) if report.failed == 0 => ExitCode::SUCCESS,
        Ok(()) => ExitCode::from(Class::Node as u8),
        Err(error) => {
            report.failed += 1;
            fail::report(&error)
        }
    };
    if !report.failures.is_empty() {
        print!("\nWhat failed:\n{}", report.failures);
    }
    println!("{} passed, {} failed", report.passed, report.failed);
    code
}

fn run_all(args: &Args, report: &mut Report) -> Result<()> {
    crate::host::provide_for_tests()?;
    if !args.node_only {
        if args.filter.is_none() {
            host::run(report);
        }
        faces::run(args.filter.as_deref(), args.long, report)?;
    }
    if !args.host_only {
        let filter = args.filter.as_deref();
        let options = args.source.options();
        let wanted = |board: &str| args.board.as_deref().is_none_or(|only| only == board);
        if let Some(board) = &args.board {
            Board::read(board)?;
        }
        if wanted(board::DEFAULT) {
            let image = image::build(board::DEFAULT, &options)?;
            node_tests(&image, "", filter, report)?;
            faces::node::run(&image, filter, report)?;
            latency::run(&image, filter, report)?;
            captured::run(&image, filter, report)?;
            www::run(&image, filter, report)?;
            flood::run(&image, args.long, filter, report)?;
            policies::run(&image, filter, report)?;
            shells::run(&image, filter, report)?;
            density::run(&image, filter, report)?;
            if image.board.xen.version == tools::XEN {
                starts::run(&image, &options, filter, report)?;
                tools::run(&image, &options, filter, report)?;
            } else {
                println!("\nno node with Xen's tools, which are those of {}, for this Xen", tools::XEN);
            }
            linux::run(&image, &options, filter, report)?;
            if options.xen.is_none() {
                other_versions(&image, &options, filter, report)?;
            }
        }
        cards::run(&options, wanted, filter, report)?;
    }
    if report.passed + report.failed == 0 {
        return Err(Fail::new(Class::Input, "no test has that in its name"));
    }
    Ok(())
}

/// The tests of the node again, with every other version of Xen than that of `image`.
fn other_versions(
    image: &Image,
    options: &debian::Options,
    filter: Option<&str>,
    report: &mut Report,
) -> Result<()> {
    let board = &image.board;
    for version in board.packages.hypervisor.keys().filter(|version| **version != board.xen.version) {
        let prefix = format!("Xen {version}: ");
        if chosen(&prefix, filter).is_empty() {
            continue;
        }
        let options = debian::Options { xen: Some(version.clone()), ..options.clone() };
        let image = report
            .check_aloud(&format!("{prefix}the image is built"), || image::build(&board.name, &options));
        if let Some(image) = image {
            node_tests(&image, &prefix, filter, report)?;
        }
    }
    Ok(())
}

/// The tests whose names, with `prefix`, match.
fn chosen(prefix: &str, filter: Option<&str>) -> Vec<Test> {
    // In this order: what wants an idle node, what changes little, what fails on purpose, the killing of jitsud.
    let groups: [&[Test]; 7] = [
        &footprint::TESTS,
        &serving::TESTS,
        &control::TESTS,
        &watched::TESTS,
        &lifecycle::TESTS,
        &failures::TESTS,
        &restart::TESTS,
    ];
    groups.concat().into_iter().filter(|(name, _)| matches(&format!("{prefix}{name}"), filter)).collect()
}

/// `prefix` stands before the tests' names.
fn node_tests(image: &Image, prefix: &str, filter: Option<&str>, report: &mut Report) -> Result<()> {
    let tests = chosen(prefix, filter);
    if tests.is_empty() {
        return Ok(());
    }
    let token = token()?;
    let log = log_file(&format!("console-xen-{}.log", image.board.xen.version));
    println!("\nthe node in QEMU, with Xen {}; console: {}", image.board.xen.version, log.display());
    let spec = NodeSpec {
        start: Start::configured(image.clone(), config::with_token(&token), Vec::new()),
        icount: false,
        log: log.clone(),
        timeout: LIMIT,
    };
    let boots = format!("{prefix}the node boots");
    let Some(node) = report.check(&boots, || RunningNode::boot(spec)) else { return Ok(()) };
    node.frames_set_aside()?;
    let context = Context { image: image.clone(), node, token, note: RefCell::default() };
    let before = report.failed;
    for (name, test) in tests {
        report.check_noting(&format!("{prefix}{name}"), &context.note, || test(&context));
    }
    if report.failed > before {
        println!("\nlast lines of the console, {}:", log.display());
        println!("{}\n", context.node.last_lines(LAST_LINES));
    }
    Ok(())
}

fn matches(name: &str, filter: Option<&str>) -> bool {
    filter.is_none_or(|filter| name.contains(filter))
}

fn log_file(name: &str) -> PathBuf {
    paths::out("test").join(name)
}

impl Context {
    /// The node under test.
    fn node(&self) -> &RunningNode {
        &self.node
    }

    /// Shows a figure beside the running test's result.
    fn note(&self, figure: String) {
        self.note.replace(Some(figure));
    }

    /// Fails unless `page` is that of `service` in this very run.
    fn ensure_token(&self, service: &str, page: &str) -> Result<()> {
        let token = if service == "www" { self.token.clone() } else { format!("{service}-{}", self.token) };
        ensure!(page.contains(&token), "the page of {service} does not have the token {token}:\n{page}");
        Ok(())
    }

    /// Waits until the service, which ends soon when nobody asks for it, is off.
    fn await_off(&self, service: &str) -> Result<()> {
        let mark = self.node.mark();
        if self.node.status()?.service(service)?.state != "off" {
            self.node.await_state(mark, service, "off")?;
        }
        Ok(())
    }

    /// Fails unless www can be resolved and serves its page.
    fn ensure_www_serves(&self) -> Result<()> {
        let summoned = self.node.summon("www").context("while www must not be disturbed")?;
        self.ensure_token("www", &summoned.page.body)
    }
}

/// Counts, and prints a line for each test.
#[derive(Default)]
struct Report {
    passed: u32,
    failed: u32,
    /// What failed, and how, to be told again when everything else has scrolled by.
    failures: String,
}

impl Report {
    /// Runs a test; its value if it passes.
    fn check<T>(&mut self, name: &str, test: impl FnOnce() -> Result<T>) -> Option<T> {
        self.check_noting(name, &RefCell::default(), test)
    }

    /// As [`Report::check`], with the figure that the test leaves in `note`.
    fn check_noting<T>(
        &mut self,
        name: &str,
        note: &RefCell<Option<String>>,
        test: impl FnOnce() -> Result<T>,
    ) -> Option<T> {
        print!("{name} ... ");
        // So that it is seen while the test runs; a terminal that is gone is noticed by println.
        let _ = std::io::stdout().flush();
        let (begin, outcome) = (Instant::now(), test());
        self.conclude(name, begin, note.take(), outcome)
    }

    /// As [`Report::check`], for a test that prints lines of its own.
    fn check_aloud<T>(&mut self, name: &str, test: impl FnOnce() -> Result<T>) -> Option<T> {
        println!("{name}:");
        let (begin, outcome) = (Instant::now(), test());
        print!("{name} ... ");
        self.conclude(name, begin, None, outcome)
    }

    fn conclude<T>(
        &mut self,
        name: &str,
        begin: Instant,
        note: Option<String>,
        outcome: Result<T>,
    ) -> Option<T> {
        let took = format!("{:.2} s", begin.elapsed().as_secs_f64());
        let note = note.map_or(String::new(), |note| format!(", {note}"));
        match outcome {
            Ok(value) => {
                self.passed += 1;
                println!("ok ({took}{note})");
                Some(value)
            }
            Err(error) => {
                self.failed += 1;
                println!("FAILED ({took}{note})");
                let causes = error.chain().enumerate().map(|(depth, cause)| {
                    let indented = cause.to_string().replace('\n', "\n    ");
                    format!("    {}{indented}\n", if depth == 0 { "" } else { "because: " })
                });
                let causes: String = causes.collect();
                print!("{causes}");
                self.failures += &format!("{name} ... FAILED ({took}{note})\n{causes}");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_is_counted() {
        let mut report = Report::default();
        assert_eq!(report.check("good", || Ok(1)), Some(1));
        assert_eq!(report.check("bad", || -> Result<()> { anyhow::bail!("on purpose") }), None);
        assert_eq!((report.passed, report.failed), (1, 1));
        assert!(report.failures.starts_with("bad ... FAILED") && report.failures.contains("on purpose"));
    }

    #[test]
    fn filters_match_parts_of_names() {
        assert!(matches("a guest that crashes", Some("crash")));
        assert!(matches("anything", None));
        assert!(!matches("anything", Some("crash")));
    }
}
