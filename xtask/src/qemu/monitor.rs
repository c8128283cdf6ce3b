//! QEMU's machine protocol (QMP), as far as it is needed: running commands of the human monitor, and reading how many
//! instructions the machine has executed.
//! See docs/interop/qmp-spec.rst in QEMU.

use super::Forward;
use super::command::NETWORK;
use crate::fail::{Class, Fail};
use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// QEMU answers at once, but a busy host may not let it.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

pub struct Monitor {
    stream: BufReader<UnixStream>,
}

/// What a machine has executed, and when that was.
#[derive(Clone, Copy, Debug)]
pub struct Executed {
    /// Instructions since it was started, the hypervisor's included.
    pub instructions: u64,
    /// How far its virtual time is behind the time that it has been running, in milliseconds; less than nothing when
    /// idle time was skipped.
    behind_ms: i64,
    /// By this host's clock, it stood still from here
    stopped: Instant,
    /// to here.
    continued: Instant,
}

impl Executed {
    /// Virtual time from an earlier reading to this one. It is exact to some milliseconds.
    pub fn virtual_time_since(&self, earlier: &Executed) -> Duration {
        let ran = self.stopped.duration_since(earlier.continued).as_millis() as i64;
        let ahead = earlier.behind_ms - self.behind_ms;
        Duration::from_millis(u64::try_from(ran + ahead).unwrap_or_default())
    }
}

/// How far virtual time is behind, in what `info jit` prints.
fn behind(printed: &str) -> Option<i64> {
    let line = printed.lines().find_map(|line| line.strip_prefix("Host - Guest clock"))?;
    line.trim().strip_suffix("ms")?.trim().parse().ok()
}

/// A message from QEMU. Events and the greeting have none of these fields.
#[derive(Deserialize)]
struct Message {
    #[serde(rename = "return")]
    returned: Option<Value>,
    error: Option<QmpError>,
}

#[derive(Deserialize)]
struct QmpError {
    desc: String,
}

impl Monitor {
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        let mut monitor = Self { stream: BufReader::new(stream) };
        monitor.execute(&json!({ "execute": "qmp_capabilities" }))?;
        Ok(monitor)
    }

    /// Runs a command of the human monitor; returns what it prints.
    pub fn command(&mut self, command: &str) -> Result<String> {
        let request = json!({ "execute": "human-monitor-command", "arguments": { "command-line": command } });
        let answer =
            self.execute(&request).with_context(|| format!("QEMU's monitor, command {command:?}"))?;
        answer.as_str().map(str::to_owned).ok_or_else(|| {
            Fail::new(Class::Node, format!("QEMU's monitor, command {command:?}: unexpected answer {answer}"))
        })
    }

    /// One more way in from this host.
    pub fn forward(&mut self, forward: &Forward) -> Result<()> {
        let said = self.command(&format!("hostfwd_add {NETWORK} {}", forward.rule()))?;
        if said.trim().is_empty() {
            return Ok(());
        }
        Err(Fail::new(Class::Host, format!("forwarding {}: {}", forward.rule(), said.trim())))
    }

    /// What the machine has executed until now. It stands still while it is read.
    ///
    /// # Errors
    /// When QEMU does not tell: it does not count without `-icount`.
    pub fn executed(&mut self) -> Result<Executed> {
        let mut reading = || -> Result<Executed> {
            self.execute(&json!({ "execute": "stop" }))?;
            let stopped = Instant::now();
            let replay = self.execute(&json!({ "execute": "query-replay" }))?;
            let drift = self.command("info jit")?;
            let instructions = replay["icount"].as_u64().context("query-replay has no icount")?;
            let behind_ms = behind(&drift).with_context(|| format!("no clocks in {drift:?}"))?;
            self.execute(&json!({ "execute": "cont" }))?;
            Ok(Executed { instructions, behind_ms, stopped, continued: Instant::now() })
        };
        reading().context("reading QEMU's count of instructions")
    }

    fn execute(&mut self, request: &Value) -> io::Result<Value> {
        self.stream.get_mut().write_all(format!("{request}\n").as_bytes())?;
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match serde_json::from_str(&line)? {
                Message { error: Some(error), .. } => return Err(io::Error::other(error.desc)),
                Message { returned: Some(value), .. } => return Ok(value),
                Message { .. } => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_time_is_the_hosts_and_what_it_is_ahead() {
        let printed = "[TCG profiler not compiled]\r\nHost - Guest clock  -593719 ms\r\n";
        assert_eq!(behind(printed), Some(-593_719));
        assert_eq!(behind("nothing"), None);
        let begin = Instant::now();
        let at = |ms, behind_ms| {
            let stopped = begin + Duration::from_millis(ms);
            Executed { instructions: 0, behind_ms, stopped, continued: stopped + Duration::from_millis(7) }
        };
        // For 3 s in all, of which it stood still for 7 ms, while it skipped 596.849 s.
        let span = at(6810, -593_719).virtual_time_since(&at(3810, 3130));
        assert_eq!(span, Duration::from_millis(2993 + 596_849));
    }

    #[test]
    fn events_are_skipped_and_errors_reported() {
        let (ours, theirs) = UnixStream::pair().expect("pair");
        let qemu = std::thread::spawn(move || {
            let mut stream = BufReader::new(theirs);
            let mut say = |answers: &[&str]| {
                let mut request = String::new();
                stream.read_line(&mut request).expect("request");
                for answer in answers {
                    stream.get_mut().write_all(format!("{answer}\r\n").as_bytes()).expect("answer");
                }
                request
            };
            say(&[r#"{"QMP": {"version": {}}}"#, r#"{"return": {}}"#]);
            let request = say(&[r#"{"event": "RESUME"}"#, r#"{"return": "done"}"#]);
            assert!(request.contains("hostfwd_add"));
            say(&[r#"{"error": {"class": "GenericError", "desc": "no such thing"}}"#]);
        });
        let mut monitor = Monitor::new(ours).expect("greeting");
        assert_eq!(monitor.command("hostfwd_add x").expect("answer"), "done");
        let error = monitor.command("nonsense").expect_err("error");
        assert!(format!("{error:#}").contains("no such thing"), "{error:#}");
        qemu.join().expect("qemu");
    }
}
