//! `quiet`: who is told where a service is and does not start it: monitors, crawlers.

use std::fmt;
use std::net::IpAddr;

use capture::IpCidr;

use super::names::MAX_NAME;
use super::reader::{Field, Reader};

pub(super) const KEYS: [&str; 2] = ["networks", "names"];

const EXAMPLE: &str = "quiet = { networks = [\"192.168.1.5\", \"10.0.0.0/8\"], names = [\"monitor.*\"] }";

/// Most networks and most names in one table.
const MOST: usize = 64;

/// Those who start no service.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Quiet {
    /// Whose questions and packets do not.
    pub networks: Vec<IpCidr>,
    /// Questions for which names do not.
    pub names: Vec<Pattern>,
}

impl Quiet {
    /// Whether packets from there start nothing.
    pub fn is_from(&self, source: IpAddr) -> bool {
        // A socket for both families has IPv4's addresses as IPv6's.
        let source = source.to_canonical();
        self.networks.iter().any(|network| network.contains_addr(&source.into()))
    }

    /// Whether questions for this name start nothing: lower case, without the final dot.
    pub fn is_name(&self, name: &str) -> bool {
        self.names.iter().any(|pattern| pattern.matches(name))
    }

    /// These, and those.
    pub(super) fn and(&self, others: Quiet) -> Quiet {
        Quiet {
            networks: [&self.networks[..], &others.networks].concat(),
            names: [&self.names[..], &others.names].concat(),
        }
    }
}

/// A name in which `*` stands for any characters, or none: lower case, without the final dot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pattern(String);

impl Pattern {
    fn new(text: &str) -> Result<Self, String> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._*".contains(c);
        match name.chars().find(|c| !allowed(*c)) {
            _ if name.is_empty() => Err("is empty".to_owned()),
            _ if name.len() > MAX_NAME => Err(format!("has {} characters, more than {MAX_NAME}", name.len())),
            Some(c) => Err(format!("contains {c:?}")),
            None => Ok(Pattern(name)),
        }
    }

    /// Whether a name is one of these.
    pub fn matches(&self, name: &str) -> bool {
        let mut pieces = self.0.split('*');
        let first = pieces.next().unwrap_or_default();
        let Some(mut rest) = name.strip_prefix(first) else { return false };
        let Some(last) = pieces.next_back() else { return rest.is_empty() };
        for piece in pieces {
            // The first place is as good as any: what is left is the longest that way.
            let Some(at) = rest.find(piece) else { return false };
            rest = &rest[at + piece.len()..];
        }
        rest.ends_with(last)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads the table. What is wrong in it is left out.
pub fn read(reader: &mut Reader<'_, '_>) -> Quiet {
    let Some((line, table)) = reader.table("quiet", EXAMPLE) else { return Quiet::default() };
    reader.within(line, table, |reader| {
        reader.refuse_unknown(&KEYS, "quiet");
        Quiet {
            networks: networks(reader, "networks", EXAMPLE),
            names: list(reader, "names", EXAMPLE, "write for example monitor.*", Pattern::new),
        }
    })
}

/// A list of addresses and networks; what is none is left out.
pub(super) fn networks(reader: &mut Reader<'_, '_>, key: &str, example: &str) -> Vec<IpCidr> {
    list(reader, key, example, "write for example 192.168.1.0/24", network)
}

fn list<T>(
    reader: &mut Reader<'_, '_>,
    key: &str,
    example: &str,
    fix: &str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Vec<T> {
    let Some(listed) = reader.strings(key, example) else { return Vec::new() };
    if listed.value.len() > MOST {
        let fault = format!("{key} lists {}, more than {MOST}", listed.value.len());
        reader.problem(listed.line, fault, "remove some, or write wider ones");
    }
    let mut items = Vec::new();
    for Field { value, line } in listed.value.into_iter().take(MOST) {
        match read(value) {
            Ok(item) => items.push(item),
            Err(fault) => reader.problem(line, format!("{value:?} in {key} {fault}"), fix),
        }
    }
    items
}

/// An address, or a network with the length of its prefix.
fn network(text: &str) -> Result<IpCidr, String> {
    let (address, length) =
        text.split_once('/').map_or((text, None), |(before, after)| (before, Some(after)));
    let address: IpAddr = address.parse().map_err(|_| "is neither an address nor a network".to_owned())?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = length.map_or(Ok(longest), str::parse).ok().filter(|prefix| *prefix <= longest);
    let prefix = prefix.ok_or_else(|| format!("has a prefix length that is not 0 to {longest}"))?;
    let network = IpCidr::new(address.into(), prefix);
    let first = match address {
        IpAddr::V4(address) => IpAddr::from(
            (address.to_bits() & u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)).to_be_bytes(),
        ),
        IpAddr::V6(address) => IpAddr::from(
            (address.to_bits() & u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)).to_be_bytes(),
        ),
    };
    if first != address {
        return Err(format!("is an address in the network {first}/{prefix}, not the network"));
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        let table = [
            ("monitor.*", "monitor.www.jitsu.test", true),
            ("monitor.*", "monitor.", true),
            ("monitor.*", "monitors.jitsu.test", false),
            ("monitor.*", "a.monitor.jitsu.test", false),
            ("*.probe.jitsu.test", "x.y.probe.jitsu.test", true),
            ("*.probe.jitsu.test", "probe.jitsu.test", false),
            ("www.jitsu.test", "www.jitsu.test", true),
            ("www.jitsu.test", "www.jitsu.testing", false),
            ("Check-*.Jitsu.*.", "check-1.jitsu.test", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "axbxbxc", true),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
            ("*", "", true),
            ("**", "www", true),
        ];
        for (pattern, name, expected) in table {
            assert_eq!(Pattern::new(pattern).unwrap().matches(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn networks_are_of_both_families() {
        let networks = ["192.168.1.5", "10.0.0.0/8", "fd00::/8", "::1"].map(|text| network(text).unwrap());
        let quiet = Quiet { networks: networks.into(), names: Vec::new() };
        let table = [
            ("192.168.1.5", true),
            ("::ffff:192.168.1.5", true),
            ("192.168.1.6", false),
            ("10.255.0.1", true),
            ("fd12::1", true),
            ("fe80::1", false),
            ("::1", true),
        ];
        for (source, expected) in table {
            assert_eq!(quiet.is_from(source.parse().unwrap()), expected, "{source}");
        }
        assert!(
            Quiet { networks: vec![network("0.0.0.0/0").unwrap()], ..Quiet::default() }
                .is_from([1, 2, 3, 4].into())
        );
        let faults = [
            ("www", "is neither an address nor a network"),
            ("10.0.0.0/33", "has a prefix length that is not 0 to 32"),
            ("fd00::/-1", "has a prefix length that is not 0 to 128"),
            ("10.0.0.1/8", "is an address in the network 10.0.0.0/8, not the network"),
            ("fd00::1/64", "is an address in the network fd00::/64, not the network"),
            ("10.0.0.1/0", "is an address in the network 0.0.0.0/0, not the network"),
        ];
        for (text, fault) in faults {
            assert_eq!(network(text), Err(fault.to_owned()), "{text}");
        }
    }
}
