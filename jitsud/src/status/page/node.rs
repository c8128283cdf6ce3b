//! The node's page.

use maud::{Markup, Render, html};

use super::timeline::{cold_start, legend, strip};
use super::words::{Now, memory, spaced, took, utc};
use super::{document, fact, state, why};
use crate::config::Problem;
use crate::schema::{EventStatus, NodeStatus, PartitionState, PartitionStatus, ServiceStatus};

/// Events that are shown, the newest first.
const EVENTS: usize = 12;

/// The page.
pub fn page(status: &NodeStatus, seen: u64) -> String {
    let (node, now) = (&status.node, Now::of(status));
    let name = format!("{}.{}", node.name, node.domain);
    let header = html! {
        div {
            h1 { (name) }
            p { (node.address) " · up " (now.since(0)) @if let Some(day) = status.clock.unix_s.and_then(utc) { " · " (day) } }
        }
    };
    let main = html! {
        @if !status.problems.is_empty() { (problems(&status.problems)) }
        (tiles(status))
        (services(&status.services, now))
        div.columns {
            (events(status.events.iter().rev(), now, true))
            div { (about(status, now)) (counters(status)) }
        }
    };
    document(&name, seen, &header, &main)
}

fn problems(problems: &[Problem]) -> Markup {
    html! {
        section.problems aria-labelledby="problems" {
            h2 #problems {
                @if problems.len() == 1 { "One problem" } @else { (problems.len()) " problems" }
            }
            ul {
                @for problem in problems {
                    li {
                        p.where { code { (problem.file) ":" (problem.line) }
                            @if let Some(service) = &problem.service { " · service " b { (service) } } }
                        p.what { (problem.what) }
                        p.fix { (problem.fix) }
                    }
                }
            }
        }
    }
}

/// The figures that say how the node is.
fn tiles(status: &NodeStatus) -> Markup {
    let (xen, starts) = (&status.xen, &status.starts);
    let count = |state: &str| status.services.iter().filter(|service| service.state == state).count();
    let guests: u64 = status
        .services
        .iter()
        .filter(|service| service.domid.is_some())
        .map(|service| u64::from(service.memory_mib) << 20)
        .sum();
    let ready = starts.stages.iter().find(|stage| stage.stage == "guest_ready" && stage.count > 0);
    html! {
        section.tiles aria-label="At a glance" {
            (tile("Services ready", html! { (count("ready")) small { " of " (status.services.len()) } }, html! {
                (count("failed")) " failed, " (count("paused")) " paused, " (count("off")) " off"
            }))
            (tile("Cold start, mean", match ready {
                Some(stage) => html! { (took(stage.sum_ns / stage.count)) },
                None => html! { "–" },
            }, html! { (starts.ready) " of " (starts.begun) " starts got ready" }))
            @if let (Some(total), Some(free)) = (xen.total_bytes, xen.free_bytes) {
                (tile("Memory free", html! { (memory(free)) small { " of " (memory(total)) } },
                    memory_bar(total, free, guests)))
            }
            @if let Some(cpus) = xen.cpus {
                (tile(if cpus == 1 { "CPU" } else { "CPUs" }, html! { (cpus) }, match xen.dom0_cpu_ns {
                    Some(ns) => html! { "dom0 has used " (took(ns)) },
                    None => html! { (xen.domains.unwrap_or(0)) " domains" },
                }))
            }
        }
    }
}

fn tile(name: &str, figure: impl Render, more: impl Render) -> Markup {
    html! { div.tile { h2 { (name) } p.figure { (figure) } div.more { (more) } } }
}

fn memory_bar(total: u64, free: u64, guests: u64) -> Markup {
    let share = |bytes: u64| 100.0 * bytes as f64 / total.max(1) as f64;
    let system = total.saturating_sub(free).saturating_sub(guests);
    let (system_share, guests_share) = (share(system), share(guests));
    html! {
        svg.strip role="img" width="100%" height="8"
            aria-label={ (memory(guests)) " for guests, " (memory(system)) " for the system" } {
            rect.track width="100%" height="8" {}
            rect.g.system width={ (system_share) "%" } height="8" {}
            rect.g.guests x={ (system_share) "%" } width={ (guests_share) "%" } height="8" {}
        }
        (memory(guests)) " for guests"
    }
}

