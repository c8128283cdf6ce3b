//! Tables of mistakes and what is said about them; what is kept all the same; the file system's part.

mod addresses;
mod files;
mod names;
mod services;

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::capture::{IpCidr, Ports, Rate, Refusal};

use super::*;

const KERNEL_BYTES: u32 = 300 * 1024;

const GOOD: &str = r#"[node]
name = "node"
domain = "jitsu.test"
uplink = "eth0"
address = "10.0.2.15/24"
gateway = "10.0.2.2"

[[service]]
name = "www"
address = "10.0.2.20"
kernel = "www"
"#;

/// The line of `GOOD` that is the service's header; what is added to `GOOD` starts at line 12.
const SERVICE_LINE: u32 = 8;

fn zimage(size: u32, length: u64) -> KernelHead {
    let mut head = [0; HEAD_BYTES];
    head[0x24..0x28].copy_from_slice(&0x016f_2818_u32.to_le_bytes());
    head[0x2c..0x30].copy_from_slice(&size.to_le_bytes());
    KernelHead { head, length }
}

fn starting_with(bytes: &[u8]) -> KernelHead {
    let mut head = [0; HEAD_BYTES];
    head[..bytes.len()].copy_from_slice(bytes);
    KernelHead { head, length: 5000 }
}

/// A directory of kernels, good and bad.
fn kernels(path: &Path) -> io::Result<KernelHead> {
    let mut big_endian = zimage(KERNEL_BYTES, KERNEL_BYTES.into());
    big_endian.head[0x24..0x28].reverse();
    let mut backwards = zimage(0x1000, 0x1000);
    backwards.head[0x28..0x2c].copy_from_slice(&0x2000_u32.to_le_bytes());
    let files = HashMap::from([
        ("/usr/lib/jitsu/kernels/www", zimage(KERNEL_BYTES, KERNEL_BYTES.into())),
        ("/usr/lib/jitsu/kernels/linux", zimage(20 << 20, 20 << 20)),
        ("/usr/lib/jitsu/kernels/cut", zimage(KERNEL_BYTES, 1000)),
        ("/usr/lib/jitsu/kernels/elf", starting_with(b"\x7fELF")),
        ("/usr/lib/jitsu/kernels/gzip", starting_with(b"\x1f\x8b")),
        ("/usr/lib/jitsu/kernels/uimage", starting_with(b"\x27\x05\x19\x56")),
        ("/usr/lib/jitsu/kernels/text", starting_with(b"#!/bin/sh")),
        ("/usr/lib/jitsu/kernels/empty", KernelHead { head: [0; HEAD_BYTES], length: 0 }),
        ("/usr/lib/jitsu/kernels/big", big_endian),
        ("/usr/lib/jitsu/kernels/backwards", backwards),
        ("/usr/lib/jitsu/kernels/other-linux", zimage(20 << 20, 20 << 20)),
        ("/usr/lib/jitsu/kernels/40-mib", zimage(40 << 20, 40 << 20)),
        ("/usr/lib/jitsu/kernels/padded", zimage(KERNEL_BYTES, 65 << 20)),
        ("/srv/other", zimage(KERNEL_BYTES, KERNEL_BYTES.into())),
    ]);
    let key = path.to_str().unwrap_or("");
    files.get(key).cloned().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such file"))
}

/// Disks, good and bad; two of them are the same file.
fn disks(path: &Path) -> io::Result<DiskIdentity> {
    match path.to_str().unwrap_or("") {
        "/srv/a.img" | "/srv/link-to-a.img" => Ok((1, 10)),
        "/srv/b.img" => Ok((1, 11)),
        "/dev/sda1" => Ok((u64::MAX, 0x801)),
        "/srv" => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is neither a file nor a block device")),
        _ => Err(io::Error::new(io::ErrorKind::NotFound, "no such file")),
    }
}

fn read(text: &str) -> Result<Draft, Unusable> {
    parse(text.as_bytes(), Path::new("jitsu.toml"), &Kernels { card: None, probe: &kernels, disk: &disks })
}

