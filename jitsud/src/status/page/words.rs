//! Figures as people read them. A number and its unit stay on one line.

use maud::{Markup, html};
use time::OffsetDateTime;

use crate::schema::{ClockStatus, NodeStatus};

const SECOND: u64 = 1_000_000_000;

/// When the document was written, and what time of day that was.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    ns: u64,
    unix_s: Option<u64>,
}

impl Now {
    /// As the document says.
    pub fn of(status: &NodeStatus) -> Self {
        let ClockStatus { unix_s, .. } = status.clock;
        Now { ns: status.now_ns, unix_s }
    }

    /// How long ago a moment was, which the page's script counts on.
    pub fn since(self, at_ns: u64) -> Markup {
        let s = self.ns.saturating_sub(at_ns) / SECOND;
        let day = self.unix_s.and_then(|now| utc(now.saturating_sub(s)));
        html! { time data-s=(s) datetime={ "PT" (s) "S" } title=[day] { (span(s)) } }
    }

    /// How long it is until a moment, which the page's script counts down.
    pub fn until(self, at_ns: u64) -> Markup {
        let s = at_ns.saturating_sub(self.ns).div_ceil(SECOND);
        html! { time data-until=(s) datetime={ "PT" (s) "S" } { (span(s)) } }
    }
}

/// A time of day; `None` for one that no calendar has.
pub fn utc(unix_s: u64) -> Option<String> {
    let time = OffsetDateTime::from_unix_timestamp(i64::try_from(unix_s).ok()?).ok()?;
    let (date, hour, minute, second) = (time.date(), time.hour(), time.minute(), time.second());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    Some(format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC"))
}

/// Whole seconds, in the two largest units at most. The page's script writes them in the same way.
pub fn span(s: u64) -> String {
    match s {
        0..60 => format!("{s}\u{a0}s"),
        60..3600 => format!("{}\u{a0}min", s / 60),
        3600..86_400 => format!("{}\u{a0}h {}\u{a0}min", s / 3600, s / 60 % 60),
        _ => format!("{}\u{a0}d {}\u{a0}h", s / 86_400, s / 3600 % 24),
    }
}

/// A short time, to three digits.
pub fn took(ns: u64) -> String {
    let ms = ns as f64 / 1e6;
    match ns {
        0..10_000_000 => format!("{ms:.2}\u{a0}ms"),
        10_000_000..100_000_000 => format!("{ms:.1}\u{a0}ms"),
        100_000_000..1_000_000_000 => format!("{ms:.0}\u{a0}ms"),
        1_000_000_000..100_000_000_000 => format!("{:.2}\u{a0}s", ms / 1e3),
        _ => span(ns / SECOND),
    }
}

/// An amount of memory in whole MiB, or KiB where there is less.
pub fn memory(bytes: u64) -> String {
    match bytes {
        0..0x10_0000 => format!("{}\u{a0}KiB", bytes >> 10),
        _ => format!("{}\u{a0}MiB", bytes >> 20),
    }
}

/// A state, or another word of the document, with blanks.
pub fn spaced(word: &str) -> String {
    word.replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_words() {
        let table = [
            (0, "0\u{a0}s"),
            (59, "59\u{a0}s"),
            (60, "1\u{a0}min"),
            (3599, "59\u{a0}min"),
            (3600, "1\u{a0}h 0\u{a0}min"),
            (86_399, "23\u{a0}h 59\u{a0}min"),
            (86_400, "1\u{a0}d 0\u{a0}h"),
            (3_000_000, "34\u{a0}d 17\u{a0}h"),
        ];
        for (s, words) in table {
            assert_eq!(span(s), words);
        }
        let table = [
            (0, "0.00\u{a0}ms"),
            (8_484_000, "8.48\u{a0}ms"),
            (12_340_000, "12.3\u{a0}ms"),
            (672_067_000, "672\u{a0}ms"),
            (1_234_000_000, "1.23\u{a0}s"),
            (600_000_000_000, "10\u{a0}min"),
        ];
        for (ns, words) in table {
            assert_eq!(took(ns), words);
        }
    }

    #[test]
    fn days_and_memory_in_words() {
        assert_eq!(utc(1_790_000_000).as_deref(), Some("2026-09-21 14:13:20 UTC"));
        assert_eq!(utc(u64::MAX), None);
        assert_eq!((memory(1 << 30), memory(4096)), ("1024\u{a0}MiB".to_owned(), "4\u{a0}KiB".to_owned()));
    }
}
