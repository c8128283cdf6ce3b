//! `cargo xtask fuzz`: builds the fuzz targets of `fuzz/` with coverage, and runs them.
//!
//! The targets are cargo-fuzz's and work with it too. This needs neither cargo-fuzz nor a nightly toolchain: a
//! stable rustc can instrument for coverage, and the checks that matter here (bounds, arithmetic, assertions) are
//! rustc's own. What it leaves out is the address sanitizer.

use crate::fail::{Class, Fail};
use crate::host::{self, rust_std};
use crate::{paths, ui};
use anyhow::{Context, Result};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::Mutex;
use std::thread;

/// Coverage for libFuzzer, as cargo-fuzz 0.13 asks for it (`src/project.rs` there).
const FLAGS: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
];

/// What libFuzzer is told: most bytes of an input, most memory in MiB, and for how many seconds one input may take.
const LIMITS: [&str; 4] = ["-max_len=4096", "-rss_limit_mb=512", "-timeout=60", "-print_final_stats=1"];

/// For how many seconds a target runs where nobody says otherwise.
const SECONDS: u32 = 5;

/// Lines of a target's log shown with a finding.
const LAST_LINES: usize = 20;

/// Run the fuzz targets, each for a while, several at a time. A finding is a failure.
#[derive(clap::Args)]
#[command(after_help = "\
A target begins with the inputs in fuzz/seeds and with what earlier runs have left in fuzz/corpus. An input that is a
finding is kept in fuzz/artifacts; --input runs it again. Logs: out/fuzz.

Examples:
  cargo xtask fuzz                          # every target, 5 s each
  cargo xtask fuzz config dns --seconds 300 # two of them, 5 minutes each
  cargo xtask fuzz dns --input fuzz/artifacts/dns/crash-0123456789abcdef0123456789abcdef01234567")]
pub struct Args {
    /// Only these of the targets in fuzz/targets
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// For how many seconds each of them runs
    #[arg(long, default_value_t = SECONDS, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// How many run at a time [default: as many as there are processors]
    #[arg(long)]
    jobs: Option<NonZero<usize>>,
    /// Run one target with this input alone, once
    #[arg(long, value_name = "FILE", conflicts_with_all = ["seconds", "jobs"])]
    input: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<()> {
    host::provide_for_fuzzing()?;
    let targets = chosen(&args.targets)?;
    match (&args.input, targets.as_slice()) {
        (None, _) => run_all(&targets, args.seconds, args.jobs),
        (Some(input), [target]) => once(target, input),
        (Some(_), _) => Err(Fail::new(Class::Input, "an input belongs to one target; name it")),
    }
}

/// All targets, for a short while: what `cargo xtask test` has time for.
pub fn short() -> Result<()> {
    run_all(&chosen(&[])?, SECONDS, None)
}

/// The targets of these names, or all that there are.
fn chosen(names: &[String]) -> Result<Vec<String>> {
    let folder = paths::root().join("fuzz/targets");
    let mut there = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        let file = PathBuf::from(entry.with_context(|| format!("reading {}", folder.display()))?.file_name());
        if file.extension().is_some_and(|extension| extension == "rs") {
            there.extend(file.file_stem().map(|stem| stem.to_string_lossy().into_owned()));
        }
    }
    there.sort();
    match names.iter().find(|name| !there.contains(name)) {
        Some(unknown) => {
            let what = format!("there is no fuzz target {unknown}; there are {}", there.join(", "));
            Err(Fail::new(Class::Input, what))
        }
        None if names.is_empty() => Ok(there),
        None => Ok(names.to_vec()),
    }
}

/// Builds the targets; returns the folder of their executables.
fn build(targets: &[String]) -> Result<PathBuf> {
    ui::say("building the fuzz targets");
    let root = paths::root();
    let (host, target_dir) = (rust_std::host()?, root.join("target/fuzz"));
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command
        .args(["build", "--release", "--quiet", "--manifest-path"])
        .arg(root.join("fuzz/Cargo.toml"))
        // Named, so that the flags are not for build scripts and macros as well.
        .args(["--target", &host, "--target-dir"])
        .arg(&target_dir)
        .args(targets.iter().flat_map(|target| ["--bin", target]))
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    let status = command.status().with_context(|| format!("starting {command:?}"))?;
    if !status.success() {
        return Err(Fail::new(Class::Build, format!("building the fuzz targets: {status}, see above")));
    }
    Ok(target_dir.join(host).join("release"))
}

/// Runs one input, with everything that the target says about it on this terminal.
fn once(target: &str, input: &Path) -> Result<()> {
    // The target's own message would be about a test that it has passed.
    File::open(input).with_context(|| format!("opening input {}", input.display()))?;
    let mut command = Command::new(build(&[target.to_owned()])?.join(target));
    let status = command.args(LIMITS).arg(input).status().with_context(|| format!("starting {command:?}"))?;
    if status.success() {
        return Ok(());
    }
    Err(Fail::new(Class::Build, format!("{target} still has a finding with {}", input.display())))
}

