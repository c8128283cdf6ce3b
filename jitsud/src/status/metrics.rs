//! The node's figures for Prometheus, in its text format, version 0.0.4.
//!
//! Made of the same document as `/status`. Counters begin at 0 with each daemon, which Prometheus takes for what it is,
//! except for a service's starts, requests, wakes and failures: an earlier daemon's are counted on. `docs/status.md`
//! lists all metrics.

use std::fmt::{self, Display, Write as _};

use crate::directory::Phase;
use crate::schema::{DnsStatus, NodeStatus, PacketStatus, ServiceStatus, StageTimes, StartsStatus};

/// The format's media type.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics.
pub fn text(status: &NodeStatus) -> String {
    let mut text = Exposition::default();
    node(&mut text, status);
    services(&mut text, &status.services);
    starts(&mut text, &status.starts);
    packets(&mut text, &status.packets);
    dns(&mut text, &status.dns);
    text.0
}

/// The kinds of metrics, as the format spells them.
#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// The text so far: families of metrics, each with its HELP and TYPE before its samples.
#[derive(Default)]
struct Exposition(String);

/// Nanoseconds, told in seconds without loss.
struct Seconds(u64);

/// The value of a label, as it stands between quotation marks.
struct Label<'a>(&'a str);

impl Exposition {
    /// Begins a family. `help` is one line.
    fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // Writing to a string cannot fail; so everywhere here.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A sample of the family that was begun last.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (index, (label, content)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{before}{label}=\"{}\"", Label(content));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{end} {value}");
    }

    /// A family of one sample; none at all when its value is not known.
    fn single(&mut self, name: &str, kind: Kind, help: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.family(name, kind, help);
            self.sample(name, &[], value);
        }
    }

    /// A family with a sample for each service that has a value.
    fn each<V: Display>(
        &mut self,
        name: &str,
        kind: Kind,
        help: &str,
        services: &[ServiceStatus],
        value: impl Fn(&ServiceStatus) -> Option<V>,
    ) {
        self.family(name, kind, help);
        for service in services {
            if let Some(value) = value(service) {
                self.sample(name, &[("service", &service.name)], value);
            }
        }
    }
}

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Seconds(ns) = self;
        write!(f, "{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
    }
}

impl Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            c => f.write_char(c),
        })
    }
}

fn node(text: &mut Exposition, status: &NodeStatus) {
    let (boot, versions, xen) = (&status.boot, &status.node.versions, &status.xen);
    text.family("jitsu_build_info", Kind::Gauge, "What runs on the node, and which copy of it; always 1.");
    let labels = [
        ("version", versions.jitsud.as_str()),
        ("xen", &versions.xen),
        ("kernel", &versions.kernel),
        ("board", boot.board.as_deref().unwrap_or_default()),
        ("slot", boot.slot.as_deref().unwrap_or_default()),
    ];
    text.sample("jitsu_build_info", &labels, 1);
    let gauges = [
        ("jitsu_uptime_seconds", "How long the node's kernel has been running.", Some(status.now_ns)),
        (
            "jitsu_daemon_start_seconds",
            "When the daemon began, in seconds since the node's kernel did.",
            boot.jitsud_started_ns,
        ),
        (
            "jitsu_boot_dns_seconds",
            "From Xen's making of dom0 to the moment when DNS began to answer.",
            boot.dns_answering_since_dom0_ns,
        ),
    ];
    for (name, help, value) in gauges {
        text.single(name, Kind::Gauge, help, value.map(Seconds));
    }
    let offset = status.clock.offset_us;
    text.single(
        "jitsu_clock_offset_seconds",
        Kind::Gauge,
        "How far the time server's clock was ahead when it was last asked.",
        offset.map(|us| us as f64 / 1e6),
    );
    let resources = &status.resources;
    let gauges = [
        ("jitsu_memory_bytes", "Memory that Xen manages.", xen.total_bytes),
        ("jitsu_memory_free_bytes", "Memory that belongs to no domain.", xen.free_bytes),
        ("jitsu_dom0_memory_bytes", "Memory of dom0.", xen.dom0_bytes),
        ("jitsu_cpus", "CPUs that are online.", xen.cpus),
        ("jitsu_domains", "Domains that Xen has, dom0 included.", xen.domains),
        ("jitsu_daemon_resident_bytes", "Resident memory of the daemon.", resources.resident_bytes),
        ("jitsu_daemon_open_files", "Open files of the daemon.", resources.open_files),
        ("jitsu_xenstore_nodes", "Nodes in XenStore.", resources.xenstore_nodes),
        ("jitsu_xenstore_watches", "Watches in XenStore.", resources.xenstore_watches),
        (
            "jitsu_problems",
            "What is wrong with the card and the configuration.",
            Some(status.problems.len() as u64),
        ),
        ("jitsu_shells_ready", "Domains that are made in advance.", Some(status.shells.ready)),
    ];
    for (name, help, value) in gauges {
        text.single(name, Kind::Gauge, help, value);
    }
    let help = "CPU time that dom0 has used.";
    text.single("jitsu_dom0_cpu_seconds_total", Kind::Counter, help, xen.dom0_cpu_ns.map(Seconds));
    let help = "Domains made in advance that have become services.";
    text.single("jitsu_shells_taken_total", Kind::Counter, help, Some(status.shells.taken));
}

