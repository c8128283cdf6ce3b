//! Addresses that are static, leased, wrong, or not there at all.

use super::*;

/// A node by DHCP with two services by DHCP and a static one.
const LEASED: &str = r#"[node]
name = "node"

[[service]]
name = "a"
kernel = "www"

[[service]]
name = "b"
address = "dhcp"
kernel = "www"

[[service]]
name = "fixed"
address = "192.168.7.9"
kernel = "www"
"#;

const NODE: Mac = Mac([0x02, 0, 0, 0, 0, 1]);

const HERE: Addressing = Addressing {
    address: Ipv4Addr::new(192, 168, 7, 2),
    prefix: 24,
    gateway: Some(Ipv4Addr::new(192, 168, 7, 1)),
};

fn given(draft: &Draft, addresses: [Option<[u8; 4]>; 2]) -> Vec<Given> {
    let given = draft.wanted(NODE).into_iter().zip(addresses);
    given.map(|(wanted, address)| Given { wanted, address: address.map(Ipv4Addr::from) }).collect()
}

#[test]
fn an_empty_file_is_a_node_by_dhcp() {
    for text in ["", "[node]\n", "[node]\naddress = \"dhcp\"\n"] {
        let draft = read(text).unwrap();
        assert_eq!(draft.problems(), []);
        assert_eq!(draft.node.addressing, None);
        assert_eq!((draft.node.name.as_str(), draft.node.domain.as_str()), ("jitsu", "jitsu.test"));
        let config = draft.resolve(HERE, &[], Duration::ZERO).config;
        assert_eq!(config.node.addressing(), HERE);
        assert_eq!(config.node.fqdn(), "jitsu.jitsu.test");
    }
}

#[test]
fn leased_and_static_addresses_come_together() {
    let draft = read(LEASED).unwrap();
    let given = given(&draft, [Some([192, 168, 7, 20]), Some([192, 168, 7, 21])]);
    let loaded = draft.resolve(HERE, &given, Duration::from_secs(20));
    assert_eq!(lines(&loaded.problems), [""; 0]);
    let services = &loaded.config.services;
    let found: Vec<_> = services.iter().map(|service| (service.address.octets()[3], service.mac)).collect();
    let fixed = Mac([0x00, 0x16, 0x3e, 168, 7, 9]);
    assert_eq!(found, [(20, given[0].wanted.mac), (21, given[1].wanted.mac), (9, fixed)]);
}

