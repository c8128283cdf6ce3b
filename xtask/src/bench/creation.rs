//! What making a domain takes, by its memory: jitsud, the hypervisor alone, and `xl create`.
//!
//! All make a domain with one virtual CPU, one network card and the kernel of `www`. jitsud's figures are its own
//! stages, from the beginning of the build. The hypervisor's are those of the hypercalls for an empty domain. xl's is
//! the whole command, after which the domain runs. What is not as on a Debian system favours xl: XenStore is jitsud's,
//! all files are in memory, and what the script calls is busybox, which starts faster than Debian's programs.

use super::Plan;
use super::node::{Node, SHORT, Service};
use super::report::{Build, Charge, Creation, OfSize, XlSteps};
use crate::client::{RunningNode, Status};
use crate::initramfs::ExtraFile;
use crate::test;
use crate::ui;
use anyhow::{Context, Result, ensure};
use probe::created::{CREATED_MARK, Created};

/// The memory of those of xl's runs whose steps are shown, MiB: that of the paper's table.
const STEPS_MEMORY: u32 = 16;

/// Debian's script, and one that does nothing.
const SCRIPTS: [(&str, &str); 2] = [("vif-bridge", ""), ("none", ",script=/bin/true")];

/// The services: one for each size.
pub fn services(plan: &Plan) -> Vec<Service> {
    let service = |(at, memory): (usize, &u32)| Service {
        name: ours(*memory),
        address: [2, 100 + at as u8],
        memory: *memory,
        idle: SHORT,
        keys: "",
    };
    plan.sizes.iter().enumerate().map(service).collect()
}

/// The configurations of xl's domains.
pub fn files(plan: &Plan) -> Vec<ExtraFile> {
    let sizes = plan.sizes.iter().map(|memory| configuration(*memory, SCRIPTS[0]));
    sizes.chain(SCRIPTS.map(|script| configuration(STEPS_MEMORY, script))).collect()
}

fn ours(memory: u32) -> String {
    format!("m{memory}")
}

fn theirs(memory: u32, script: &str) -> String {
    format!("xl{memory}-{script}")
}

/// As `xl.cfg(5)` has it: kernel and network card are like those of jitsud's services.
fn configuration(memory: u32, (script, keys): (&str, &str)) -> ExtraFile {
    let name = theirs(memory, script);
    let content = format!(
        "name = \"{name}\"\ntype = \"pvh\"\nkernel = \"/usr/lib/jitsu/kernels/www\"\nmemory = {memory}\nvcpus = 1\n\
         extra = \"ip=10.0.2.90::10.0.2.2:255.255.252.0:{name}:eth0:off\"\n\
         vif = [\"mac=00:16:3e:00:02:5a,bridge=br0{keys}\"]\n"
    );
    ExtraFile { path: format!("/etc/xen/{name}"), mode: 0o644, content: content.into_bytes() }
}

/// Measures it, on a node with these [`services`] and [`files`], and Xen's tools.
///
/// # Errors
/// When a domain cannot be made.
pub fn measure(node: &Node, plan: &Plan) -> Result<Creation> {
    let mut creation = Creation::default();
    for &memory in plan.sizes {
        let _task = ui::Task::start(format!("making domains of {memory} MiB"));
        let mut samples = Vec::new();
        for _ in 0..plan.builds {
            samples.extend(build(node, memory, &mut creation.failures)?);
        }
        creation.ours.push(OfSize { memory_mib: memory, samples });
        let command = format!("hypercalls make {memory} {}", plan.charges);
        let samples: Vec<Charge> = node.measure(&command, "hypercalls: ")?;
        creation.hypervisor.push(OfSize { memory_mib: memory, samples });
    }
    prepare_xl(&node.running)?;
    for &memory in plan.sizes {
        let _task = ui::Task::start(format!("making domains of {memory} MiB by xl"));
        let name = theirs(memory, SCRIPTS[0].0);
        let create = |_| Ok(create(node, &name, "", true)?.returned_ns);
        let samples = (0..plan.creates).map(create).collect::<Result<_>>()?;
        creation.xl.push(OfSize { memory_mib: memory, samples });
    }
    for (script, _) in SCRIPTS {
        let _task = ui::Task::start(format!("looking at xl's steps; script: {script}"));
        let is_connected = script == SCRIPTS[0].0;
        let created = create(node, &theirs(STEPS_MEMORY, script), "steps", is_connected)?;
        creation.xl_steps.push(XlSteps {
            script: script.into(),
            memory_mib: STEPS_MEMORY,
            made_ns: created.made_ns,
            built_ns: created.built_ns,
            device_ns: created.device_ns,
            connected_ns: created.connected_ns.filter(|_| is_connected),
            returned_ns: created.returned_ns,
        });
    }
    Ok(creation)
}

/// One of jitsud's domains, unless it fails.
fn build(node: &Node, memory: u32, failures: &mut Vec<String>) -> Result<Option<Build>> {
    let name = ours(memory);
    let Some(measured) = node.try_until(&name, "off", failures)? else { return Ok(None) };
    let status: Status = serde_json::from_value(measured.status).context("reading the status")?;
    let service = status.service(&name)?;
    let begin = service.at("build_started")?;
    let after = |stage| Ok::<_, anyhow::Error>(service.at(stage)?.saturating_sub(begin));
    Ok(Some(Build {
        created_ns: after("domain_created")?,
        unpaused_ns: after("unpaused")?,
        vif_up_ns: after("vif_up")?,
        ready_ns: after("guest_ready")?,
    }))
}

/// What xl wants of a system that has just been started.
///
/// # Errors
/// When the node does not do it.
pub fn prepare_xl(node: &RunningNode) -> Result<()> {
    node.shell("mkdir -p /run/xen")?;
    // Each domain of xl's has a random UUID: a kernel that has just started makes it wait for seconds.
    node.shell("head -c 1 /dev/random > /dev/null").map(drop)
}

/// Has xl make a domain, and end it.
///
/// # Errors
/// When it does not run, or its interface is not a port of the bridge just when it should be.
pub fn create(node: &Node, name: &str, more: &str, is_connected: bool) -> Result<Created> {
    let created: Created = node.measure(&format!("xl-create /etc/xen/{name} {more}"), CREATED_MARK)?;
    let node = &node.running;
    let state = node.shell(&format!("xl list {name}"))?;
    ensure!(!state.contains("--p---"), "{name} does not run:\n{state}");
    let domid = node.shell(&format!("xl domid {name}"))?;
    let ports = node.shell("ls /sys/class/net/br0/brif")?;
    let is_port = ports.split_whitespace().any(|port| port == format!("vif{domid}.0"));
    ensure!(is_port == is_connected, "{name}: the ports of the bridge are {ports:?}");
    test::release(node, name, "xl destroy")?;
    Ok(created)
}
