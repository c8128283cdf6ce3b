//! Questions in text, and what they mean in text.

use super::name::{Asked, text};
use super::*;
use crate::config;

fn zone(rest: &str) -> Zone {
    let text = format!(
        "[node]\nname = \"node\"\naddress = \"10.0.2.15/24\"\naddress6 = \"fd00::15/64\"\n{}\n{rest}",
        r#"
        [[service]]
        name = "www"
        address = "10.0.2.20"
        address6 = "fd00::20"
        kernel = "any"
        [[service]]
        name = "old"
        dns = ["old.jitsu.test", "deep.below.jitsu.test", "both.jitsu.test"]
        address = "10.0.2.21"
        kernel = "any"
        [[service]]
        name = "new"
        dns = ["new.jitsu.test", "both.jitsu.test"]
        address = "10.0.2.22"
        address6 = "fd00::22"
        kernel = "any"
        "#
    );
    let loaded = config::loaded(&text);
    assert_eq!(loaded.problems, []);
    Zone::new(&loaded.config).unwrap()
}

/// What `NAME TYPE` means, in a few words.
fn ask(zone: &Zone, question: &str) -> String {
    let (name, kind) = question.split_once(' ').unwrap();
    let name = wire(&absolute(name).unwrap());
    let asked = Asked::read(&name).unwrap();
    let kind = match kind.strip_prefix("TYPE") {
        Some(number) => RecordType::from(number.parse::<u16>().unwrap()),
        None => kind.parse().unwrap(),
    };
    let answer = match zone.ask(asked.wire(), DNSClass::IN, kind) {
        Verdict::Answer(answer) => answer,
        Verdict::Elsewhere => return "elsewhere".to_owned(),
        Verdict::Refuse => return "refuse".to_owned(),
    };
    let mut said: Vec<String> =
        answer.aliases.iter().map(|alias| format!("→ {}", text(alias.target().unwrap()))).collect();
    let numbers =
        |services: &[ServiceId]| format!("{:?}", services.iter().map(|id| id.0).collect::<Vec<_>>());
    said.push(match answer.end {
        End::Records(set) => format!("{} {}", set.data.len(), set.kind),
        End::Services(Family::V4, services) => format!("v4 of {}", numbers(services)),
        End::Services(Family::V6, services) => format!("v6 of {}", numbers(services)),
        End::Instance(services) => format!("one of {}", numbers(services)),
        End::NoData(zone) => format!("no data in {}", text(&zone.name)),
        End::NoSuchName(zone) => format!("no name in {}", text(&zone.name)),
        End::Beyond => "beyond".to_owned(),
        End::Circle => "in a circle".to_owned(),
    });
    said.join(" ")
}

fn check(zone: &Zone, table: &[(&str, &str)]) {
    for (question, expected) in table {
        assert_eq!(ask(zone, question), *expected, "{question}");
    }
}

#[test]
fn services_are_found_by_all_their_names_in_the_family_that_they_have() {
    check(
        &zone(""),
        &[
            ("www.jitsu.test A", "v4 of [0]"),
            ("WwW.Jitsu.TEST AAAA", "v6 of [0]"),
            ("old.jitsu.test A", "v4 of [1]"),
            ("old.jitsu.test AAAA", "no data in jitsu.test"),
            ("deep.below.jitsu.test A", "v4 of [1]"),
            ("both.jitsu.test A", "v4 of [1, 2]"),
            ("both.jitsu.test AAAA", "v6 of [1, 2]"),
            ("www.jitsu.test TXT", "no data in jitsu.test"),
            ("www.jitsu.test HTTPS", "no data in jitsu.test"),
            ("www.jitsu.test TYPE65280", "no data in jitsu.test"),
            ("www.jitsu.test ANY", "1 HINFO"),
            // A name between others has nothing, and is there (RFC 8020).
            ("below.jitsu.test A", "no data in jitsu.test"),
            ("x.below.jitsu.test A", "no name in jitsu.test"),
            ("x.www.jitsu.test A", "no name in jitsu.test"),
        ],
    );
}

#[test]
fn the_node_and_its_zone() {
    let zone = zone("");
    check(
        &zone,
        &[
            ("node.jitsu.test A", "1 A"),
            ("node.jitsu.test AAAA", "1 AAAA"),
            ("jitsu.test SOA", "1 SOA"),
            ("jitsu.test NS", "1 NS"),
            ("jitsu.test A", "no data in jitsu.test"),
            ("jitsu.test DS", "no data in jitsu.test"),
            ("www.jitsu.test SOA", "no data in jitsu.test"),
            ("jitsu.test AXFR", "refuse"),
            ("example.org A", "elsewhere"),
            ("example.org AXFR", "refuse"),
            ("notjitsu.test A", "elsewhere"),
            ("test SOA", "elsewhere"),
            (". NS", "elsewhere"),
        ],
    );
    for class in [DNSClass::CH, DNSClass::HS, DNSClass::ANY, DNSClass::NONE, DNSClass::Unknown(77)] {
        let name = wire(&absolute("www.jitsu.test").unwrap());
        assert!(matches!(zone.ask(&name, class, RecordType::A), Verdict::Refuse), "{class}");
    }
}

