//! What xl asks of XenStore to start a domain: the requests of Xen 4.20's libxl for a PVH guest with a
//! console and a network card (`libxl__domain_make`, `libxl__build_post`, `libxl__device_console_add`,
//! `libxl__device_add_async`), in their order. And what a measurement of many such starts at once says.

use serde::{Deserialize, Serialize};
use xen_sys::io::xs_wire::XsdSockmsgType as Type;

/// Stands before a [`Run`] on its line, so that it is found between other lines of a console.
pub const RUN_MARK: &str = "starts-run: ";

/// Where [`apart`] makes everything.
pub const APART: &str = "/starts";

/// Starts of domains, all at once, against one store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Run {
    /// How many.
    pub starts: u32,
    /// How many of them were finished when this was measured; fewer than all, if patience was at its end.
    pub finished: u32,
    /// From the first request to the last reply, in nanoseconds of `CLOCK_MONOTONIC`.
    pub ns: u64,
    /// Transactions that were refused for a conflict (`EAGAIN`), and begun anew.
    pub retries: u64,
}

/// One request of a start.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// A transaction begins.
    Begin,
    /// A request, within the open transaction if there is one. What it is answered does not matter to
    /// libxl, or is always success.
    Ask(Type, Vec<u8>),
    /// The open transaction ends, and is to be valid.
    Commit,
}

/// The directories that are there before the first start, below `top`; else all first starts would find them
/// missing.
pub fn shared(top: &str) -> [String; 4] {
    ["/local/domain/0/backend", "/vm", "/libxl", "/tool"].map(|path| format!("{top}{path}"))
}

/// The requests that start domain `domid`.
pub fn start(domid: u16) -> Vec<Step> {
    let mut steps = start_below("", domid, domid);
    // Once the guest's image is in place, and before it has devices.
    let built = steps.iter().enumerate().filter(|(_, step)| **step == Step::Commit).nth(1);
    if let Some((at, _)) = built {
        steps.insert(at + 1, Step::Ask(Type::Introduce, format!("{domid}\x00262142\x001\0").into()));
    }
    steps
}

/// The same for a domain that does not exist, against a store that may be in use. All nodes are below
/// [`APART`], where no driver looks for devices; where the guest stands in permissions stands the control domain,
/// since xenstored lets nobody own anything who does not exist; and INTRODUCE, which it would refuse for the same
/// reason, is left out.
pub fn apart(domid: u16) -> Vec<Step> {
    start_below(APART, domid, 0)
}

fn start_below(top: &str, domid: u16, owner: u16) -> Vec<Step> {
    let mut steps = Steps { steps: Vec::new(), owner };
    let home = format!("{top}/local/domain/{domid}");
    let vm = format!("{top}/vm/00000000-0000-4000-8000-{domid:012}");
    let libxl = format!("{top}/libxl/{domid}");
    steps.domain(&home, &vm, &libxl);
    steps.post_build(domid, &home, &vm);
    let front = format!("{home}/console");
    let back = format!("{top}/local/domain/0/backend/console/{domid}/0");
    steps.device(&front, &back, &format!("{libxl}/device/console/0"), [&CONSOLE_BACK, &CONSOLE_FRONT]);
    let front = format!("{home}/device/vif/0");
    let back = format!("{top}/local/domain/0/backend/vif/{domid}/0");
    steps.device(&front, &back, &format!("{libxl}/device/vif/0"), [&VIF_BACK, &VIF_FRONT]);
    steps.steps
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

struct Steps {
    steps: Vec<Step>,
    /// The domain that permissions name.
    owner: u16,
}

impl Steps {
    fn ask(&mut self, kind: Type, payload: impl Into<Vec<u8>>) {
        self.steps.push(Step::Ask(kind, payload.into()));
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

    fn domain(&mut self, home: &str, vm: &str, libxl: &str) {
        let (none, read, own) = ("n0", format!("n0 r{}", self.owner), format!("n{}", self.owner));
        let (read, own) = (read.as_str(), own.as_str());
        self.steps.push(Step::Begin);
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
        self.write(&format!("{vm}/uuid"), vm.rsplit('/').next().unwrap_or_default());
        self.write(&format!("{home}/control/platform-feature-multiprocessor-suspend"), "1");
        self.write(&format!("{home}/control/platform-feature-xs_reset_watches"), "1");
        self.write(&format!("{libxl}/type"), "pvh");
        self.steps.push(Step::Commit);
    }

    fn post_build(&mut self, domid: u16, home: &str, vm: &str) {
        self.ask(Type::Read, format!("{home}/vm\0"));
        self.steps.push(Step::Begin);
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
        self.steps.push(Step::Commit);
    }

    fn device(&mut self, front: &str, back: &str, libxl: &str, keys: [&[(&str, &str)]; 2]) {
        self.steps.push(Step::Begin);
        self.ask(Type::Read, format!("{back}\0"));
        self.rm(libxl);
        self.write(&format!("{libxl}/frontend"), front);
        self.write(&format!("{libxl}/backend"), back);
        let (theirs, ours) = (format!("n{} r0", self.owner), format!("n0 r{}", self.owner));
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
        self.steps.push(Step::Commit);
    }
}
