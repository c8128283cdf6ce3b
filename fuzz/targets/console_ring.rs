//! A console ring whose guest writes whatever it likes anywhere in the page, at any time. What it says is
//! bounded and harmless text in the log; of one that behaves, every byte arrives, and in order.
#![no_main]

use std::collections::VecDeque;
use std::mem::offset_of;
use std::sync::OnceLock;

use jitsud::console::{ConsoleLog, drain, feed};
use jitsud::xen::SharedPages;
use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;
use xen_sys::PAGE_SIZE;
use xen_sys::io::console::{IN_SIZE, OUT_SIZE, XenconsInterface as Page};

const IN: usize = offset_of!(Page, input);
const IN_CONS: usize = offset_of!(Page, in_cons);
const IN_PROD: usize = offset_of!(Page, in_prod);
const OUT: usize = offset_of!(Page, output);
const OUT_CONS: usize = offset_of!(Page, out_cons);
const OUT_PROD: usize = offset_of!(Page, out_prod);

/// Bytes that the daemon keeps, lines of them that it shows, and bytes of each.
const ROOM: usize = 4 * PAGE_SIZE - 64;
const LINES: usize = 100;
const LINE_LENGTH: usize = 240;

fn page() -> &'static SharedPages {
    static PAGE: OnceLock<SharedPages> = OnceLock::new();
    PAGE.get_or_init(|| SharedPages::private(1).expect("a page"))
}

fn snapshot(page: &SharedPages) -> [u8; PAGE_SIZE] {
    let mut bytes = [0; PAGE_SIZE];
    page.read(0, &mut bytes);
    bytes
}

/// The page without what may have changed: places and lengths.
fn without(mut page: [u8; PAGE_SIZE], changed: &[(usize, usize)]) -> [u8; PAGE_SIZE] {
    changed.iter().for_each(|(at, length)| page[*at..at + length].fill(0));
    page
}

/// What a guest that behaves puts into its ring as far as there is room; returns that.
fn say<'a>(page: &SharedPages, bytes: &'a [u8]) -> &'a [u8] {
    let (consumer, producer) = (page.load(OUT_CONS), page.load(OUT_PROD));
    let room = OUT_SIZE.saturating_sub(producer.wrapping_sub(consumer) as usize);
    let bytes = &bytes[..bytes.len().min(room)];
    for (i, byte) in bytes.iter().enumerate() {
        page.write(OUT + (producer as usize + i) % OUT_SIZE, &[*byte]);
    }
    page.store(OUT_PROD, producer.wrapping_add(bytes.len() as u32));
    bytes
}

/// What it finds there.
fn hear(page: &SharedPages, most: usize) -> Vec<u8> {
    let (consumer, producer) = (page.load(IN_CONS), page.load(IN_PROD));
    let length = (producer.wrapping_sub(consumer) as usize).min(IN_SIZE).min(most);
    let mut bytes = vec![0; length];
    for (i, byte) in bytes.iter_mut().enumerate() {
        page.read(IN + (consumer as usize + i) % IN_SIZE, std::slice::from_mut(byte));
    }
    page.store(IN_CONS, consumer.wrapping_add(length as u32));
    bytes
}

/// The log of what was said, made the simple way.
fn expected(said: &[u8]) -> Vec<String> {
    let mut kept = &said[said.len().saturating_sub(ROOM)..];
    if kept.len() == ROOM {
        // Its first line may have lost its beginning.
        let end = kept.iter().position(|byte| *byte == b'\n');
        kept = end.map_or(kept, |end| &kept[end + 1..]);
    }
    let kept = kept.strip_suffix(b"\n").unwrap_or(kept);
    if kept.is_empty() {
        return Vec::new();
    }
    let lines = kept.split(|byte| *byte == b'\n').map(|line| {
        let text = String::from_utf8_lossy(&line[..line.len().min(LINE_LENGTH)]).into_owned();
        text.chars().filter(|c| !c.is_control() || *c == '\t').collect()
    });
    let mut lines: Vec<String> = lines.collect();
    lines.split_off(lines.len().saturating_sub(LINES))
}

fuzz_target!(|input: &[u8]| {
    let page = page();
    page.write(0, &[0; PAGE_SIZE]);
    let log = ConsoleLog::private();
    let (mut said, mut typed) = (Vec::new(), VecDeque::new());
    let mut behaves = true;
    let mut script = Unstructured::new(input);
    while let Ok([what, length]) = script.bytes(2).map(|bytes| [bytes[0], bytes[1]]) {
        let length = usize::from(length);
        match what % 8 {
            0 | 1 => {
                let bytes = script.bytes(length.min(script.len())).expect("there are as many");
                // Repeated, so that a short input can fill the ring.
                for _ in 0..=what / 64 {
                    said.extend_from_slice(say(page, bytes));
                }
            }
            2 => {
                for byte in hear(page, length) {
                    assert!(!behaves || Some(byte) == typed.pop_front());
                }
            }
            3 => {
                let before = snapshot(page);
                let bytes = script.bytes(length.min(script.len())).expect("there are as many");
                let taken = feed(page, bytes);
                assert!(taken <= bytes.len() && taken <= IN_SIZE);
                typed.extend(&bytes[..taken]);
                let own = [(IN, IN_SIZE), (IN_PROD, 4)];
                assert!(without(before, &own) == without(snapshot(page), &own));
            }
            4 | 5 => {
                let before = snapshot(page);
                let waits = page.load(OUT_CONS) != page.load(OUT_PROD);
                assert_eq!(drain(page, &log), waits);
                assert_eq!(page.load(OUT_CONS), page.load(OUT_PROD));
                let own = [(OUT_CONS, 4)];
                assert!(without(before, &own) == without(snapshot(page), &own));
            }
            6 => {
                behaves = false;
                let word = [IN_CONS, IN_PROD, OUT_CONS, OUT_PROD][length % 4];
                page.store(word, script.arbitrary().unwrap_or_default());
            }
            _ => {
                behaves = false;
                let at = usize::from(script.arbitrary::<u16>().unwrap_or_default()) % PAGE_SIZE;
                let bytes = script.bytes(length.min(script.len()).min(PAGE_SIZE - at));
                page.write(at, bytes.expect("there are as many"));
            }
        }
    }
    drain(page, &log);
    let lines = log.lines();
    assert!(lines.len() <= LINES);
    for line in &lines {
        // A byte that is no text becomes a character of three.
        assert!(line.len() <= 3 * LINE_LENGTH && !line.contains(|c: char| c.is_control() && c != '\t'));
    }
    if behaves {
        assert_eq!(lines, expected(&said));
    }
});
