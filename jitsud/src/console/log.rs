//! The last words of a guest: a ring of bytes, in a file on a memory-backed file system, so that they are there when
//! the daemon starts anew.
//!
//! ```text
//!  0  head     where the next byte goes, counted from 64
//!  4  filled   bytes that have been written, at most as many as there is room for
//!  8  ended    lines that have ended, of all that was ever said; it wraps
//! 64  bytes
//! ```

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::watch;
use xen_sys::PAGE_SIZE;

use crate::xen::SharedPages;

/// Lines shown of each guest.
pub const LINES: usize = 100;
/// Bytes shown of each line.
pub const LINE_LENGTH: usize = 240;

const PAGES: usize = 4;
const HEAD: usize = 0;
const FILLED: usize = 4;
const ENDED: usize = 8;
const HEADER: usize = 64;
/// Bytes kept of each guest.
const ROOM: usize = PAGES * PAGE_SIZE - HEADER;

/// The last lines of one guest's console; cheap to clone.
#[derive(Clone, Debug)]
pub struct ConsoleLog {
    kept: Kept,
    /// Whoever reads along is woken by it, and told of the end when the last log is gone.
    said: watch::Sender<()>,
}

/// Reads along what a guest says, and may outlive it.
#[derive(Clone, Debug)]
pub struct Follower {
    kept: Kept,
    said: watch::Receiver<()>,
}

/// What a guest has said, as far as it is kept.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Said {
    /// The number of the first line, counted from 1 over all that it has ever said; it wraps.
    pub first: u32,
    /// The lines, oldest first.
    pub lines: Vec<String>,
    /// The last of them has not ended yet.
    pub unfinished: bool,
}

/// The pages, shared by logs and followers.
#[derive(Clone, Debug)]
struct Kept(Arc<Mutex<Pages>>);

/// `None` when there was no memory for any: then nothing is kept.
type Pages = Option<SharedPages>;

impl ConsoleLog {
    /// The log in the file at `path`, with what an earlier daemon has put there, or a new one. One whose file cannot
    /// be made ends with the daemon.
    pub fn open(path: &Path) -> Self {
        match map(path) {
            Ok(pages) => Self::of(Some(pages)),
            Err(error) => {
                tracing::warn!(
                    "{}: {error}; a guest's last words are lost when the daemon ends",
                    path.display()
                );
                Self::private()
            }
        }
    }

    /// A log that ends with the daemon.
    pub fn private() -> Self {
        Self::of(SharedPages::private(PAGES).ok())
    }

    fn of(pages: Pages) -> Self {
        ConsoleLog { kept: Kept(Arc::new(Mutex::new(pages))), said: watch::channel(()).0 }
    }

    /// For whoever wants to read along.
    pub fn follow(&self) -> Follower {
        Follower { kept: self.kept.clone(), said: self.said.subscribe() }
    }

    /// Removes the file of a log.
    pub fn remove(path: &Path) {
        if let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!("the console's log {} cannot be removed: {error}", path.display());
        }
    }

    /// The lines, oldest first, with one that has not ended yet.
    pub fn lines(&self) -> Vec<String> {
        let (text, _) = self.kept.text();
        let text = text.strip_suffix(b"\n").unwrap_or(&text);
        if text.is_empty() {
            return Vec::new();
        }
        let lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').collect();
        let shown = |line: &&[u8]| printable(&line[..line.len().min(LINE_LENGTH)]);
        lines[lines.len().saturating_sub(LINES)..].iter().map(shown).collect()
    }

    /// The last line that says something.
    pub fn last_line(&self) -> Option<String> {
        self.lines().into_iter().rev().find(|line| !line.trim().is_empty())
    }

    /// Adds what was said.
    pub fn push(&self, bytes: &[u8]) {
        let guard = self.kept.pages();
        let Some(pages) = &*guard else { return };
        let ended = bytes.iter().filter(|&&byte| byte == b'\n').count() as u32;
        pages.store(ENDED, pages.load(ENDED).wrapping_add(ended));
        let bytes = &bytes[bytes.len().saturating_sub(ROOM)..];
        let head = position(pages);
        let (first, rest) = bytes.split_at(bytes.len().min(ROOM - head));
        pages.write(HEADER + head, first);
        pages.write(HEADER, rest);
        let filled = ((pages.load(FILLED) as usize).min(ROOM) + bytes.len()).min(ROOM);
        pages.store(FILLED, filled as u32);
        pages.store(HEAD, ((head + bytes.len()) % ROOM) as u32);
        drop(guard);
        self.said.send_replace(());
    }
}

