//! The node's serial console: logged to a file, searched as it comes, typed into.

use crate::fail::{Class, Fail};
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Lines of the console shown with an error.
const TAIL: usize = 8;

pub struct Console {
    shared: Arc<Shared>,
    input: Mutex<ChildStdin>,
    reader: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Everything so far.
    bytes: Vec<u8>,
    /// Up to where earlier waits have looked.
    seen: usize,
    closed: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Console {
    /// Reads `output` until it ends, then calls `at_end`.
    pub fn start(
        input: ChildStdin,
        mut output: ChildStdout,
        log: &Path,
        at_end: impl FnOnce() + Send + 'static,
    ) -> Result<Self> {
        let mut log_file =
            File::create(log).with_context(|| format!("creating the console log {}", log.display()))?;
        let shared = Arc::new(Shared { state: Mutex::default(), changed: Condvar::new() });
        let writer = Arc::clone(&shared);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = output.read(&mut buffer) {
                // A full disk must not end the node; the text is in memory still.
                let _ = log_file.write_all(&buffer[..n]);
                writer.state().bytes.extend_from_slice(&buffer[..n]);
                writer.changed.notify_all();
            }
            writer.state().closed = true;
            writer.changed.notify_all();
            at_end();
        });
        Ok(Self { shared, input: Mutex::new(input), reader: Mutex::new(Some(reader)) })
    }

    /// See [`super::Qemu::wait_for`].
    pub fn wait_for(&self, text: &str, timeout: Duration) -> Result<String> {
        let found = self.wait_until(timeout, |state| {
            let at = find(&state.bytes[state.seen..], text.as_bytes())?;
            let (start, end) = (state.seen, state.seen + at + text.len());
            state.seen = end;
            Some(String::from_utf8_lossy(&state.bytes[start..end]).into_owned())
        });
        found.map_err(|(why, tail)| {
            Fail::new(
                Class::Node,
                format!("waiting for {text:?} on the node's console: {why}; it ends with:\n{tail}"),
            )
        })
    }

    /// Sleeps on the condition variable until `ready` says something, the output ends, or time is up.
    fn wait_until<T>(
        &self,
        timeout: Duration,
        mut ready: impl FnMut(&mut State) -> Option<T>,
    ) -> Result<T, (String, String)> {
        let deadline = Instant::now() + timeout;
        let mut state = self.shared.state();
        loop {
            if let Some(value) = ready(&mut state) {
                return Ok(value);
            }
            if state.closed {
                return Err(("the node ended".to_owned(), tail(&state.bytes)));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err((format!("nothing like it in {} s", timeout.as_secs()), tail(&state.bytes)));
            }
            (state, _) =
                self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// See [`super::Qemu::send_line`].
    pub fn send_line(&self, line: &str) -> Result<()> {
        let mut input = self.input.lock().unwrap_or_else(PoisonError::into_inner);
        let typed = input.write_all(format!("{line}\n").as_bytes()).and_then(|()| input.flush());
        typed.map_err(|e| Fail::new(Class::Node, format!("typing {line:?} into the node's console: {e}")))
    }

    /// Everything so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.shared.state().bytes).into_owned()
    }

    /// Waits for the reader, which ends with QEMU.
    pub fn join(&self) {
        let reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(reader) = reader {
            let _ = reader.join();
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn tail(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL)..]
        .iter()
        .map(|line| format!("    {}\n", line.trim_end()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Child, Command, Stdio};

    /// `cat`: what is typed comes back.
    fn echo(log: &Path) -> (Child, Console) {
        let mut child =
            Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("cat");
        let (input, output) = (child.stdin.take().expect("stdin"), child.stdout.take().expect("stdout"));
        (child, Console::start(input, output, log, || ()).expect("console"))
    }

    #[test]
    fn waits_follow_each_other_and_the_end_is_noticed() {
        let log = tempfile::NamedTempFile::new().expect("file");
        let (mut child, console) = echo(log.path());
        let limit = Duration::from_secs(20);
        console.send_line("first second").expect("typed");
        assert_eq!(console.wait_for("first", limit).expect("first"), "first");
        assert_eq!(console.wait_for("second\n", limit).expect("second"), " second\n");
        let error = console.wait_for("second", Duration::ZERO).expect_err("consumed");
        assert!(error.to_string().contains("first second"), "{error}");

        child.kill().expect("kill");
        child.wait().expect("wait");
        assert!(console.wait_for("third", limit).expect_err("ended").to_string().contains("the node ended"));
        console.join();
        assert_eq!(std::fs::read_to_string(log.path()).expect("log"), "first second\n");
    }
}
