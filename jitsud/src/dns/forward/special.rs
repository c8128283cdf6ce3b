//! Names that do not leave the house: those that no server of the public DNS can know anything about.

use super::answer::Answer;
use super::question::Key;
use super::wire::{code, kind};

/// Where a question may go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Scope {
    /// To any server.
    Anywhere,
    /// To servers in the same house only, at private addresses: it is about the house. Otherwise the answer is this.
    House(Answer),
    /// Nowhere: the answer is this.
    Here(Answer),
}

/// Zones that are about a house, for some server in it may know: reverse zones of private addresses (RFC 6303,
/// section 4; RFC 7793 for shared ones), `home.arpa` (RFC 8375), `internal` (ICANN's resolution 2024.07.29.06), and `test`
/// (RFC 6761, section 6.2).
const OF_THE_HOUSE: [&str; 11] = [
    "10.in-addr.arpa",
    "168.192.in-addr.arpa",
    "254.169.in-addr.arpa",
    "d.f.ip6.arpa",
    "8.e.f.ip6.arpa",
    "9.e.f.ip6.arpa",
    "a.e.f.ip6.arpa",
    "b.e.f.ip6.arpa",
    "home.arpa",
    "internal",
    "test",
];

/// Zones in which there is nothing: local by definition, or reserved (RFC 6303, section 4; RFC 6761; RFC 6762, section
/// 22, for `local`, which is mDNS's; RFC 7686 for `onion`; RFC 9462, section 6.4, for `resolver.arpa`).
const OF_NOBODY: [&str; 12] = [
    "0.in-addr.arpa",
    "127.in-addr.arpa",
    "255.255.255.255.in-addr.arpa",
    "2.0.192.in-addr.arpa",
    "100.51.198.in-addr.arpa",
    "113.0.203.in-addr.arpa",
    "8.b.d.0.1.0.0.2.ip6.arpa",
    "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
    "invalid",
    "local",
    "onion",
    "resolver.arpa",
];

/// TTL in seconds of what is said here, and of its SOA record (RFC 6303, section 3, has it in an example).
const TTL: u32 = 3 * 60 * 60;

/// Where a question may go. Only class IN is special.
pub fn scope(key: &Key) -> Scope {
    let labels = Labels::of(key.name());
    if labels.end_with("localhost") {
        return Scope::Here(localhost(key));
    }
    if let Some(zone) = OF_NOBODY.into_iter().find(|zone| labels.end_with(zone)) {
        return Scope::Here(nothing(zone, labels.count() == zone.split('.').count()));
    }
    let numbered = labels.numbered_zone();
    match OF_THE_HOUSE.into_iter().find(|zone| labels.end_with(zone)) {
        Some(zone) => Scope::House(nothing(zone, labels.count() == zone.split('.').count())),
        None => numbered.map_or(Scope::Anywhere, |(zone, whole)| Scope::House(nothing(&zone, whole))),
    }
}

/// The labels of a name in lower case.
struct Labels<'a>(Vec<&'a [u8]>);

impl<'a> Labels<'a> {
    fn of(mut name: &'a [u8]) -> Self {
        let mut labels = Vec::new();
        while let [length, rest @ ..] = name
            && let Some((label, after)) = rest.split_at_checked(usize::from(*length))
        {
            // The root.
            if label.is_empty() {
                break;
            }
            labels.push(label);
            name = after;
        }
        Labels(labels)
    }

    fn count(&self) -> usize {
        self.0.len()
    }

    fn end_with(&self, zone: &str) -> bool {
        let mut mine = self.0.iter().rev();
        zone.rsplit('.').all(|label| mine.next().is_some_and(|mine| *mine == label.as_bytes()))
    }

    /// 172.16.0.0/12 and 100.64.0.0/10 are many zones, each with a number of its own; and whether the name is the whole
    /// of it.
    fn numbered_zone(&self) -> Option<(String, bool)> {
        let [.., second, first, b"in-addr", b"arpa"] = &self.0[..] else { return None };
        let (first, second) = (str::from_utf8(first).ok()?, str::from_utf8(second).ok()?);
        let private = matches!((first, second.parse().ok()?), ("172", 16..=31u8) | ("100", 64..=127));
        private.then(|| (format!("{second}.{first}.in-addr.arpa"), self.count() == 4))
    }
}

/// `localhost` and what is below it is this host (RFC 6761, section 6.3): the one that asks.
fn localhost(key: &Key) -> Answer {
    const V4: &[u8] = &[127, 0, 0, 1];
    const V6: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    match key.kind() {
        kind::A => Answer::of(code::NO_ERROR, &[(kind::A, TTL, V4)], None),
        kind::AAAA => Answer::of(code::NO_ERROR, &[(kind::AAAA, TTL, V6)], None),
        _ => nothing("localhost", true),
    }
}

/// There is nothing here, and no name but that of the zone itself. The SOA record is that of RFC 6303, section 3.
fn nothing(zone: &str, is_zone: bool) -> Answer {
    let mut name = Vec::new();
    for label in zone.split('.') {
        name.push(label.len() as u8);
        name.extend(label.as_bytes());
    }
    name.push(0);
    let mut data = name.clone();
    data.extend(b"\x06nobody\x07invalid\0");
    for number in [1u32, 3600, 1200, 604_800, TTL] {
        data.extend(number.to_be_bytes());
    }
    let code = if is_zone { code::NO_ERROR } else { code::NX_DOMAIN };
    Answer::of(code, &[], Some((&name, kind::SOA, TTL, &data)))
}