impl Follower {
    /// All that is kept, in numbered lines: those of which the beginning is lost are left out.
    pub fn said(&self) -> Said {
        let (text, ended) = self.kept.text();
        let unfinished = text.last().is_some_and(|&last| last != b'\n');
        let text = text.strip_suffix(b"\n").unwrap_or(&text);
        if text.is_empty() && !unfinished && ended == 0 {
            return Said { first: 1, ..Said::default() };
        }
        let shown = |line: &[u8]| printable(&line[..line.len().min(LINE_LENGTH)]);
        let lines: Vec<String> = text.split(|&byte| byte == b'\n').map(shown).collect();
        let begun = ended.wrapping_add(unfinished.into());
        let first = begun.wrapping_sub(lines.len() as u32).wrapping_add(1);
        Said { first, lines, unfinished }
    }

    /// Whether both are of the same guest.
    pub fn is_same(&self, other: &Follower) -> bool {
        Arc::ptr_eq(&self.kept.0, &other.kept.0)
    }

    /// Waits until the guest has said something more; `false` when it never will. Cancel safe.
    pub async fn more(&mut self) -> bool {
        self.said.changed().await.is_ok()
    }
}

impl Kept {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What is kept, from the beginning of a line, and how many lines have ever ended.
    fn text(&self) -> (Vec<u8>, u32) {
        let guard = self.pages();
        let Some(pages) = &*guard else { return (Vec::new(), 0) };
        let (head, filled) = (position(pages), (pages.load(FILLED) as usize).min(ROOM));
        let mut text = vec![0; filled];
        let older = filled.min(ROOM).saturating_sub(head);
        pages.read(HEADER + ROOM - older, &mut text[..older]);
        pages.read(HEADER + head - (filled - older), &mut text[older..]);
        let ended = pages.load(ENDED);
        drop(guard);
        if filled == ROOM {
            let line = text.iter().position(|&byte| byte == b'\n').map_or(0, |at| at + 1);
            text.drain(..line);
        }
        (text, ended)
    }
}

fn map(path: &Path) -> io::Result<SharedPages> {
    let mut file = File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    if file.metadata()?.len() != (PAGES * PAGE_SIZE) as u64 {
        file.set_len(0)?;
        file.write_all(&[0; PAGES * PAGE_SIZE])?;
    }
    SharedPages::file(&file, PAGES)
}

/// Where the next byte goes. An earlier daemon wrote it; one of another kind may have.
fn position(pages: &SharedPages) -> usize {
    pages.load(HEAD) as usize % ROOM
}

/// A guest may write anything; what reaches a terminal or a page is text without control characters.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_bounded_and_its_end_is_kept() {
        let log = ConsoleLog::private();
        for _ in 0..LINES {
            log.push(&[b'x'; 1000]);
            log.push(b"\n");
        }
        assert!(log.lines().iter().all(|line| line.len() == LINE_LENGTH));
        for i in 0..20 * LINES {
            log.push(format!("line {i}\n").as_bytes());
        }
        let lines = log.lines();
        assert_eq!(lines.len(), LINES);
        assert_eq!(lines[LINES - 1], format!("line {}", 20 * LINES - 1));
        assert_eq!(lines[0], format!("line {}", 19 * LINES));
        log.push(&[b'\n'; 3 * ROOM]);
        assert_eq!(log.last_line(), None);
    }

    #[test]
    fn an_empty_line_is_a_line() {
        let log = ConsoleLog::private();
        assert_eq!(log.lines(), [""; 0]);
        log.push(b"a\n\nb");
        assert_eq!(log.lines(), ["a", "", "b"]);
    }

    #[tokio::test]
    async fn a_follower_goes_on_where_it_was_and_learns_of_the_end() {
        let log = ConsoleLog::private();
        let mut follower = log.follow();
        assert_eq!(follower.said(), Said { first: 1, ..Said::default() });
        log.push(b"one\ntw");
        assert!(follower.more().await);
        let said = follower.said();
        assert_eq!((said.first, said.lines, said.unfinished), (1, vec!["one".into(), "tw".into()], true));
        log.push(b"o\n\n");
        let said = follower.said();
        assert_eq!((said.lines.len(), said.lines[1].as_str(), said.unfinished), (3, "two", false));
        for i in 4..=5 * ROOM {
            log.push(format!("{i}\n").as_bytes());
        }
        let said = follower.said();
        assert_eq!(said.lines[0], said.first.to_string());
        assert_eq!(said.lines.last(), Some(&(5 * ROOM).to_string()));
        assert!(follower.more().await);
        drop(log);
        assert!(!follower.more().await);
        assert_eq!(follower.said(), said);
    }

    #[test]
    fn what_was_said_survives_whoever_kept_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("console");
        for round in 0..5000 {
            let log = ConsoleLog::open(&path);
            log.push(format!("line {round}\nand ").as_bytes());
            assert_eq!(log.last_line().as_deref(), Some("and "));
        }
        let log = ConsoleLog::open(&path);
        assert_eq!(log.lines()[LINES - 2], "and line 4999");
        ConsoleLog::remove(&path);
        assert!(!path.exists());
    }
}
