//! Guests' consoles: their rings are drained into a bounded log.
//!
//! A console is never on the way of a start: a guest that finds its ring full waits or drops, and the
//! daemon reads when it is told. The last lines are shown in `/status`, and say why a guest crashed.

use std::collections::VecDeque;
use std::mem::offset_of;
use std::sync::{Arc, Mutex};

use xen_sys::io::console::{OUT_SIZE, XenconsInterface};

use crate::xen::{Port, SharedPages};

/// Lines kept of each guest.
const LINES: usize = 100;
/// Bytes kept of each line; the rest is dropped.
const LINE_LENGTH: usize = 240;

const OUT: usize = offset_of!(XenconsInterface, output);
const OUT_CONS: usize = offset_of!(XenconsInterface, out_cons);
const OUT_PROD: usize = offset_of!(XenconsInterface, out_prod);

/// The last lines of one guest's console; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct ConsoleLog(Arc<Mutex<Log>>);

#[derive(Debug, Default)]
struct Log {
    lines: VecDeque<String>,
    current: Vec<u8>,
}

impl ConsoleLog {
    /// The lines, oldest first, with one that has not ended yet.
    pub fn lines(&self) -> Vec<String> {
        let log = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let unfinished = (!log.current.is_empty()).then(|| printable(&log.current));
        log.lines.iter().cloned().chain(unfinished).collect()
    }

    /// The last line that says something.
    pub fn last_line(&self) -> Option<String> {
        self.lines().into_iter().rev().find(|line| !line.trim().is_empty())
    }

    fn push(&self, bytes: &[u8]) {
        let mut log = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        for &byte in bytes {
            match byte {
                b'\n' => {
                    let line = printable(&std::mem::take(&mut log.current));
                    if log.lines.len() == LINES {
                        log.lines.pop_front();
                    }
                    log.lines.push_back(line);
                }
                _ if log.current.len() < LINE_LENGTH => log.current.push(byte),
                _ => {}
            }
        }
    }
}

/// A guest may write anything; what reaches a terminal or a page is text without control characters.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

/// Reads what is in the ring; whether there was anything. A guest whose indices make no sense has its
/// ring emptied.
pub fn drain(page: &SharedPages, log: &ConsoleLog) -> bool {
    let (consumer, producer) = (page.load(OUT_CONS), page.load(OUT_PROD));
    let waiting = producer.wrapping_sub(consumer) as usize;
    if waiting == 0 {
        return false;
    }
    if waiting <= OUT_SIZE {
        let mut bytes = [0; OUT_SIZE];
        let bytes = &mut bytes[..waiting];
        let start = consumer as usize % OUT_SIZE;
        let first = waiting.min(OUT_SIZE - start);
        page.read(OUT + start, &mut bytes[..first]);
        page.read(OUT, &mut bytes[first..]);
        log.push(bytes);
    }
    page.store(OUT_CONS, producer);
    true
}

/// Drains a console for as long as it is polled.
pub async fn serve(page: Arc<SharedPages>, port: Port, log: ConsoleLog) {
    loop {
        if drain(&page, &log) {
            port.notify();
            // A guest that never stops talking gets its turn among the others, no more.
            tokio::task::yield_now().await;
        } else {
            port.wait().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page_with(start: u32, bytes: &[u8]) -> SharedPages {
        let page = SharedPages::private(1).expect("a page");
        for (i, byte) in bytes.iter().enumerate() {
            page.write(OUT + (start as usize + i) % OUT_SIZE, &[*byte]);
        }
        page.store(OUT_CONS, start);
        page.store(OUT_PROD, start.wrapping_add(bytes.len() as u32));
        page
    }

    #[test]
    fn lines_are_read_around_the_end_of_the_ring() {
        let page = page_with(u32::MAX - 3, b"hello\nwor\x1b[1mld");
        let log = ConsoleLog::default();
        assert!(drain(&page, &log));
        assert_eq!(log.lines(), ["hello", "wor[1mld"]);
        assert!(!drain(&page, &log));
    }

    #[test]
    fn a_flood_is_bounded() {
        let log = ConsoleLog::default();
        for _ in 0..2 * LINES {
            log.push(&[b'x'; 1000]);
            log.push(b"\n");
        }
        assert_eq!(log.lines().len(), LINES);
        assert!(log.lines().iter().all(|line| line.len() == LINE_LENGTH));
    }

    #[test]
    fn indices_that_cannot_be_empty_the_ring() {
        let page = page_with(0, b"x");
        page.store(OUT_PROD, 1 << 20);
        let log = ConsoleLog::default();
        assert!(drain(&page, &log));
        assert_eq!(log.lines(), [""; 0]);
        assert_eq!(page.load(OUT_CONS), 1 << 20);
    }
}
