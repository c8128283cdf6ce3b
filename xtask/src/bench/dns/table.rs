//! The figures for people.

use super::{Figures, Report, median};

/// As Markdown.
pub fn markdown(report: &Report) -> String {
    let [rounds, seconds] = [report.rounds, report.seconds];
    let processors = if report.pinned { "on a processor of its own" } else { "on the only processor, too" };
    let mut text = format!(
        "# DNS servers, asked for names that run\n\n\
         Wall time on one host ({}), in one run: only the ratios mean something. {rounds} rounds; in each, every server is asked \
         for {seconds} s by dnsperf (100 questions under way, 8 sockets, UDP, {} names with one address each). Every server \
         has one thread, no limits and no log. Client and server share a processor: what a server takes less of it is left \
         for more questions, and dnsperf itself is not what is measured. The median round counts. How long answers take was \
         measured at {} questions a second, by a client {processors}, of all rounds together. `cargo xtask bench dns` makes this table.\n\n\
         | server | version | answers a second | of dnsmasq's | processor time for one | p50 | p99 | lost |\n\
         |--------|---------|-----------------:|-------------:|-----------------------:|----:|----:|-----:|\n",
        report.processor,
        super::servers::NAMES,
        report.paced,
    );
    let rate = |figures: &Figures| median(&figures.answers_per_second).unwrap_or(0);
    let dnsmasq = report.servers.iter().find(|figures| figures.server == super::DNSMASQ).map_or(0, rate);
    for figures in &report.servers {
        let Figures { server, version, processor_ns, lost, latency_us: [p50, p99], .. } = figures;
        let ratio = rate(figures) as f64 / dnsmasq.max(1) as f64;
        let processor = median(processor_ns).unwrap_or(0) as f64 / 1000.0;
        text += &format!(
            "| {server} | {version} | {} | {ratio:.2} | {processor:.1} µs | {p50} µs | {p99} µs | {lost} |\n",
            rate(figures)
        );
    }
    text
}
