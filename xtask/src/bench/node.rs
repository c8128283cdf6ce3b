//! A node that is measured: in instruction time, with the client in it, and services that are all alike.

use crate::client::{NODE, NodeSpec, RunningNode};
use crate::demo::inside::{self, Series};
use crate::image::Image;
use crate::initramfs::ExtraFile;
use crate::qemu::Start;
use crate::{cross, paths, ui};
use anyhow::{Context, Result, ensure};
use probe::Measurement;
use serde::de::DeserializeOwned;
use std::fmt::Write as _;
use std::time::Duration;

/// Longest life of a node, wall time.
const LIFE: Duration = Duration::from_secs(3600);

/// Longest run of a single program in it, wall time.
const PATIENCE: Duration = Duration::from_secs(600);

/// Seconds that a service runs on which is to be cold again for the next request.
pub const SHORT: u32 = 1;
/// And one that is to stay.
pub const LONG: u32 = 36_000;

/// Seconds after its start in which a node comes to rest.
const CALM: u32 = 10;

/// Seconds after which a service that has failed a few times is started again.
const BACK_OFF: u32 = 120;

/// One of its services, all of which run `www`.
pub struct Service {
    /// Its name, and its token.
    pub name: String,
    /// The last two bytes of its address, in 10.0.0.0/22 and above 10.0.0.255.
    pub address: [u8; 2],
    /// Its memory, MiB.
    pub memory: u32,
    /// Seconds that it runs on.
    pub idle: u32,
    /// More lines of its table.
    pub keys: &'static str,
}

/// A node that runs.
pub struct Node {
    /// The node itself.
    pub running: RunningNode,
    /// The machine's memory, MiB.
    pub machine_mib: u64,
    /// The memory that dom0 is made with.
    pub dom0_bytes: u64,
}

impl Node {
    /// Boots one. `name` is for its console's log, `keys` are more lines of its `[node]` table.
    ///
    /// # Errors
    /// When it does not boot.
    pub fn boot(
        image: &Image,
        name: &str,
        keys: &str,
        services: &[Service],
        mut files: Vec<ExtraFile>,
    ) -> Result<Node> {
        let log = paths::out("bench").join(format!("console-{name}.log"));
        let _task = ui::Task::start(format!("booting a node; console: {}", log.display()));
        files.push(inside::client()?);
        let start = Start::configured(image.clone(), config(keys, services), files);
        let running = RunningNode::boot(NodeSpec { start, icount: true, log, timeout: LIFE })?;
        let (board, machine) = (&image.board, image.board.machine()?);
        let node = Node {
            running,
            machine_mib: machine.memory.into(),
            dom0_bytes: u64::from(board.dom0.memory) << 20,
        };
        // dom0 gives up frames for guests while it serves already.
        node.running.frames_set_aside()?;
        // So does jitsud what can wait, such as making shells.
        node.running.shell(&format!("sleep {CALM}"))?;
        Ok(node)
    }

    /// Has the client inside ask for a service, and checks whose page it is.
    ///
    /// # Errors
    /// When it fails.
    pub fn request(&self, service: &str) -> Result<Measurement> {
        let measured = inside::request(&self.running, service)?;
        ensure_token(service, &measured)?;
        Ok(measured)
    }

    /// As [`Node::request`], of a service that runs on for [`SHORT`]: returns when it is in `state` after that.
    ///
    /// # Errors
    /// When it fails, or does not get there.
    pub fn request_until(&self, service: &str, state: &str) -> Result<Measurement> {
        let mark = self.running.mark();
        let measured = self.request(service)?;
        self.running.await_state(mark, service, state)?;
        Ok(measured)
    }

    /// As [`Node::request_until`]. When it fails, that is said, put into `failures`, and the node is left alone for as long
    /// as it refuses the service for it.
    ///
    /// # Errors
    /// When the node itself fails.
    pub fn try_until(
        &self,
        service: &str,
        state: &str,
        failures: &mut Vec<String>,
    ) -> Result<Option<Measurement>> {
        match self.request_until(service, state) {
            Ok(measured) => Ok(Some(measured)),
            Err(error) => {
                let why = format!("{service}: {error:#}");
                ui::say(&why);
                failures.push(why);
                self.running.shell(&format!("sleep {BACK_OFF}"))?;
                Ok(None)
            }
        }
    }

    /// Has the client inside make a series of requests; see `probe`. With what all served in the end, or why there was
    /// no getting so far.
    ///
    /// # Errors
    /// When the client does not come to an end.
    pub fn series(&self, services: &str) -> Result<Series> {
        inside::series(&self.running, services, None)
    }

    /// Runs a program that prints one line of `mark` and JSON.
    ///
    /// # Errors
    /// When it prints another one, `FAILED` as the last of all, or none.
    pub fn measure<T: DeserializeOwned>(&self, command: &str, mark: &str) -> Result<T> {
        let place = self.running.mark();
        // The quotes keep the echo of what is typed from looking like the word itself.
        self.running.send_line(&format!("{command} || echo FAI''LED"))?;
        let ended = |line: &str| line.starts_with(mark) || line.trim_end().ends_with("FAILED");
        let line = self.running.await_line(place, &format!("`{command}`"), PATIENCE, ended)?;
        let json = line.trim_end().strip_prefix(mark);
        let json = json.with_context(|| {
            format!("`{command}` failed on the node; it said:\n{}", self.running.last_lines(5))
        })?;
        serde_json::from_str(json).with_context(|| format!("reading what `{command}` printed: {json}"))
    }
}

/// A program for the node, out of one of this workspace's packages.
///
/// # Errors
/// When it cannot be built.
pub fn program(package: &str, name: &str) -> Result<ExtraFile> {
    let content = paths::read(&cross::node_binary(package, name, None)?)?;
    Ok(ExtraFile { path: format!("/usr/bin/{name}"), mode: 0o755, content })
}

fn ensure_token(service: &str, measured: &Measurement) -> Result<()> {
    ensure!(
        measured.reply.contains(&format!(">token-{service}<")),
        "another page than that of {service} came:\n{}",
        measured.reply
    );
    Ok(())
}

/// As it is in the node's `jitsu.toml`.
fn config(keys: &str, services: &[Service]) -> String {
    let mut config = format!(
        "[node]\nname = \"node\"\ndomain = \"jitsu.test\"\naddress = \"{NODE}/22\"\nntp = []\n{keys}\n"
    );
    for Service { name, address: [c, d], memory, idle, keys } in services {
        let ttl = idle.min(&60);
        // Writing to a string never fails.
        let _ = write!(
            config,
            "\n[[service]]\nname = \"{name}\"\naddress = \"10.0.{c}.{d}\"\nkernel = \"www\"\nmemory = {memory}\n\
             ttl = {ttl}\nidle = {idle}\ncmdline = \"token=token-{name}\"\n{keys}\n"
        );
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_their_own_keys() {
        let service = Service {
            name: "a".into(),
            address: [2, 20],
            memory: 16,
            idle: LONG,
            keys: "answer = \"ready\"",
        };
        let config: toml::Value = toml::from_str(&config("shells = 2", &[service])).unwrap();
        assert_eq!(config["node"]["shells"].as_integer(), Some(2));
        let service = &config["service"][0];
        assert_eq!(service["address"].as_str(), Some("10.0.2.20"));
        assert_eq!((service["ttl"].as_integer(), service["idle"].as_integer()), (Some(60), Some(36_000)));
        assert_eq!(service["answer"].as_str(), Some("ready"));
    }
}
