//! A domain's XenStore nodes: what a guest and dom0's netback find, as Xen's own toolstack writes it
//! (`docs/misc/xenstore-paths.pandoc`, `xen/include/public/io/netif.h`). Pure.

use xen_sys::DomId;
use xen_sys::io::xenbus::XenbusState;
use xenstore::{Access, Change, Perms};

use super::disk::DeviceNumber;
use super::{Spec, Vif, mac_text, uuid_text};
use crate::config::Disk;

/// The directory of a domain.
pub fn home(domid: DomId) -> String {
    format!("/local/domain/{domid}")
}

/// The kinds of devices that domains have; their back halves are dom0's.
const DEVICES: [&str; 2] = ["vif", "vbd"];

/// The directory of the back halves of a domain's devices of a kind.
fn backends(kind: &str, domid: DomId) -> String {
    format!("{}/backend/{kind}/{domid}", home(DomId::DOM0))
}

/// The directory of the back halves of a domain's disks.
pub fn disks(domid: DomId) -> String {
    backends("vbd", domid)
}

/// The name of the bridge that a guest's interface is to be a port of.
pub fn bridge_of(domid: DomId, handle: u32) -> String {
    format!("{}/{handle}/bridge", backends("vif", domid))
}

/// What the next daemon is to know of a domain that runs (`node/record.rs`).
pub fn record(domid: DomId) -> String {
    format!("/jitsu/domain/{domid}")
}

/// How a domain that another tool has introduced is served (`node/introduced.rs`).
pub fn introduction(domid: DomId) -> String {
    format!("{INTRODUCTIONS}/{domid}")
}

/// The directory of all [`introduction`]s.
pub const INTRODUCTIONS: &str = "/jitsu/introduced";

/// The directories that domains' nodes lie in. They are there from the start and stay, so that a domain leaves
/// nothing behind.
pub fn shared() -> Vec<Change> {
    let dom0 = home(DomId::DOM0);
    let backends = DEVICES.map(|kind| format!("{dom0}/backend/{kind}"));
    let mut changes: Vec<Change> = backends
        .into_iter()
        .chain(["/vm", "/libxl", "/jitsu/domain", INTRODUCTIONS].map(String::from))
        .map(Change::mkdir)
        .collect();
    // As Xen's own start-up writes it (`tools/helpers/xen-init-dom0.c`), for tools that list domains by name and
    // put new ones into the pool of all processors.
    changes.push(Change::write(format!("{dom0}/name"), "Domain-0"));
    changes.push(Change::write(format!("{dom0}/domid"), "0"));
    changes.push(Change::write("/local/pool/0/name", "Pool-0"));
    // That a XenStore is here (`docs/misc/xenstore-paths.pandoc`).
    changes.push(Change::write("/tool/xenstored", ""));
    changes
}

/// The directory of what libxl keeps of a domain.
fn libxl(domid: DomId) -> String {
    format!("/libxl/{domid}")
}

/// The terminal at which a domain's console can be reached, once there is one.
pub fn console_terminal(domid: DomId, terminal: &str) -> Change {
    let perms = Perms::new(DomId::DOM0, Access::None);
    Change::write(console_terminal_path(domid), terminal).with_perms(perms)
}

/// Where that is said.
pub fn console_terminal_path(domid: DomId) -> String {
    format!("{}/console/tty", home(domid))
}

