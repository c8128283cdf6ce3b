//! Names that are not one service's alone: shared ones, wildcards, instances, records; and IPv6 addresses.

use super::*;

/// The problems with the good file and this behind it.
fn problems(rest: &str) -> Vec<String> {
    let loaded = resolved(&format!("{GOOD}{rest}"));
    let lines = lines(&loaded.problems);
    lines.iter().map(|line| line.strip_prefix("jitsu.toml:").unwrap().to_owned()).collect()
}

fn service(rest: &str) -> String {
    format!("[[service]]\nname = \"b\"\nkernel = \"www\"\n{rest}\n")
}

fn record(name: &str, kind: &str, data: &str) -> String {
    format!("[[record]]\nname = '{name}'\ntype = '{kind}'\ndata = '{data}'\n")
}

#[test]
fn a_name_may_be_that_of_several_services_but_not_twice_of_one() {
    let shared = "dns = [\"b.jitsu.test\", \"WWW.jitsu.test.\", \"*.x.jitsu.test\"]\naddress = \"10.0.2.21\"";
    let loaded = resolved(&format!("{GOOD}{}", service(shared)));
    assert_eq!(lines(&loaded.problems), [""; 0]);
    assert_eq!(loaded.config.services[1].dns, ["b.jitsu.test", "www.jitsu.test", "*.x.jitsu.test"]);
    for (dns, fault) in [
        (
            "\"c.jitsu.test\", \"C.jitsu.test\"",
            "\"c.jitsu.test\" already belongs to b; give each service names of its own",
        ),
        (
            "\"node.jitsu.test\"",
            "\"node.jitsu.test\" already belongs to the node; give each service names of its own",
        ),
        (
            "\"a.*.jitsu.test\"",
            "\"a.*.jitsu.test\" has a label \"*\" that contains '*'; write dns = [\"b.jitsu.test\"]",
        ),
        ("\"*\"", "\"*\" contains '*'; write dns = [\"b.jitsu.test\"]"),
    ] {
        let rest = service(&format!("dns = [{dns}]\naddress = \"10.0.2.21\""));
        assert_eq!(problems(&rest), [format!("15: service b: DNS name {fault}")]);
    }
}

#[test]
fn instances_are_services_with_a_number() {
    let loaded = resolved(&format!("{GOOD}{}", service("instances = [\"10.0.2.31\",\n \"10.0.2.32\"]")));
    assert_eq!(lines(&loaded.problems), [""; 0]);
    let of_b: Vec<_> = loaded.config.services[1..]
        .iter()
        .map(|service| (service.name.as_str(), service.address.octets()[3], service.instance_of.as_deref()))
        .collect();
    assert_eq!(of_b, [("b-1", 31, Some("b")), ("b-2", 32, Some("b"))]);
    assert!(loaded.config.services[1..].iter().all(|service| service.dns == ["*.b.jitsu.test"]));
    assert_eq!(loaded.config.services[0].instance_of, None);

    // One whose address is taken is left out, and the others are not.
    let taken = resolved(&format!("{GOOD}{}", service("instances = [\"10.0.2.20\", \"10.0.2.32\"]")));
    let expected = "jitsu.toml:15: service b-1: address 10.0.2.20 already belongs to www; \
                    take another address of 10.0.2.0/24";
    assert_eq!(lines(&taken.problems), [expected]);
    assert_eq!(taken.config.services[1].name, "b-2");
}

