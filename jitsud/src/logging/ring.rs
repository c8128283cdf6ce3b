//! The last lines of the log, numbered.

use std::collections::VecDeque;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::config::LogLevel;
use crate::text::{printable, shortened};

/// Most lines that are kept.
const LINES: usize = 2000;

/// Most bytes of text in them. What the lines themselves take is at most as much again.
const BYTES: usize = 128 << 10;

/// Longest message and longest field, in bytes: a guest's last words are in some.
const LONGEST: usize = 1000;

/// One event.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Line {
    /// Counted from 1 since the node was switched on, as long as no daemon was killed.
    pub number: u64,
    /// When, in nanoseconds of `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// How grave it is.
    pub level: LogLevel,
    /// What has happened.
    pub message: String,
    /// To whom, and the like: names and values.
    pub fields: Vec<(String, String)>,
}

impl Line {
    fn bytes(&self) -> usize {
        self.fields.iter().fold(self.message.len(), |sum, (name, value)| sum + name.len() + value.len())
    }
}

/// The message, and the fields after it.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.fields.iter().try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

/// The last lines. Clones are the same ring.
#[derive(Clone, Debug)]
pub struct Ring(Arc<(Mutex<Kept>, watch::Sender<u64>)>);

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<Line>,
    bytes: usize,
    last: u64,
}

impl Default for Ring {
    fn default() -> Self {
        Ring(Arc::new((Mutex::default(), watch::channel(0).0)))
    }
}

impl Ring {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Adds a line, with the next number. Never waits for readers.
    pub fn push(&self, line: Line) {
        let mut kept = self.kept();
        let number = kept.last + 1;
        kept.push(Line { number, ..line });
        drop(kept);
        self.0.1.send_replace(number);
    }

    /// The lines after that number, the oldest first, at most so many. If the first one's number is not the next
    /// one, those between are gone.
    pub fn after(&self, number: u64, most: usize) -> Vec<Line> {
        let kept = self.kept();
        let begin = kept.lines.partition_point(|line| line.number <= number);
        kept.lines.range(begin..).take(most).cloned().collect()
    }

    /// The last line's number; it changes when there is another one.
    pub fn last(&self) -> watch::Receiver<u64> {
        self.0.1.subscribe()
    }

    /// Writes all lines to a file, for [`Self::restore`].
    ///
    /// # Errors
    /// Whatever writing fails with.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let kept = self.kept();
        fs::write(path, serde_json::to_vec(&kept.lines)?)
    }

    /// Puts the lines of a file before those that are there, and removes it. Where there is none, or it makes no
    /// sense, nothing changes.
    pub fn restore(&self, path: &Path) {
        let Ok(bytes) = fs::read(path) else { return };
        let _ = fs::remove_file(path);
        let Ok(earlier) = serde_json::from_slice::<Vec<Line>>(&bytes) else { return };
        let mut kept = self.kept();
        let own = std::mem::take(&mut *kept);
        for line in earlier.into_iter().chain(own.lines) {
            let number = kept.last.max(line.number - 1) + 1;
            kept.push(Line { number, ..line });
        }
        let last = kept.last;
        drop(kept);
        self.0.1.send_replace(last);
    }
}

impl Kept {
    fn push(&mut self, mut line: Line) {
        let tidy = |text: String| printable(&shortened(text, LONGEST));
        line.message = tidy(line.message);
        line.fields = line.fields.into_iter().map(|(name, value)| (name, tidy(value))).collect();
        self.last = line.number;
        self.bytes += line.bytes();
        self.lines.push_back(line);
        while self.lines.len() > LINES || self.bytes > BYTES {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: &str) -> Line {
        let fields = vec![("service".to_owned(), "www".to_owned())];
        Line { number: 0, at_ns: 1, level: LogLevel::Info, message: message.to_owned(), fields }
    }

    #[test]
    fn it_is_bounded_and_tells_what_is_gone() {
        let ring = Ring::default();
        for number in 1..=3 * LINES {
            ring.push(line(&number.to_string()));
        }
        let all = ring.after(0, usize::MAX);
        assert_eq!((all.len(), all[0].number), (LINES, 2 * LINES as u64 + 1));
        assert!(all.iter().all(|line| line.message == line.number.to_string()));
        assert_eq!(*ring.last().borrow(), 3 * LINES as u64);
        assert_eq!(ring.after(3 * LINES as u64 - 5, 2).len(), 2);
        assert!(ring.after(3 * LINES as u64, 2).is_empty());
        for _ in 0..LINES {
            ring.push(line(&"\u{1b}x".repeat(BYTES)));
        }
        let all = ring.after(0, usize::MAX);
        assert!(all.iter().map(Line::bytes).sum::<usize>() <= BYTES && all.len() > BYTES / LONGEST / 2);
        assert!(!all[0].message.contains('\u{1b}'));
    }

    #[test]
    fn the_next_daemon_goes_on_counting() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("log");
        let ring = Ring::default();
        (0..5).for_each(|_| ring.push(line("old")));
        ring.save(&path).expect("saved");
        let next = Ring::default();
        next.push(line("new"));
        next.restore(&path);
        let lines: Vec<_> = next.after(3, 9).into_iter().map(|line| (line.number, line.message)).collect();
        assert_eq!(lines, [(4, "old".to_owned()), (5, "old".to_owned()), (6, "new".to_owned())]);
        assert!(!path.exists());
        fs::write(&path, "nonsense").expect("written");
        next.restore(&path);
        assert_eq!(next.after(0, 9).len(), 6);
    }
}
