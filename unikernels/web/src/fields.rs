//! What several header fields are made of: lists, weights, entity tags (RFC 9110, sections 5.6.1, 12.4.2 and 8.8.3).

/// The elements of a list. A comma within quotes separates nothing; empty elements are none.
pub fn list(value: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    value
        .split(move |character| {
            quoted ^= character == '"';
            character == ',' && !quoted
        })
        .map(|element| element.trim_matches([' ', '\t']))
        .filter(|element| !element.is_empty())
}

/// A name with a weight, in thousandths: `gzip;q=0.5`. One without has 1000; `None` for what is no weight.
pub fn weighted(element: &str) -> Option<(&str, u16)> {
    let mut parts = element.split(';').map(|part| part.trim_matches([' ', '\t']));
    let name = parts.next()?;
    let mut weight = 1000;
    for part in parts {
        if let Some(value) = part.strip_prefix(['q', 'Q']).and_then(|rest| rest.strip_prefix('=')) {
            weight = thousandths(value)?;
        }
    }
    Some((name, weight))
}

/// `0.5` is 500: a digit, 0 or 1, and at most three behind the point.
fn thousandths(value: &str) -> Option<u16> {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let thousandths =
        fraction.bytes().zip([100, 10, 1]).map(|(digit, one)| u16::from(digit - b'0') * one).sum();
    match (whole, thousandths) {
        ("0", thousandths) => Some(thousandths),
        ("1", 0) => Some(1000),
        _ => None,
    }
}

/// Whether a list of entity tags, or `*`, names this one; `tag` is as it stands in `ETag`. Weak tags are the same as
/// strong ones if `weakly` (RFC 9110, section 8.8.3.2).
pub fn names_tag(value: &str, tag: &str, weakly: bool) -> bool {
    let same = |element: &str| match element.strip_prefix("W/") {
        Some(opaque) => weakly && opaque == tag,
        None => element == tag,
    };
    value.trim_matches([' ', '\t']) == "*" || list(value).any(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let elements = |value| list(value).collect::<Vec<_>>();
        assert_eq!(elements("a, b,c\t,  ,,d e"), ["a", "b", "c", "d e"]);
        assert_eq!(elements("\"a,b\", W/\"c\""), ["\"a,b\"", "W/\"c\""]);
        assert_eq!(elements("\"a,b"), ["\"a,b"]);
        assert!(elements(" , ").is_empty());
    }

    #[test]
    fn weights() {
        for (element, expected) in [
            ("gzip", Some(("gzip", 1000))),
            ("gzip;q=1.000", Some(("gzip", 1000))),
            ("gzip ; q=0.5", Some(("gzip", 500))),
            ("gzip;Q=0.001", Some(("gzip", 1))),
            ("gzip;q=0.", Some(("gzip", 0))),
            ("gzip;level=9;q=0", Some(("gzip", 0))),
            ("gzip;q=1.001", None),
            ("gzip;q=2", None),
            ("gzip;q=-1", None),
            ("gzip;q=0.0001", None),
            ("gzip;q=", None),
            ("gzip;q=.5", None),
        ] {
            assert_eq!(weighted(element), expected, "{element}");
        }
    }

    #[test]
    fn tags() {
        assert!(names_tag("*", "\"a\"", false) && names_tag(" * ", "\"a\"", true));
        assert!(names_tag("\"b\", \"a\"", "\"a\"", false));
        assert!(names_tag("\"b\",W/\"a\"", "\"a\"", true));
        assert!(!names_tag("\"b\",W/\"a\"", "\"a\"", false));
        for value in ["", "a", "\"A\"", "\"a", "\"b,\"a\"", "\"\", *"] {
            assert!(!names_tag(value, "\"a\"", true), "{value}");
        }
    }
}