/// What becomes of a text with static addresses.
fn resolved(text: &str) -> Loaded {
    let draft = read(text).unwrap();
    let addressing = draft.node.addressing.expect("the node's address");
    draft.resolve(addressing, &[], Duration::ZERO)
}

fn lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(Problem::to_string).collect()
}

/// `GOOD` with a piece of it exchanged.
fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from:?} is not in the good file");
    GOOD.replacen(from, to, 1)
}

#[test]
fn the_documentation_has_all_keys_and_no_others() {
    let text = include_str!("../../../docs/configuration.md");
    let sections: HashMap<_, _> = text.split("\n#").filter_map(|section| section.split_once('\n')).collect();
    let tables: [(&str, &[&str]); 7] = [
        ("# `[node]`", &node::KEYS),
        ("## `[node.summons]`", &self::capture::SUMMONS_KEYS),
        ("## `[node.dns]`", &limits::KEYS),
        ("# `[[service]]`", &service::KEYS),
        ("## `[[service.vif]]`", &vif::KEYS),
        ("## `[[service.disk]]`", &disk::KEYS),
        ("# `[[record]]`", &record::KEYS),
    ];
    for (title, keys) in tables {
        // A row may have several.
        let rows = sections[title].lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" |"));
        let keys_of = |(keys, _): (&'static str, _)| keys.split(", ").map(|key| key.trim().trim_matches('`'));
        let mut documented: Vec<&str> = rows.flat_map(keys_of).collect();
        let mut known = keys.to_vec();
        documented.sort_unstable();
        known.sort_unstable();
        assert_eq!(documented, known, "{title}");
    }
}

#[test]
fn defaults_are_as_documented() {
    let loaded = resolved(GOOD);
    assert_eq!(lines(&loaded.problems), [""; 0]);
    let node = &loaded.config.node;
    assert_eq!(node.kernels, Path::new("/usr/lib/jitsu/kernels"));
    assert_eq!((node.bridge.as_str(), node.prefix), ("br0", 24));
    assert_eq!(node.netmask(), Ipv4Addr::new(255, 255, 255, 0));
    assert_eq!(node.ntp, [TimeServer::Name("pool.ntp.org".to_owned())]);
    assert_eq!(node.forward, Forward::Auto);
    assert_eq!(node.fqdn(), "node.jitsu.test");
    let www = Service {
        name: "www".to_owned(),
        dns: vec!["www.jitsu.test".to_owned()],
        instance_of: None,
        announce: Vec::new(),
        address6: None,
        address: Ipv4Addr::new(10, 0, 2, 20),
        mac: Mac([0x00, 0x16, 0x3e, 0, 2, 20]),
        disks: Vec::new(),
        vifs: Vec::new(),
        kernel: PathBuf::from("/usr/lib/jitsu/kernels/www"),
        ramdisk: None,
        memory_mib: 16,
        vcpus: 1,
        weight: 256,
        cmdline: String::new(),
        start: Start::Summon,
        answer: DEFAULT_ANSWER,
        response_delay: Duration::ZERO,
        wake: true,
        tcp: Ports::All,
        udp: Ports::All,
        refuse: Refusal::Reset,
        quiet: Quiet::default(),
        ttl: Duration::from_secs(60),
        idle: Duration::from_secs(120),
        min_uptime: Duration::ZERO,
        max_uptime: None,
        boot_timeout: Duration::from_secs(10),
        stop: Stop::Destroy,
        wait_for_key: ReadyKey { path: "data/ready".to_owned(), value: None },
        listens_on: None,
        keys: Vec::new(),
    };
    assert_eq!(loaded.config.services, [www]);
}

#[test]
fn every_key_is_used() {
    let text = r#"
        [node]
        domain = "Jitsu.Test."
        address = "10.0.2.15/24"
        bridge = "xenbr"
        kernels = "/srv"
        forward = ["192.168.1.1", "9.9.9.9:5353", "192.168.1.1"]
        ntp = ["192.168.1.1", "Time.Example.Org."]
        syslog = "192.168.1.2"
        log = "debug"
        [[service]]
        name = "a-1"
        dns = ["One.jitsu.test.", "jitsu.test", "x.y.jitsu.test"]
        address = "10.0.2.254"
        kernel = "other"
        memory = 0x4
        vcpus = 2
        cmdline = "token=abc"
        ttl = 5
        idle = 5
        boot_timeout = 3
        wait_for_key = "data/up"
    "#;
    let loaded = resolved(text);
    assert_eq!(lines(&loaded.problems), [""; 0]);
    let (node, service) = (&loaded.config.node, &loaded.config.services[0]);
    assert_eq!((node.name.as_str(), node.domain.as_str()), ("jitsu", "jitsu.test"));
    assert_eq!((node.uplink.as_deref(), node.gateway, node.bridge.as_str()), (None, None, "xenbr"));
    assert_eq!((node.syslog, node.log), (Some(([192, 168, 1, 2], 514).into()), LogLevel::Debug));
    let time = TimeServer::Name("time.example.org".to_owned());
    assert_eq!(
        node.forward,
        Forward::To(["192.168.1.1:53", "9.9.9.9:5353"].map(|at| at.parse().unwrap()).into())
    );
    assert_eq!(node.ntp, [TimeServer::Address(Ipv4Addr::new(192, 168, 1, 1)), time]);
    assert_eq!(service.dns, ["one.jitsu.test", "jitsu.test", "x.y.jitsu.test"]);
    assert_eq!(service.kernel, Path::new("/srv/other"));
    assert_eq!((service.memory_mib, service.vcpus), (4, 2));
    assert_eq!((service.cmdline.as_str(), service.wait_for_key.path.as_str()), ("token=abc", "data/up"));
    let times = (service.ttl.as_secs(), service.idle.as_secs(), service.boot_timeout.as_secs());
    assert_eq!(times, (5, 5, 3));
}

#[test]
fn what_packets_may_do_is_told_to_capture() {
    let text = format!(
        "{}wake = false\ntcp = [80, 443]\nudp = []\nrefuse = \"silence\"\nboot_timeout = 20\n\
         quiet = {{ networks = [\"192.168.1.5\"] }}\n\
         [[service]]\nname = \"hand\"\naddress = \"10.0.2.21\"\nkernel = \"www\"\nstart = \"manual\"\n",
        with(
            "name = \"node\"",
            "quiet = { networks = [\"10.0.0.0/8\"], names = [\"monitor.*\"] }\n\
             summons = { source_burst = 7 }\nheld = 100\nshells = 2",
        ),
    );
    let loaded = resolved(&text);
    assert_eq!(lines(&loaded.problems), [""; 0]);
    let config = &loaded.config;
    let quiet = &config.services[0].quiet;
    assert!(quiet.is_from([10, 1, 2, 3].into()) && quiet.is_from([192, 168, 1, 5].into()));
    assert!(quiet.is_name("monitor.www.jitsu.test") && !quiet.is_name("www.jitsu.test"));
    assert_eq!(config.services[1].quiet, config.node.quiet);
    assert_eq!(config.node.shells, 2);

    let (services, limits) = capture_services(config);
    let own = IpCidr::new(Ipv4Addr::new(192, 168, 1, 5).into(), 32);
    let nodes = IpCidr::new(Ipv4Addr::new(10, 0, 0, 0).into(), 8);
    assert_eq!(services[0].not_from, [nodes, own]);
    assert_eq!(services[0].mac.0, [0x00, 0x16, 0x3e, 0, 2, 20]);
    assert_eq!(services[0].addresses, [Ipv4Addr::new(10, 0, 2, 20)]);
    assert_eq!((&services[0].tcp, &services[0].udp), (&Ports::Only(vec![80, 443]), &Ports::Only(vec![])));
    assert_eq!((services[0].wake, services[0].refusal), (false, Refusal::Silence));
    assert!(!services[1].wake, "only an administrator starts it");
    assert_eq!(limits.bytes, 100 * 1024);
    assert_eq!(limits.summons, Rate::per_second(200, 512));
    assert_eq!(limits.summons_per_source, Rate::per_second(100, 7));
    assert_eq!(limits.hold, Duration::from_secs(20));
    assert!(::capture::Capture::new(services, limits, [0; 16]).is_ok());
    let (services, limits) = capture_services(&resolved(GOOD).config);
    assert!(services[0].wake && services[0].not_from.is_empty());
    assert_eq!((limits.bytes, limits.hold), (1 << 20, Duration::from_secs(10)));
}

#[test]
fn all_mistakes_are_told_in_the_order_of_the_file() {
    let text = "nodes = 1\n[node]\nnmae = 1\ndomain = \"jitsu.test\"\naddress = \"10.0.2.15/24\"\n\
                [[service]]\naddress = \"10.0.3.1\"\nkernel = \"nope\"\nmemory = \"x\"\n[[service]]\nttl = 0\n";
    let loaded = resolved(text);
    let places: Vec<_> = loaded
        .problems
        .iter()
        .map(|problem| (problem.line, problem.what.split(' ').next().unwrap()))
        .collect();
    let expected = [
        (1, "unknown"),
        (3, "unknown"),
        (6, "name"),
        (7, "address"),
        (8, "kernel"),
        (9, "memory"),
        (10, "name"),
        (10, "kernel"),
        (11, "ttl"),
    ];
    assert_eq!(places, expected);
    assert_eq!(loaded.config.services, []);
}

#[test]
fn a_bad_setting_of_the_node_has_its_default() {
    // 200 characters.
    const LONG: &str = concat!(
        "a.example.a.example.a.example.a.example.a.example.a.example.a.example.a.example.",
        "a.example.a.example.a.example.a.example.a.example.a.example.a.example.a.example.a.example.a.example.",
        "a.example.a.example."
    );
    let pool = TimeServer::Name("pool.ntp.org".to_owned());
    let table = [
        (
            with("name = \"node\"", "name = \"No de\""),
            "2: name \"No de\" contains 'N'; use a-z, 0-9 and hyphens inside; jitsu is used meanwhile",
        ),
        (
            with("uplink = \"eth0\"", "uplink = \"eth0/1\""),
            "4: uplink \"eth0/1\" is not an interface name; write for example uplink = \"eth0\"; \
             the first Ethernet interface is used meanwhile",
        ),
        (
            with("uplink = \"eth0\"", "bridge = \"a-name-that-is-too-long\""),
            "4: bridge \"a-name-that-is-too-long\" is not an interface name; \
             write for example bridge = \"br0\"; br0 is used meanwhile",
        ),
        (
            with("uplink = \"eth0\"", "kernels = \"here\""),
            "4: kernels \"here\" is not an absolute path; begin it with /; \
             /usr/lib/jitsu/kernels is used meanwhile",
        ),
        (
            with("10.0.2.2\"", "10.0.3.2\""),
            "6: gateway \"10.0.3.2\" is not in the bridge's network 10.0.2.0/24; \
             give the router's address or remove the key; no gateway is used meanwhile",
        ),
        (
            with("10.0.2.2\"", "10.0.2.15\""),
            "6: gateway \"10.0.2.15\" is the node's own address; \
             give the router's address or remove the key; no gateway is used meanwhile",
        ),
        (
            with("10.0.2.2\"", "router\""),
            "6: gateway \"router\" is not an IPv4 address; \
             give the router's address or remove the key; no gateway is used meanwhile",
        ),
        (
            with("10.0.2.2\"", "10.0.2.255\""),
            "6: gateway \"10.0.2.255\" cannot be a host's address; \
             give the router's address or remove the key; no gateway is used meanwhile",
        ),
        (
            with("jitsu.test", "jitsu test"),
            "3: domain \"jitsu test\" contains ' '; write a DNS zone, as in domain = \"jitsu.example.org\"; \
             jitsu.test is used meanwhile",
        ),
        (
            with("jitsu.test", LONG),
            "3: domain \"LONG\" has more than 189 characters, too many for a zone; \
             write a DNS zone, as in domain = \"jitsu.example.org\"; jitsu.test is used meanwhile",
        ),
        (
            with("name = \"node\"", "quota = { nodes = 0 }"),
            "2: nodes = 0 is out of range; give 1 to 4294967295 for each guest",
        ),
        (
            with("name = \"node\"", "quota = 7"),
            "2: quota is a whole number, not a table; write quota = { nodes = 2000 }",
        ),
        (
            with("name = \"node\"", "summons = { burst = 0 }"),
            "2: burst = 0 is out of range; give 1 to 65535 at once",
        ),
        (with("name = \"node\"", "summons = { bust = 1 }"), "2: unknown key \"bust\"; did you mean burst?"),
        (with("name = \"node\"", "held = 63"), "2: held = 63 is out of range; give 64 to 65536 KiB"),
        (with("name = \"node\"", "shells = 65"), "2: shells = 65 is out of range; give 0 to 64 domains"),
        (
            with("name = \"node\"", "quiet = { networks = [\"10.0.0.1/8\"] }"),
            "2: \"10.0.0.1/8\" in networks is an address in the network 10.0.0.0/8, not the network; \
             write for example 192.168.1.0/24",
        ),
        (
            with("name = \"node\"", "quiet = { names = [\"a b\"] }"),
            "2: \"a b\" in names contains ' '; write for example monitor.*",
        ),
        (
            with("name = \"node\"", &format!("quiet = {{ names = [{}] }}", "\"x\",".repeat(65))),
            "2: names lists 65, more than 64; remove some, or write wider ones",
        ),
        (
            with("name = \"node\"", "quiet = []"),
            "2: quiet is a list, not a table; write \
             quiet = { networks = [\"192.168.1.5\", \"10.0.0.0/8\"], names = [\"monitor.*\"] }",
        ),
        (
            with("name = \"node\"", "forward = 53"),
            "2: forward is a whole number, not a string or a list of strings; \
             write forward = [\"192.168.1.1\", \"9.9.9.9\"], \"auto\" or \"off\"",
        ),
        (
            with("name = \"node\"", "forward = [\"9.9.9.9\", \"127.0.0.1\"]"),
            "2: forward server \"127.0.0.1\" is the node itself; \
             write forward = [\"192.168.1.1\", \"9.9.9.9\"], \"auto\" or \"off\"; this server is not asked meanwhile",
        ),
        (
            with("name = \"node\"", "log = \"loud\""),
            "2: log level \"loud\" is not known; write one of error, warn, info, debug; info is used meanwhile",
        ),
        (
            with("name = \"node\"", "syslog = \"loghost:514\""),
            "2: syslog \"loghost:514\" is not an address, with or without a port; \
             write syslog = \"192.168.1.2:514\"; the log goes to no server meanwhile",
        ),
        (
            with("name = \"node\"", "ntp = \"pool.ntp.org\""),
            "2: ntp is a string, not a list of strings; write ntp = [\"192.168.1.1\", \"pool.ntp.org\"]",
        ),
        (
            with("name = \"node\"", "ntp = [\"pool.ntp.org\", \"192.168.1.300\"]"),
            "2: ntp server \"192.168.1.300\" is not an IPv4 address; \
             write ntp = [\"192.168.1.1\", \"pool.ntp.org\"]; this server is not asked meanwhile",
        ),
        (
            with("name = \"node\"", "ntp = [\"pool.ntp.org\", \"0.0.0.0\"]"),
            "2: ntp server \"0.0.0.0\" cannot be a host's address; \
             write ntp = [\"192.168.1.1\", \"pool.ntp.org\"]; this server is not asked meanwhile",
        ),
        (
            with("name = \"node\"", "ntp = [\"pool.ntp.org\", \"a b\"]"),
            "2: ntp server \"a b\" contains ' '; \
             write ntp = [\"192.168.1.1\", \"pool.ntp.org\"]; this server is not asked meanwhile",
        ),
        (
            with("name = \"node\"", &format!("ntp = [{}]", "\"pool.ntp.org\", ".repeat(9))),
            "2: ntp lists 9 servers, more than 8; remove some; the first 8 are used meanwhile",
        ),
        (with("uplink", "uplonk"), "4: unknown key \"uplonk\"; did you mean uplink?"),
        (
            with("[[service]]", "[services]\n[[service]]"),
            "8: unknown key \"services\"; did you mean service?",
        ),
    ];
    for (text, expected) in table {
        let loaded = resolved(&text);
        let expected = format!("jitsu.toml:{}", expected.replace("LONG", LONG));
        assert_eq!(lines(&loaded.problems), [expected]);
        let (node, services) = (&loaded.config.node, &loaded.config.services);
        assert_eq!((node.domain.as_str(), services.len()), (DEFAULT_DOMAIN, 1), "{text}");
        assert!(!node.ntp.is_empty() && node.ntp.iter().all(|server| *server == pool), "{text}");
    }
    assert_eq!(resolved(&with("name = \"node\"", "ntp = []")).config.node.ntp, []);
}

#[test]
fn services_must_be_a_list_of_tables() {
    let loaded = resolved(&with("[[service]]", "[service]"));
    let expected = "service is a table, not a list of tables; write [[service]]";
    assert_eq!(lines(&loaded.problems), [format!("jitsu.toml:{SERVICE_LINE}: {expected}")]);
    assert_eq!(loaded.config.services, []);
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_line() {
    let table = [
        (format!("{GOOD}memory = \n"), 12),
        (format!("{GOOD}name = \"again\"\n"), 12),
        (format!("{GOOD}[[service\n"), 12),
        (with("address = \"10.0.2.20\"", "address = 10.0.2.20"), 10),
        ("\u{0}".to_owned(), 1),
    ];
    for (text, line) in table {
        let Unusable(problems) = read(&text).unwrap_err();
        assert_eq!(problems.len(), 1, "{text}");
        assert_eq!(problems[0].line, line, "{}", problems[0]);
        assert!(problems[0].what.starts_with("is not valid TOML: "), "{}", problems[0]);
    }
}

#[test]
fn of_too_many_mistakes_the_first_are_told() {
    let draft = read(&format!("{GOOD}dns = [{}]\n", "\"\",\n".repeat(100_000))).unwrap();
    let told = lines(draft.problems());
    assert_eq!(told.len(), MAX_PROBLEMS + 1);
    assert_eq!(
        told[MAX_PROBLEMS],
        "jitsu.toml:112: this mistake and others are not told: there are over 100; correct the others first"
    );
    assert_eq!(draft.problems()[MAX_PROBLEMS].service, None);
    // What has one of the others is left out all the same.
    let typos: String = (0..1000).map(|number| format!("typo{number} = 1\n")).collect();
    let draft = read(&format!("{typos}{GOOD}vcpus = 9\n")).unwrap();
    assert_eq!(lines(draft.problems()).len(), MAX_PROBLEMS + 1);
    assert!(draft.services[0].settings.is_none());
}

#[test]
fn a_long_word_is_not_quoted_whole() {
    let word = "ä".repeat(100_000);
    for text in [
        format!("{word:?} = 1"),
        format!("[node]\nname = {word:?}"),
        format!("[[service]]\nname = {word:?}\nkernel = {word:?}\nmemory = {word:?}"),
        format!("[[service]]\ndns = [{word:?}, {word:?}]"),
    ] {
        for problem in read(&text).unwrap().problems() {
            assert!(problem.to_string().len() < 2000, "{} bytes", problem.to_string().len());
        }
    }
}

#[test]
fn services_are_few_enough_for_the_node() {
    let service = |number| format!("[[service]]\nname = \"s{number}\"\nkernel = \"www\"\n");
    let text: String = (0..2 * MAX_SERVICES).map(service).collect();
    let draft = read(&text).unwrap();
    assert_eq!(
        lines(draft.problems()),
        ["jitsu.toml:3001: there are over 1000 services; \
             remove some; this one and those after it are left out meanwhile"]
    );
    assert_eq!(draft.services.len(), MAX_SERVICES);
}