#[test]
fn who_wants_an_address_has_one_on_the_link_of_its_own() {
    let draft = read(LEASED).unwrap();
    let wanted = draft.wanted(NODE);
    let names: Vec<_> = wanted.iter().map(|wanted| wanted.service.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(wanted, draft.wanted(NODE));
    let [a, b] = [wanted[0].mac, wanted[1].mac];
    assert_ne!(a, b);

    // A static address whose service has just that address on the link: the leased one gives way.
    let [_, _, _, x, y, z] = a.0;
    let clash =
        format!("{LEASED}[[service]]\nname = \"c\"\naddress = \"10.{x}.{y}.{z}\"\nkernel = \"www\"\n");
    let again = read(&clash).unwrap().wanted(NODE);
    assert_ne!(again[0].mac, a);
    assert_eq!(again[1].mac, b);

    // Two names with the same hash, which are found among some thousands.
    let mut seen = HashMap::new();
    let (first, second) = (0..100_000)
        .map(|number| format!("s{number}"))
        .find_map(|name| Some((seen.insert(Mac::of_name(NODE, &name, &[]), name.clone())?, name)))
        .unwrap();
    let twins = LEASED.replace("\"a\"", &format!("{first:?}")).replace("\"b\"", &format!("{second:?}"));
    let wanted_by_twins = read(&twins).unwrap().wanted(NODE);
    assert_eq!(wanted_by_twins[0].mac, Mac::of_name(NODE, &first, &[]));
    assert_ne!(wanted_by_twins[0].mac, wanted_by_twins[1].mac);

    // What will not run needs no address.
    let broken = read(&LEASED.replacen("\"www\"", "\"nope\"", 1)).unwrap();
    assert_eq!(broken.wanted(NODE), wanted[1..]);
}

#[test]
fn a_lease_that_is_of_no_use_costs_its_service_only() {
    let table = [
        (
            [None, Some([192, 168, 7, 21])],
            "4: service a: no DHCP server offered an address within 20 s; \
             write a free address of the network instead of \"dhcp\"",
        ),
        (
            [Some([192, 168, 7, 20]), None],
            "10: service b: no DHCP server offered an address within 20 s; \
             write a free address of the network instead of \"dhcp\"",
        ),
        (
            [Some([192, 168, 8, 20]), Some([192, 168, 7, 21])],
            "4: service a: address 192.168.8.20, which the DHCP server gave, is outside the bridge's network \
             192.168.7.0/24; write a free address of 192.168.7.0/24 instead of \"dhcp\", \
             or correct the DHCP server",
        ),
        (
            [Some([192, 168, 7, 9]), Some([192, 168, 7, 21])],
            "4: service a: address 192.168.7.9, which the DHCP server gave, already belongs to fixed; \
             write another address of 192.168.7.0/24 instead of \"dhcp\", or correct the DHCP server",
        ),
        (
            [Some([192, 168, 7, 2]), Some([192, 168, 7, 21])],
            "4: service a: address 192.168.7.2, which the DHCP server gave, already belongs to the node; \
             write another address of 192.168.7.0/24 instead of \"dhcp\", or correct the DHCP server",
        ),
        (
            [Some([192, 168, 7, 20]), Some([192, 168, 7, 20])],
            "10: service b: address 192.168.7.20, which the DHCP server gave, already belongs to a; \
             write another address of 192.168.7.0/24 instead of \"dhcp\", or correct the DHCP server",
        ),
    ];
    for (addresses, expected) in table {
        let draft = read(LEASED).unwrap();
        let given = given(&draft, addresses);
        let loaded = draft.resolve(HERE, &given, Duration::from_secs(20));
        assert_eq!(lines(&loaded.problems), [format!("jitsu.toml:{expected}")]);
        assert_eq!(loaded.config.services.len(), 2, "{expected}");
    }
}

#[test]
fn a_static_address_is_checked_against_the_network_that_the_node_is_given() {
    let elsewhere = Addressing { address: Ipv4Addr::new(10, 0, 0, 5), prefix: 24, gateway: None };
    let draft = read(LEASED).unwrap();
    let given = given(&draft, [Some([10, 0, 0, 20]), Some([10, 0, 0, 21])]);
    let loaded = draft.resolve(elsewhere, &given, Duration::ZERO);
    let expected = "jitsu.toml:15: service fixed: address 192.168.7.9 is outside the bridge's network \
                    10.0.0.0/24; take a free address of 10.0.0.0/24";
    assert_eq!(lines(&loaded.problems), [expected]);
}

#[test]
fn a_bad_address_of_the_node_means_dhcp() {
    let table = [
        (
            with("address = \"10.0.2.15/24\"\ngateway = \"10.0.2.2\"", "gateway = \"10.0.2.2\""),
            "5: gateway without a static address is ignored; \
             remove it, or write the node's address too; the DHCP server's is used meanwhile",
        ),
        (
            with("10.0.2.15/24", "dhcp"),
            "6: gateway without a static address is ignored; \
             remove it, or write the node's address too; the DHCP server's is used meanwhile",
        ),
        (
            with("address = \"10.0.2.15/24\"", "address = 5"),
            "5: address is a whole number, not a string; write address = \"192.168.1.2/24\"",
        ),
        (
            with("10.0.2.15/24", "10.0.2.15"),
            "5: address \"10.0.2.15\" is not an IPv4 address with a prefix length; \
             write address = \"192.168.1.2/24\"; dhcp is used meanwhile",
        ),
        (
            with("10.0.2.15/24", "10.0.2.15/31"),
            "5: address \"10.0.2.15/31\" has a prefix length that leaves no room for services; \
             give a prefix length of 8 to 30; dhcp is used meanwhile",
        ),
        (
            with("10.0.2.15/24", "10.0.2.15/7"),
            "5: address \"10.0.2.15/7\" has a prefix length that no network of hosts has; \
             give a prefix length of 8 to 30; dhcp is used meanwhile",
        ),
        (
            with("10.0.2.15/24", "10.0.2.0/24"),
            "5: address \"10.0.2.0/24\" is the network's own address; give the bridge a host address; \
             dhcp is used meanwhile",
        ),
        (
            with("10.0.2.15/24", "10.0.2.255/24"),
            "5: address \"10.0.2.255/24\" is the network's broadcast address; \
             give the bridge a host address; dhcp is used meanwhile",
        ),
        (
            with("10.0.2.15/24", "127.0.0.1/8"),
            "5: address \"127.0.0.1/8\" cannot be a host's address; give the bridge a host address; \
             dhcp is used meanwhile",
        ),
        (
            "node = 5".to_owned(),
            "1: node is a whole number, not a table; write [node] with address = \"192.168.1.2/24\"",
        ),
    ];
    for (text, expected) in table {
        let draft = read(&text).unwrap();
        assert_eq!(lines(draft.problems()), [format!("jitsu.toml:{expected}")]);
        assert_eq!(draft.node.addressing, None, "{expected}");
    }
}

#[test]
fn a_network_is_what_its_prefix_says() {
    for (address, prefix, network, broadcast) in [
        ([10, 0, 2, 15], 24, [10, 0, 2, 0], [10, 0, 2, 255]),
        ([10, 0, 2, 15], 30, [10, 0, 2, 12], [10, 0, 2, 15]),
        ([172, 17, 9, 1], 12, [172, 16, 0, 0], [172, 31, 255, 255]),
        ([10, 1, 1, 1], 1, [0, 0, 0, 0], [127, 255, 255, 255]),
    ] {
        let here = Addressing { address: address.into(), prefix, gateway: None };
        assert_eq!((here.network(), here.broadcast()), (network.into(), broadcast.into()));
        assert!(here.contains(here.network()) && here.contains(here.broadcast()));
        assert!(!here.contains(Ipv4Addr::from_bits(here.broadcast().to_bits() + 1)));
    }
}

#[test]
fn every_interface_has_an_address_on_the_link_of_its_own() {
    let second = "[[service]]\nname = \"b\"\naddress = \"10.0.2.21\"\nkernel = \"www\"\n";
    let vifs = "[[service.vif]]\n[[service.vif]]\nbridge = \"br1\"\nmac = \"02:00:00:00:00:01\"\n";
    let text = format!("{GOOD}{vifs}{second}[[service.vif]]\nbridge = \"br0\"\n");
    let draft = read(&text).unwrap();
    assert_eq!(draft.other_bridges(), ["br1"]);
    let loaded = resolved(&text);
    assert_eq!(lines(&loaded.problems), [""; 0]);
    let [www, b] = &loaded.config.services[..] else { panic!("two services") };
    assert_eq!(www.vifs[1], Vif { mac: Mac([2, 0, 0, 0, 0, 1]), bridge: Some("br1".to_owned()) });
    assert_eq!(www.vifs[0].bridge, None);
    let mut macs = vec![www.mac, b.mac, www.vifs[0].mac, www.vifs[1].mac, b.vifs[0].mac];
    macs.sort_by_key(|mac| mac.0);
    macs.dedup();
    assert_eq!(macs.len(), 5);
    assert_eq!(resolved(&text), loaded, "the same each time");

    // The second of two that write the same is left out.
    let twice = text.replace("bridge = \"br0\"", "mac = \"02:00:00:00:00:01\"");
    let loaded = resolved(&twice);
    let expected = "jitsu.toml:21: service b: mac 02:00:00:00:00:01 already belongs to another interface; \
                    write another one, or none";
    assert_eq!(lines(&loaded.problems), [expected]);
    assert_eq!(loaded.config.services.len(), 1);
}

#[test]
fn interfaces_that_are_not_there_are_replaced() {
    let interface = |name: &str, kind| Interface { name: name.to_owned(), kind };
    let there = [
        interface("lo", InterfaceKind::Other),
        interface("eth0", InterfaceKind::Ethernet),
        interface("eth1", InterfaceKind::Ethernet),
        interface("br7", InterfaceKind::Bridge),
    ];
    let fit = |node: &str| {
        let mut draft = read(&format!("[node]\n{node}\n")).unwrap();
        draft.fit(&there);
        (lines(draft.problems()), draft.node.uplink, draft.node.bridge)
    };
    let is = |node: &str, uplink: Option<&str>, bridge: &str| {
        assert_eq!(fit(node), (vec![], uplink.map(str::to_owned), bridge.to_owned()), "{node}");
    };
    is("", None, "br0");
    is("uplink = \"eth1\"\nbridge = \"br7\"", Some("eth1"), "br7");
    for uplink in ["eth7", "lo", "br7"] {
        let (problems, uplink_used, _) = fit(&format!("uplink = {uplink:?}"));
        let expected = format!(
            "jitsu.toml:2: uplink {uplink:?} is no Ethernet interface of this node; take one of eth0, eth1; \
             the first of them is used meanwhile"
        );
        assert_eq!((problems, uplink_used), (vec![expected], None));
    }
    let mut draft = read(&format!("{GOOD}[[service.vif]]\nbridge = \"eth1\"\n")).unwrap();
    draft.fit(&there);
    let expected = "jitsu.toml:12: service www: bridge \"eth1\" is the name of an interface that is no bridge; \
                    write a new name, or none for the node's own bridge";
    assert_eq!((lines(draft.problems()), draft.other_bridges()), (vec![expected.to_owned()], vec![]));
    let (problems, uplink, bridge) = fit("uplink = \"eth0\"\nbridge = \"eth0\"");
    let expected = "jitsu.toml:3: bridge \"eth0\" is the name of an interface that is no bridge; \
                    write a new name, as in bridge = \"br0\"; br0 is used meanwhile";
    assert_eq!(
        (problems, uplink.as_deref(), bridge.as_str()),
        (vec![expected.to_owned()], Some("eth0"), "br0")
    );
}