#[test]
fn what_instances_cannot_have() {
    let instances = "instances = [\"10.0.2.31\"]";
    for (rest, fault) in [
        (
            "instances = []",
            "15: service b: instances is empty; write instances = [\"192.168.1.100\", \"192.168.1.101\"]",
        ),
        (
            "instances = [\"fd00::1\"]",
            "15: service b: \"fd00::1\" in instances is not an IPv4 address; \
             write instances = [\"192.168.1.100\", \"192.168.1.101\"]",
        ),
        (
            &format!("{instances}\naddress = \"10.0.2.21\""),
            "16: service b: address and instances exclude each other; \
             remove address: each instance has one of the list",
        ),
        (
            &format!("{instances}\nstart = \"always\""),
            "16: service b: instances run for a host name that is asked for, none of them always; \
             remove start, or the instances",
        ),
        (
            &format!("{instances}\nkeys = {{ \"data/host\" = \"x\" }}"),
            "16: service b: key \"data/host\" is the one in which an instance finds its host name; take another one",
        ),
        (
            &format!("{instances}\ndisk = [{{ path = \"/dev/sda1\", access = \"rw\" }}]"),
            "16: service b: disk /dev/sda1 cannot be written to by several instances; write access = \"ro\"",
        ),
        (
            &format!("{instances}\ndns = [\"www.jitsu.test\"]"),
            "16: service b: DNS name \"www.jitsu.test\" already belongs to www; give each service names of its own",
        ),
    ] {
        assert_eq!(problems(&service(rest)), [fault]);
    }
    let many: Vec<_> = (0..251).map(|number| format!("\"10.1.{}.1\"", number)).collect();
    let many = problems(&service(&format!("instances = [{}]", many.join(", "))));
    assert!(many[0].starts_with("15: service b: instances lists 251, more than 250"), "{many:?}");
    // A name that another one would get is told.
    let other = "[[service]]\nname = \"b-1\"\nkernel = \"www\"\naddress = \"10.0.2.40\"\n";
    let clash = problems(&format!("{other}{}", service(instances)));
    assert_eq!(
        clash,
        ["19: service b: the instance's name \"b-1\" is another service's; give the service another name"]
    );
}

#[test]
fn records_are_read_as_in_a_zone_file() {
    let records = [
        record("@", "MX", "10 mail"),
        record("_http._TCP", "srv", "0 0 80 www.jitsu.test"),
        record("www.jitsu.test", "TXT", "\"a; b\" c"),
        record("x.jitsu.test.", "CNAME", "www.example.org."),
        record("*", "HTTPS", "1 . alpn=h2"),
        record("ca", "CAA", "0 issue \"ca.example.net\""),
        "[[record]]\nname = \"a\"\ntype = \"AAAA\"\ndata = \"fd00::9\"\nttl = 0\n".to_owned(),
    ];
    let loaded = resolved(&format!("{GOOD}{}", records.concat()));
    assert_eq!(lines(&loaded.problems), [""; 0]);
    let said: Vec<_> = loaded
        .config
        .records
        .iter()
        .map(|record| format!("{} {} {} {}", record.name, record.ttl, record.data.record_type(), record.data))
        .collect();
    assert_eq!(
        said[..4],
        [
            "jitsu.test 60 MX 10 mail.jitsu.test.",
            "_http._tcp.jitsu.test 60 SRV 0 0 80 www.jitsu.test.",
            "www.jitsu.test 60 TXT a; bc",
            "x.jitsu.test 60 CNAME www.example.org.",
        ]
    );
    assert_eq!(said[6], "a.jitsu.test 0 AAAA fd00::9");
}

