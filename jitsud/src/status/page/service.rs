//! A service's page.

use maud::{Markup, html};

use super::node::events;
use super::timeline::picture;
use super::words::{Now, memory, took};
use super::{document, fact, state, why};
use crate::schema::{NodeStatus, ServiceStatus};

/// The page of one of the node's services, whose guest has said what is in `console`; `seen` as for the node's.
pub fn page(status: &NodeStatus, service: &ServiceStatus, console: &[String], seen: u64) -> String {
    let (now, node) = (Now::of(status), &status.node);
    let header = html! {
        div {
            h1 { (service.name) " " (state(service)) }
            p { a href="/" { (node.name) "." (node.domain) } " · " (service.address) @if let Some(address) = service.address6 { " · " (address) } }
        }
    };
    let history = status.events.iter().rev().filter(|event| event.service == service.name);
    let main = html! {
        section.state-of aria-label="State" {
            p.why { (why(service, now)) span.dim { ", for " (now.since(service.since_ns)) } }
            (facts(service, now))
        }
        div.columns {
            section aria-labelledby="start" {
                h2 #start { "Last start" }
                @if service.last_start.is_empty() {
                    p.dim { "It has not been started since the daemon began." }
                } @else { (picture(&service.last_start)) }
            }
            (events(history, now, false))
        }
        (said(service, console))
    };
    document(&format!("{} · {}", service.name, node.name), seen, &header, &main)
}

fn facts(service: &ServiceStatus, now: Now) -> Markup {
    let ago =
        |at: Option<u64>| html! { @match at { Some(at) => { (now.since(at)) " ago" }, None => "never" } };
    html! {
        dl.facts.wide {
            (fact("Names", html! { @for (index, name) in service.dns.iter().enumerate() {
                @if index > 0 { ", " } span.name { (name) }
            } }))
            @if let Some(host) = &service.host { (fact("Host name", html! { span.name { (host) } })) }
            (fact("Started by", match service.start.as_str() {
                "summon" => "queries and packets",
                "always" => "the node",
                _ => "an administrator",
            }))
            (fact("Domain", html! { @match service.domid {
                Some(domid) => { (domid) @if service.in_shell { ", made in advance" } },
                None => "none",
            } }))
            (fact("Memory", memory(u64::from(service.memory_mib) << 20)))
            @if let Some(ns) = service.cpu_ns { (fact("CPU time", took(ns))) }
            @if let Some(at) = service.ready_since_ns { (fact("Up", now.since(at))) }
            @if let Some(at) = service.idle_at_ns { (fact("Ends if idle in", now.until(at))) }
            @if let Some(at) = service.ends_at_ns { (fact("Ends in", now.until(at))) }
            (fact("Last request", ago(service.last_request_ns)))
            (fact("Last packet", ago(service.last_packet_ns)))
            (fact("Open connections", service.open_connections))
            (fact("Waiting", service.waiting))
            (fact("Starts", service.starts))
            (fact("Requests", service.requests))
            (fact("Wakes", service.wakes))
            (fact("Failures", service.failures))
        }
    }
}

fn said(service: &ServiceStatus, console: &[String]) -> Markup {
    html! {
        section aria-labelledby="console" {
            h2 #console { "Console" }
            @if console.is_empty() {
                p.dim { @if service.domid.is_some() { "Its guest has said nothing yet." } @else { "It has no guest." } }
            } @else {
                // Focusable, so that it can be scrolled with keys.
                pre #lines tabindex="0" role="log" aria-live="off" aria-labelledby="console" {
                    @for line in console { span { (line) "\n" } }
                }
            }
        }
    }
}