fn services(text: &mut Exposition, services: &[ServiceStatus]) {
    text.family("jitsu_services", Kind::Gauge, "Services by state.");
    for state in Phase::ALL.map(Phase::as_str) {
        let count = services.iter().filter(|service| service.state == state).count();
        text.sample("jitsu_services", &[("state", state)], count);
    }
    use Kind::{Counter, Gauge};
    let help = "Whether the service accepts connections.";
    text.each("jitsu_service_up", Gauge, help, services, |s| Some(u8::from(s.state == "ready")));
    let help = "Domains built for the service, or tried.";
    text.each("jitsu_service_builds_total", Counter, help, services, |service| {
        // The one that is being built may turn out to have no room, and is not counted then.
        Some(service.starts.saturating_sub(u64::from(service.state == "building")))
    });
    let help = "DNS queries for the service.";
    text.each("jitsu_service_requests_total", Counter, help, services, |s| Some(s.requests));
    let help = "Packets that asked for the service while it was not up.";
    text.each("jitsu_service_wakes_total", Counter, help, services, |s| Some(s.wakes));
    let help = "Lives of the service that ended in failure.";
    text.each("jitsu_service_failures_total", Counter, help, services, |s| Some(s.failures));
    let help = "Requests that wait for the service.";
    text.each("jitsu_service_waiting", Gauge, help, services, |s| Some(s.waiting));
    let help = "Open connections of the service when that was last looked at.";
    text.each("jitsu_service_connections", Gauge, help, services, |s| Some(s.open_connections));
    let help = "Memory of the service's domain, while it has one.";
    text.each("jitsu_service_memory_bytes", Gauge, help, services, |service| {
        service.domid.map(|_| u64::from(service.memory_mib) << 20)
    });
    let help = "CPU time that the service's present domain has used.";
    text.each("jitsu_service_cpu_seconds_total", Counter, help, services, |s| s.cpu_ns.map(Seconds));
}

fn starts(text: &mut Exposition, starts: &StartsStatus) {
    let help = "Starts of services that have begun.";
    text.single("jitsu_starts_total", Kind::Counter, help, Some(starts.begun));
    let help = "Starts that are neither ready nor over.";
    text.single("jitsu_starts_under_way", Kind::Gauge, help, Some(starts.under_way));
    text.family("jitsu_starts_ended_total", Kind::Counter, "Starts by what became of them.");
    let outcomes = [
        ("ready", starts.ready),
        ("failed", starts.failed),
        ("no_room", starts.no_room),
        ("cancelled", starts.cancelled),
    ];
    for (outcome, count) in outcomes {
        text.sample("jitsu_starts_ended_total", &[("outcome", outcome)], count);
    }
    let help = "From what a start was begun for to each of its stages; of those that got ready.";
    text.family("jitsu_start_stage_seconds", Kind::Histogram, help);
    for stage in &starts.stages {
        histogram(text, "jitsu_start_stage_seconds", stage, &starts.bounds_us);
    }
}

