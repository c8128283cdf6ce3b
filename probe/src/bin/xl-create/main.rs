//! `xl-create CONFIG [steps | ADDRESS BRIDGE CLIENT/PREFIX]`: how long xl takes to make a domain.
//!
//! Runs inside the node, as root. With `steps` it also looks at XenStore meanwhile, which costs xl a little. With an
//! address it goes on, as another host on the node's network, until the first byte of the guest's page has come: the
//! guest says by its key `data/ready` that it accepts connections, so that no SYN of this client is lost. Prints one
//! line: [`CREATED_MARK`] and a [`Created`] as JSON.

mod watch;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use probe::created::{CREATED_MARK, Created};
use probe::host::{self, now};
use probe::http;
use watch::{Events, Watch};

/// How long each step of the request for the page may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the guest writes when it accepts connections, below its home in XenStore.
const READY: &str = "data/ready";

fn main() -> ExitCode {
    let line = run().and_then(|created| Ok(serde_json::to_string(&created)?));
    match line {
        // In one write, so that nothing gets into the middle of it. The line before may not be finished.
        Ok(json) => match std::io::stdout().write_all(format!("\n{CREATED_MARK}{json}\n").as_bytes()) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) => eprintln!("xl-create: {error}"),
        },
        Err(error) => eprintln!("xl-create: {error:#}"),
    }
    ExitCode::FAILURE
}

fn run() -> Result<Created> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [config] => Xl::prepare(config)?.create().map(|(_, created)| created),
        [config, "steps"] => steps(config),
        [config, address, bridge, client] => page(config, address, bridge, client),
        _ => bail!("usage: xl-create CONFIG [steps | ADDRESS BRIDGE CLIENT/PREFIX]"),
    }
}

/// A shell that waits for a word to become xl. It stays in the node's network when this process leaves it.
struct Xl(Child);

impl Xl {
    fn prepare(config: &str) -> Result<Xl> {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", "read word && exec xl create -q \"$0\"", config]).stdin(Stdio::piped());
        shell.spawn().map(Xl).context("starting a shell")
    }

    /// Has xl make the domain. Returns when that began, and how long it took.
    fn create(mut self) -> Result<(u64, Created)> {
        let mut word = self.0.stdin.take().context("the shell has no standard input")?;
        let begin = now()?;
        word.write_all(b"go\n").context("giving the shell its word")?;
        let status = self.0.wait().context("waiting for xl")?;
        let returned_ns = now()? - begin;
        ensure!(status.success(), "xl create: {status}");
        Ok((begin, Created { returned_ns, ..Created::default() }))
    }
}

fn steps(config: &str) -> Result<Created> {
    let xl = Xl::prepare(config)?;
    let mut watch = Watch::set("/local/domain")?;
    let events = watch.until_told()?;
    let (begin, created) = xl.create()?;
    watch.tell()?;
    let events = events.join().map_err(|_| anyhow::anyhow!("the watcher has panicked"))??;
    read(&events, begin, created)
}

/// What the changes say about the steps.
fn read(events: &Events, begin: u64, created: Created) -> Result<Created> {
    let domid = events.0.iter().find_map(|event| domid(&event.path)).context("XenStore saw no new domain")?;
    let (home, back) = (format!("/local/domain/{domid}"), format!("/local/domain/0/backend/vif/{domid}/0"));
    let after = |event: Option<u64>| event.map(|at| at.saturating_sub(begin));
    Ok(Created {
        made_ns: after(events.first(&home)),
        built_ns: after(events.first(&format!("{home}/store/ring-ref"))),
        device_ns: after(events.first(&back)),
        connected_ns: after(events.last(&format!("{back}/hotplug-status"))),
        ..created
    })
}

/// The number of a guest's domain, if the path is its home.
fn domid(path: &str) -> Option<u16> {
    path.strip_prefix("/local/domain/")?.parse().ok().filter(|domid| *domid != 0)
}

fn page(config: &str, address: &str, bridge: &str, client: &str) -> Result<Created> {
    let address: Ipv4Addr = address.parse().with_context(|| format!("ADDRESS {address:?}"))?;
    let (client, prefix) = client.split_once('/').context("CLIENT/PREFIX has no slash")?;
    let client = client.parse().with_context(|| format!("CLIENT {client:?}"))?;
    let prefix = prefix.parse().with_context(|| format!("PREFIX {prefix:?}"))?;
    let xl = Xl::prepare(config)?;
    let watch = Watch::set("/local/domain")?;
    host::become_one(bridge, client, prefix)?;
    let ready = watch.until(|path| path.ends_with(READY) && path.starts_with("/local/domain/"));
    let (begin, created) = xl.create()?;
    let ready = ready.join().map_err(|_| anyhow::anyhow!("the watcher has panicked"))??;
    let page = http::get(SocketAddrV4::new(address, 80), PATIENCE)?;
    Ok(Created { ready_ns: Some(ready - begin), first_byte_ns: Some(page.first_byte_ns - begin), ..created })
}

#[cfg(test)]
mod tests {
    use super::*;
    use watch::Event;

    #[test]
    fn steps_are_told_by_the_paths_that_change() {
        let event = |at_ns, path: &str| Event { at_ns, path: path.into() };
        let events = Events(vec![
            event(90, "/local/domain"),
            event(110, "/local/domain/7"),
            event(111, "/local/domain/7/vm"),
            event(120, "/local/domain/7/store/ring-ref"),
            event(130, "/local/domain/0/backend/vif/7/0"),
            event(131, "/local/domain/0/backend/vif/7/0/hotplug-status"),
            event(150, "/local/domain/0/backend/vif/7/0/hotplug-status"),
        ]);
        let created = read(&events, 100, Created { returned_ns: 60, ..Created::default() }).unwrap();
        let expected = Created {
            made_ns: Some(10),
            built_ns: Some(20),
            device_ns: Some(30),
            connected_ns: Some(50),
            returned_ns: 60,
            ready_ns: None,
            first_byte_ns: None,
        };
        assert_eq!(created, expected);
        assert!(read(&Events(vec![event(90, "/local/domain/0/x")]), 100, created).is_err());
    }
}
