//! Debian's version order: `[epoch:]upstream[-revision]` compared as Debian Policy §5.6.12 says.

use std::cmp::Ordering;

/// Which of two versions is newer.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (epoch_a, upstream_a, revision_a) = split(a);
    let (epoch_b, upstream_b, revision_b) = split(b);
    epoch_a
        .cmp(&epoch_b)
        .then_with(|| compare_part(upstream_a, upstream_b))
        .then_with(|| compare_part(revision_a, revision_b))
}

/// The version that the software's authors gave it: without epoch, revision and repackaging suffix
/// (`1.95.0+dfsg1-2~bpo13+1` → `1.95.0`).
pub fn upstream(version: &str) -> &str {
    let (_, upstream, _) = split(version);
    upstream.split(['+', '~']).next().unwrap_or(upstream)
}

fn split(version: &str) -> (u64, &str, &str) {
    let (epoch, rest) = match version.split_once(':') {
        Some((epoch, rest)) => (epoch.parse().unwrap_or(0), rest),
        None => (0, version),
    };
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, "0"));
    (epoch, upstream, revision)
}

/// Alternates between a run of non-digits, compared by `order`, and a run of digits, compared as a number.
fn compare_part(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        loop {
            let left = a.first().copied().filter(|c| !c.is_ascii_digit());
            let right = b.first().copied().filter(|c| !c.is_ascii_digit());
            if left.is_none() && right.is_none() {
                break;
            }
            match order(left).cmp(&order(right)) {
                Ordering::Equal => (a, b) = (&a[1..], &b[1..]),
                unequal => return unequal,
            }
        }
        let (number_a, number_b) = (take_number(&mut a), take_number(&mut b));
        let by_value = number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b));
        if by_value != Ordering::Equal {
            return by_value;
        }
    }
    Ordering::Equal
}

/// Leading digits without leading zeros: of two such, the longer is the larger number.
fn take_number<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let end = text.iter().position(|c| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    *text = rest;
    let zeros = number.iter().take_while(|&&c| c == b'0').count();
    &number[zeros..]
}

/// `~` sorts before the end of the string, letters before everything else.
fn order(c: Option<u8>) -> i32 {
    match c {
        Some(b'~') => -1,
        None => 0,
        Some(c) if c.is_ascii_alphabetic() => i32::from(c),
        Some(c) => i32::from(c) + 256,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_order() {
        let ascending = [
            "1.0~beta1~svn1245",
            "1.0~beta1",
            "1.0",
            "1.0-1",
            "1.0-1+deb12u1",
            "1.0a",
            "1.0+",
            "1.2",
            "1.10",
            "4.17.5+72-g01140da4e8-1",
            "4.17.7-0+deb12u1",
            "6.1.176-1",
            "6.1.190-1",
            "1:0.1",
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(compare(a, b), i.cmp(&j), "{a} against {b}");
            }
        }
    }

    #[test]
    fn leading_zeros_do_not_count() {
        assert_eq!(compare("1.02-01", "1.2-1"), Ordering::Equal);
    }

    #[test]
    fn upstream_part() {
        assert_eq!(upstream("1.95.0+dfsg1-2~bpo13+1"), "1.95.0");
        assert_eq!(upstream("1:10.0.2+ds-2"), "10.0.2");
        assert_eq!(upstream("6.1.190-1"), "6.1.190");
        assert_eq!(upstream("1.35"), "1.35");
    }
}
