//! What xl asks of XenStore to start a domain: the requests of Xen 4.20's libxl for a PVH guest with a
//! console and a network card (`libxl__domain_make`, `libxl__build_post`, `libxl__device_console_add`,
//! `libxl__device_add_async`), in their order.

use xen_sys::io::xs_wire::XsdSockmsgType as Type;

/// One request of a start.
#[derive(Clone, Debug)]
pub enum Step {
    Begin,
    /// A request, within the open transaction if there is one. What it is answered does not matter to
    /// libxl, or is always success.
    Ask(Type, Vec<u8>),
    Commit,
}

/// The requests that start domain `domid`.
pub fn start(domid: u16) -> Vec<Step> {
    let mut steps = Steps(Vec::new());
    let home = format!("/local/domain/{domid}");
    let vm = format!("/vm/00000000-0000-4000-8000-{domid:012}");
    let libxl = format!("/libxl/{domid}");
    let (none, read, own) = ("n0".to_owned(), format!("n0 r{domid}"), format!("n{domid}"));
    steps.domain(&home, &vm, &libxl, [&none, &read, &own]);
    steps.post_build(domid, &home, &vm);
    let front = format!("{home}/console");
    let back = format!("/local/domain/0/backend/console/{domid}/0");
    steps.device(domid, &front, &back, &format!("{libxl}/device/console/0"), [&CONSOLE_BACK, &CONSOLE_FRONT]);
    let front = format!("{home}/device/vif/0");
    let back = format!("/local/domain/0/backend/vif/{domid}/0");
    steps.device(domid, &front, &back, &format!("{libxl}/device/vif/0"), [&VIF_BACK, &VIF_FRONT]);
    steps.0
}

const CONSOLE_BACK: [(&str, &str); 4] =
    [("frontend-id", "7"), ("online", "1"), ("state", "1"), ("protocol", "vt100")];
const CONSOLE_FRONT: [(&str, &str); 7] = [
    ("backend-id", "0"),
    ("limit", "1048576"),
    ("type", "xenconsoled"),
    ("output", "pty"),
    ("tty", ""),
    ("port", "2"),
    ("ring-ref", "262143"),
];
const VIF_BACK: [(&str, &str); 10] = [
    ("frontend-id", "7"),
    ("online", "1"),
    ("state", "1"),
    ("script", "/etc/xen/scripts/vif-bridge"),
    ("mac", "00:16:3e:00:00:07"),
    ("mtu", "1500"),
    ("bridge", "xenbr0"),
    ("handle", "0"),
    ("type", "vif"),
    ("hotplug-status", ""),
];
const VIF_FRONT: [(&str, &str); 5] =
    [("backend-id", "0"), ("state", "1"), ("handle", "0"), ("mac", "00:16:3e:00:00:07"), ("trusted", "1")];

struct Steps(Vec<Step>);

impl Steps {
    fn ask(&mut self, kind: Type, payload: impl Into<Vec<u8>>) {
        self.0.push(Step::Ask(kind, payload.into()));
    }

    fn write(&mut self, path: &str, value: &str) {
        self.ask(Type::Write, format!("{path}\0{value}"));
    }

    fn rm(&mut self, path: &str) {
        self.ask(Type::Rm, format!("{path}\0"));
    }

    fn perms(&mut self, path: &str, perms: &str) {
        self.ask(Type::SetPerms, format!("{path}\0{}\0", perms.replace(' ', "\0")));
    }

    fn node(&mut self, path: &str, perms: &str) {
        self.write(path, "");
        self.perms(path, perms);
    }

    fn domain(&mut self, home: &str, vm: &str, libxl: &str, [none, read, own]: [&str; 3]) {
        self.0.push(Step::Begin);
        for (path, perms) in [(home, read), (vm, read), (libxl, none)] {
            self.rm(path);
            self.node(path, perms);
        }
        self.node(&format!("{libxl}/device"), none);
        self.write(&format!("{home}/vm"), vm);
        self.write(&format!("{home}/name"), "www");
        self.write(&format!("{vm}/name"), "www");
        let ours = ["cpu", "memory", "device"];
        ours.iter().for_each(|name| self.node(&format!("{home}/{name}"), read));
        self.node(&format!("{home}/device/suspend/event-channel"), own);
        self.node(&format!("{home}/control"), read);
        let theirs = [
            "control/shutdown",
            "control/feature-poweroff",
            "control/feature-reboot",
            "control/feature-suspend",
            "control/sysrq",
            "data",
            "drivers",
            "feature",
            "attr",
            "error",
        ];
        theirs.iter().for_each(|name| self.node(&format!("{home}/{name}"), own));
        self.write(&format!("{vm}/uuid"), &vm[4..]);
        self.write(&format!("{home}/control/platform-feature-multiprocessor-suspend"), "1");
        self.write(&format!("{home}/control/platform-feature-xs_reset_watches"), "1");
        self.write(&format!("{libxl}/type"), "pvh");
        self.0.push(Step::Commit);
    }

    fn post_build(&mut self, domid: u16, home: &str, vm: &str) {
        self.ask(Type::Read, format!("{home}/vm\0"));
        self.0.push(Step::Begin);
        let table = [
            ("memory/static-max", "65536"),
            ("memory/target", "65536"),
            ("memory/videoram", "0"),
            ("domid", &domid.to_string()),
            ("store/port", "1"),
            ("store/ring-ref", "262142"),
            ("cpu/0/availability", "online"),
        ];
        table.iter().for_each(|(name, value)| self.write(&format!("{home}/{name}"), value));
        self.write(&format!("{vm}/start_time"), "1700000000.00");
        self.0.push(Step::Commit);
        self.ask(Type::Introduce, format!("{domid}\x00262142\x001\0"));
    }

    fn device(&mut self, domid: u16, front: &str, back: &str, libxl: &str, keys: [&[(&str, &str)]; 2]) {
        self.0.push(Step::Begin);
        self.ask(Type::Read, format!("{back}\0"));
        self.rm(libxl);
        self.write(&format!("{libxl}/frontend"), front);
        self.write(&format!("{libxl}/backend"), back);
        let (theirs, ours) = (format!("n{domid} r0"), format!("n0 r{domid}"));
        for (path, other, name, perms) in [(front, back, "backend", theirs), (back, front, "frontend", ours)]
        {
            self.rm(path);
            self.ask(Type::Mkdir, format!("{path}\0"));
            self.perms(path, &perms);
            self.write(&format!("{path}/{name}"), other);
            if path == front {
                for (key, value) in keys[1] {
                    self.write(&format!("{path}/{key}"), value);
                    self.perms(&format!("{path}/{key}"), &perms);
                }
            }
        }
        for top in [back, libxl] {
            keys[0].iter().for_each(|(key, value)| self.write(&format!("{top}/{key}"), value));
        }
        self.0.push(Step::Commit);
    }
}
