//! The network, and addresses by DHCP, on links of a network namespace with a real server (dnsmasq) at their other
//! end.
//!
//! Ignored by default, for it needs dnsmasq and namespaces: `cargo test --package jitsud --test dhcp_link --
//! --ignored`. It needs no root where user namespaces are allowed: the test runs itself again inside of some.

use std::io::{BufRead, BufReader, Write};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jitsud::addresses;
use jitsud::config::{self, KernelHead, Kernels};
use jitsud::dhcp::{Clients, Event, Identity, KeptLeases};
use jitsud::net::{Interfaces, Network};
use tokio::time::timeout;

/// Says that this process is the one in the namespace.
const INSIDE: &str = "JITSUD_TEST_INSIDE";

/// Longer than everything but the prolonging of a lease takes.
const LONG: Duration = Duration::from_secs(20);

/// dnsmasq gives no lease for less than 2 minutes, and asks to prolong it after half of that.
const HALF_A_LEASE: Duration = Duration::from_secs(60);

const CONFIG: &str = r#"
[node]
name = "node"
[[service]]
name = "www"
kernel = "any"
[[service]]
name = "fixed"
address = "192.168.77.9"
kernel = "any"
[[service]]
name = "shop"
kernel = "any"
"#;

/// Another network namespace with one end of the link and the server; ends when it is dropped.
struct Server(Child);

impl Server {
    /// The link's near end is `eth0`; the cable is not in yet.
    fn new() -> Self {
        const SCRIPT: &str = "echo there; read -r _; ip addr add 192.168.77.1/24 dev lan0; ip link set lan0 up; \
            exec dnsmasq --no-daemon --log-dhcp --conf-file=/dev/null \
            --pid-file= --port=0 --interface=lan0 --bind-interfaces --leasefile-ro --dhcp-authoritative \
            --dhcp-range=192.168.77.100,192.168.77.120,255.255.255.0,2m --domain=lan.test \
            --dhcp-option=option:ntp-server,192.168.77.3 --dhcp-option=option:dns-server,192.168.77.4 >&2";
        sh("ip link set lo up && ip link add eth0 type veth peer name lan0");
        let mut child = Command::new("unshare")
            .args(["--net", "sh", "-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare (package util-linux)");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "there\n");
        sh(&format!("ip link set lan0 netns {}", child.id()));
        Server(child)
    }

    fn plug_in(&mut self) {
        self.0.stdin.take().unwrap().write_all(b"now\n").unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn network(uplink: Option<&str>) -> Network {
    let interfaces = timeout(LONG, Interfaces::find()).await.unwrap().unwrap();
    Network::set_up(interfaces, "br0", uplink, &[]).await.unwrap()
}

fn sh(script: &str) {
    let status = Command::new("sh").args(["-c", script]).status().unwrap();
    assert!(status.success(), "{script}: {status}");
}

fn output(script: &str) -> String {
    String::from_utf8(Command::new("sh").args(["-c", script]).output().unwrap().stdout).unwrap()
}

/// Runs the test in namespaces of its own.
fn inside(test: &str, run: impl AsyncFnOnce()) {
    if std::env::var_os(INSIDE).is_none() {
        let itself = std::env::current_exe().unwrap();
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--net"]).arg(itself).args([
            "--ignored",
            "--exact",
            "--nocapture",
            test,
        ]);
        let status = command.env(INSIDE, "1").status().expect("unshare (package util-linux)");
        assert!(status.success(), "inside: {status}");
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run());
}

#[test]
#[ignore = "needs dnsmasq and network namespaces"]
fn node_and_services_get_their_addresses_when_the_cable_is_in() {
    inside("node_and_services_get_their_addresses_when_the_cable_is_in", async || {
        let mut server = Server::new();
        let probe = |_: &Path| Ok(KernelHead::stand_in());
        let kernels = Kernels { card: None, probe: &probe, disk: &|_| Ok((0, 0)) };
        let draft = config::parse(CONFIG.as_bytes(), Path::new("jitsu.toml"), &kernels).unwrap();
        let mut network = network(Some("eth0")).await;
        let kept = tempfile::tempdir().unwrap();
        let leases = || KeptLeases::open(&kept.path().join("leases"));

        let early = timeout(Duration::from_secs(1), addresses::obtain(&mut network, &draft, leases())).await;
        assert!(early.is_err(), "an address without a cable: {early:?}");
        server.plug_in();
        let found = timeout(LONG, addresses::obtain(&mut network, &draft, leases())).await.unwrap().unwrap();

        let here = found.node;
        assert_eq!((here.prefix, here.gateway), (24, Some(Ipv4Addr::new(192, 168, 77, 1))));
        assert!((100..=120).contains(&here.address.octets()[3]), "{here:?}");
        let lease = found.lease.unwrap();
        assert_eq!(lease.server, Ipv4Addr::new(192, 168, 77, 1));
        assert_eq!(lease.ntp, [Ipv4Addr::new(192, 168, 77, 3)]);
        assert_eq!(lease.dns, [Ipv4Addr::new(192, 168, 77, 4)]);
        assert_eq!(lease.domain.as_deref(), Some("lan.test"));
        assert_eq!(lease.duration, 2 * HALF_A_LEASE);
        // Another daemon goes on with these, though there is no server any more.
        drop((server, found.keeper));
        let again = timeout(LONG, addresses::obtain(&mut network, &draft, leases())).await.unwrap().unwrap();
        assert_eq!((again.node, &again.given), (here, &found.given));
        assert_eq!(again.lease, Some(lease));
        let loaded = draft.resolve(here, &found.given, addresses::PATIENCE);
        assert_eq!(loaded.problems, []);
        let mut all: Vec<_> = loaded.config.services.iter().map(|service| service.address).collect();
        assert_eq!(all[1], Ipv4Addr::new(192, 168, 77, 9));
        all.push(here.address);
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 4, "{all:?}");

        let shown = output("ip -4 -o addr show dev br0; ip route show default");
        assert!(shown.contains(&format!("inet {}/24", here.address)), "{shown}");
        assert!(shown.contains("default via 192.168.77.1 dev br0"), "{shown}");
        // Another daemon on the same bridge begins anew, and leaves nothing of the first.
        drop((network, again.keeper));
        let network = self::network(None).await;
        let other =
            config::Addressing { address: Ipv4Addr::new(192, 168, 77, 50), prefix: 24, gateway: None };
        network.assign(&other).await.unwrap();
        let shown = output("ip -4 -o addr show dev br0");
        assert!(shown.contains("192.168.77.50/24") && !shown.contains(&here.address.to_string()), "{shown}");
    });
}

#[test]
#[ignore = "needs dnsmasq and network namespaces; takes a minute"]
fn a_lease_is_prolonged() {
    inside("a_lease_is_prolonged", async || {
        let mut server = Server::new();
        server.plug_in();
        let mut network = network(Some("eth0")).await;
        timeout(LONG, network.connected()).await.unwrap().unwrap();
        let mut clients = Clients::open("br0").await.unwrap();
        clients.add(Identity { mac: network.mac(), name: "node".to_owned() });
        let first = timeout(LONG, clients.next()).await.unwrap();
        let second = timeout(HALF_A_LEASE + LONG, clients.next()).await.unwrap();
        let (Event::Leased(first), Event::Leased(second)) = (first.1, second.1) else {
            panic!("no two leases");
        };
        assert_eq!(first.addressing, second.addressing);
    });
}
