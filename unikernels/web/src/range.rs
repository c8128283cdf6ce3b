//! Which bytes a client wants (RFC 9110, section 14).

use alloc::vec::Vec;
use core::ops::Range;

use crate::fields;

/// Most ranges of a request; who wants more gets the whole.
pub const MOST: usize = 8;

/// Bytes that a part of a multipart message takes beside its content, at least.
const PART: usize = 80;

/// What becomes of a request for ranges.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ranges {
    /// The whole is sent, as if none had been asked for.
    Whole,
    /// These are sent, in this order. None is empty, all are in the content.
    Parts(Vec<Range<usize>>),
    /// The content has none of them: 416.
    None,
}

/// Reads a value of `Range`, for a content of `length` bytes.
///
/// What is no range of bytes is ignored, and so is every range of an empty content. Ranges that are outside are left out
/// if there are others.
pub fn parse(value: &str, length: usize) -> Ranges {
    let Some((unit, set)) = value.split_once('=') else { return Ranges::Whole };
    if !unit.trim_matches([' ', '\t']).eq_ignore_ascii_case("bytes") || length == 0 {
        return Ranges::Whole;
    }
    let mut parts = Vec::new();
    let mut count = 0;
    for spec in fields::list(set) {
        let Some(range) = one(spec, length) else { return Ranges::Whole };
        count += 1;
        if count > MOST {
            return Ranges::Whole;
        }
        parts.extend(range.filter(|range| !range.is_empty()));
    }
    if count == 0 {
        return Ranges::Whole;
    }
    // Overlapping ones, and many short ones, would make more of the content than there is.
    let all = parts.iter().map(|range| range.len() + PART).sum::<usize>();
    match parts.len() {
        0 => Ranges::None,
        1 => Ranges::Parts(parts),
        _ if all >= length => Ranges::Whole,
        _ => Ranges::Parts(parts),
    }
}

/// `None` if it is no range, `Some(None)` if it begins after the content's end.
fn one(spec: &str, length: usize) -> Option<Option<Range<usize>>> {
    let (first, last) = spec.split_once('-')?;
    if first.is_empty() {
        return Some(Some(length.saturating_sub(number(last)?)..length));
    }
    let first = number(first)?;
    let end = match last {
        "" => length,
        last => {
            let last = number(last)?;
            if last < first {
                return None;
            }
            last.saturating_add(1).min(length)
        }
    };
    Some((first < length).then_some(first..end))
}

/// A number; one that is too large is the largest there is.
fn number(text: &str) -> Option<usize> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(parts: &[(usize, usize)]) -> Ranges {
        Ranges::Parts(parts.iter().map(|(start, end)| *start..*end).collect())
    }

    #[test]
    fn single_and_suffix() {
        for (value, expected) in [
            ("bytes=0-0", parts(&[(0, 1)])),
            ("bytes=0-499", parts(&[(0, 500)])),
            ("bytes=500-999", parts(&[(500, 1000)])),
            ("bytes=500-5000", parts(&[(500, 1000)])),
            ("bytes=999-", parts(&[(999, 1000)])),
            ("Bytes=0-", parts(&[(0, 1000)])),
            ("bytes=-1", parts(&[(999, 1000)])),
            ("bytes=-1000", parts(&[(0, 1000)])),
            ("bytes=-99999999999999999999999999", parts(&[(0, 1000)])),
            ("bytes=0-99999999999999999999999999", parts(&[(0, 1000)])),
            ("bytes= 0-0 ", parts(&[(0, 1)])),
            ("bytes=1000-", Ranges::None),
            ("bytes=99999999999999999999999999-", Ranges::None),
            ("bytes=-0", Ranges::None),
        ] {
            assert_eq!(parse(value, 1000), expected, "{value}");
        }
    }

    #[test]
    fn several() {
        assert_eq!(parse("bytes=0-0,-1", 1000), parts(&[(0, 1), (999, 1000)]));
        assert_eq!(parse("bytes=900-999, 0-99", 1000), parts(&[(900, 1000), (0, 100)]));
        assert_eq!(parse("bytes=0-99,5000-,", 1000), parts(&[(0, 100)]));
        assert_eq!(parse("bytes=5000-,1000-1001", 1000), Ranges::None);
        // As much as the whole, or more.
        assert_eq!(parse("bytes=0-499,500-999", 1000), Ranges::Whole);
        assert_eq!(parse("bytes=0-,0-,0-", 1000), Ranges::Whole);
        assert_eq!(parse(&["0-0"; MOST].join(",").replacen("", "bytes=", 1), 1000), parts(&[(0, 1); MOST]));
        assert_eq!(parse(&["0-0"; MOST + 1].join(",").replacen("", "bytes=", 1), 1 << 20), Ranges::Whole);
    }

    #[test]
    fn what_is_no_range() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=a-b",
            "bytes=1",
            "bytes=2-1",
            "bytes=--1",
            "bytes=-",
            "bytes=+1-2",
            "bytes=0 - 1",
            "items=0-1",
            "bytes 0-1",
            "bytes=0-1;2-3",
            "bytes=0-0,x",
        ] {
            assert_eq!(parse(value, 1000), Ranges::Whole, "{value}");
        }
        assert_eq!(parse("bytes=0-", 0), Ranges::Whole);
    }
}
