//! `[node.dns]`: whose questions the node answers, and how many of them.

use std::time::Duration;

use capture::{IpCidr, Rate};

use super::quiet;
use super::reader::Reader;

pub(super) const KEYS: [&str; 8] = [
    "allow",
    "queries_per_second",
    "burst",
    "boots_per_second",
    "boots_burst",
    "responses_per_second",
    "slip",
    "tcp_idle",
];

const EXAMPLE: &str = "dns = { allow = [\"192.168.1.0/24\"] }";
const ALLOW_EXAMPLE: &str = "allow = [\"192.168.1.0/24\", \"fd00::/8\"]";

/// Questions of one source, a second and at once: a resolver that asks for a whole network is within it.
const QUERIES: (u32, u32) = (2_000, 4_000);

/// Questions of one source that start a service: as many as its packets may (`summons`).
const BOOTS: (u32, u32) = (100, 256);

/// Equal responses to one network, a second; NSD's default, too.
const RESPONSES: u32 = 200;

/// For how many seconds' worth of responses a network may have saved: a client that comes back after a break asks for many
/// things at once, and a flood lasts longer.
const RESPONSES_SAVED: u32 = 5;

/// One in so many suppressed responses says that the client is to come by TCP: BIND's and Knot's default, too.
const SLIP: u32 = 2;

/// Seconds after which a connection is closed on which nothing happens (RFC 7766, section 6.2.3: a few).
const TCP_IDLE: u32 = 10;

const MOST_A_SECOND: u32 = 1_000_000;
const MOST_AT_ONCE: u32 = 1_000_000;
const MOST_SLIP: u32 = 10;
const LONGEST_IDLE: u32 = 3600;

/// The `[node.dns]` table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dns {
    /// Who is answered; `None` for the node's own networks, and those that no packet comes from that has crossed the
    /// Internet.
    pub allow: Option<Vec<IpCidr>>,
    /// Questions of one source: an IPv4 address, or an IPv6 network of 64 bits.
    pub queries: Rate,
    /// Those among them that start a service.
    pub boots: Rate,
    /// Responses of one kind to one network over UDP.
    pub responses: Rate,
    /// Of responses beyond that, one in so many is sent without its content, so that who really asks comes again by TCP.
    /// None for 0.
    pub slip: u32,
    /// How long a TCP connection is kept open without a question.
    pub tcp_idle: Duration,
}

impl Default for Dns {
    fn default() -> Self {
        Dns {
            allow: None,
            queries: rate(QUERIES.0, QUERIES.1),
            boots: rate(BOOTS.0, BOOTS.1),
            responses: responses(RESPONSES),
            slip: SLIP,
            tcp_idle: Duration::from_secs(TCP_IDLE.into()),
        }
    }
}

/// Reads the table. Of what is wrong in it, the defaults are used.
pub fn read(reader: &mut Reader<'_, '_>) -> Dns {
    let Some((line, table)) = reader.table("dns", EXAMPLE) else { return Dns::default() };
    reader.within(line, table, |reader| {
        reader.refuse_unknown(&KEYS, "[node.dns]");
        let allow = reader.has("allow").then(|| quiet::networks(reader, "allow", ALLOW_EXAMPLE));
        let number = |reader: &mut Reader<'_, '_>, key, least, most, unit, default| {
            reader.number(key, least, most, unit).map_or(default, |number| number.value)
        };
        let a_second = |reader: &mut _, key, default| {
            number(reader, key, 0, MOST_A_SECOND, "a second, 0 for any number", default)
        };
        let queries = a_second(reader, "queries_per_second", QUERIES.0);
        let boots = a_second(reader, "boots_per_second", BOOTS.0);
        let equal = a_second(reader, "responses_per_second", RESPONSES);
        let burst = number(reader, "burst", 1, MOST_AT_ONCE, "at once", QUERIES.1);
        let boots_burst = number(reader, "boots_burst", 1, MOST_AT_ONCE, "at once", BOOTS.1);
        Dns {
            // A list of which nothing is left would allow nobody: who wrote it meant somebody.
            allow: allow.filter(|allow| !allow.is_empty() || reader.clean()),
            queries: rate(queries, burst),
            boots: rate(boots, boots_burst),
            responses: responses(equal),
            slip: number(reader, "slip", 0, MOST_SLIP, "responses, 0 for none", SLIP),
            tcp_idle: Duration::from_secs(
                number(reader, "tcp_idle", 1, LONGEST_IDLE, "seconds", TCP_IDLE).into(),
            ),
        }
    })
}

fn rate(per_second: u32, burst: u32) -> Rate {
    match per_second {
        0 => Rate { interval: Duration::ZERO, burst },
        _ => Rate::per_second(per_second, burst),
    }
}

fn responses(per_second: u32) -> Rate {
    rate(per_second, per_second.saturating_mul(RESPONSES_SAVED))
}

#[cfg(test)]
mod tests {
    use super::super::loaded;
    use super::*;

    fn read(table: &str) -> (Dns, Vec<String>) {
        let loaded = loaded(&format!("[node]\naddress = \"10.0.2.15/24\"\n[node.dns]\n{table}"));
        (loaded.config.node.dns, loaded.problems.into_iter().map(|problem| problem.what).collect())
    }

    #[test]
    fn what_is_not_said_is_the_default() {
        assert_eq!(read(""), (Dns::default(), Vec::new()));
        let (dns, problems) =
            read("tcp_idle = 3\nqueries_per_second = 0\nresponses_per_second = 10\nslip = 0");
        assert_eq!(problems, [""; 0]);
        assert_eq!(dns.tcp_idle, Duration::from_secs(3));
        assert_eq!((dns.queries.interval, dns.boots), (Duration::ZERO, Dns::default().boots));
        assert_eq!((dns.responses, dns.slip), (Rate::per_second(10, 50), 0));
    }

    #[test]
    fn a_mistake_costs_one_key() {
        let (dns, problems) = read("slip = 11\nburst = 0\nboots_burst = 7\ntpc_idle = 3");
        assert_eq!(
            problems,
            ["slip = 11 is out of range", "burst = 0 is out of range", "unknown key \"tpc_idle\""]
        );
        assert_eq!(dns, Dns { boots: Rate::per_second(BOOTS.0, 7), ..Dns::default() });
    }

    #[test]
    fn nobody_is_allowed_only_when_that_is_what_was_written() {
        assert_eq!(read("allow = []").0.allow, Some(Vec::new()));
        let (dns, problems) = read("allow = [\"10.0.0.1/8\"]");
        assert_eq!((dns.allow, problems.len()), (None, 1));
        let (dns, problems) = read("allow = [\"10.0.0.0/8\", \"fd00::/8\", \"x\"]");
        assert_eq!((dns.allow.map(|allow| allow.len()), problems.len()), (Some(2), 1));
    }
}