/// All nodes of a new domain, to be written at once. `disks` are the numbers in dom0 of those in `spec`.
pub fn create(domid: DomId, spec: &Spec, disks: &[DeviceNumber]) -> Vec<Change> {
    let home = home(domid);
    let vm = format!("/vm/{}", uuid_text(spec.uuid));
    let kib = (u64::from(spec.memory_mib) * 1024).to_string();
    let id = domid.to_string();

    // What the guest may read, and what it may write.
    let read_only = Perms::new(DomId::DOM0, Access::None).with(domid, Access::Read);
    let own = Perms::new(domid, Access::None);

    let mut changes = Vec::new();
    let mut write = |path: String, value: &str, perms: &Perms| {
        changes.push(Change::Write { path, value: value.as_bytes().to_vec(), perms: Some(perms.clone()) });
    };
    write(vm.clone(), "", &read_only);
    write(format!("{vm}/name"), &spec.name, &read_only);
    write(format!("{vm}/uuid"), &uuid_text(spec.uuid), &read_only);

    write(home.clone(), "", &read_only);
    write(format!("{home}/name"), &spec.name, &read_only);
    write(format!("{home}/domid"), &id, &read_only);
    write(format!("{home}/vm"), &vm, &read_only);
    write(format!("{home}/memory"), "", &read_only);
    write(format!("{home}/memory/target"), &kib, &read_only);
    write(format!("{home}/memory/static-max"), &kib, &read_only);
    write(format!("{home}/cpu"), "", &read_only);
    for cpu in 0..spec.vcpus {
        write(format!("{home}/cpu/{cpu}"), "", &read_only);
        write(format!("{home}/cpu/{cpu}/availability"), "online", &read_only);
    }
    write(format!("{home}/control"), "", &read_only);
    write(format!("{home}/control/shutdown"), "", &own);
    // Linux asks for the watches of an earlier kernel to be forgotten only where it is told that it may.
    write(format!("{home}/control/platform-feature-xs_reset_watches"), "1", &read_only);
    write(format!("{home}/control/feature-poweroff"), "", &own);
    write(format!("{home}/control/feature-reboot"), "", &own);
    write(format!("{home}/data"), "", &own);
    for key in &spec.keys {
        write(format!("{home}/{}", key.path), &key.value, &read_only);
    }
    write(format!("{home}/device"), "", &read_only);
    for kind in DEVICES {
        write(format!("{home}/device/{kind}"), "", &read_only);
    }

    // What tools look at: that the domain has no device model to ask, and who keeps its console.
    let private = Perms::new(DomId::DOM0, Access::None);
    write(libxl(domid), "", &private);
    write(format!("{}/type", libxl(domid)), "pvh", &private);
    write(format!("{home}/console"), "", &private);
    write(format!("{home}/console/type"), "xenconsoled", &private);

    for (handle, vif) in (0..).zip(&spec.vifs) {
        let (front, back) = vif_nodes(handle, vif);
        changes.extend(device("vif", domid, handle, front, back));
    }
    for (disk, number) in spec.disks.iter().zip(disks) {
        let (front, back) = disk_nodes(disk, *number);
        changes.extend(device("vbd", domid, disk.device.number(), front, back));
    }
    changes
}

/// What makes the nodes of a shell those of a service, to be written at once. netback reads the address when the guest
/// connects.
pub fn adopt(domid: DomId, uuid: [u8; 16], spec: &Spec) -> Vec<Change> {
    let home = home(domid);
    let read_only = Perms::new(DomId::DOM0, Access::None).with(domid, Access::Read);
    let mut changes = vec![
        Change::write(format!("/vm/{}/name", uuid_text(uuid)), spec.name.as_str()),
        Change::write(format!("{home}/name"), spec.name.as_str()),
    ];
    for key in &spec.keys {
        changes.push(
            Change::write(format!("{home}/{}", key.path), key.value.as_str()).with_perms(read_only.clone()),
        );
    }
    for (handle, vif) in spec.vifs.iter().enumerate() {
        let back = format!("{}/{handle}", backends("vif", domid));
        let mac = mac_text(vif.mac);
        changes.push(Change::write(format!("{home}/device/vif/{handle}/mac"), mac.as_str()));
        changes.push(Change::write(format!("{back}/mac"), mac.as_str()));
        changes.extend(vif.address.map(|address| Change::write(format!("{back}/ip"), address.to_string())));
    }
    changes
}

/// What is particular to the halves of a block device (`xen/include/public/io/blkif.h`).
fn disk_nodes(disk: &Disk, DeviceNumber { major, minor }: DeviceNumber) -> (Nodes, Nodes) {
    let front = vec![("virtual-device", disk.device.number().to_string()), ("device-type", "disk".into())];
    let back = vec![
        // blkback opens the device when it finds its number: a toolstack with scripts has one write it later.
        ("physical-device", format!("{major:x}:{minor:x}")),
        ("mode", if disk.writable { "w" } else { "r" }.into()),
        // The name that it gives to its thread.
        ("dev", disk.device.to_string()),
        // For tools.
        ("params", disk.path.display().to_string()),
        ("type", "phy".into()),
        ("device-type", "disk".into()),
        ("removable", "0".into()),
        ("bootable", "1".into()),
        ("hotplug-status", "connected".into()),
    ];
    (front, back)
}

