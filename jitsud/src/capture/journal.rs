//! What is kept of connections that were opened on guests' behalf, for the next daemon: a file on a memory-backed file
//! system.
//!
//! Whatever a client is told is written first: the connection's record, behind all others. Of several of one connection
//! the last counts. Most of the time nothing is kept, and the file is empty; it is written anew when that is so, when
//! connections have been handed over, and when most of it is of no more use.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use handover::Record;

/// Bytes beyond twice what is needed, before the file is written anew.
const SPARE: u64 = 256 << 10;

/// Bytes that are read of a file at most: what all connections that may be kept take, many times over.
const MOST: u64 = 64 << 20;

/// The file. One that cannot be written is not used any more: then connections end with the daemon.
#[derive(Debug)]
pub struct Journal {
    file: Option<File>,
    /// Bytes in it, and how many there were when it was last written anew.
    length: u64,
    needed: u64,
    buffer: Vec<u8>,
}

impl Journal {
    /// Opens the file, and returns what an earlier daemon has left in it: each connection once, in the order in which
    /// they were opened.
    pub fn open(path: &Path) -> (Self, Vec<Record>) {
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let read = opened.and_then(|file| {
            let mut bytes = Vec::new();
            (&file).take(MOST).read_to_end(&mut bytes)?;
            Ok((file, bytes))
        });
        let (file, bytes) = match read {
            Ok((file, bytes)) => (Some(file), bytes),
            Err(error) => {
                tracing::warn!(
                    "{}: {error}; connections to guests that boot end with the daemon",
                    path.display()
                );
                (None, Vec::new())
            }
        };
        let length = bytes.len() as u64;
        (Journal { file, length, needed: 0, buffer: Vec::new() }, last_of_each(&bytes))
    }

    /// A connection is kept, or more of it.
    pub fn add(&mut self, record: &Record) {
        self.buffer.clear();
        record.encode(&mut self.buffer);
        let added = match &mut self.file {
            // A record that is cut off is the last one, and does not count.
            Some(file) => file.seek(SeekFrom::Start(self.length)).and_then(|_| file.write_all(&self.buffer)),
            None => return,
        };
        self.length += self.buffer.len() as u64;
        self.check(added);
    }

    /// Whether there is nothing in the file.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Whether most of the file is of no use.
    pub fn is_long(&self) -> bool {
        self.length > 2 * self.needed + SPARE
    }

    /// Writes the file anew: these are all connections that are kept.
    pub fn rewrite<'a>(&mut self, kept: impl IntoIterator<Item = &'a Record>) {
        self.buffer.clear();
        kept.into_iter().for_each(|record| record.encode(&mut self.buffer));
        self.needed = self.buffer.len() as u64;
        if self.length == 0 && self.needed == 0 {
            return;
        }
        let written = match &mut self.file {
            Some(file) => rewrite(file, &self.buffer),
            None => return,
        };
        self.length = self.needed;
        self.check(written);
    }

    fn check(&mut self, outcome: io::Result<()>) {
        if let Err(error) = outcome {
            tracing::error!(%error, "connections to guests that boot cannot be kept for the next daemon");
            self.file = None;
        }
    }
}

fn rewrite(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    // In this order, so that at any moment what is in it is whole from the beginning on.
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(bytes)
}

/// The connections in a file, as far as it makes sense.
fn last_of_each(mut bytes: &[u8]) -> Vec<Record> {
    let mut numbers = BTreeMap::new();
    let mut records: Vec<Record> = Vec::new();
    while let Ok((record, rest)) = Record::decode(bytes) {
        bytes = rest;
        let number = *numbers.entry((record.remote, record.local)).or_insert(records.len());
        match records.get_mut(number) {
            Some(known) => *known = record,
            None => records.push(record),
        }
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::handover::tests::record;

    #[test]
    fn the_next_daemon_finds_what_was_kept_last() {
        let path = std::env::temp_dir().join(format!("jitsud-journal-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let (mut journal, found) = Journal::open(&path);
        assert_eq!(found, []);
        for record in [record(1, 0), record(2, 0), record(1, 5), record(3, 7), record(1, 9)] {
            journal.add(&record);
        }
        let kept = [record(1, 9), record(2, 0), record(3, 7)];
        drop(journal);
        let (mut journal, found) = Journal::open(&path);
        assert_eq!(found, kept);
        // It goes on behind them.
        journal.add(&record(4, 1));
        assert_eq!(Journal::open(&path).1.len(), 4);
        // Killed while it wrote.
        let whole = std::fs::read(&path).expect("the file");
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).expect("the file");
            let found = Journal::open(&path).1;
            assert!(found.len() <= 3 && found.iter().all(|record| record.remote.port() < 4), "{cut} bytes");
        }
        std::fs::write(&path, &whole).expect("the file");
        journal.rewrite([&record(2, 0)]);
        journal.add(&record(5, 1));
        assert_eq!(Journal::open(&path).1, [record(2, 0), record(5, 1)]);
        journal.rewrite([]);
        assert!(std::fs::read(&path).expect("the file").is_empty());
        while !journal.is_long() {
            journal.add(&record(1, 2048));
        }
        journal.rewrite([&record(1, 2048)]);
        assert!(!journal.is_long());
        assert_eq!(Journal::open(&path).1, [record(1, 2048)]);
        std::fs::remove_file(&path).expect("the file");
    }

    #[test]
    fn without_a_file_nothing_is_kept() {
        let (mut journal, found) = Journal::open(Path::new("/proc/no/such/file"));
        assert_eq!(found, []);
        journal.add(&record(1, 1));
        journal.rewrite([&record(1, 1)]);
    }
}
