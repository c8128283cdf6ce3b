use super::*;
use crate::config::Problem;
use crate::schema::{
    Boot, FallbackStatus, NodeIdentity, Resources, ServiceStatus, ShellsStatus, StartsStatus, VERSION,
    Versions, Xen,
};

fn service(name: &str, last: u8) -> ServiceStatus {
    ServiceStatus {
        name: name.to_owned(),
        state: "off".to_owned(),
        why: String::new(),
        start: "summon".to_owned(),
        reason: None,
        retry_at_ns: None,
        idle_at_ns: None,
        ready_since_ns: None,
        ends_at_ns: None,
        dns: vec![format!("{name}.jitsu.test"), format!("{name}2.jitsu.test")],
        address: [10, 0, 2, last].into(),
        address6: None,
        host: None,
        memory_mib: 4,
        domid: None,
        cpu_ns: None,
        since_ns: 0,
        starts: 0,
        requests: 0,
        wakes: 0,
        failures: 0,
        waiting: 0,
        last_request_ns: None,
        last_packet_ns: None,
        open_connections: 0,
        last_start: Vec::new(),
        in_shell: false,
        console: Vec::new(),
    }
}

fn status() -> NodeStatus {
    NodeStatus {
        version: VERSION,
        now_ns: 1,
        node: NodeIdentity {
            name: "node".to_owned(),
            domain: "jitsu.test".to_owned(),
            address: [10, 0, 2, 15].into(),
            versions: Versions::default(),
        },
        boot: Boot::default(),
        card: None,
        clock: ClockStatus::default(),
        xen: Xen::default(),
        packets: Default::default(),
        dns: Default::default(),
        resources: Resources::default(),
        shells: ShellsStatus::default(),
        starts: StartsStatus::default(),
        services: Vec::new(),
        problems: Vec::new(),
        events: Vec::new(),
    }
}

#[test]
fn a_node_with_nothing_to_say() {
    let rule = "-".repeat(80);
    let expected = format!(
        "{rule}\n  node      node.jitsu.test is ready\n  address   10.0.2.15\n  status    http://10.0.2.15/\n  \
         services  none\n  clock     not set: no NTP server has given the time yet\n  problems  none\n{rule}\n"
    );
    assert_eq!(text(&status()), expected);
}

#[test]
fn a_node_with_much_to_say() {
    let mut status = status();
    status.services = vec![service("www", 20), service("shop", 121)];
    status.boot.board = Some("cubietruck".to_owned());
    status.boot.slot = Some("b".to_owned());
    status.boot.fallback = vec![FallbackStatus { file: "a/kernel".to_owned(), fault: "damaged".to_owned() }];
    status.clock.server = Some("ntp.example".to_owned());
    status.clock.unix_s = Some(1_790_000_000);
    status.problems = vec![
        Problem {
            file: "/boot/jitsu.toml".to_owned(),
            line: 12,
            service: Some("bad".to_owned()),
            what: "memory \"\u{1b}[2Jmuch\" is not a number of MiB, which is what is wanted here".to_owned(),
            fix: format!("write memory = 16, and not {}", "q".repeat(200)),
        },
        Problem {
            file: "the card".to_owned(),
            line: 0,
            service: None,
            what: "data partition mmcblk0p2 holds no ext4 file system".to_owned(),
            fix: "format it".to_owned(),
        },
    ];
    let text = text(&status);
    for line in [
        "  services  10.0.2.20        www.jitsu.test www2.jitsu.test",
        "            10.0.2.121       shop.jitsu.test shop2.jitsu.test",
        "  system    copy b for cubietruck, because a/kernel is damaged",
        "  clock     2026-09-21 14:13 UTC, by ntp.example",
        "  problems  /boot/jitsu.toml:12: service bad: memory \" [2Jmuch\" is not a number",
        "            the card: data partition mmcblk0p2 holds no ext4 file system; format",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    // Nothing is lost of a word that is longer than a line.
    assert_eq!(text.matches('q').count(), 200);
}
