//! The report as Markdown: what is here beside what the paper has, what is comparable of it, and then the figures.

mod glance;

use super::paper;
use super::report::{Creation, Density, Http, Idle, OfSize, Report, Responses, StartRun, Starts};
use super::statistics::{Line, least_squares, median, percentile};
use std::fmt::Write as _;

/// What stands where there is nothing to say.
const NOTHING: &str = "–";

/// What is to be known of all figures.
const HOW_TO_READ: &str = "\
Times here are instruction time: QEMU counts instructions, one is one nanosecond, and idle time is skipped. So they \
repeat, whatever the host does, and say how much work something is. They are no wall time of a board: a Cortex-A7 at \
1 GHz needs 1.3 to 2 times as long, and waits for its memory, its card and its network besides. The paper's are wall \
time on a Cubieboard2, with Linux and Xen of 2014. A factor of ten between both columns means something; one of two does \
not. What was measured here in one run, jitsud beside Xen's own tools, is comparable as it stands: one node, one \
processor, one clock.";

/// The whole document.
pub fn markdown(report: &Report) -> String {
    let mut text = String::from("# The paper's figures, measured here\n\n");
    let environment = &report.environment;
    let commit = environment.commit.as_deref().unwrap_or("unknown");
    let kind = if report.quick { "A **quick** run: fewer sizes and runs" } else { "A full run" };
    line(
        &mut text,
        &format!(
            "{kind}, on board {} with Xen {}, Linux {} and QEMU {}; commit {commit}.\n\n{HOW_TO_READ}",
            environment.board, environment.xen, environment.kernel, environment.qemu
        ),
    );
    glance::write(&mut text, report);
    report.creation.iter().for_each(|creation| creation_table(&mut text, creation));
    report.starts.iter().for_each(|starts| starts_table(&mut text, starts));
    responses_table(&mut text, report);
    http_table(&mut text, &report.http);
    report.density.iter().for_each(|density| density_table(&mut text, density));
    idle_table(&mut text, &report.idle);
    text
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn row(text: &mut String, cells: &[String]) {
    line(text, &format!("| {} |", cells.join(" | ")));
}

fn head(text: &mut String, title: &str, about: &str, columns: &[&str]) {
    line(text, &format!("\n## {title}\n\n{about}\n"));
    row(text, &columns.iter().map(|column| (*column).to_owned()).collect::<Vec<_>>());
    line(text, &format!("|{}", "---|".repeat(columns.len())));
}

/// Nanoseconds as milliseconds, with three digits that count.
pub fn ms(ns: u64) -> String {
    let ms = ns as f64 / 1e6;
    match ms {
        0.0..10.0 => format!("{ms:.2}"),
        10.0..100.0 => format!("{ms:.1}"),
        _ => format!("{ms:.0}"),
    }
}

/// The median, and the extremes if they differ from it.
fn spread(samples: &[u64]) -> String {
    match [median(samples), percentile(samples, 0), percentile(samples, 100)] {
        [Some(middle), Some(least), Some(most)] if ms(least) != ms(most) => {
            format!("{} ({} to {})", ms(middle), ms(least), ms(most))
        }
        [Some(middle), ..] => ms(middle),
        _ => NOTHING.into(),
    }
}

fn slope(line: Option<Line>) -> String {
    line.map_or(NOTHING.into(), |line| format!("{:.3}", line.slope))
}

/// Milliseconds by MiB, of all samples.
pub fn slope_of<T>(sizes: &[OfSize<T>], ns: impl Fn(&T) -> u64) -> Option<Line> {
    let points = sizes.iter().flat_map(|size| {
        size.samples.iter().map(|sample| (f64::from(size.memory_mib), ns(sample) as f64 / 1e6))
    });
    least_squares(&points.collect::<Vec<_>>())
}

/// The samples of a size.
fn of<T>(sizes: &[OfSize<T>], memory: u32, ns: impl Fn(&T) -> u64) -> Vec<u64> {
    let size = sizes.iter().find(|size| size.memory_mib == memory);
    size.iter().flat_map(|size| &size.samples).map(ns).collect()
}

fn paper_slope(points: &[(u32, u32)]) -> Option<Line> {
    least_squares(&points.iter().map(|(mib, ms)| (f64::from(*mib), f64::from(*ms))).collect::<Vec<_>>())
}

/// What a domain with its interface takes of jitsud, in the median, above what the hypervisor alone takes.
fn above(creation: &Creation, memory: u32) -> Option<u64> {
    let ours = median(&of(&creation.ours, memory, |build| build.unpaused_ns.max(build.vif_up_ns)))?;
    let xen = median(&of(&creation.hypervisor, memory, |charge| charge.populated_ns))?;
    Some(ours.saturating_sub(xen))
}

fn slope_above(creation: &Creation) -> Option<Line> {
    let memories = creation.ours.iter().map(|size| size.memory_mib);
    let points =
        memories.filter_map(|memory| Some((f64::from(memory), above(creation, memory)? as f64 / 1e6)));
    least_squares(&points.collect::<Vec<_>>())
}

fn seconds(ns: u64) -> String {
    format!("{:.2}", ns as f64 / 1e9)
}

fn given_up(run: &StartRun) -> String {
    match run.finished == run.starts {
        true => format!("{} s", seconds(run.ns)),
        false => {
            format!("more than {} s, by when {} of {} were done", seconds(run.ns), run.finished, run.starts)
        }
    }
}

fn creation_table(text: &mut String, creation: &Creation) {
    let about = "Milliseconds, medians and extremes. jitsud: from the beginning of the build until the domain runs; the \
        interface: until it is a port of the bridge, which dom0's kernel does beside that. The hypervisor alone: the \
        calls that make an empty domain of that memory. xl: the command `xl create` with the script `vif-bridge`, until \
        it ends. The slopes are those of the least squares of all samples. There is one processor: in a long build dom0's \
        kernel makes the interface before it ends, in a short one after it. That makes the slope until the domain \
        runs look steeper than the hypervisor's. What both together take above the hypervisor's share hardly grows.";
    let columns = [
        "MiB",
        "jitsud",
        "its interface",
        "the hypervisor alone",
        "with interface, above that",
        "xl create",
        "the paper's toolstack",
        "Xen 4.4's, in the paper",
    ];
    head(text, "Making a domain", about, &columns);
    for ours in &creation.ours {
        let memory = ours.memory_mib;
        let paper = |points: &[(u32, u32)]| {
            points.iter().find(|(mib, _)| *mib == memory).map_or(NOTHING.into(), |(_, ms)| ms.to_string())
        };
        row(
            text,
            &[
                memory.to_string(),
                spread(&of(&creation.ours, memory, |build| build.unpaused_ns)),
                spread(&of(&creation.ours, memory, |build| build.vif_up_ns)),
                spread(&of(&creation.hypervisor, memory, |charge| charge.populated_ns)),
                above(creation, memory).map_or(NOTHING.into(), ms),
                spread(&of(&creation.xl, memory, |ns| *ns)),
                paper(&paper::CREATION),
                paper(&paper::CREATION_XEN),
            ],
        );
    }
    row(
        text,
        &[
            "**ms per MiB**".into(),
            slope(slope_of(&creation.ours, |build| build.unpaused_ns)),
            slope(slope_of(&creation.ours, |build| build.vif_up_ns)),
            slope(slope_of(&creation.hypervisor, |charge| charge.populated_ns)),
            slope(slope_above(creation)),
            slope(slope_of(&creation.xl, |ns| *ns)),
            slope(paper_slope(&paper::CREATION)),
            slope(paper_slope(&paper::CREATION_XEN)),
        ],
    );
    for failure in &creation.failures {
        let _ = write!(text, "\nOne failed: {failure}.\n");
    }
    let columns =
        ["script", "MiB", "domain made", "kernel loaded", "card described", "card connected", "runs"];
    let about = "Where xl's time goes, step by step: milliseconds after it was started, as its changes in XenStore tell. The \
        script `none` is a program that does nothing.";
    head(text, "The steps of xl create", about, &columns);
    for steps in &creation.xl_steps {
        let at = |ns: Option<u64>| ns.map_or(NOTHING.into(), ms);
        row(
            text,
            &[
                format!("`{}`", steps.script),
                steps.memory_mib.to_string(),
                at(steps.made_ns),
                at(steps.built_ns),
                at(steps.device_ns),
                at(steps.connected_ns),
                ms(steps.returned_ns),
            ],
        );
    }
}

fn starts_table(text: &mut String, starts: &Starts) {
    let about = "What the requests of so many starts cost, milliseconds per start: by the socket, as tools reach XenStore, \
        and in the process itself, as jitsud does. `>`: it was given up before all were done. In the paper 200 start \
        sequences in parallel took 1340 s with C xenstored, 225 s with the OCaml one, and 105 s with its own.";
    let columns =
        ["at once", "ours, by socket", "C xenstored, by socket", "refused transactions", "ours, in process"];
    head(text, "Starts at once", about, &columns);
    for ours in &starts.ours {
        let same = |runs: &[StartRun]| runs.iter().copied().find(|run| run.starts == ours.starts);
        let each = |run: Option<StartRun>| {
            run.map_or(NOTHING.into(), |run| {
                let more = if run.finished < run.starts { "> " } else { "" };
                format!("{more}{}", ms(run.ns / u64::from(run.starts.max(1))))
            })
        };
        let theirs = same(&starts.xenstored);
        row(
            text,
            &[
                ours.starts.to_string(),
                each(Some(*ours)),
                each(theirs),
                theirs.map_or(NOTHING.into(), |run| format!("{}, ours {}", run.retries, ours.retries)),
                each(same(&starts.in_process)),
            ],
        );
    }
    for run in starts.xenstored.iter().filter(|run| run.finished < run.starts) {
        let _ = write!(text, "\n{} at once, C xenstored: {}.\n", run.starts, given_up(run));
    }
}

fn first_bytes(responses: &Responses) -> Vec<u64> {
    responses.samples.iter().map(|sample| sample.first_byte_ns).collect()
}

fn responses_table(text: &mut String, report: &Report) {
    if report.cold.is_empty() && report.warm.is_none() {
        return;
    }
    let about = "From the DNS query to the first byte of the page, milliseconds. A service is asked for when it has gone \
        again; where packets are not kept, its client connects when the answer comes. For xl there is no DNS: from the start \
        of the command, with a client that connects when the guest says that it listens.";
    let columns = ["how", "runs", "failed", "least", "median", "90 %", "99 %", "most", "DNS answer, median"];
    head(text, "Responses", about, &columns);
    for responses in report.cold.iter().chain(&report.warm) {
        let samples = first_bytes(responses);
        let at = |percent| percentile(&samples, percent).map_or(NOTHING.into(), ms);
        let answers: Vec<u64> = responses.samples.iter().filter_map(|sample| sample.answered_ns).collect();
        row(
            text,
            &[
                responses.what.clone(),
                (samples.len() + responses.failures.len()).to_string(),
                responses.failures.len().to_string(),
                at(0),
                at(50),
                at(90),
                at(99),
                at(100),
                median(&answers).map_or(NOTHING.into(), ms),
            ],
        );
    }
}

fn http_table(text: &mut String, http: &[Http]) {
    if http.is_empty() {
        return;
    }
    let about = "A page of the same bytes by HTTP/1.0, a connection for each request, the client in dom0 on the same bridge. \
        Client, bridge, hypervisor and server share the one processor: a request costs all of them together what stands \
        here. Latency is from the SYN to the end of the page, milliseconds.";
    let columns =
        ["server", "connections", "bytes", "requests", "requests per second", "median", "90 %", "99 %"];
    head(text, "HTTP under load", about, &columns);
    for run in http {
        let at = |percent| percentile(&run.latencies_ns, percent).map_or(NOTHING.into(), ms);
        row(
            text,
            &[
                run.server.clone(),
                run.connections.to_string(),
                run.page_bytes.to_string(),
                run.latencies_ns.len().to_string(),
                format!("{:.0}", run.per_second()),
                at(50),
                at(90),
                at(99),
            ],
        );
    }
}

fn density_table(text: &mut String, density: &Density) {
    let Density { guests, memory_mib, machine_mib, .. } = *density;
    let about = format!(
        "{guests} guests of {memory_mib} MiB ran at once on {machine_mib} MiB, dom0's and Xen's own included, and all served \
         their page. The next one was refused: {}. In MiB; each guest: the difference by their number. Xen's is with the \
         guest's own memory.",
        density.refused
    );
    head(text, "Density", &about, &["what", "before", "with all", "each guest"]);
    let rows = [
        ("free for Xen", density.xen_free_bytes),
        ("available to dom0's programs", density.dom0_available_bytes),
        ("set aside in dom0 at its start for what it maps of guests", [0, density.dom0_set_aside_bytes]),
        ("jitsud's resident memory", density.jitsud_resident_bytes),
    ];
    for (what, [before, with_all]) in rows {
        let mib = |bytes: f64| format!("{:.2}", bytes / 1_048_576.0);
        let each = before.abs_diff(with_all) as f64 / f64::from(guests.max(1));
        row(text, &[what.into(), mib(before as f64), mib(with_all as f64), mib(each)]);
    }
}

fn idle_table(text: &mut String, idle: &[Idle]) {
    if idle.is_empty() {
        return;
    }
    let about = "Instructions in a second in which nothing happens, of the whole machine: QEMU counts what its processor \
        executes, Xen's included, and skips the time in which it sleeps. What falls into the time of dom0 and of guests is \
        as Xen accounts for it.";
    let columns = [
        "guests",
        "seconds",
        "instructions per second",
        "in dom0's time",
        "in guests' time",
        "the rest: Xen's",
    ];
    head(text, "Idle", about, &columns);
    for span in idle {
        let per_second =
            |instructions: u64| format!("{:.0}", instructions as f64 * 1e9 / span.span_ns.max(1) as f64);
        row(
            text,
            &[
                span.guests.to_string(),
                format!("{:.0}", span.span_ns as f64 / 1e9),
                per_second(span.instructions),
                per_second(span.dom0),
                per_second(span.of_guests),
                per_second(span.instructions.saturating_sub(span.dom0 + span.of_guests)),
            ],
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As with the pictures (`plot`).
    #[test]
    fn the_table_is_as_it_was() {
        let report = serde_json::from_str(crate::bench::report::tests::GOLDEN).unwrap();
        assert_eq!(markdown(&report), include_str!("golden/table.md"));
    }

    #[test]
    fn numbers_have_the_digits_that_count() {
        assert_eq!([1_234_567, 12_345_678, 123_456_789].map(ms), ["1.23", "12.3", "123"]);
        assert_eq!(spread(&[]), NOTHING);
        assert_eq!(spread(&[1_000_000, 1_000_001]), "1.00");
        assert_eq!(spread(&[3_000_000, 1_000_000, 2_000_000]), "2.00 (1.00 to 3.00)");
    }

    #[test]
    fn what_was_given_up_is_a_lower_bound() {
        let run = StartRun { starts: 200, finished: 4, ns: 3_000_000_000, retries: 9 };
        assert_eq!(given_up(&run), "more than 3.00 s, by when 4 of 200 were done");
        assert_eq!(given_up(&StartRun { finished: 200, ..run }), "3.00 s");
    }
}
