//! What a person wants to know when the node has come up: where it is, what it serves, and what is wrong.
//!
//! The text goes to the log's console, and to a screen if the board has one. It is made of the same document as
//! `/status`, so that the two cannot disagree.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use time::OffsetDateTime;

use crate::schema::{ClockStatus, NodeStatus};
use crate::text::printable;

/// A screen of text is at least this wide: a serial terminal's is, and so is Linux's on any monitor.
const WIDTH: usize = 80;
/// Columns of the left margin and a heading.
const INDENT: usize = 12;

/// Services and problems that are listed, of each. A screen has 25 lines at least.
const LISTED: usize = 8;

/// Shows the summary wherever a person may look, each time that it has changed.
#[derive(Debug, Default)]
pub struct Board {
    shown: String,
}

impl Board {
    /// Shows how the node is, unless that is what was shown last.
    pub async fn show(&mut self, status: &NodeStatus) {
        let text = text(status);
        if text == self.shown {
            return;
        }
        self.shown.clone_from(&text);
        // A console or a frame buffer can be slow.
        let written = tokio::task::spawn_blocking(move || {
            // Nobody to tell when it cannot be written: this is where one would be told.
            let _ = io::stderr().write_all(format!("\n{text}\n").as_bytes());
            screen(&text)
        });
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the screen does not show how the node is"),
            Err(error) => tracing::error!(%error, "showing how the node is ended badly"),
        }
    }
}

/// Writes to the first virtual terminal if there is a screen behind it: without a frame buffer Linux has a dummy
/// there, which takes everything and shows nothing.
fn screen(text: &str) -> io::Result<()> {
    if !Path::new("/sys/class/graphics/fb0").exists() {
        return Ok(());
    }
    let mut terminal = OpenOptions::new().write(true).custom_flags(libc::O_NOCTTY).open("/dev/tty1")?;
    // From console_codes(4): no blanking, no powering down, no cursor; clear the screen, begin at its top.
    let prepare = "\x1b[9;0]\x1b[14;0]\x1b[?25l\x1b[2J\x1b[H";
    terminal.write_all(format!("{prepare}{text}").as_bytes())
}

/// The summary, in lines of at most 80 columns.
pub fn text(status: &NodeStatus) -> String {
    let rule = "-".repeat(WIDTH);
    let node = &status.node;
    let mut text = format!("{rule}\n");
    entry(&mut text, "node", &format!("{}.{} is ready", node.name, node.domain));
    entry(&mut text, "address", &node.address.to_string());
    entry(&mut text, "status", &format!("http://{}/", node.address));
    let services = status.services.iter().map(|service| {
        let names: Vec<&str> = service.dns.iter().map(String::as_str).collect();
        format!("{:<15}  {}", service.address.to_string(), names.join(" "))
    });
    list(&mut text, "services", services);
    if let Some(system) = system(status) {
        entry(&mut text, "system", &system);
    }
    entry(&mut text, "clock", &clock(&status.clock));
    list(&mut text, "problems", status.problems.iter().map(|problem| printable(&problem.to_string())));
    text + &rule + "\n"
}

/// The first items and how many there are beside them, or that there are none.
fn list(text: &mut String, heading: &str, mut items: impl Iterator<Item = String>) {
    let mut heading = Some(heading);
    for item in items.by_ref().take(LISTED) {
        entry(text, heading.take().unwrap_or_default(), &item);
    }
    let more = items.count();
    if more > 0 {
        entry(text, "", &format!("and {more} more: see the status"));
    }
    if let Some(heading) = heading {
        entry(text, heading, "none");
    }
}

/// Heading and content; lines after the first are indented below it.
fn entry(text: &mut String, heading: &str, content: &str) {
    let first = format!("  {heading:<0$}", INDENT - 2);
    let later = " ".repeat(INDENT);
    let options = textwrap::Options::new(WIDTH).initial_indent(&first).subsequent_indent(&later);
    for line in textwrap::wrap(content, options) {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{line}");
    }
}

/// Which copy of which system runs, as far as a boot script said.
fn system(status: &NodeStatus) -> Option<String> {
    let boot = &status.boot;
    let mut text = boot.board.clone().map(|board| format!("for {board}")).unwrap_or_default();
    if let Some(slot) = &boot.slot {
        text = format!("copy {slot} {text}").trim_end().to_owned();
    }
    let faults: Vec<String> =
        boot.fallback.iter().map(|fallback| format!("{} is {}", fallback.file, fallback.fault)).collect();
    if !faults.is_empty() {
        text += &format!(", because {}", faults.join(" and "));
    }
    (!text.is_empty()).then(|| printable(&text))
}

fn clock(clock: &ClockStatus) -> String {
    let time = clock
        .unix_s
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok());
    match (&clock.server, time) {
        (Some(server), Some(time)) => {
            let (date, hour, minute) = (time.date(), time.hour(), time.minute());
            let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
            printable(&format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC, by {server}"))
        }
        _ => "not set: no NTP server has given the time yet".to_owned(),
    }
}

#[cfg(test)]
mod tests;
