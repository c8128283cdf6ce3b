//! Downloads over HTTP: resumed, verified, retried with back-off, and never half in place.
//!
//! A file grows under `NAME.part` beside its destination and is renamed once its SHA-256 is right. What
//! an interrupted run left behind is continued by a `Range` request.

use crate::fail::{Class, Fail};
use crate::{paths, ui};
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a file must be.
pub struct Expected<'a> {
    /// Size in bytes, where known.
    pub size: Option<u64>,
    /// SHA-256, lower-case hex.
    pub sha256: &'a str,
}

/// How a fetch ended when nothing went wrong.
#[derive(Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The verified file is in place.
    Here,
    /// The server says that there is no such file (404 or 410).
    Gone,
}

/// Fetches files; cheap to share between threads.
pub struct Downloader {
    agent: ureq::Agent,
    /// Waits before the second, third… attempt. An attempt that got new bytes starts over with the first.
    backoff: Vec<Duration>,
}

/// Largest answer taken into memory by [`Downloader::small`], in bytes: release files have up to 250 kB.
const SMALL_LIMIT: u64 = 8 << 20;

/// How one attempt failed.
enum Trouble {
    /// The network or the server; the next attempt may do better.
    Passing(String),
    /// The file arrived whole and is not the expected one.
    Corrupt(String),
}

impl Downloader {
    /// Waits of 1, 3, 9 and 20 seconds between attempts: a mirror that restarts is back by then.
    pub fn new() -> Self {
        Self::with_backoff([1, 3, 9, 20].map(Duration::from_secs).to_vec())
    }

    fn with_backoff(backoff: Vec<Duration>) -> Self {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(60)))
            .user_agent(concat!("jitsu-node-xtask/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Self { agent, backoff }
    }

    /// Fetches a small file into memory, unverified; `None` when the server has none.
    pub fn small(&self, url: &str) -> Result<Option<Vec<u8>>> {
        let mut waits = self.backoff.iter();
        loop {
            let trouble = match self.small_once(url) {
                Ok(found) => return Ok(found),
                Err(trouble) => trouble,
            };
            self.wait(waits.next(), url, &trouble)?;
        }
    }

    fn small_once(&self, url: &str) -> Result<Option<Vec<u8>>, String> {
        let mut answer = self.agent.get(url).call().map_err(|e| e.to_string())?;
        match answer.status().as_u16() {
            200 => answer
                .body_mut()
                .with_config()
                .limit(SMALL_LIMIT)
                .read_to_vec()
                .map(Some)
                .map_err(|e| e.to_string()),
            404 | 410 => Ok(None),
            status => Err(format!("the server answers with status {status}")),
        }
    }

    /// Fetches `url` to `destination` unless the right file is there already. `what` names it to people.
    pub fn fetch(
        &self,
        what: &str,
        url: &str,
        expected: &Expected<'_>,
        destination: &Path,
    ) -> Result<Fetched> {
        // Files get their final name only when verified, and the cache names them by their hash.
        if destination.is_file() {
            return Ok(Fetched::Here);
        }
        if let Some(dir) = destination.parent() {
            paths::create_dir(dir)?;
        }
        let part = part_name(destination);
        let mut waits = self.backoff.iter();
        let mut fresh = !part.exists();
        loop {
            let before = length(&part);
            let trouble = match self.fetch_once(what, url, expected, &part)? {
                Ok(Fetched::Gone) => return Ok(Fetched::Gone),
                Ok(Fetched::Here) => {
                    fs::rename(&part, destination).with_context(|| {
                        format!("renaming {} to {}", part.display(), destination.display())
                    })?;
                    return Ok(Fetched::Here);
                }
                Err(trouble) => trouble,
            };
            match trouble {
                Trouble::Corrupt(found) => {
                    fs::remove_file(&part).with_context(|| format!("removing {}", part.display()))?;
                    // An older run's leftover may be what was wrong: once more, from the start.
                    if fresh {
                        return Err(Fail::new(
                            Class::Integrity,
                            format!(
                                "{what}: {url} is not what was signed for: {found}; nothing was kept, try another --mirror"
                            ),
                        ));
                    }
                    fresh = true;
                }
                Trouble::Passing(cause) => {
                    if length(&part) > before {
                        waits = self.backoff.iter();
                    }
                    self.wait(waits.next(), url, &cause)?;
                }
            }
        }
    }

    /// Sleeps before the next attempt, or gives up when there is none.
    fn wait(&self, wait: Option<&Duration>, url: &str, cause: &str) -> Result<()> {
        let Some(wait) = wait else {
            return Err(Fail::new(
                Class::Network,
                format!("{url}: {cause}; check the network, or name another mirror with --mirror URL"),
            ));
        };
        ui::say(format!("{url}: {cause}; trying again in {} s", wait.as_secs()));
        std::thread::sleep(*wait);
        Ok(())
    }

    /// One attempt. The outer error is a local one, of the disk; it is not retried.
    fn fetch_once(
        &self,
        what: &str,
        url: &str,
        expected: &Expected<'_>,
        part: &Path,
    ) -> Result<Result<Fetched, Trouble>> {
        let disk = || format!("writing {}", part.display());
        let mut file =
            OpenOptions::new().read(true).append(true).create(true).open(part).with_context(disk)?;
        let mut hash = Sha256::new();
        let mut have = digest(&mut file, &mut hash).with_context(disk)?;

        if have == 0 || expected.size.is_none_or(|size| have < size) {
            let mut request = self.agent.get(url);
            if have > 0 {
                request = request.header("Range", format!("bytes={have}-"));
            }
            let mut answer = match request.call() {
                Ok(answer) => answer,
                Err(e) => return Ok(Err(Trouble::Passing(e.to_string()))),
            };
            match answer.status().as_u16() {
                206 if starts_at(&answer, have) => {}
                // The whole file, whatever was asked for; or a leftover that does not fit: start over.
                200 | 206 | 416 if have > 0 => {
                    file.set_len(0).with_context(disk)?;
                    hash = Sha256::new();
                    have = 0;
                    if answer.status().as_u16() != 200 {
                        return Ok(Err(Trouble::Passing("the server cannot continue the download".into())));
                    }
                }
                200 => {}
                404 | 410 => {
                    drop(file);
                    fs::remove_file(part).with_context(disk)?;
                    return Ok(Ok(Fetched::Gone));
                }
                status => {
                    return Ok(Err(Trouble::Passing(format!("the server answers with status {status}"))));
                }
            }
            if let (Some(wanted), Some(coming)) = (expected.size, content_length(&answer))
                && have + coming != wanted
            {
                let found = have + coming;
                return Ok(Err(Trouble::Corrupt(format!(
                    "the server has {found} bytes instead of {wanted} (is it in the middle of an update?)"
                ))));
            }
            let task = ui::Task::transfer(what, have, expected.size);
            let mut body = answer.body_mut().as_reader();
            if let Err(cause) = receive(&mut body, &mut file, &mut hash, &task).with_context(disk)? {
                return Ok(Err(Trouble::Passing(cause)));
            }
            file.sync_data().with_context(disk)?;
            have = file.metadata().with_context(disk)?.len();
        }
        Ok(verdict(have, &hex(&hash.finalize()), expected))
    }
}