#[test]
fn a_bad_record_is_left_out_and_explained() {
    let [long, too_long] = [300, 1100].map(|count| format!("\"{}\"", "x".repeat(count)));
    let table = [
        (record("", "A", "10.0.2.9"), "13: name \"\" has a label \"\" that is empty"),
        (record("a b", "A", "10.0.2.9"), "13: name \"a b\" has a label \"a b\" that contains ' '"),
        (
            record("www.example.org.", "A", "1.2.3.4"),
            "13: name \"www.example.org.\" is outside the node's zone",
        ),
        (record("x", "NS", "ns"), "14: type = \"NS\" is none that a record here may have"),
        (record("x", "SPF", "x"), "14: type = \"SPF\" is none that a record here may have"),
        (record("x", "A", "10.0.2"), "15: data \"10.0.2\" is no A record's: "),
        (record("x", "SRV", "0 0 99999 www"), "15: data \"0 0 99999 www\" is no SRV record's: "),
        (record("x", "TXT", &too_long), "is no TXT record's: it has 1102 characters, more than 1024"),
        (record("x", "TXT", &long), "is no TXT record's: "),
        (record("@", "CNAME", "www"), "12: the zone's own name \"jitsu.test\" cannot be an alias"),
        (
            record("www", "CNAME", "x"),
            "12: there cannot be a CNAME record at \"www.jitsu.test\", which belongs to www",
        ),
        (
            record("www", "A", "10.0.2.9"),
            "12: there cannot be a A record at \"www.jitsu.test\", which belongs to www",
        ),
        (
            record("node", "AAAA", "fd00::1"),
            "12: there cannot be a AAAA record at \"node.jitsu.test\", which belongs to the node",
        ),
        (
            record("x", "A", "10.0.2.9") + &record("x", "TXT", "x") + &record("x", "CNAME", "y"),
            "20: there cannot be a CNAME",
        ),
        (
            record("x", "CNAME", "y") + &record("x", "TXT", "x"),
            "16: there cannot be a TXT record at \"x.jitsu.test\", which belongs to the alias on line 12",
        ),
        (record("x", "CNAME", "y") + &record("x", "CNAME", "z"), "16: there cannot be a CNAME"),
        (record("x", "TXT", "x").repeat(2), "16: this record is there already; remove one of them"),
        (
            record("x", "TXT", "x") + &record("x", "TXT", "y") + "ttl = 5\n",
            "16: ttl = 5 s is not that of the TXT record on line 12, 60 s",
        ),
        (record("x", "A", "10.0.2.9") + "color = 1\n", "16: unknown key \"color\""),
        ("[[record]]\n".to_owned(), "12: name is missing; add name = \"_http._tcp\""),
        ("record = 1\n".to_owned(), "unknown key \"record\""),
    ];
    for (text, expected) in table {
        let found = problems(&text);
        assert!(found.iter().any(|problem| problem.contains(expected)), "{text}: {found:?}");
    }
    let many: String = (0..33).map(|number| record("x", "TXT", &number.to_string())).collect();
    assert_eq!(problems(&many), ["140: there are over 32 TXT records at \"x.jitsu.test\"; remove some"]);
}

#[test]
fn ipv6_addresses_are_those_of_hosts_and_nobody_elses() {
    let node = with("domain", "address6 = \"fd00::2/64\"\ndomain");
    let own = |address6: &str| {
        let text =
            format!("{node}{}", service(&format!("address = \"10.0.2.21\"\naddress6 = \"{address6}\"")));
        resolved(&text)
    };
    let good = own("fd00::5");
    assert_eq!(lines(&good.problems), [""; 0]);
    assert_eq!(good.config.node.address6, Some(("fd00::2".parse().unwrap(), 64)));
    assert_eq!(good.config.services[1].address6, Some("fd00::5".parse().unwrap()));
    let fix = "take a free address of fd00::/64";
    for (address, fault) in [
        ("fd00::5/64", "is not an IPv6 address"),
        ("10.0.2.21", "is not an IPv6 address"),
        ("fd00::2", "already belongs to the node"),
        ("fd00::", "already belongs to the network's routers"),
        ("fd01::5", "is outside the node's network fd00::/64"),
        ("fe80::5", "is a link-local address, which means nothing without its link"),
        ("ff02::1", "cannot be a host's address"),
        ("::1", "cannot be a host's address"),
        ("::ffff:10.0.2.21", "is an IPv4 address in another form"),
    ] {
        let expected = format!("jitsu.toml:17: service b: address6 {address:?} {fault}; {fix}");
        assert_eq!(lines(&own(address).problems), [expected]);
    }
    for (address, fault) in [
        ("fd00::2", "is not an IPv6 address with a prefix length"),
        ("fd00::2/127", "has a prefix length that is not 1 to 126"),
        ("fd00::/64", "is the network's own address"),
        ("fe80::2/64", "is a link-local address, which means nothing without its link"),
    ] {
        let text = with("domain", &format!("address6 = \"{address}\"\ndomain"));
        let loaded = resolved(&text);
        assert_eq!(loaded.config.node.address6, None);
        assert!(lines(&loaded.problems)[0].contains(&format!("address6 {address:?} {fault}; ")), "{address}");
    }
}