#[test]
fn a_reverse_name_is_a_zone_of_its_own_and_neighbours_are_elsewhere() {
    let of_www = "20.2.0.10.in-addr.arpa";
    let v6 = "0.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa";
    check(
        &zone(""),
        &[
            (&format!("{of_www} PTR"), "1 PTR"),
            (&format!("{v6} PTR"), "1 PTR"),
            (&format!("{of_www} SOA"), "1 SOA"),
            (&format!("{of_www} NS"), "1 NS"),
            (&format!("{of_www} ANY"), "1 HINFO"),
            (&format!("{of_www} A"), &format!("no data in {of_www}")),
            (&format!("x.{of_www} PTR"), &format!("no name in {of_www}")),
            ("15.2.0.10.in-addr.arpa PTR", "1 PTR"),
            ("99.2.0.10.in-addr.arpa PTR", "elsewhere"),
            ("2.0.10.in-addr.arpa SOA", "elsewhere"),
            ("arpa NS", "elsewhere"),
        ],
    );
}

fn record(name: &str, kind: &str, data: &str) -> String {
    format!("[[record]]\nname = '{name}'\ntype = '{kind}'\ndata = '{data}'\n")
}

#[test]
fn records_and_aliases() {
    let records = [
        record("@", "MX", "10 mail"),
        record("@", "MX", "20 mail.example.org."),
        record("mail", "A", "10.0.2.99"),
        record("_http._tcp", "SRV", "0 0 80 www.jitsu.test"),
        record("www", "TXT", "\"a b\" c"),
        record("www.jitsu.test", "HTTPS", "1 . alpn=h2"),
        record("alias", "CNAME", "www"),
        record("alias2", "CNAME", "alias"),
        record("out", "CNAME", "www.example.org."),
        record("lost", "CNAME", "nowhere"),
        record("loop", "CNAME", "loop2"),
        record("loop2", "CNAME", "loop"),
    ];
    let zone = zone(&records.concat());
    check(
        &zone,
        &[
            ("jitsu.test MX", "2 MX"),
            ("mail.jitsu.test A", "1 A"),
            ("mail.jitsu.test AAAA", "no data in jitsu.test"),
            ("_http._tcp.jitsu.test SRV", "1 SRV"),
            ("_tcp.jitsu.test SRV", "no data in jitsu.test"),
            ("www.jitsu.test TXT", "1 TXT"),
            ("www.jitsu.test HTTPS", "1 HTTPS"),
            ("www.jitsu.test A", "v4 of [0]"),
            ("alias.jitsu.test A", "→ www.jitsu.test v4 of [0]"),
            ("alias2.jitsu.test AAAA", "→ alias.jitsu.test → www.jitsu.test v6 of [0]"),
            ("alias.jitsu.test TXT", "→ www.jitsu.test 1 TXT"),
            ("alias.jitsu.test CNAME", "1 CNAME"),
            ("alias.jitsu.test ANY", "1 HINFO"),
            ("alias.jitsu.test CAA", "→ www.jitsu.test no data in jitsu.test"),
            ("out.jitsu.test A", "→ www.example.org beyond"),
            ("lost.jitsu.test A", "→ nowhere.jitsu.test no name in jitsu.test"),
        ],
    );
    assert!(ask(&zone, "loop.jitsu.test A").ends_with("in a circle"));
}

#[test]
fn wildcards_stand_in_for_what_is_not_there() {
    // RFC 4592, section 2.2.1, with our names.
    let records = [
        record("*", "TXT", "\"a wildcard\""),
        record("*", "MX", "10 host1"),
        record("sub.*", "TXT", "\"no wildcard\""),
        record("host1", "A", "10.0.2.91"),
        record("_ssh._tcp.host1", "SRV", "0 0 22 host1"),
        record("*.cname", "CNAME", "www"),
    ];
    check(
        &zone(&records.concat()),
        &[
            ("host3.jitsu.test MX", "1 MX"),
            ("host3.jitsu.test A", "no data in jitsu.test"),
            ("foo.bar.jitsu.test TXT", "1 TXT"),
            ("host1.jitsu.test MX", "no data in jitsu.test"),
            ("sub.*.jitsu.test MX", "no data in jitsu.test"),
            ("_telnet._tcp.host1.jitsu.test SRV", "no name in jitsu.test"),
            ("host.sub.jitsu.test MX", "1 MX"),
            ("*.jitsu.test MX", "1 MX"),
            ("ghost.*.jitsu.test MX", "no name in jitsu.test"),
            ("x.www.jitsu.test TXT", "no name in jitsu.test"),
            ("a.b.cname.jitsu.test A", "→ www.jitsu.test v4 of [0]"),
        ],
    );
}

#[test]
fn wildcard_names_are_one_services_or_have_an_instance_each() {
    let services = r#"
        [[service]]
        name = "one"
        dns = ["*.all.jitsu.test", "all.jitsu.test"]
        address = "10.0.2.30"
        kernel = "any"
        [[service]]
        name = "users"
        instances = ["10.0.2.31", "10.0.2.32"]
        kernel = "any"
        [[record]]
        name = "*.users"
        type = "TXT"
        data = '"hello"'
        [[record]]
        name = "me"
        type = "CNAME"
        data = "alice.users"
    "#;
    check(
        &zone(services),
        &[
            ("all.jitsu.test A", "v4 of [3]"),
            ("x.all.jitsu.test A", "v4 of [3]"),
            ("x.all.jitsu.test AAAA", "no data in jitsu.test"),
            ("alice.users.jitsu.test A", "one of [4, 5]"),
            ("a.b.users.jitsu.test A", "one of [4, 5]"),
            ("alice.users.jitsu.test AAAA", "no data in jitsu.test"),
            ("alice.users.jitsu.test TXT", "1 TXT"),
            ("users.jitsu.test A", "no data in jitsu.test"),
            ("me.jitsu.test A", "→ alice.users.jitsu.test one of [4, 5]"),
            ("31.2.0.10.in-addr.arpa PTR", "no data in 31.2.0.10.in-addr.arpa"),
        ],
    );
}