/// Runs the targets, and prints a line for each that has passed.
fn run_all(targets: &[String], seconds: u32, jobs: Option<NonZero<usize>>) -> Result<()> {
    let programs = build(targets)?;
    let jobs = jobs.or_else(|| thread::available_parallelism().ok()).map_or(1, NonZero::get);
    let waiting: Mutex<VecDeque<&String>> = Mutex::new(targets.iter().collect());
    let next = || waiting.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).pop_front();
    let work = || {
        let mut findings = Vec::new();
        while let Some(target) = next() {
            match fuzz(&programs, target, seconds) {
                Ok(figures) => println!("  {target:<16}{figures}"),
                Err(error) => findings.push(format!("{error:#}")),
            }
        }
        findings
    };
    // The others go on: one finding hides no other.
    let findings: Vec<String> = thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker returns its errors")).collect()
    });
    if findings.is_empty() { Ok(()) } else { Err(Fail::new(Class::Build, findings.join("\n"))) }
}

/// Runs one target; returns its figures, for people.
fn fuzz(programs: &Path, target: &str, seconds: u32) -> Result<String> {
    let folder = paths::root().join("fuzz");
    let (corpus, artifacts) = (folder.join("corpus").join(target), folder.join("artifacts").join(target));
    for folder in [&corpus, &artifacts] {
        paths::create_dir(folder)?;
    }
    let log = paths::out("fuzz").join(format!("{target}.log"));
    paths::write_atomic(&log, b"")?;
    let said =
        File::options().append(true).open(&log).with_context(|| format!("opening {}", log.display()))?;
    let mut command = Command::new(programs.join(target));
    command
        .args(LIMITS)
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/", artifacts.display()));
    let dictionary = folder.join(format!("dictionaries/{target}.dict"));
    if dictionary.is_file() {
        command.arg(format!("-dict={}", dictionary.display()));
    }
    // What is new goes into the first of the folders.
    command.arg(corpus).arg(folder.join("seeds").join(target));
    command.stdout(said.try_clone().context("sharing a log")?).stderr(said);
    let status = command.status().with_context(|| format!("starting {command:?}"))?;
    let log = fs::read(&log).with_context(|| format!("reading {}", log.display()))?;
    verdict(target, status, &String::from_utf8_lossy(&log))
}

/// What a run came to.
fn verdict(target: &str, status: ExitStatus, log: &str) -> Result<String> {
    let field = |name: &str| log.rsplit_once(name).and_then(|(_, rest)| rest.split_whitespace().next());
    let inputs = field("stat::number_of_executed_units:").and_then(|number| number.parse::<u64>().ok());
    let edges = field(" cov:").and_then(|number| number.parse::<u64>().ok());
    // A target that has tried nothing has shown nothing.
    if status.success()
        && let (Some(inputs @ 1..), Some(edges @ 1..)) = (inputs, edges)
    {
        return Ok(format!("{inputs:>10} inputs {edges:>6} edges"));
    }
    let lines: Vec<&str> = log.lines().collect();
    let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n    ");
    let again = match log.rsplit_once("Test unit written to ") {
        Some((_, file)) => {
            let file = file.lines().next().unwrap_or_default();
            format!("; again with\n\n    cargo xtask fuzz {target} --input {file}\n")
        }
        None => String::new(),
    };
    Err(Fail::new(
        Class::Build,
        format!("fuzz target {target}: {status}, the last lines of its log:\n    {last}\n{again}"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn a_run_is_good_when_inputs_were_tried() {
        let log = "#2\tINITED cov: 5 ft: 6\n#812\tDONE   cov: 4213 ft: 10546 corp: 1/2b\n\
                   stat::number_of_executed_units: 812\nstat::peak_rss_mb: 35\n";
        let good = verdict("x", ExitStatus::from_raw(0), log).expect("a good run");
        assert_eq!(good.split_whitespace().collect::<Vec<_>>(), ["812", "inputs", "4213", "edges"]);
        assert!(verdict("x", ExitStatus::from_raw(0), "").is_err());
        assert!(verdict("x", ExitStatus::from_raw(0), &log.replace("cov: ", "cov: 0 ")).is_err());
    }

    #[test]
    fn a_finding_can_be_run_again() {
        let log = "panicked\n Test unit written to fuzz/artifacts/x/crash-1\nBase64: AA==\n";
        let finding = verdict("x", ExitStatus::from_raw(77 << 8), log).expect_err("a finding").to_string();
        assert!(finding.contains("panicked"), "{finding}");
        assert!(finding.contains("cargo xtask fuzz x --input fuzz/artifacts/x/crash-1\n"), "{finding}");
    }

    #[test]
    fn targets_are_found_and_unknown_ones_refused() {
        let all = chosen(&[]).expect("the targets");
        assert!(all.iter().any(|target| target == "xenstore_ring"));
        // Each is built: cargo-fuzz wants them named.
        let manifest = fs::read_to_string(paths::root().join("fuzz/Cargo.toml")).expect("its manifest");
        for target in &all {
            assert!(manifest.contains(&format!("path = \"targets/{target}.rs\"")), "{target}");
        }
        assert!(chosen(&["nonsense".to_owned()]).is_err());
    }
}
