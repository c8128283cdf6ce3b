//! A line for each of the paper's figures: what is here, what is there, and whether they can be compared.

use super::super::paper;
use super::super::report::{Report, XL_LINUX};
use super::super::statistics::median;
use super::{NOTHING, first_bytes, given_up, head, ms, of, paper_slope, row, seconds, slope, slope_of};

/// Writes them.
pub fn write(text: &mut String, report: &Report) {
    let columns = ["what", "here", "the paper", "the original program", "comparable?"];
    head(text, "At a glance", "Medians.", &columns);
    let mut add = |cells: [&str; 5]| row(text, &cells.map(str::to_owned));
    if let Some(creation) = &report.creation {
        let (memory, theirs) = paper::CREATION[0];
        let ours = spread_middle(&of(&creation.ours, memory, |build| build.unpaused_ns));
        let xl = spread_middle(&of(&creation.xl, memory, |ns| *ns));
        add([
            &format!("a domain of {memory} MiB is made"),
            &format!("**{ours}**; `xl create`: {xl}"),
            &format!("{theirs} ms; Xen 4.4's toolstack: {} ms", paper::CREATION_XEN[0].1),
            NOTHING,
            "the same work, with a network card",
        ]);
        let runs = slope(slope_of(&creation.ours, |build| build.unpaused_ns));
        let up = slope(slope_of(&creation.ours, |build| build.vif_up_ns));
        let xen = slope(slope_of(&creation.hypervisor, |charge| charge.populated_ns));
        add([
            "what each MiB adds",
            &format!("**{runs} ms**, with its interface {up} ms; the hypervisor alone: {xen} ms"),
            &format!("{} ms", slope(paper_slope(&paper::CREATION))),
            NOTHING,
            "yes: theirs is the hypervisor's of its day and their own",
        ]);
    }
    for cold in &report.cold {
        let (paper, original, comparable) = match cold.id.as_str() {
            "start" => (
                "300 to 440 ms",
                "waits a fixed 0.1 s, then answers",
                "the same path; another guest, no cable",
            ),
            "ready" => (
                "1.23 to 1.35 s",
                "answers after a key, or 2 s",
                "no: without Synjitsu their client loses its SYN",
            ),
            "paused" => (NOTHING, "ARM could not suspend", NOTHING),
            XL_LINUX => ("1.17 to 1.5 s for a container", NOTHING, "no: a container boots no kernel"),
            _ => ("300 to 440 ms", NOTHING, "the same path; another guest, no cable"),
        };
        let here = format!("**{}**", spread_middle(&first_bytes(cold)));
        add([&format!("cold start: {}", cold.what), &here, paper, original, comparable]);
    }
    if let Some(warm) = &report.warm {
        let here = format!("**{}**", spread_middle(&first_bytes(warm)));
        let theirs = format!("less than {} ms", paper::WARM);
        add(["warm response", &here, &theirs, NOTHING, "no: theirs went over a cable"]);
    }
    if let Some((ours, theirs)) =
        report.starts.as_ref().and_then(|starts| starts.ours.last().zip(starts.xenstored.last()))
    {
        let (merging, xenstored) = (paper::STARTS[2].0, paper::STARTS[0].0);
        add([
            &format!("{} starts at once, XenStore's part", ours.starts),
            &format!("**{} s**; C xenstored: {}", seconds(ours.ns), given_up(theirs)),
            &format!("{merging} s for {}; C xenstored: {xenstored} s", paper::STARTS_AT_ONCE),
            NOTHING,
            "partly: start sequences there, what xl asks for one here",
        ]);
    }
    if let Some(density) = &report.density {
        let here =
            format!("**{}** of {} MiB on {} MiB", density.guests, density.memory_mib, density.machine_mib);
        add(["guests at once", &here, NOTHING, NOTHING, NOTHING]);
    }
}

/// The median with its unit.
fn spread_middle(samples: &[u64]) -> String {
    median(samples).map_or(NOTHING.into(), |ns| format!("{} ms", ms(ns)))
}
