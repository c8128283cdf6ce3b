//! A running `rehearsal`.

use crate::client::{Resolver, Status};
use crate::paths;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

/// Longest wait for a change that has to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program, and where it answers. It ends with this value.
pub struct Rehearsal {
    child: Child,
    log: PathBuf,
    /// Its addresses.
    pub at: Addresses,
}

/// The line that it prints when it answers.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Addresses {
    /// DNS, over UDP and TCP.
    pub dns: SocketAddr,
    /// The status port.
    pub http: SocketAddr,
}

/// Builds it, once; whether that worked.
static BUILT: LazyLock<bool> = LazyLock::new(|| {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--package", "rehearsal"]).current_dir(paths::root());
    build.status().is_ok_and(|status| status.success())
});

impl Rehearsal {
    /// Builds it, and starts it with this configuration and these further arguments. What it logs goes to
    /// `out/test/NAME.log`.
    ///
    /// # Errors
    /// When it does not get to answering.
    pub fn start(name: &str, config: &str, arguments: &[&str]) -> Result<Self> {
        let program = program()?;
        let folder = paths::out("test");
        let file = format!("{name}.toml");
        paths::write_atomic(&folder.join(&file), config.as_bytes())?;
        let log = folder.join(format!("{name}.log"));
        let mut child = Command::new(&program)
            .arg("--config")
            .arg(&file)
            .args(arguments)
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).with_context(|| log.display().to_string())?)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let output = child.stdout.take().context("it has no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        match serde_json::from_str(&line) {
            Ok(at) => Ok(Rehearsal { child, log, at }),
            Err(_) => {
                child.wait()?;
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                anyhow::bail!("the rehearsal ended before it answered:\n{said}")
            }
        }
    }

    /// The address of one of its pages.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.at.http)
    }

    /// Its name server.
    pub fn resolver(&self) -> Resolver {
        Resolver::new(self.at.dns)
    }

    /// What its `/status` says.
    pub fn status(&self) -> Result<Status> {
        Status::fetch(self.at.http)
    }

    /// What it answers to a request for JSON.
    pub fn json(&self, path: &str) -> Result<serde_json::Value> {
        let url = self.url(path);
        let text = ureq::get(&url).call().and_then(|mut answer| answer.body_mut().read_to_string());
        serde_json::from_str(&text.with_context(|| format!("reading {url}"))?).with_context(|| url)
    }

    /// Returns when all of these services are in that state; looks whenever the node tells of a change.
    pub fn await_states(&self, state: &str, services: &[&str]) -> Result<()> {
        let mut stream = TcpStream::connect(self.at.http).context("connecting for changes")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /changes HTTP/1.1\r\nHost: node\r\n\r\n")?;
        for line in BufReader::new(stream).lines() {
            if !line.context("waiting for a change")?.starts_with("data: ") {
                continue;
            }
            let status = self.status()?;
            let is = |name: &&str| status.service(name).is_ok_and(|service| service.state == state);
            if services.iter().all(is) {
                return Ok(());
            }
        }
        anyhow::bail!("no more changes are told")
    }

    /// Fails unless it still runs.
    pub fn ensure_alive(&mut self) -> Result<()> {
        let ended = self.child.try_wait().context("looking after the rehearsal")?;
        ensure!(ended.is_none(), "the rehearsal has ended");
        Ok(())
    }

    /// What it has said so far.
    pub fn said(&self) -> Result<String> {
        std::fs::read_to_string(&self.log).with_context(|| self.log.display().to_string())
    }

    /// Its resident memory in bytes, but for its program and libraries.
    pub fn resident(&self) -> Result<u64> {
        let file = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(&file).with_context(|| format!("reading {file}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(kib.with_context(|| format!("{file} has no RssAnon"))? << 10)
    }
}

/// The program, built.
///
/// # Errors
/// When it cannot be built.
pub fn program() -> Result<PathBuf> {
    ensure!(*BUILT, "the rehearsal cannot be built; what cargo says to it is above");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| paths::root().join("target"), Into::into);
    Ok(target.join("debug/rehearsal"))
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        // One that has ended by itself is reported by whoever talks to it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
