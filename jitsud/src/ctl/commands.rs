//! The commands, and how their results are shown.

use std::io::{self, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::client::Client;
use super::paint::{Paint, Tone};
use super::table::{Table, duration, mib, uptime};
use super::{Failure, Range};
use crate::config::{self, Findings, LogLevel, Problem};
use crate::control::protocol::{Command, ErrorKind, From, Reply};
use crate::logging::Line;
use crate::schema::{EventStatus, NodeStatus, ServiceStatus};

/// How results are shown.
#[derive(Clone, Copy, Debug)]
pub struct Out {
    /// As JSON.
    pub json: bool,
    /// In colours.
    pub paint: Paint,
}

/// Lines of a console in `show`; `logs NAME` has the others.
const CONSOLE_LINES: usize = 10;

/// Events shown by `top`.
const TOP_EVENTS: usize = 8;

impl std::convert::From<&Range> for From {
    fn from(range: &Range) -> Self {
        From { after: 0, last: range.lines, follow: range.follow }
    }
}

/// The node, as it is now.
fn status(client: &mut Client) -> Result<NodeStatus, Failure> {
    let mut status = None;
    client.ask(Command::Status { follow: false }, |reply| {
        if let Reply::Status(now) = reply {
            status = Some(*now);
        }
        Ok(())
    })?;
    status.ok_or_else(|| Failure::NoDaemon("the daemon does not say how it is".to_owned()))
}

fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

impl Out {
    fn print(self, value: &impl Serialize) -> Result<(), Failure> {
        Ok(say(&serde_json::to_string_pretty(value).map_err(io::Error::from)?)?)
    }

    fn print_line(self, value: &impl Serialize) -> Result<(), Failure> {
        Ok(say(&serde_json::to_string(value).map_err(io::Error::from)?)?)
    }

    pub fn list(self, client: &mut Client) -> Result<(), Failure> {
        let status = status(client)?;
        if self.json {
            return self.print(&status.services);
        }
        self.services(&status).iter().try_for_each(|line| say(line))?;
        self.problems(&status.problems, io::stderr())
    }

    /// The services as a table.
    fn services(self, status: &NodeStatus) -> Vec<String> {
        let heading =
            ["NAME", "STATE", "SINCE", "ADDRESS", "MEMORY", "STARTS", "REQUESTS", "FAILURES", "LAST START"];
        let mut table = Table::new(&heading);
        for service in &status.services {
            table.row(vec![
                service.name.clone(),
                service.state.clone(),
                duration(status.now_ns.saturating_sub(service.since_ns)),
                service.address.to_string(),
                format!("{} MiB", service.memory_mib),
                service.starts.to_string(),
                service.requests.to_string(),
                service.failures.to_string(),
                last_start(service).unwrap_or_default(),
            ]);
        }
        table.lines(self.paint, 1)
    }

    fn problems(self, problems: &[Problem], mut to: impl Write) -> Result<(), Failure> {
        for problem in problems {
            writeln!(to, "{}", self.paint.tone(Tone::Bad, &problem.to_string()))?;
        }
        Ok(())
    }

    pub fn show(self, client: &mut Client, name: &str) -> Result<(), Failure> {
        let status = status(client)?;
        let Some(service) = status.services.iter().find(|service| service.name == name) else {
            let left_out: Vec<_> = status
                .problems
                .into_iter()
                .filter(|problem| problem.service.as_deref() == Some(name))
                .collect();
            self.problems(&left_out, io::stderr())?;
            let what = if left_out.is_empty() { "is none of the services" } else { "is left out" };
            return Err(Failure::Refused(ErrorKind::NotFound, format!("{name} {what}")));
        };
        if self.json {
            return self.print(service);
        }
        self.describe(service, status.now_ns)
    }

    fn describe(self, service: &ServiceStatus, now: u64) -> Result<(), Failure> {
        let row = |key: &str, value: &str| say(&format!("{:<14}{value}", format!("{key}:")));
        let ago = |at: u64| format!("{} ago", duration(now.saturating_sub(at)));
        row("service", &self.paint.tone(Tone::Heading, &service.name))?;
        let since = duration(now.saturating_sub(service.since_ns));
        row("state", &format!("{} since {since}", self.paint.state(&service.state, &service.state)))?;
        if let Some(reason) = &service.reason {
            row("because", &self.paint.tone(Tone::Bad, reason))?;
        }
        if let Some(at) = service.retry_at_ns {
            row("next try", &format!("in {}, or when it is started", duration(at.saturating_sub(now))))?;
        }
        if let Some(domid) = service.domid {
            row("domain", &domid.to_string())?;
        }
        row("started by", &service.start)?;
        row("names", &service.dns.join(", "))?;
        row("address", &service.address.to_string())?;
        row("memory", &format!("{} MiB", service.memory_mib))?;
        let (starts, failures) = (service.starts, service.failures);
        row("counts", &format!("{starts} starts, {failures} failures, {} requests", service.requests))?;
        if let Some(at) = service.last_request_ns {
            row("last request", &ago(at))?;
        }
        if let Some(at) = service.last_packet_ns {
            row("last packet", &ago(at))?;
        }
        row("connections", &service.open_connections.to_string())?;
        if let Some(at) = service.idle_at_ns {
            row("idle", &format!("is looked at in {}", duration(at.saturating_sub(now))))?;
        }
        if let Some(at) = service.ends_at_ns {
            row("ends", &format!("in {}", duration(at.saturating_sub(now))))?;
        }
        if !service.last_start.is_empty() {
            say("last start:")?;
        }
        for stage in &service.last_start {
            say(&format!("  {:<18}{:>12.3} ms", stage.stage, stage.after_ns as f64 / 1e6))?;
        }
        let lines = &service.console[service.console.len().saturating_sub(CONSOLE_LINES)..];
        if !lines.is_empty() {
            say("console:")?;
        }
        Ok(lines.iter().try_for_each(|line| say(&format!("  {line}")))?)
    }

    pub fn start(self, client: &mut Client, services: &[String]) -> Result<(), Failure> {
        self.each(client, services, |service| Command::Start { service })
    }

    pub fn stop(self, client: &mut Client, services: &[String]) -> Result<(), Failure> {
        self.each(client, services, |service| Command::Stop { service })
    }

    /// Orders something of each service. All are tried; the first failure counts.
    fn each(
        self,
        client: &mut Client,
        services: &[String],
        command: impl Fn(String) -> Command,
    ) -> Result<(), Failure> {
        let mut failed = None;
        for name in services {
            let mut last: Option<ServiceStatus> = None;
            let outcome = client.ask(command(name.clone()), |reply| {
                if let Reply::Service(service) = reply {
                    last = Some(*service);
                }
                Ok(())
            });
            match (&last, self.json) {
                (Some(service), true) => self.print_line(service)?,
                (Some(service), false) => {
                    let state = self.paint.state(&service.state, &service.state);
                    let took = last_start(service).filter(|_| service.state == "ready");
                    let took = took.map_or(String::new(), |took| format!(" ({took})"));
                    say(&format!("{name} is {state}, {}{took}", service.address))?;
                }
                (None, _) => {}
            }
            match outcome {
                Ok(()) => {}
                Err(failure) if services.len() > 1 => {
                    eprintln!("jitsuctl: {failure}");
                    failed.get_or_insert(failure);
                }
                Err(failure) => return Err(failure),
            }
        }
        match failed {
            None => Ok(()),
            Some(Failure::Refused(kind, _)) => {
                Err(Failure::Refused(kind, "not all of them could be done".to_owned()))
            }
            Some(failure) => Err(failure),
        }
    }

    pub fn logs(self, client: &mut Client, from: From) -> Result<(), Failure> {
        client.ask(Command::Logs(from), |reply| self.stream(reply))
    }

    pub fn said(self, client: &mut Client, service: &str, from: From) -> Result<(), Failure> {
        client.ask(Command::Console { service: service.to_owned(), from }, |reply| self.stream(reply))
    }

    pub fn events(self, client: &mut Client, from: From) -> Result<(), Failure> {
        client.ask(Command::Events(from), |reply| self.stream(reply))
    }

    /// One of many.
    fn stream(self, reply: Reply) -> Result<(), Failure> {
        match reply {
            Reply::Line(line) if self.json => self.print_line(&line),
            Reply::Line(line) => Ok(say(&self.line(&line))?),
            Reply::Said(said) if self.json => self.print_line(&said),
            Reply::Said(said) => Ok(say(&said.text)?),
            Reply::Event(event) if self.json => self.print_line(&event),
            Reply::Event(event) => Ok(say(&self.event(&event))?),
            Reply::Lost { count } => {
                eprintln!("jitsuctl: {count} lines are lost");
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn line(self, line: &Line) -> String {
        let level = format!("{:<5}", line.level);
        let level = match line.level {
            LogLevel::Error => self.paint.tone(Tone::Bad, &level),
            LogLevel::Warn => self.paint.tone(Tone::Busy, &level),
            LogLevel::Info => level,
            LogLevel::Debug => self.paint.tone(Tone::Quiet, &level),
        };
        format!("{} {level} {line}", uptime(line.at_ns))
    }

    fn event(self, event: &EventStatus) -> String {
        let EventStatus { at_ns, service, from, to, why, .. } = event;
        format!("{} {service}: {from} → {}: {why}", uptime(*at_ns), self.paint.state(to, to))
    }

    pub fn reload(self, socket: &Path, file: Option<&Path>) -> Result<(), Failure> {
        let file = file.map(readable).transpose()?;
        let mut problems = Vec::new();
        let mut client = Client::connect(socket)?;
        let before = status(&mut client)?.boot.jitsud_started_ns;
        let outcome = client.ask(Command::Reload { file }, |reply| {
            if let Reply::Problem(problem) = reply {
                problems.push(problem);
            }
            Ok(())
        });
        if self.json {
            self.print(&serde_json::json!({ "reloaded": outcome.is_ok(), "problems": problems }))?;
        } else {
            self.problems(&problems, io::stdout())?;
        }
        outcome?;
        client.end()?;
        // Its socket stays open, and it answers when it is there again.
        let status = status(&mut Client::connect(socket)?)?;
        if status.boot.jitsud_started_ns == before {
            let message = "the daemon cannot begin anew, and goes on as before; jitsuctl logs says why";
            return Err(Failure::Refused(ErrorKind::Failed, message.to_owned()));
        }
        if !self.json {
            let running = status.services.iter().filter(|service| service.domid.is_some()).count();
            say(&format!("{} services, {running} of them running", status.services.len()))?;
        }
        Ok(())
    }

    pub fn check(self, file: &Path) -> Result<(), Failure> {
        let on_node = Path::new(crate::control::protocol::SOCKET).exists();
        let Findings { problems, unseen } = config::check(file, on_node);
        if self.json {
            self.print(&serde_json::json!({ "problems": problems, "unseen": unseen }))?;
        } else {
            self.problems(&problems, io::stdout())?;
            for path in &unseen {
                eprintln!("jitsuctl: {} is not here, and was not looked at", path.display());
            }
        }
        match problems.len() {
            0 if self.json => Ok(()),
            0 => Ok(say(&format!("{}: no mistakes", file.display()))?),
            1 => Err(Failure::Mistakes(format!("{} has a mistake", file.display()))),
            number => Err(Failure::Mistakes(format!("{} has {number} mistakes", file.display()))),
        }
    }

    pub fn top(self, client: &mut Client) -> Result<(), Failure> {
        // A picture that is drawn over makes no sense in a file.
        let redraw = io::stdout().is_terminal() && !self.json;
        let follow = redraw || self.json;
        client.ask(Command::Status { follow }, |reply| {
            let Reply::Status(status) = reply else { return Ok(()) };
            if self.json {
                return self.print_line(&status);
            }
            let mut picture = self.picture(&status).join("\n");
            if redraw {
                // To the corner; what is longer from before is wiped away.
                picture = format!("\x1b[H{}\x1b[K\n\x1b[J", picture.replace('\n', "\x1b[K\n"));
            } else {
                picture.push('\n');
            }
            io::stdout().write_all(picture.as_bytes())?;
            Ok(io::stdout().flush()?)
        })
    }

    fn picture(self, status: &NodeStatus) -> Vec<String> {
        let running = status.services.iter().filter(|service| service.domid.is_some()).count();
        let memory = match (status.xen.free_bytes, status.xen.total_bytes) {
            (Some(free), Some(total)) => format!(", {} of {} free", mib(free), mib(total)),
            _ => String::new(),
        };
        let own =
            status.resources.resident_bytes.map_or(String::new(), |bytes| format!(", jitsud {}", mib(bytes)));
        let mut lines = vec![
            format!(
                "{}  {}  up {}",
                self.paint.tone(Tone::Heading, &format!("{}.{}", status.node.name, status.node.domain)),
                status.node.address,
                duration(status.now_ns)
            ),
            format!("{} services, {running} running{memory}{own}", status.services.len()),
            String::new(),
        ];
        lines.extend(self.services(status));
        lines.push(String::new());
        let events = &status.events[status.events.len().saturating_sub(TOP_EVENTS)..];
        lines.extend(events.iter().map(|event| self.event(event)));
        lines
    }

    pub fn xenstore(self, client: &mut Client, path: &str) -> Result<(), Failure> {
        client.ask(Command::Xenstore { path: path.to_owned() }, |reply| match reply {
            Reply::Node { path, value } if self.json => {
                self.print_line(&serde_json::json!({ "path": path, "value": value }))
            }
            Reply::Node { path, value } => {
                Ok(say(&format!("{path} = {}", self.paint.tone(Tone::Quiet, &value)))?)
            }
            _ => Ok(()),
        })
    }
}

/// How long the last start took, from its first stage to its last.
fn last_start(service: &ServiceStatus) -> Option<String> {
    let stages = &service.last_start;
    stages.iter().map(|stage| stage.after_ns).max().filter(|_| stages.len() > 1).map(duration)
}

/// The full path of a file that can be read: the daemon has another working directory, and says less about it.
fn readable(path: &Path) -> Result<PathBuf, Failure> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let full = path.canonicalize().map_err(named)?;
    std::fs::File::open(&full).map_err(named)?;
    Ok(full)
}
