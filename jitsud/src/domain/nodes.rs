//! A domain's XenStore nodes: what a guest and dom0's netback find, as Xen's own toolstack writes it
//! (`docs/misc/xenstore-paths.pandoc`, `xen/include/public/io/netif.h`). Pure.

use xen_sys::DomId;
use xen_sys::io::xenbus::XenbusState;
use xenstore::{Access, Change, Perms};

use super::{Spec, mac_text, uuid_text};

/// The directory of a domain.
pub fn home(domid: DomId) -> String {
    format!("/local/domain/{domid}")
}

/// The directory of the back half of a domain's only network interface.
pub fn vif_backend(domid: DomId) -> String {
    format!("{}/backend/vif/{domid}/0", home(DomId::DOM0))
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
    let backends = format!("{dom0}/backend/vif");
    let mut changes: Vec<Change> =
        [&backends, "/vm", "/libxl", "/jitsu/domain", INTRODUCTIONS].into_iter().map(Change::mkdir).collect();
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
    Change::write(format!("{}/console/tty", home(domid)), terminal).with_perms(perms)
}

/// All nodes of a new domain, to be written at once.
pub fn create(domid: DomId, spec: &Spec) -> Vec<Change> {
    let home = home(domid);
    let vm = format!("/vm/{}", uuid_text(spec.uuid));
    let backend = vif_backend(domid);
    let frontend = format!("{home}/device/vif/0");
    let mac = mac_text(spec.vif.mac);
    let kib = (u64::from(spec.memory_mib) * 1024).to_string();
    let id = domid.to_string();
    let initialising = XenbusState::Initialising.as_str();

    // What the guest may read, what it may write, and what both halves of a device share.
    let read_only = Perms::new(DomId::DOM0, Access::None).with(domid, Access::Read);
    let own = Perms::new(domid, Access::None);
    let device_front = Perms::new(domid, Access::None).with(DomId::DOM0, Access::Read);
    let device_back = read_only.clone();

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
    write(format!("{home}/device"), "", &read_only);
    write(format!("{home}/device/vif"), "", &read_only);

    // What tools look at: that the domain has no device model to ask, and who keeps its console.
    let private = Perms::new(DomId::DOM0, Access::None);
    write(libxl(domid), "", &private);
    write(format!("{}/type", libxl(domid)), "pvh", &private);
    write(format!("{home}/console"), "", &private);
    write(format!("{home}/console/type"), "xenconsoled", &private);

    write(frontend.clone(), "", &device_front);
    for (key, value) in [
        ("backend", backend.as_str()),
        ("backend-id", "0"),
        ("handle", "0"),
        ("mac", &mac),
        ("state", initialising),
    ] {
        write(format!("{frontend}/{key}"), value, &device_front);
    }

    write(backend.clone(), "", &device_back);
    for (key, value) in [
        ("frontend", frontend.as_str()),
        ("frontend-id", &id),
        ("online", "1"),
        ("state", initialising),
        ("handle", "0"),
        ("mac", &mac),
        ("ip", &spec.vif.address.to_string()),
        ("bridge", &spec.vif.bridge),
        ("type", "vif"),
        // netback insists on one; there is no script here that would run.
        ("script", ""),
        // jitsud itself makes the interface a port of the bridge, as soon as the kernel announces it:
        // netback need not wait for a script to write this.
        ("hotplug-status", "connected"),
    ] {
        write(format!("{backend}/{key}"), value, &device_back);
    }
    changes
}

/// What undoes [`create`]. The back half goes first: on that, netback lets go of the guest's pages.
pub fn remove(domid: DomId, uuid: [u8; 16]) -> Vec<Change> {
    let backend = format!("{}/backend/vif/{domid}", home(DomId::DOM0));
    [backend, home(domid), libxl(domid), format!("/vm/{}", uuid_text(uuid)), record(domid)]
        .into_iter()
        .map(|path| Change::Remove { path })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Vif;
    use xenstore::{Limits, Store};

    const GUEST: DomId = DomId(7);

    fn spec() -> Spec {
        Spec {
            name: "www".into(),
            uuid: [0xab; 16],
            kernel: [].into(),
            memory_mib: 4,
            vcpus: 2,
            bootargs: String::new(),
            vif: Vif { mac: [0, 0x16, 0x3e, 0, 2, 20], address: [10, 0, 2, 20].into(), bridge: "br0".into() },
            record: String::new(),
        }
    }

    #[test]
    fn the_two_halves_of_a_device_point_at_each_other() {
        let mut store = Store::new(Limits::default());
        store.commit(&create(GUEST, &spec())).expect("a commit");
        let read = |path: &str| String::from_utf8_lossy(store.read(path).expect(path)).into_owned();
        let (front, back) = ("/local/domain/7/device/vif/0", "/local/domain/0/backend/vif/7/0");
        assert_eq!(read(&format!("{front}/backend")), back);
        assert_eq!(read(&format!("{back}/frontend")), front);
        assert_eq!(read(&format!("{back}/frontend-id")), "7");
        assert_eq!(read(&format!("{front}/mac")), "00:16:3e:00:02:14");
        assert_eq!(read("/vm/abababab-abab-abab-abab-abababababab/name"), "www");
    }

    #[test]
    fn a_guest_may_write_its_devices_and_its_data_and_nothing_else() {
        let mut store = Store::new(Limits::default());
        store.commit(&create(GUEST, &spec())).expect("a commit");
        let writes = |path: &str| {
            let perms = store.perms(path).expect(path);
            perms.owner() == GUEST
                || perms.entries()[1..].iter().any(|perm| perm.domid == GUEST && perm.access.writes())
        };
        for path in ["data", "device/vif/0", "device/vif/0/state", "control/shutdown"] {
            assert!(writes(&format!("/local/domain/7/{path}")), "{path}");
        }
        for path in
            ["", "/name", "/device", "/device/vif", "/control", "/memory/target", "/cpu/1/availability"]
        {
            assert!(!writes(&format!("/local/domain/7{path}")), "{path}");
        }
        assert!(!writes("/local/domain/0/backend/vif/7/0/state"));
    }

    #[test]
    fn nothing_is_left_of_a_domain() {
        let mut store = Store::new(Limits::default());
        store.introduce(DomId::DOM0);
        store.commit(&shared()).expect("a commit");
        let before = store.node_count();
        store.commit(&create(GUEST, &spec())).expect("a commit");
        store.commit(&remove(GUEST, spec().uuid)).expect("a commit");
        assert_eq!(store.node_count(), before);
    }
}
