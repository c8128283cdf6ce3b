//! Names that do not leave the house.

use super::*;

#[test]
fn what_nobody_can_know_is_answered_here() {
    for (name, code) in [
        ("printer.local.", ResponseCode::NXDomain),
        ("x.invalid.", ResponseCode::NXDomain),
        ("abc.onion.", ResponseCode::NXDomain),
        ("1.0.0.127.in-addr.arpa.", ResponseCode::NXDomain),
        ("127.in-addr.arpa.", ResponseCode::NoError),
        ("_dns.resolver.arpa.", ResponseCode::NXDomain),
        (&format!("1.{}ip6.arpa.", "0.".repeat(31)), ResponseCode::NXDomain),
    ] {
        let mut bench = Bench::new(&[NEAR, FAR]);
        let reply = bench.ask(ALICE, &query(name, RecordType::PTR)).unwrap();
        assert_eq!((reply.metadata.response_code, reply.authorities.len()), (code, 1), "{name}");
        assert_eq!(reply.authorities[0].record_type(), RecordType::SOA);
        assert!(reply.metadata.recursion_available && reply.answers.is_empty());
    }
}

#[test]
fn localhost_is_whoever_asks() {
    let mut bench = Bench::new(&[NEAR]);
    for (kind, data) in [(RecordType::A, "127.0.0.1"), (RecordType::AAAA, "::1")] {
        let reply = bench.ask(ALICE, &query("LocalHost.", kind)).unwrap();
        assert_eq!(reply.answers[0].data.to_string(), data);
        assert_eq!(reply.answers[0].name, *reply.queries[0].name());
    }
    let reply = bench.ask(ALICE, &query("a.localhost.", RecordType::TXT)).unwrap();
    assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::NoError, 0));
}

#[test]
fn what_is_of_the_house_goes_to_servers_in_it_only() {
    for name in [
        "1.1.168.192.in-addr.arpa.",
        "3.2.1.10.in-addr.arpa.",
        "1.0.16.172.in-addr.arpa.",
        "1.0.31.172.in-addr.arpa.",
        "1.0.64.100.in-addr.arpa.",
        "1.0.0.0.d.f.ip6.arpa.",
        "router.home.arpa.",
        "x.test.",
    ] {
        let mut bench = Bench::new(&[FAR, NEXT]);
        bench.ask(ALICE, &query(name, RecordType::PTR)).unwrap_err();
        assert_eq!(bench.only().server, NEXT.parse().unwrap(), "{name}");
        let mut bench = Bench::new(&[FAR]);
        let reply = bench.ask(ALICE, &query(name, RecordType::PTR)).unwrap();
        assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain, "{name}");
    }
}

#[test]
fn other_names_that_look_like_it_go_out() {
    for name in [
        "1.0.32.172.in-addr.arpa.",
        "1.0.15.172.in-addr.arpa.",
        "1.0.128.100.in-addr.arpa.",
        "8.8.8.8.in-addr.arpa.",
        "localhost.example.",
        "local.example.",
        "notlocal.",
        "1.0.8.b.d.0.1.0.0.2.ip6.arpa.example.",
        ".",
    ] {
        let mut bench = Bench::new(&[FAR]);
        bench.ask(ALICE, &query(name, RecordType::PTR)).unwrap_err();
        assert_eq!(bench.sent().len(), 1, "{name}");
    }
}
