//! Guests' consoles: their rings are drained into a bounded log, and each is a terminal in dom0 for `xl console`.
//!
//! A console is never on the way of a start: a guest that finds its ring full waits or drops, and the
//! daemon reads when it is told. The last lines are shown in `/status`, and say why a guest crashed.

mod log;
mod terminal;

use std::mem::offset_of;
use std::sync::Arc;

use xen_sys::io::console::{IN_SIZE, OUT_SIZE, XenconsInterface};

use crate::xen::{Port, SharedPages};
pub use log::{ConsoleLog, Follower, Said};
use terminal::Terminal;

const IN: usize = offset_of!(XenconsInterface, input);
const IN_CONS: usize = offset_of!(XenconsInterface, in_cons);
const IN_PROD: usize = offset_of!(XenconsInterface, in_prod);
const OUT: usize = offset_of!(XenconsInterface, output);
const OUT_CONS: usize = offset_of!(XenconsInterface, out_cons);
const OUT_PROD: usize = offset_of!(XenconsInterface, out_prod);

/// Reads what is in the ring; whether there was anything. A guest whose indices make no sense has its
/// ring emptied.
pub fn drain(page: &SharedPages, log: &ConsoleLog) -> bool {
    drain_to(page, |bytes| log.push(bytes))
}

fn drain_to(page: &SharedPages, take: impl FnOnce(&[u8])) -> bool {
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
        take(bytes);
    }
    page.store(OUT_CONS, producer);
    true
}

/// Copies as much of `bytes` as there is room for towards the guest; returns how many. Of a guest whose indices
/// make no sense there is never room.
pub fn feed(page: &SharedPages, bytes: &[u8]) -> usize {
    let (consumer, producer) = (page.load(IN_CONS), page.load(IN_PROD));
    let room = IN_SIZE.saturating_sub(producer.wrapping_sub(consumer) as usize);
    let length = bytes.len().min(room);
    if length == 0 {
        return 0;
    }
    let start = producer as usize % IN_SIZE;
    let (first, rest) = bytes[..length].split_at(length.min(IN_SIZE - start));
    page.write(IN + start, first);
    page.write(IN, rest);
    page.store(IN_PROD, producer.wrapping_add(length as u32));
    length
}

/// Serves a console for as long as it is polled: to the log, and to a terminal whose path `announce` is told. A
/// node that has no terminals keeps the log.
pub async fn serve(page: Arc<SharedPages>, port: Port, log: ConsoleLog, announce: impl FnOnce(&str)) {
    let mut terminal = match Terminal::open() {
        Ok(terminal) => {
            announce(terminal.name());
            Some(terminal)
        }
        Err(error) => {
            tracing::warn!(%error, "a guest's console has no terminal; `xl console` will not find it");
            None
        }
    };
    let mut buffer = [0; IN_SIZE];
    // What was typed and the guest has not had room for.
    let mut typed = 0..0;
    loop {
        let said = drain_to(&page, |bytes| {
            log.push(bytes);
            terminal.iter().for_each(|terminal| terminal.show(bytes));
        });
        let fed = feed(&page, &buffer[typed.clone()]);
        typed.start += fed;
        if said || fed > 0 {
            port.notify();
            // A guest that never stops talking gets its turn among the others, no more.
            tokio::task::yield_now().await;
            continue;
        }
        let typing = async {
            match &terminal {
                // The guest tells when it has made room.
                Some(terminal) if typed.is_empty() => terminal.typed(&mut buffer).await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            () = port.wait() => {}
            length = typing => match length {
                Ok(length) => typed = 0..length,
                Err(error) => {
                    tracing::warn!(%error, "a guest's console has lost its terminal");
                    terminal = None;
                }
            }
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
        let log = ConsoleLog::private();
        assert!(drain(&page, &log));
        assert_eq!(log.lines(), ["hello", "wor[1mld"]);
        assert!(!drain(&page, &log));
    }

    #[test]
    fn indices_that_cannot_be_empty_the_ring() {
        let page = page_with(0, b"x");
        page.store(OUT_PROD, 1 << 20);
        let log = ConsoleLog::private();
        assert!(drain(&page, &log));
        assert_eq!(log.lines(), [""; 0]);
        assert_eq!(page.load(OUT_CONS), 1 << 20);
    }

    #[test]
    fn what_is_typed_goes_around_the_end_of_the_ring_and_no_further_than_there_is_room() {
        let page = SharedPages::private(1).expect("a page");
        page.store(IN_CONS, u32::MAX - 1);
        page.store(IN_PROD, u32::MAX - 1);
        assert_eq!(feed(&page, b"abcd"), 4);
        let mut bytes = [0; 2];
        page.read(IN + IN_SIZE - 2, &mut bytes);
        assert_eq!(&bytes, b"ab");
        page.read(IN, &mut bytes);
        assert_eq!(&bytes, b"cd");
        assert_eq!(page.load(IN_PROD), 2);
        assert_eq!(feed(&page, &[0; 2 * IN_SIZE]), IN_SIZE - 4);
        assert_eq!(feed(&page, b"x"), 0);
        page.store(IN_CONS, 1 << 20);
        assert_eq!(feed(&page, b"x"), 0);
    }
}
