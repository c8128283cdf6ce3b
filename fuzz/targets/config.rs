//! Any bytes as `jitsu.toml`. Mistakes are told by line, in bounded text; what is left can run: every value is in
//! its documented range, nothing is given out twice, and DNS, XenStore and the device tree can do with it.
#![no_main]

use std::collections::HashSet;
use std::fmt::Debug;
use std::hash::Hash;
use std::io;
use std::iter;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use capture::{Capture, Ports};
use jitsud::clock::lookup::Question;
use jitsud::config::{
    Addressing, Config, DiskIdentity, Given, HEAD_BYTES, KernelHead, Kernels, MAX_CMDLINE, MAX_MEMORY_MIB,
    MAX_PROBLEMS, MAX_SERVICES, MAX_VCPUS, Mac, Problem, Service, Stop, TimeServer, capture_services, parse,
};
use jitsud::dns::Zone;
use jitsud::domain::devicetree::{Guest, flattened};
use jitsud::domain::disk::DeviceNumber;
use jitsud::domain::layout::TREE_PAGES;
use jitsud::domain::{Spec, Vif, nodes};
use libfuzzer_sys::fuzz_target;
use xen_sys::version::Release;
use xen_sys::{DomId, PAGE_SHIFT};
use xenstore::{Limits, Store};

const FILE: &str = "jitsu.toml";
const NODE: Mac = Mac([0x52, 0x54, 0, 0x12, 0x34, 0x56]);

/// Bytes that no problem is longer than in all.
const LONGEST_PROBLEM: usize = 2000;

/// A kernel for every name, but for those that begin with an x; its size goes with the name's length.
fn kernel(path: &Path) -> io::Result<KernelHead> {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let length = (name.len() as u32) << 18;
    let mut head = [0; HEAD_BYTES];
    head[0x24..0x28].copy_from_slice(&0x016f_2818_u32.to_le_bytes());
    head[0x2c..0x30].copy_from_slice(&length.to_le_bytes());
    match name.first() {
        Some(b'x') | None => Err(io::ErrorKind::NotFound.into()),
        Some(b'y') => Ok(KernelHead { head: [0; HEAD_BYTES], length: 5000 }),
        Some(_) => Ok(KernelHead { head, length: length.into() }),
    }
}

fn check_problems(problems: &[Problem], lines: u32) {
    // A problem each for what the addresses lead to, and for what is not told any more.
    assert!(problems.len() <= MAX_PROBLEMS + 1 + MAX_SERVICES);
    assert!(problems.is_sorted_by_key(|problem| problem.line));
    for problem in problems {
        assert!(problem.file == FILE && (1..=lines).contains(&problem.line), "{problem}");
        assert!(!problem.what.is_empty() && !problem.fix.is_empty());
        assert!(problem.to_string().len() <= LONGEST_PROBLEM, "{problem}");
    }
}

fn distinct<T: Eq + Hash + Debug + Clone>(values: impl IntoIterator<Item = T>) {
    let mut seen = HashSet::new();
    for value in values {
        assert!(seen.insert(value.clone()), "{value:?} twice");
    }
}