fn histogram(text: &mut Exposition, name: &str, stage: &StageTimes, bounds_us: &[u64]) {
    let (label, bucket) = (("stage", stage.stage.as_str()), format!("{name}_bucket"));
    for (bound, count) in bounds_us.iter().zip(&stage.no_later_than) {
        text.sample(&bucket, &[label, ("le", &(*bound as f64 / 1e6).to_string())], count);
    }
    text.sample(&bucket, &[label, ("le", "+Inf")], stage.count);
    text.sample(&format!("{name}_sum"), &[label], Seconds(stage.sum_ns));
    text.sample(&format!("{name}_count"), &[label], stage.count);
}

fn packets(text: &mut Exposition, packets: &PacketStatus) {
    let name = "jitsu_capture_frames_total";
    let help = "Frames that came for services that were not up, of whatever kind.";
    text.single(name, Kind::Counter, help, Some(packets.frames));
    let name = "jitsu_capture_packets_total";
    text.family(name, Kind::Counter, "What became of packets for services that were not up.");
    let fates = [
        ("answered", packets.answered),
        ("held", packets.held),
        ("again", packets.again),
        ("replayed", packets.replayed),
        ("evicted", packets.evicted),
        ("expired", packets.expired),
        ("full", packets.full),
        ("limited", packets.limited),
        ("refused", packets.refused),
    ];
    for (fate, count) in fates {
        text.sample(name, &[("fate", fate)], count);
    }
    let help = "Memory that held frames take.";
    text.single("jitsu_capture_held_bytes", Kind::Gauge, help, Some(packets.held_bytes));
    let counters = [
        ("jitsu_capture_summons_total", "Services that packets have woken.", packets.summons),
        ("jitsu_capture_opened_total", "Connections opened on guests' behalf.", packets.opened),
        (
            "jitsu_capture_handed_over_total",
            "Connections that guests have gone on with.",
            packets.handed_over,
        ),
    ];
    for (name, help, value) in counters {
        text.single(name, Kind::Counter, help, Some(value));
    }
}

