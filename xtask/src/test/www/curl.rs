//! Curl, and what it gets.

use anyhow::{Context as _, Result, ensure};
use sha2::{Digest as _, Sha256};
use std::process::Command;

/// A reply.
pub struct Reply {
    /// Its status.
    pub code: u16,
    /// Its status line and header fields.
    pub head: String,
    /// Its content, as curl has written it.
    pub body: Vec<u8>,
    /// Connections that curl has made for it.
    pub connects: u32,
}

impl Reply {
    /// The value of a header field that it has once; the name is in lower case.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.head.lines().filter_map(|line| {
            let (said, value) = line.split_once(':')?;
            said.eq_ignore_ascii_case(name).then_some(value.trim())
        });
        values.next().filter(|_| values.next().is_none())
    }

    /// Whether its content has the same hash.
    pub fn is(&self, content: &[u8]) -> bool {
        Sha256::digest(&self.body) == Sha256::digest(content)
    }
}

/// Runs curl; returns what it prints.
///
/// # Errors
/// When it fails.
pub fn run(arguments: &[&str]) -> Result<String> {
    super::output(Command::new("curl").args(["-q", "-sS", "--max-time", "30"]).args(arguments))
}

/// Gets all of the addresses by one curl, with more arguments.
///
/// # Errors
/// When it fails.
pub fn get(addresses: &[String], arguments: &[&str]) -> Result<Vec<Reply>> {
    let directory = tempfile::tempdir().context("creating a temporary directory")?;
    let path = |name: &str| directory.path().join(name).display().to_string();
    let mut all = vec!["-D".to_owned(), path("heads"), "-w".into(), "%{num_connects}\n".into()];
    all.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    for (number, address) in addresses.iter().enumerate() {
        all.extend([address.clone(), "-o".into(), path(&format!("body{number}"))]);
    }
    let all: Vec<_> = all.iter().map(String::as_str).collect();
    let connects = run(&all)?;
    let heads = std::fs::read_to_string(path("heads")).context("reading what curl has written")?;
    // Of a reply that curl has followed elsewhere only the last head counts.
    let heads: Vec<_> = heads.split("\r\n\r\n").filter(|head| !head.trim().is_empty()).collect();
    let first =
        heads.len().checked_sub(addresses.len()).context("curl got fewer replies than it asked for")?;
    let connects: Vec<_> = connects.lines().collect();
    ensure!(connects.len() == addresses.len(), "curl says {connects:?}");
    let reply = |(number, head): (usize, &&str)| {
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Ok(Reply {
            code: code.with_context(|| format!("no status line: {head}"))?,
            head: (*head).to_owned(),
            // Without content there is no file.
            body: std::fs::read(path(&format!("body{number}"))).unwrap_or_default(),
            connects: connects[number].parse()?,
        })
    };
    heads[first..].iter().enumerate().map(reply).collect()
}