fn is_label(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len())
        && text.chars().all(allowed)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_name(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

/// Which disk a path leads to: one for each last letter.
fn identity(path: &Path) -> DiskIdentity {
    (7, path.as_os_str().as_encoded_bytes().last().copied().unwrap_or_default().into())
}

/// What a guest finds, as the node makes it of the service (`jitsud/src/node/template.rs`).
fn check_domain(config: &Config, service: &Service) {
    let node = &config.node;
    let gateway = node.gateway.map(|gateway| gateway.to_string()).unwrap_or_default();
    let ip = format!("ip={}::{gateway}:{}:{}:eth0:off", service.address, node.netmask(), service.name);
    let first = Vif { mac: service.mac.0, address: Some(service.address), bridge: node.bridge.clone() };
    let others = service.vifs.iter().map(|vif| Vif {
        mac: vif.mac.0,
        address: None,
        bridge: vif.bridge.as_ref().unwrap_or(&node.bridge).clone(),
    });
    let spec = Spec {
        name: service.name.clone(),
        uuid: [7; 16],
        kernel: Arc::from([]),
        ramdisk: None,
        memory_mib: service.memory_mib,
        vcpus: service.vcpus,
        weight: service.weight,
        bootargs: format!("{ip} {}", service.cmdline),
        keys: service.keys.clone(),
        disks: service.disks.clone(),
        vifs: iter::once(first).chain(others).collect(),
        record: String::new(),
    };
    // `COMMAND_LINE_SIZE` of ARM Linux, with a NUL.
    assert!(spec.bootargs.len() < 1024);
    let guest = Guest {
        xen: Release { major: 4, minor: 17 },
        memory: u64::from(spec.memory_mib) << 20,
        vcpus: spec.vcpus,
        bootargs: &spec.bootargs,
        ramdisk: None,
        clock_frequency: None,
    };
    let tree = flattened(&guest).expect("a device tree");
    assert!(tree.len() as u64 <= TREE_PAGES << PAGE_SHIFT);

    let domid = DomId(1);
    let mut store = Store::new(Limits::default());
    store.commit(&nodes::shared()).expect("good nodes");
    let before = store.node_count();
    let numbers = vec![DeviceNumber { major: 7, minor: 1 }; spec.disks.len()];
    store.commit(&nodes::create(domid, &spec, &numbers)).expect("good nodes");
    let at = |path: &str| format!("{}/{path}", nodes::home(domid));
    for key in &spec.keys {
        assert_eq!(store.read(&at(&key.path)), Some(key.value.as_bytes()));
    }
    let ready = &service.wait_for_key;
    store.watch(&at(&ready.path)).expect("a path");
    // The guest makes it, unless it waits for what will be in it.
    assert!(ready.value.is_some() || store.read(&at(&ready.path)).is_none());
    store.commit(&nodes::remove(domid, spec.uuid)).expect("good nodes");
    assert_eq!(store.node_count(), before);
}

fn check(config: &Config) {
    let node = &config.node;
    assert!(is_label(&node.name) && is_name(&node.domain) && is_name(&node.fqdn()));
    for interface in node.uplink.iter().chain([&node.bridge]) {
        assert!((1..16).contains(&interface.len()) && !interface.contains('/'));
    }
    assert!(node.kernels.is_absolute() && node.ntp.len() <= 8);
    for server in &node.ntp {
        if let TimeServer::Name(name) = server {
            let question = Question::new(name, 1).expect("a host's name");
            question.to_bytes().expect("a question about it");
        }
    }
    distinct(node.quota.iter().map(|quota| quota.name));
    let mut limited = Store::new(Limits::default());
    for quota in &node.quota {
        assert!(quota.value > 0 && limited.change_quota(quota.name, quota.value));
    }
    let network = node.addressing();
    assert_eq!(Addressing::fault(node.address, node.prefix), None);
    assert!(node.gateway.is_none_or(|gateway| network.gateway_fault(gateway).is_none()));

    let services = &config.services;
    assert!(services.len() <= MAX_SERVICES);
    distinct(services.iter().map(|service| &service.name));
    let addresses = services.iter().map(|service| service.address);
    let others = [node.address, network.network(), network.broadcast()].into_iter().chain(node.gateway);
    distinct(addresses.chain(others));
    let addresses = services.iter().filter_map(|service| service.address6);
    distinct(addresses.chain(node.address6.map(|(address, _)| address)));
    let vifs = services.iter().flat_map(|service| service.vifs.iter().map(|vif| vif.mac));
    distinct(services.iter().map(|service| service.mac).chain(vifs));
    for service in services {
        assert!(is_label(&service.name) && !service.dns.is_empty());
        for name in &service.dns {
            let below = name.strip_prefix("*.").unwrap_or(name);
            assert!(is_name(below) && format!(".{name}").ends_with(&format!(".{}", node.domain)));
            assert!(name.len() <= 253 && *name != node.fqdn());
        }
        distinct(&service.dns);
        assert!(service.response_delay.as_millis() <= 4000);
        assert!(network.contains(service.address));
        assert!((1..=MAX_MEMORY_MIB).contains(&service.memory_mib));
        assert!((1..=MAX_VCPUS).contains(&service.vcpus) && service.weight >= 1);
        assert!(service.cmdline.len() <= MAX_CMDLINE && !service.cmdline.contains(char::is_control));
        let (ttl, idle) = (service.ttl.as_secs(), service.idle.as_secs());
        assert!((1..=86_400).contains(&ttl) && (ttl..=604_800).contains(&idle));
        assert!((1..=300).contains(&service.boot_timeout.as_secs()));
        let (min, max) = (service.min_uptime.as_secs(), service.max_uptime.map(|max| max.as_secs()));
        assert!(max.is_none_or(|max| (min.max(1)..=315_360_000).contains(&max)) && min <= 315_360_000);
        if let Stop::Shutdown { timeout } = service.stop {
            assert!((1..=300).contains(&timeout.as_secs()));
        }
        assert!(service.disks.len() <= 16 && service.disks.iter().all(|disk| disk.path.is_absolute()));
        distinct(service.disks.iter().map(|disk| disk.device.number()));
        assert!(service.vifs.len() <= 7 && service.vifs.iter().all(|vif| !vif.mac.is_group()));
        assert!(service.keys.len() <= 64);
        check_domain(config, service);
    }
    for service in services {
        let few = |ports: &Ports| {
            matches!(ports, Ports::All) || matches!(ports, Ports::Only(some) if some.len() <= 64)
        };
        assert!(few(&service.tcp) && few(&service.udp));
        // The node's, and its own.
        assert!(service.quiet.networks.len() <= 128 && service.quiet.names.len() <= 128);
    }
    assert!(node.shells <= 64);
    let (captured, limits) = capture_services(config);
    assert!((1 << 16..=1 << 26).contains(&limits.bytes));
    assert!(Capture::new(captured, limits, [0; 16]).is_ok());
    // Only who reads alone may share.
    let disks = services.iter().flat_map(|service| &service.disks);
    for (index, disk) in disks.clone().enumerate().filter(|(_, disk)| disk.writable) {
        let same = |(other, path): (usize, &Path)| other != index && identity(path) == identity(&disk.path);
        assert!(!disks.clone().map(|disk| disk.path.as_path()).enumerate().any(same), "{disk:?}");
    }
    assert!(config.records.len() <= 1000);
    Zone::new(config).expect("a zone");
}

fuzz_target!(|input: &[u8]| {
    let kernels = Kernels { card: None, probe: &kernel, disk: &|path| Ok(identity(path)) };
    let lines = 1 + input.iter().filter(|byte| **byte == b'\n').count() as u32;
    let parsed = parse(input, Path::new(FILE), &kernels);
    assert_eq!(parsed, parse(input, Path::new(FILE), &kernels));
    let draft = match parsed {
        Ok(draft) => draft,
        Err(unusable) => {
            assert!(!unusable.0.is_empty());
            return check_problems(&unusable.0, lines);
        }
    };
    check_problems(draft.problems(), lines);
    let wanted = draft.wanted(NODE);
    distinct(wanted.iter().map(|wanted| wanted.mac));
    // A server that gives nothing, one address twice, the node's own, one of elsewhere; the input says which.
    let lease = |index: usize| match (crc32fast::hash(input) as usize + index) % 8 {
        0 => None,
        1 => Some(Ipv4Addr::new(10, 0, 2, 2)),
        2 => Some(Ipv4Addr::new(10, 0, 2, 15)),
        3 => Some(Ipv4Addr::new(10, 0, 3, 15)),
        number => Some(Ipv4Addr::from_bits(0x0a00_0210 + (number + index) as u32)),
    };
    let given: Vec<_> = wanted
        .into_iter()
        .enumerate()
        .map(|(index, wanted)| Given { wanted, address: lease(index) })
        .collect();
    let leased = Addressing { address: Ipv4Addr::new(10, 0, 2, 15), prefix: 24, gateway: None };
    let addressing = draft.node.addressing.unwrap_or(leased);
    let loaded = draft.resolve(addressing, &given, Duration::from_secs(20));
    check_problems(&loaded.problems, lines);
    check(&loaded.config);
});