/// What is particular to the halves of a network interface.
fn vif_nodes(handle: u32, vif: &Vif) -> (Nodes, Nodes) {
    let (handle, mac) = (handle.to_string(), mac_text(vif.mac));
    let front = vec![("handle", handle.clone()), ("mac", mac.clone())];
    let mut back = vec![
        ("handle", handle),
        ("mac", mac),
        ("bridge", vif.bridge.clone()),
        ("type", "vif".into()),
        // netback insists on one; there is no script here that would run.
        ("script", String::new()),
        // jitsud itself makes the interface a port of the bridge, as soon as the kernel announces it:
        // netback need not wait for a script to write this.
        ("hotplug-status", "connected".into()),
    ];
    back.extend(vif.address.map(|address| ("ip", address.to_string())));
    (front, back)
}

/// Names and values below a directory.
type Nodes = Vec<(&'static str, String)>;

/// The two halves of a device, which point at each other. Each half may be read by the other's domain.
fn device(kind: &str, domid: DomId, number: u32, front: Nodes, back: Nodes) -> Vec<Change> {
    let frontend = format!("{}/device/{kind}/{number}", home(domid));
    let backend = format!("{}/{number}", backends(kind, domid));
    let state = || ("state", XenbusState::Initialising.as_str().to_owned());
    let front_basics = [("backend", backend.clone()), ("backend-id", DomId::DOM0.to_string()), state()];
    let back_basics =
        [("frontend", frontend.clone()), ("frontend-id", domid.to_string()), ("online", "1".into()), state()];
    let perms = |owner: DomId, other: DomId| Perms::new(owner, Access::None).with(other, Access::Read);
    let half = |path: String, perms: Perms, nodes: Vec<(&str, String)>| {
        let all = std::iter::once((path.clone(), String::new()))
            .chain(nodes.into_iter().map(move |(name, value)| (format!("{path}/{name}"), value)));
        all.map(move |(path, value)| Change::write(path, value).with_perms(perms.clone())).collect::<Vec<_>>()
    };
    let front = half(frontend, perms(domid, DomId::DOM0), [front_basics.to_vec(), front].concat());
    let back = half(backend, perms(DomId::DOM0, domid), [back_basics.to_vec(), back].concat());
    [front, back].concat()
}

/// What asks a guest to switch itself off (`docs/misc/xenstore-paths.pandoc`, `~/control/shutdown`). The node stays
/// the guest's: it empties it when it has read it.
pub fn power_off(domid: DomId) -> Change {
    Change::write(format!("{}/control/shutdown", home(domid)), "poweroff")
}

/// What undoes [`create`]. The back halves go first: on that, the drivers in dom0 let go of the guest's pages.
pub fn remove(domid: DomId, uuid: [u8; 16]) -> Vec<Change> {
    let others = [home(domid), libxl(domid), format!("/vm/{}", uuid_text(uuid)), record(domid)];
    DEVICES.map(|kind| backends(kind, domid)).into_iter().chain(others).map(Change::remove).collect()
}

/// What makes [`remove`] be noticed by drivers that know devices of the domain whose nodes are gone already.
pub fn recall_devices(domid: DomId) -> Vec<Change> {
    let perms = Perms::new(DomId::DOM0, Access::None);
    DEVICES.map(|kind| Change::mkdir(backends(kind, domid)).with_perms(perms.clone())).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Key;
    use xenstore::{Limits, Store};

    const GUEST: DomId = DomId(7);
    const LOOP3: DeviceNumber = DeviceNumber { major: 7, minor: 0x13 };

    fn spec() -> Spec {
        Spec {
            name: "www".into(),
            uuid: [0xab; 16],
            kernel: [].into(),
            ramdisk: None,
            memory_mib: 4,
            vcpus: 2,
            weight: 256,
            bootargs: String::new(),
            keys: vec![Key { path: "data/a/b".into(), value: "c".into() }],
            disks: vec![Disk { path: "/data/a.img".into(), writable: true, ..Disk::default() }],
            vifs: vec![
                Vif {
                    mac: [0, 0x16, 0x3e, 0, 2, 20],
                    address: Some([10, 0, 2, 20].into()),
                    bridge: "br0".into(),
                },
                Vif { mac: [0, 0x16, 0x3e, 0, 2, 21], address: None, bridge: "br1".into() },
            ],
            record: String::new(),
        }
    }

    #[test]
    fn the_two_halves_of_a_device_point_at_each_other() {
        let mut store = Store::new(Limits::default());
        store.commit(&create(GUEST, &spec(), &[LOOP3])).expect("a commit");
        let read = |path: &str| String::from_utf8_lossy(store.read(path).expect(path)).into_owned();
        let (front, back) = ("/local/domain/7/device/vif/0", "/local/domain/0/backend/vif/7/0");
        assert_eq!(read(&format!("{front}/backend")), back);
        assert_eq!(read(&format!("{back}/frontend")), front);
        assert_eq!(read(&format!("{back}/frontend-id")), "7");
        assert_eq!(read(&format!("{front}/mac")), "00:16:3e:00:02:14");
        assert_eq!(read("/local/domain/7/device/vif/1/mac"), "00:16:3e:00:02:15");
        let (front, back) = ("/local/domain/7/device/vbd/51712", "/local/domain/0/backend/vbd/7/51712");
        assert_eq!(read(&format!("{front}/backend")), back);
        assert_eq!(read(&format!("{back}/frontend")), front);
        assert_eq!(
            (read(&format!("{back}/physical-device")), read(&format!("{back}/mode"))),
            ("7:13".into(), "w".into())
        );
        assert_eq!(read(&bridge_of(GUEST, 1)), "br1");
        assert_eq!(read("/vm/abababab-abab-abab-abab-abababababab/name"), "www");
    }

    #[test]
    fn a_guest_may_write_its_devices_and_its_data_and_nothing_else() {
        let mut store = Store::new(Limits::default());
        store.commit(&create(GUEST, &spec(), &[LOOP3])).expect("a commit");
        let writes = |path: &str| {
            let perms = store.perms(path).expect(path);
            perms.owner() == GUEST
                || perms.entries()[1..].iter().any(|perm| perm.domid == GUEST && perm.access.writes())
        };
        for path in [
            "data",
            "device/vif/0",
            "device/vif/0/state",
            "device/vif/1",
            "device/vbd/51712/state",
            "control/shutdown",
        ] {
            assert!(writes(&format!("/local/domain/7/{path}")), "{path}");
        }
        assert_eq!(store.read("/local/domain/7/data/a/b"), Some(&b"c"[..]));
        for path in [
            "",
            "/name",
            "/data/a/b",
            "/device",
            "/device/vif",
            "/control",
            "/memory/target",
            "/cpu/1/availability",
        ] {
            assert!(!writes(&format!("/local/domain/7{path}")), "{path}");
        }
        assert!(!writes("/local/domain/0/backend/vif/7/0/state"));
        assert!(!writes("/local/domain/0/backend/vbd/7/51712/physical-device"));
    }

    #[test]
    fn a_shell_that_becomes_a_service_is_like_one_that_was_made_for_it() {
        let service = Spec {
            disks: Vec::new(),
            weight: crate::domain::DEFAULT_WEIGHT,
            vifs: spec().vifs[..1].to_vec(),
            ..spec()
        };
        let shape = crate::domain::Shape::of(&service).expect("a shape");
        let (mut made, mut adopted) = (Store::new(Limits::default()), Store::new(Limits::default()));
        made.commit(&create(GUEST, &service, &[])).expect("a commit");
        adopted.commit(&create(GUEST, &shape.placeholder(service.uuid), &[])).expect("a commit");
        adopted.commit(&adopt(GUEST, service.uuid, &service)).expect("a commit");
        let dump = |store: &Store| {
            let (mut all, mut pending) = (Vec::new(), vec![String::new()]);
            while let Some(path) = pending.pop() {
                let node = if path.is_empty() { "/" } else { &path };
                let below = store.list(node).expect(node);
                pending.extend(below.iter().map(|name| format!("{path}/{name}")));
                all.push((node.to_owned(), store.read(node).map(<[u8]>::to_vec), store.perms(node).cloned()));
            }
            all.sort_by(|a, b| a.0.cmp(&b.0));
            all
        };
        assert_eq!(dump(&adopted), dump(&made));
        // One with more than a shell has is made as ever.
        assert_eq!(crate::domain::Shape::of(&spec()), None);
    }

    #[test]
    fn nothing_is_left_of_a_domain() {
        let mut store = Store::new(Limits::default());
        store.introduce(DomId::DOM0);
        store.commit(&shared()).expect("a commit");
        let before = store.node_count();
        store.commit(&create(GUEST, &spec(), &[LOOP3])).expect("a commit");
        store.commit(&remove(GUEST, spec().uuid)).expect("a commit");
        assert_eq!(store.node_count(), before);
    }
}
