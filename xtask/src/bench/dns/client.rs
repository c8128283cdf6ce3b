//! dnsperf: what it is told, and what it says.

use crate::host::unpacked::Unpacked;
use anyhow::{Context, Result, ensure};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

/// Questions under way at a time.
const OUTSTANDING: u32 = 100;

/// Sockets, each with a port of its own.
const CLIENTS: u32 = 8;

/// The client.
pub struct Client<'a> {
    /// Where it is.
    pub unpacked: &'a Unpacked,
    /// Its file of questions.
    pub questions: &'a Path,
    /// Where it runs, if that is said.
    pub processor: Option<usize>,
}

/// What a flood came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// Answers in all,
    pub answers: u64,
    /// and in a second.
    pub answers_per_second: u64,
    /// Questions without one.
    pub lost: u64,
}

impl Client<'_> {
    /// Asks as much as can be answered.
    ///
    /// # Errors
    /// When anything but addresses is answered.
    pub fn flood(&self, server: SocketAddr, seconds: u32) -> Result<Run> {
        read(&self.run(server, seconds, &[])?)
    }

    /// Asks so much a second; how long each answer took, in microseconds.
    ///
    /// # Errors
    /// As for [`Self::flood`].
    pub fn latencies(&self, server: SocketAddr, per_second: u32, seconds: u32) -> Result<Vec<u64>> {
        let text = self.run(server, seconds, &["-v", "-Q", &per_second.to_string()])?;
        let latencies: Vec<u64> = text.lines().filter_map(latency).collect();
        let run = read(&text)?;
        ensure!(
            latencies.len() as u64 == run.answers,
            "{} times for {} answers",
            latencies.len(),
            run.answers
        );
        Ok(latencies)
    }

    fn run(&self, server: SocketAddr, seconds: u32, more: &[&str]) -> Result<String> {
        let mut command: Command = self.unpacked.command("dnsperf", self.processor)?;
        command.args(["-s", &server.ip().to_string(), "-p", &server.port().to_string()]);
        command.args([
            "-l",
            &seconds.to_string(),
            "-q",
            &OUTSTANDING.to_string(),
            "-c",
            &CLIENTS.to_string(),
        ]);
        command.arg("-d").arg(self.questions).args(more);
        let output = command.output().with_context(|| format!("starting {command:?}"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{command:?}: {}\n{text}", output.status);
        Ok(text)
    }
}

/// Reads what dnsperf says at its end.
fn read(text: &str) -> Result<Run> {
    let figure = |name: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next());
        let number = number.and_then(|number| number.parse::<f64>().ok());
        number.with_context(|| format!("dnsperf does not say {name:?}:\n{text}"))
    };
    let answers = figure("Queries completed:")? as u64;
    let codes = text.lines().find_map(|line| line.trim().strip_prefix("Response codes:")).unwrap_or_default();
    let all_good = format!("NOERROR {answers} (100.00%)");
    ensure!(answers > 0 && codes.trim() == all_good, "not all is answered with addresses: {codes}");
    let answers_per_second = figure("Queries per second:")? as u64;
    Ok(Run { answers, answers_per_second, lost: figure("Queries lost:")? as u64 })
}

/// Of a line about one answer, in microseconds: `> NOERROR s1.jitsu.test A 0.000123`.
fn latency(line: &str) -> Option<u64> {
    let seconds: f64 = line.strip_prefix("> NOERROR ")?.rsplit(' ').next()?.parse().ok()?;
    Some((seconds * 1e6).round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "> NOERROR s1.jitsu.test A 0.000123\nStatistics:\n\n  Queries sent:         444877\n  \
        Queries completed:    444877 (100.00%)\n  Queries lost:         3 (0.00%)\n\n  \
        Response codes:       NOERROR 444877 (100.00%)\n  Queries per second:   148260.506745\n";

    #[test]
    fn what_it_says() {
        let run = Run { answers: 444_877, answers_per_second: 148_260, lost: 3 };
        assert_eq!(read(SAID).expect("all is well"), run);
        assert_eq!(SAID.lines().filter_map(latency).collect::<Vec<_>>(), [123]);
    }

    #[test]
    fn other_answers_do_not_count() {
        let mixed = "NOERROR 444876 (99.99%), SERVFAIL 1 (0.01%)";
        assert!(read(&SAID.replace("NOERROR 444877 (100.00%)", mixed)).is_err());
        assert!(read(&SAID.replace("444877", "0")).is_err());
        assert!(read("").is_err());
    }
}
