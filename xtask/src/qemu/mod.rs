//! The node in QEMU, supervised: started, watched, talked to, and always stopped.
//!
//! Nothing here polls: the console is read by a thread that wakes whoever waits for a text; QEMU's monitor
//! connects to a socket of ours; a watchdog ends a node that outlives its time. Only the child that was
//! started here is ever killed, and it is reaped on every path.

mod command;
mod console;
mod forward;
mod monitor;
mod start;

pub use command::{Console as ConsoleKind, arguments};
pub use forward::{Forward, Protocol};
pub use monitor::{Executed, Monitor};
pub use start::{Start, copy_of_card};

use crate::fail::{Class, Fail};
use crate::paths;
use anyhow::{Context, Result};
use console::Console;
use std::fs::{self, File};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How to boot a node.
pub struct BootSpec {
    /// What to boot.
    pub start: Start,
    /// Make virtual time a count of instructions, 1 ns each, and skip idle time: figures repeat.
    pub icount: bool,
    /// Where the console is logged; kept.
    pub log: PathBuf,
    /// The node is killed when it runs longer than this (wall time).
    pub timeout: Duration,
}

/// How long QEMU may take to open its monitor: it does so before it runs the machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running node.
pub struct Qemu {
    child: Arc<Mutex<Child>>,
    console: Console,
    started: Instant,
    monitor: Mutex<Monitor>,
    log: PathBuf,
    /// What QEMU writes to its standard error.
    complaints: PathBuf,
    /// Dropping it ends the watchdog.
    watchdog: Option<(Sender<()>, JoinHandle<()>)>,
    /// Whether the watchdog has ended the node.
    overdue: Arc<AtomicBool>,
    timeout: Duration,
    /// The initramfs with extra files, the monitor's socket, QEMU's standard error.
    _directory: TempDir,
}

/// What happens first.
enum First {
    Monitor(std::io::Result<Monitor>),
    Exited,
}

impl Qemu {
    /// Starts the node; returns once QEMU runs. The thread that starts a node must live as long as it:
    /// the kernel kills QEMU when that thread is gone, so that no node outlives an xtask that was killed.
    pub fn start(spec: &BootSpec) -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("jitsu-qemu-")
            .tempdir()
            .context("creating a temporary directory")?;
        let socket = directory.path().join("monitor");
        let listener =
            UnixListener::bind(&socket).with_context(|| format!("listening on {}", socket.display()))?;
        if let Some(parent) = spec.log.parent() {
            paths::create_dir(parent)?;
        }

        let console_kind = ConsoleKind::Supervised { monitor: &socket };
        let arguments = arguments(&spec.start, spec.icount, &console_kind, directory.path())?;
        let complaints = directory.path().join("stderr");
        let stderr =
            File::create(&complaints).with_context(|| format!("creating {}", complaints.display()))?;
        let started = Instant::now();
        let mut child =
            command(&arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr).spawn().map_err(
                |e| Fail::new(Class::Host, format!("starting qemu-system-arm: {e}; try `cargo xtask setup`")),
            )?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        let (input, output) = input.zip(output).context("QEMU has no console")?;

