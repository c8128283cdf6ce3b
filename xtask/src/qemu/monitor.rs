//! QEMU's machine protocol (QMP), as far as it is needed: running commands of the human monitor.
//! See docs/interop/qmp-spec.rst in QEMU.

use super::Forward;
use super::command::NETWORK;
use crate::fail::{Class, Fail};
use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// QEMU answers at once, but a busy host may not let it.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

pub struct Monitor {
    stream: BufReader<UnixStream>,
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