fn services(services: &[ServiceStatus], now: Now) -> Markup {
    // With roles: on a narrow screen the rows are laid out as cards, and browsers then forget that it is a table.
    html! {
        section aria-labelledby="services" {
            div.heading { h2 #services { "Services" } (legend()) }
            @if services.is_empty() { p { "None is configured." } } @else {
                table.services role="table" aria-labelledby="services" {
                    thead role="rowgroup" { tr role="row" {
                        @for name in ["Service", "State", "Last cold start", "Up", "Starts", "Requests", "Wakes"] {
                            th role="columnheader" scope="col" { (name) }
                        }
                    } }
                    tbody role="rowgroup" { @for service in services { (row(service, now)) } }
                }
            }
        }
    }
}

fn row(service: &ServiceStatus, now: Now) -> Markup {
    let cell = |name: &str, content: Markup| html! { td.figure role="cell" data-name=(name) { (content) } };
    html! {
        tr role="row" id={ "service-" (service.name) } {
            th role="rowheader" scope="row" {
                a href={ "/service/" (service.name) } { (service.name) }
                span.address { (service.address) }
            }
            td.doing role="cell" { (state(service)) p.why { (why(service, now)) } }
            td.start role="cell" {
                @if service.last_start.is_empty() { span.dim { "none yet" } } @else {
                    span { @match cold_start(&service.last_start) {
                        Some(ns) => (took(ns)),
                        None => "not ready",
                    } }
                    (strip(&service.last_start))
                }
            }
            (cell("Up", match service.ready_since_ns {
                Some(at) => now.since(at),
                None => html! { span.dim { "–" } },
            }))
            (cell("Starts", html! { (service.starts) }))
            (cell("Requests", html! { (service.requests) }))
            (cell("Wakes", html! { (service.wakes) }))
        }
    }
}

/// A list of changes of state, in the order of `events`; `named` if they are not all of one service.
pub fn events<'a>(events: impl Iterator<Item = &'a EventStatus>, now: Now, named: bool) -> Markup {
    let events: Vec<_> = events.take(EVENTS).collect();
    html! {
        section aria-labelledby="events" {
            h2 #events { @if named { "Recent events" } @else { "History" } }
            @if events.is_empty() { p.dim { "Nothing has happened yet." } } @else {
                ol.events {
                    @for event in events {
                        li {
                            span.when { (now.since(event.at_ns)) " ago" }
                            span.change {
                                @if named { a href={ "/service/" (event.service) } { (event.service) } " " }
                                (spaced(&event.from)) " → " b data-state=(event.to) { (spaced(&event.to)) }
                            }
                            span.why { (event.why) }
                        }
                    }
                }
            }
        }
    }
}

/// Versions, and how the node has come up.
fn about(status: &NodeStatus, now: Now) -> Markup {
    let (boot, versions) = (&status.boot, &status.node.versions);
    let known = |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
    html! {
        section aria-labelledby="about" {
            h2 #about { "This node" }
            dl.facts {
                @if let Some(board) = &boot.board { (fact("Board", board)) }
                @if let Some(slot) = &boot.slot { (fact("Boot slot", html! {
                    (slot)
                    @for fallback in &boot.fallback { ", because " code { (fallback.file) } " is " (fallback.fault) }
                })) }
                (fact("jitsud", &versions.jitsud))
                (fact("Xen", known(&versions.xen)))
                (fact("Linux", known(&versions.kernel)))
                @if let Some(ns) = boot.dns_answering_since_dom0_ns { (fact("Boot to DNS", took(ns))) }
                @if let Some(at) = boot.jitsud_started_ns { (fact("Daemon up", now.since(at))) }
                @if let Some(card) = &status.card {
                    (fact("Card", partition(&card.boot)))
                    (fact("Data", partition(&card.data)))
                }
                (fact("Clock", match &status.clock.server {
                    Some(server) => html! { "set by " (server) },
                    None => html! { "not set yet" },
                }))
                @if let Some(bytes) = status.resources.resident_bytes { (fact("Daemon memory", memory(bytes))) }
            }
        }
    }
}

fn partition(partition: &PartitionStatus) -> String {
    let state = match partition.state {
        PartitionState::Pending => "not looked at yet",
        PartitionState::Mounted => "mounted",
        PartitionState::Missing => "missing",
        PartitionState::Unusable => "cannot be used",
    };
    match partition.bytes {
        Some(bytes) => format!("{state}, {}", memory(bytes)),
        None => state.to_owned(),
    }
}

/// What has been counted of questions, and of packets for services that were not up.
fn counters(status: &NodeStatus) -> Markup {
    let (dns, packets) = (&status.dns, &status.packets);
    let questions = [
        ("By UDP", dns.udp),
        ("By TCP", dns.tcp),
        ("Answered", dns.answered),
        ("TCP connections", dns.open_connections),
        ("Refused", dns.refused + dns.ignored),
        ("Limited", dns.limited + dns.boots_limited),
        ("Cut or not sent", dns.slipped + dns.suppressed),
        ("Dropped", dns.dropped),
    ];
    let packets = [
        ("Services woken", packets.summons),
        ("Answered for guests", packets.answered),
        ("Held", packets.held),
        ("Passed on", packets.replayed),
        ("Connections opened", packets.opened),
        ("Handed over", packets.handed_over),
        ("Refused", packets.refused),
        ("Limited", packets.limited),
        ("No room", packets.full + packets.evicted),
        ("Too old", packets.expired),
    ];
    html! {
        (counts("dns", "DNS", &questions))
        (counts("packets", "Packets for services that were not up", &packets))
    }
}

fn counts(id: &str, name: &str, counts: &[(&str, u64)]) -> Markup {
    html! {
        section aria-labelledby=(id) {
            h2 id=(id) { (name) }
            dl.facts.counts { @for (name, count) in counts { (fact(name, count)) } }
        }
    }
}