        let (events, first) = channel();
        let at_exit = events.clone();
        let console = Console::start(input, output, &spec.log, move || {
            // Nobody listens any more once the start is over.
            let _ = at_exit.send(First::Exited);
        });
        let child = Arc::new(Mutex::new(child));
        let acceptor = std::thread::spawn(move || {
            let monitor = listener.accept().and_then(|(stream, _)| Monitor::new(stream));
            let _ = events.send(First::Monitor(monitor));
        });
        let overdue = Arc::new(AtomicBool::new(false));
        let outcome = console.and_then(|console| Ok((console, monitor(&first, &socket, acceptor)?)));
        match outcome {
            Ok((console, monitor)) => Ok(Self {
                watchdog: Some(watchdog(Arc::clone(&child), spec.timeout, Arc::clone(&overdue))),
                overdue,
                timeout: spec.timeout,
                child,
                console,
                started,
                monitor: Mutex::new(monitor),
                log: spec.log.clone(),
                complaints,
                _directory: directory,
            }),
            Err(error) => {
                end(&child);
                Err(error
                    .context(format!("starting the node: qemu-system-arm says: {}", text_of(&complaints))))
            }
        }
    }

    /// Waits until the console has shown `text` after what an earlier wait ended with. Returns what came
    /// up to and including it.
    pub fn wait_for(&self, text: &str, timeout: Duration) -> Result<String> {
        self.console.wait_for(text, timeout).map_err(|error| self.blame(error))
    }

    /// Types a line into the console's shell. Xen keeps 128 characters for a domain that does not read,
    /// and drops what is more: longer lines belong into a script among the extra files.
    pub fn send_line(&self, line: &str) -> Result<()> {
        self.console.send_line(line).map_err(|error| self.blame(error))
    }

    /// One more way in from this host.
    pub fn forward(&self, forward: &Forward) -> Result<()> {
        let mut monitor = self.monitor.lock().unwrap_or_else(PoisonError::into_inner);
        monitor.forward(forward).map_err(|error| self.blame(error))
    }

    /// What the machine has executed until now, in instruction time.
    pub fn executed(&self) -> Result<Executed> {
        let mut monitor = self.monitor.lock().unwrap_or_else(PoisonError::into_inner);
        monitor.executed().map_err(|error| self.blame(error))
    }

    /// When QEMU was started.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Everything on the console so far.
    pub fn console_text(&self) -> String {
        self.console.text()
    }

    fn blame(&self, error: anyhow::Error) -> anyhow::Error {
        let error = match self.overdue.load(Ordering::SeqCst) {
            true => error.context(format!("the node was ended: its {} s were over", self.timeout.as_secs())),
            false => error,
        };
        let error = error.context(format!("the node failed; its console is in {}", self.log.display()));
        match text_of(&self.complaints) {
            text if text.is_empty() => error,
            text => error.context(format!("qemu-system-arm says: {text}")),
        }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.watchdog.take() {
            drop(stop);
            let _ = thread.join();
        }
        end(&self.child);
        self.console.join();
    }
}

/// QEMU as a child that dies with the thread that starts it (util-linux's setpriv, on every Debian).
pub fn command(arguments: &[String]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", crate::host::QEMU]).args(arguments);
    command
}

/// The monitor's connection, unless QEMU ends before it makes one.
fn monitor(first: &Receiver<First>, socket: &Path, acceptor: JoinHandle<()>) -> Result<Monitor> {
    let failure = match first.recv_timeout(START_LIMIT) {
        Ok(First::Monitor(Ok(monitor))) => return Ok(monitor),
        Ok(First::Monitor(Err(e))) => {
            return Err(Fail::new(Class::Node, format!("talking to QEMU's monitor: {e}")));
        }
        Ok(First::Exited) => "QEMU ended at once".to_owned(),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            format!("QEMU did not open its monitor in {} s", START_LIMIT.as_secs())
        }
    };
    // Lets the acceptor go: it needs some connection to return.
    drop(std::os::unix::net::UnixStream::connect(socket));
    let _ = acceptor.join();
    Err(Fail::new(Class::Node, failure))
}

fn watchdog(
    child: Arc<Mutex<Child>>,
    timeout: Duration,
    overdue: Arc<AtomicBool>,
) -> (Sender<()>, JoinHandle<()>) {
    let (stop, stopped) = channel();
    let thread = std::thread::spawn(move || {
        if stopped.recv_timeout(timeout) == Err(RecvTimeoutError::Timeout) {
            overdue.store(true, Ordering::SeqCst);
            end(&child);
        }
    });
    (stop, thread)
}

/// Kills and reaps; both are harmless on a child that has been reaped.
fn end(child: &Mutex<Child>) {
    let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = child.kill();
    let _ = child.wait();
}

/// What QEMU has complained about; what can be read of it is good enough for a message. Machines may have more
/// network cards than are connected, which QEMU mentions.
fn text_of(complaints: &Path) -> String {
    let text = fs::read(complaints).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.ends_with("has no peer")).collect();
    lines.join("\n").trim().to_owned()
}
