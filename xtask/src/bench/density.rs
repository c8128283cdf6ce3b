//! How many guests run at once, and what each costs beside its own memory.

use super::node::{LONG, Node, Service};
use super::report::Density;
use crate::ui;
use anyhow::{Context, Result, anyhow, bail};

/// More than there is room for.
const ALL: u32 = 160;

/// Each one's memory, MiB.
const MEMORY: u32 = 4;

/// The services: `d1` and so on.
pub fn services() -> Vec<Service> {
    let service = |number: u32| Service {
        name: name(number),
        address: [1, number as u8],
        memory: MEMORY,
        idle: LONG,
        // Else the node would make room for another one.
        keys: "min_uptime = 36000",
    };
    (1..=ALL).map(service).collect()
}

fn name(number: u32) -> String {
    format!("d{number}")
}

/// What is free of several memories.
#[derive(Clone, Copy)]
pub struct Free {
    xen: u64,
    dom0: u64,
    jitsud: u64,
    /// What dom0 has given up of the memory that it was given.
    set_aside: u64,
}

impl Free {
    /// As it is now.
    ///
    /// # Errors
    /// When the node does not tell.
    pub fn now(node: &Node) -> Result<Free> {
        let number = |command: &str| -> Result<u64> {
            let line = node.running.shell(command)?;
            let digits: String = line.chars().filter(char::is_ascii_digit).collect();
            digits.parse().with_context(|| format!("`{command}` printed {line:?}"))
        };
        let status = |key: &str| number(&format!("wget -qO- http://10.0.2.15/status | grep {key}"));
        let has = number("cat /sys/devices/system/xen_memory/xen_memory0/info/current_kb")? << 10;
        Ok(Free {
            set_aside: node.dom0_bytes.saturating_sub(has),
            xen: status("free_bytes")?,
            dom0: number("grep MemAvailable /proc/meminfo")? << 10,
            jitsud: status("resident_bytes")?,
        })
    }
}

/// Starts the services from `first` to `last`, one after another.
///
/// # Errors
/// When one does not serve.
pub fn start(node: &Node, first: u32, last: u32) -> Result<()> {
    let _task = ui::Task::start(format!("starting guests {first} to {last}"));
    let series = node.series(&format!("d{{{first}..{last}}}"))?;
    series.end.map(drop).map_err(|why| anyhow!("starting guests {first} to {last}: {why}"))
}

/// Starts one after another until one is refused, on a node on which so many [`running`](start) already.
///
/// # Errors
/// When none is refused, or those that run do not serve any more.
pub fn measure(node: &Node, running: u32, before: Free) -> Result<Density> {
    let series = {
        let _task = ui::Task::start("starting guests until one is refused");
        node.series(&format!("d{{{}..{ALL}}}", running + 1))?
    };
    let guests = running + series.served.len() as u32;
    if series.end.is_ok() {
        bail!("all {guests} services run: give the measurement more");
    }
    let refused = refusal(&node.running.console(), &name(guests + 1))
        .with_context(|| format!("the node does not say why {} did not start", name(guests + 1)))?;
    let after = Free::now(node)?;
    // All of them serve still, with their connections open at once.
    start(node, 1, guests)?;
    Ok(Density {
        machine_mib: node.machine_mib,
        memory_mib: MEMORY,
        guests,
        refused,
        dom0_set_aside_bytes: before.set_aside,
        xen_free_bytes: [before.xen, after.xen],
        dom0_available_bytes: [before.dom0, after.dom0],
        jitsud_resident_bytes: [before.jitsud, after.jitsud],
    })
}

/// Why a service failed last, in what the daemon says of it.
fn refusal(console: &str, service: &str) -> Option<String> {
    let of_it = format!(" service=\"{service}\"");
    let line = console.lines().rfind(|line| line.contains("→ failed: ") && line.contains(&of_it))?;
    let why = line.split_once("→ failed: ")?.1;
    Some(why.split(" service=\"").next().unwrap_or(why).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_in_the_log() {
        let console = " 1.5s  INFO building → failed: dom0 has not enough memory: 1 of 2 MiB service=\"d12\"\r\n\
                        1.6s  INFO building → failed: another service=\"d1\"\r\n";
        assert_eq!(refusal(console, "d12").unwrap(), "dom0 has not enough memory: 1 of 2 MiB");
        assert_eq!(refusal(console, "d2"), None);
    }
}
