//! The configuration of the node under test.

use std::fmt::Write;
use std::net::Ipv4Addr;

/// The file as it stands, with `TOKEN` in it.
const TEMPLATE: &str = include_str!("jitsu.toml");

/// Before a comment that says what the node must report for its line.
const MARK: &str = "# mistake: ";

/// Services for repeated summoning, all at a time.
pub const CYCLED: u8 = 10;

/// The address of the first of them; the others follow.
const FIRST_CYCLED: [u8; 4] = [10, 0, 2, 100];

/// The configuration with `token` as the page's token.
pub fn with_token(token: &str) -> String {
    let mut config = TEMPLATE.replace("TOKEN", token);
    for number in 0..CYCLED {
        let (name, address) = cycled(number);
        let _ = write!(
            config,
            "\n[[service]]\nname = \"{name}\"\naddress = \"{address}\"\nkernel = \"www\"\nmemory = 4\nttl = 1\nidle = 1\n"
        );
    }
    config
}

/// Name and address of a service for repeated summoning.
pub fn cycled(number: u8) -> (String, Ipv4Addr) {
    let [a, b, c, d] = FIRST_CYCLED;
    (format!("cycle{number}"), Ipv4Addr::new(a, b, c, d + number))
}

/// The lines, counted from 1, with a mistake, and a part of what must be said about it.
pub fn mistakes() -> Vec<(u32, &'static str)> {
    let marked = TEMPLATE.lines().zip(1..).filter_map(|(line, number)| {
        let (before, mistake) = line.split_once(MARK)?;
        (!before.is_empty()).then_some((number, mistake))
    });
    marked.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_service_has_its_mistake_marked() {
        let lines: Vec<_> = TEMPLATE.lines().collect();
        assert!(mistakes().len() >= 7);
        for (number, _) in mistakes() {
            assert!(lines[number as usize - 1].contains(" = "), "line {number}");
        }
        assert!(!with_token("abc").contains("TOKEN"));
    }
}