fn verdict(size: u64, sha256: &str, expected: &Expected<'_>) -> Result<Fetched, Trouble> {
    match expected.size {
        Some(wanted) if size < wanted => {
            return Err(Trouble::Passing(format!("the transfer ended after {size} of {wanted} bytes")));
        }
        Some(wanted) if size > wanted => {
            return Err(Trouble::Corrupt(format!("{size} bytes instead of {wanted}")));
        }
        _ => {}
    }
    if sha256 != expected.sha256 {
        return Err(Trouble::Corrupt(format!("sha256 {sha256} instead of {}", expected.sha256)));
    }
    Ok(Fetched::Here)
}

/// Copies the body to disk. `Ok(Err)`: the network's fault; `Err`: the disk's.
fn receive(
    body: &mut impl Read,
    file: &mut File,
    hash: &mut Sha256,
    task: &ui::Task,
) -> io::Result<Result<(), String>> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let n = match body.read(&mut buffer) {
            Ok(0) => return Ok(Ok(())),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Ok(Err(e.to_string())),
        };
        file.write_all(&buffer[..n])?;
        hash.update(&buffer[..n]);
        task.advance(n as u64);
    }
}

/// Feeds what is left of `file` to `hash`; returns how many bytes that were.
pub fn digest(file: &mut File, hash: &mut Sha256) -> io::Result<u64> {
    let mut buffer = vec![0; 64 << 10];
    let mut total = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(n) => {
                hash.update(&buffer[..n]);
                total += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

/// Whether a 206 answer continues at byte `offset`: `Content-Range: bytes OFFSET-END/SIZE`.
fn starts_at<B>(answer: &ureq::http::Response<B>, offset: u64) -> bool {
    let range = answer.headers().get("content-range").and_then(|value| value.to_str().ok());
    let start = range.and_then(|r| r.strip_prefix("bytes ")).and_then(|r| r.split('-').next());
    start.and_then(|s| s.trim().parse().ok()) == Some(offset)
}

fn content_length<B>(answer: &ureq::http::Response<B>) -> Option<u64> {
    answer.headers().get("content-length")?.to_str().ok()?.parse().ok()
}

fn part_name(destination: &Path) -> PathBuf {
    let mut name = destination.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |m| m.len())
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// SHA-256 of `data` in lower-case hex.
pub fn sha256(data: &[u8]) -> String {
    hex(&Sha256::digest(data))
}

#[cfg(test)]
mod tests;
