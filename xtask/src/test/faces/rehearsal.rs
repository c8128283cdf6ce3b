//! A running `rehearsal`.

use crate::paths;
use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

/// The program, and where it answers. It ends with this value.
pub struct Rehearsal {
    child: Child,
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

impl Rehearsal {
    /// Builds it, and starts it with this configuration and these further arguments. What it logs goes to
    /// `out/test/NAME.log`.
    ///
    /// # Errors
    /// When it does not get to answering.
    pub fn start(name: &str, config: &str, arguments: &[&str]) -> Result<Self> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--package", "rehearsal"]).current_dir(paths::root());
        ensure!(build.status().context("starting cargo")?.success(), "the rehearsal cannot be built");
        let program = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| paths::root().join("target"), Into::into)
            .join("debug/rehearsal");

        let folder = paths::out("test");
        let file = folder.join(format!("{name}.toml"));
        paths::write_atomic(&file, config.as_bytes())?;
        let log = folder.join(format!("{name}.log"));
        let mut child = Command::new(&program)
            .arg("--config")
            .arg(&file)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).with_context(|| log.display().to_string())?)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let output = child.stdout.take().context("it has no output")?;
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line)?;
        match serde_json::from_str(&line) {
            Ok(at) => Ok(Rehearsal { child, at }),
            Err(_) => {
                child.wait()?;
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                anyhow::bail!("the rehearsal ended before it answered:\n{said}")
            }
        }
    }
}

impl Drop for Rehearsal {
    fn drop(&mut self) {
        // One that has ended by itself is reported by whoever talks to it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