fn dns(text: &mut Exposition, dns: &DnsStatus) {
    let name = "jitsu_dns_messages_total";
    text.family(name, Kind::Counter, "Messages that the DNS server has been sent.");
    for (transport, count) in [("udp", dns.udp), ("tcp", dns.tcp)] {
        text.sample(name, &[("transport", transport)], count);
    }
    let help = "DNS messages that were answered.";
    text.single("jitsu_dns_answered_total", Kind::Counter, help, Some(dns.answered));
    let name = "jitsu_dns_limited_total";
    text.family(name, Kind::Counter, "DNS messages and responses that met a limit, by which.");
    let limits = [
        ("refused", dns.refused),
        ("ignored", dns.ignored),
        ("queries", dns.limited),
        ("boots", dns.boots_limited),
        ("slipped", dns.slipped),
        ("suppressed", dns.suppressed),
        ("dropped", dns.dropped),
    ];
    for (limit, count) in limits {
        text.sample(name, &[("limit", limit)], count);
    }
    let help = "TCP connections of DNS clients that are open.";
    text.single("jitsu_dns_open_connections", Kind::Gauge, help, Some(dns.open_connections));
    let counters = [
        (
            "jitsu_dns_connections_total",
            "TCP connections of DNS clients that were accepted.",
            dns.connections,
        ),
        (
            "jitsu_dns_connections_evicted_total",
            "TCP connections of DNS clients that had to end for others.",
            dns.evicted_connections,
        ),
        ("jitsu_dns_forwarded_total", "DNS questions about what other servers know.", dns.forwarded),
        ("jitsu_dns_cache_hits_total", "Those of them that the cache had the answer to.", dns.from_cache),
        ("jitsu_dns_unanswered_total", "Those of them that nobody has answered.", dns.unanswered),
        ("jitsu_dns_upstream_messages_total", "Messages to other DNS servers.", dns.upstream),
    ];
    for (name, help, value) in counters {
        text.single(name, Kind::Counter, help, Some(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::{Directory, Moment};
    use crate::schema::{Boot, ClockStatus, Facts, Resources, Xen};

    /// One of which everything is known.
    fn whole() -> NodeStatus {
        let loaded = crate::config::loaded("[node]\naddress = \"10.0.2.15/24\"\n");
        let directory = Directory::new(&loaded.config, Moment(0));
        let facts = Facts {
            boot: Boot {
                jitsud_started_ns: Some(1),
                dns_answering_since_dom0_ns: Some(2),
                ..Boot::default()
            },
            clock: ClockStatus { offset_us: Some(-3), ..ClockStatus::default() },
            xen: Xen {
                total_bytes: Some(4),
                free_bytes: Some(5),
                domains: Some(6),
                cpus: Some(7),
                dom0_bytes: Some(8),
                dom0_cpu_ns: Some(9),
            },
            resources: Resources {
                resident_bytes: Some(10),
                open_files: Some(11),
                xenstore_nodes: Some(12),
                xenstore_watches: Some(13),
                ..Resources::default()
            },
            ..Facts::default()
        };
        NodeStatus::new(&loaded.config, &loaded.problems, &directory, facts, Moment(14))
    }

    /// `docs/status.md` has a line for each family: name, type, labels, meaning.
    #[test]
    fn all_metrics_are_documented() {
        let text = text(&whole());
        let families: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let documentation = include_str!("../../../docs/status.md");
        let lines = documentation.lines().filter_map(|line| line.strip_prefix("| `jitsu_"));
        let documented: Vec<String> = lines
            .map(|line| {
                let mut columns = line.split('|').map(str::trim);
                let name = columns.next().unwrap_or_default().trim_end_matches('`');
                format!("jitsu_{name} {}", columns.next().unwrap_or_default())
            })
            .collect();
        assert_eq!(families, documented, "docs/status.md lists them in this order");
    }

    #[test]
    fn labels_are_escaped() {
        let mut text = Exposition::default();
        text.sample("m", &[("a", "x\\y\"z\nü{}"), ("b", "")], 1);
        assert_eq!(text.0, "m{a=\"x\\\\y\\\"z\\nü{}\",b=\"\"} 1\n");
    }

    #[test]
    fn seconds_lose_nothing() {
        let table = [(0, "0.000000000"), (1, "0.000000001"), (12_345_678_901, "12.345678901")];
        for (ns, expected) in table {
            assert_eq!(Seconds(ns).to_string(), expected);
        }
        assert_eq!(Seconds(u64::MAX).to_string(), "18446744073.709551615");
    }

    #[test]
    fn a_histogram_is_cumulative_and_ends_with_everything() {
        let stage =
            StageTimes { stage: "x".to_owned(), count: 3, sum_ns: 1_500_000_000, no_later_than: vec![1, 2] };
        let mut text = Exposition::default();
        histogram(&mut text, "m", &stage, &[500, 2_500_000]);
        let expected = "m_bucket{stage=\"x\",le=\"0.0005\"} 1\nm_bucket{stage=\"x\",le=\"2.5\"} 2\n\
                        m_bucket{stage=\"x\",le=\"+Inf\"} 3\nm_sum{stage=\"x\"} 1.500000000\nm_count{stage=\"x\"} 3\n";
        assert_eq!(text.0, expected);
    }
}
