//! What a service's table says of its domain, as Xen's own tools see it.

use crate::client::RunningNode;
use crate::initramfs::ExtraFile;
use anyhow::{Result, ensure};

/// The service. It runs on, so that later tests have it beside what they are about.
pub const CONFIG: &str = r#"
[[service]]
name = "shares"
address = "10.0.2.24"
kernel = "www"
memory = 4
weight = 512
idle = 3600
keys = { "data/greeting" = "hello" }
disk = [{ path = "/srv/shares.img", access = "rw" }]
"#;

/// Its disk.
pub fn disk() -> ExtraFile {
    ExtraFile { path: "/srv/shares.img".into(), mode: 0o644, content: vec![0; 64 << 10] }
}

pub fn is_as_configured(node: &RunningNode) -> Result<()> {
    node.summon("shares")?;
    let weights = node.shell("xl sched-credit2")?;
    let weight = |name: &str| {
        let line = weights.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(2))
    };
    ensure!(weight("shares") == Some("512") && weight("Domain-0") == Some("256"), "{weights}");

    let domid = node.shell("xl domid shares")?;
    let greeting = node.shell(&format!("xenstore-ls -p /local/domain/{domid}/data | grep greeting"))?;
    let readable = format!("(n0,r{domid})");
    ensure!(
        greeting.contains("greeting = \"hello\"") && greeting.contains(&readable),
        "it finds {greeting:?}"
    );
    // In steps: Xen keeps no more than 128 typed characters.
    node.shell(&format!("cd /sys/bus/xen-backend/devices/vbd-{domid}-51712"))?;
    let opened = node.shell("cat physical_device mode; cd /")?;
    ensure!(opened.starts_with("7:") && opened.ends_with("\nw"), "blkback has opened {opened:?}");
    Ok(())
}
