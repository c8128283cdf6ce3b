//! What one summon took, from the client's stamps and the node's.

use super::timeline::{Clock, Moment, Timeline, ms};
use crate::client::{Service, Status};
use anyhow::{Context, Result};
use probe::Measurement;
use serde::Serialize;

/// From the beginning of a domain's construction to its first instruction, at most, in instruction time.
pub const MAX_BUILD_NS: u64 = 10_000_000;
/// From the question to the first byte of the page, at most, in instruction time.
pub const MAX_FIRST_BYTE_NS: u64 = 15_000_000;
/// From the entry of dom0's kernel to the name server's answering, at most, in instruction time.
pub const MAX_DNS_UP_NS: u64 = 3_000_000_000;

/// The node's stages that a timeline shows. `build_started` follows `query_received` at once, and is only
/// used for [`Figures::build_ns`].
const SHOWN: [&str; 6] =
    ["query_received", "domain_created", "unpaused", "vif_up", "guest_ready", "answered"];

/// The figures of one summon.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Figures {
    /// What the nanoseconds are: those of a clock, or instructions.
    pub time: Time,
    /// From `build_started` to `unpaused`.
    pub build_ns: u64,
    /// From the client's question to the first byte of the page.
    pub first_byte_ns: u64,
    /// From Xen's making of dom0 to the first moment at which DNS answers; `null` if the node cannot tell.
    pub dns_up_ns: Option<u64>,
    /// How far the timeline can be off between stages of different clocks.
    pub uncertainty_ns: u64,
    /// All stages.
    pub timeline: Timeline,
}

/// What a nanosecond is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Time {
    /// A nanosecond.
    Wall,
    /// An instruction (QEMU's `-icount shift=0`).
    Instructions,
}

/// When a client outside the node did what, in nanoseconds after it had sent its question.
#[derive(Clone, Copy, Debug)]
pub struct Outside {
    /// The address came.
    pub answer_received_ns: u64,
    /// The connection was asked for.
    pub syn_sent_ns: u64,
    /// The first byte of the page came.
    pub first_byte_ns: u64,
}

impl Figures {
    /// Figures of a client that has another clock than the node. The node's stages are put in the middle of
    /// the time that the client waited for the address, as if question and answer had travelled equally long.
    ///
    /// # Errors
    /// When the node does not tell a stage.
    pub fn of_two_clocks(client: Outside, service: &Service, status: &Status) -> Result<Self> {
        let inside = service.at("answered")?.saturating_sub(service.at("query_received")?);
        let travel = client.answer_received_ns.saturating_sub(inside) / 2;
        let mut moments = client_moments(client);
        moments.extend(node_moments(service, service.at("query_received")?, travel)?);
        Figures::new(Time::Wall, moments, travel, client.first_byte_ns, service, status)
    }

    /// Figures of a client that reads the same clock as the node.
    ///
    /// # Errors
    /// When the node does not tell a stage, or its status cannot be read.
    pub fn of_one_clock(measured: &Measurement, service: &str) -> Result<Self> {
        let status: Status = serde_json::from_value(measured.status.clone())
            .context("reading the status in the probe's outcome")?;
        let service = status.service(service)?;
        let after = |ns: u64| ns.saturating_sub(measured.query_sent_ns);
        let client = Outside {
            answer_received_ns: after(measured.answer_received_ns),
            syn_sent_ns: after(measured.syn_sent_ns),
            first_byte_ns: after(measured.first_byte_ns),
        };
        let mut moments = client_moments(client);
        moments.extend(node_moments(service, measured.query_sent_ns, 0)?);
        Figures::new(Time::Instructions, moments, 0, client.first_byte_ns, service, &status)
    }

    fn new(
        time: Time,
        moments: Vec<Moment>,
        uncertainty_ns: u64,
        first_byte_ns: u64,
        service: &Service,
        status: &Status,
    ) -> Result<Self> {
        Ok(Figures {
            time,
            build_ns: service.at("unpaused")?.saturating_sub(service.at("build_started")?),
            first_byte_ns,
            dns_up_ns: status.boot.dns_answering_since_dom0_ns,
            uncertainty_ns,
            timeline: Timeline::new(moments),
        })
    }

    /// The bars of instruction time, with the figures beside them.
    ///
    /// # Errors
    /// When the node does not tell how long it took to answer DNS.
    pub fn bars(&self) -> Result<[Bar; 3]> {
        let dns_up_ns = self.dns_up_ns.context("/status does not say how long dom0 took to answer DNS")?;
        Ok([
            Bar { name: "domain built (start to unpause)", ns: self.build_ns, limit_ns: MAX_BUILD_NS },
            Bar {
                name: "DNS query in to first HTTP byte",
                ns: self.first_byte_ns,
                limit_ns: MAX_FIRST_BYTE_NS,
            },
            Bar { name: "dom0 kernel entry to DNS answering", ns: dns_up_ns, limit_ns: MAX_DNS_UP_NS },
        ])
    }
}

/// A figure, and what it may be at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Bar {
    /// What is measured.
    pub name: &'static str,
    /// The figure.
    pub ns: u64,
    /// Its limit.
    pub limit_ns: u64,
}

impl Bar {
    /// Whether the figure is within its limit.
    pub fn is_met(&self) -> bool {
        self.ns <= self.limit_ns
    }
}

impl std::fmt::Display for Bar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verdict = if self.is_met() { "met" } else { "MISSED" };
        write!(
            f,
            "{:<36} {:>9} ms  of {:>4} ms  {verdict}",
            self.name,
            ms(self.ns),
            self.limit_ns / 1_000_000
        )
    }
}

fn client_moments(client: Outside) -> Vec<Moment> {
    let moment = |stage, after_ns| Moment { stage, clock: Clock::Client, after_ns };
    vec![
        moment("query_sent", 0),
        moment("dns_answer", client.answer_received_ns),
        moment("syn", client.syn_sent_ns),
        moment("first_byte", client.first_byte_ns),
    ]
}

/// The node's stages; `zero_ns` of its clock is `offset_ns` after the client's question.
fn node_moments(service: &Service, zero_ns: u64, offset_ns: u64) -> Result<Vec<Moment>> {
    let moment = |stage| {
        let after_ns = (service.at(stage)? + offset_ns).saturating_sub(zero_ns);
        Ok(Moment { stage, clock: Clock::Node, after_ns })
    };
    SHOWN.into_iter().map(moment).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Stages one millisecond apart from 100 ms on, and an `answered` at 110 ms.
    fn status() -> serde_json::Value {
        let names =
            ["query_received", "build_started", "domain_created", "unpaused", "vif_up", "guest_ready"];
        let mut stages: Vec<_> = names
            .iter()
            .zip(100..)
            .map(|(stage, at)| json!({"stage": stage, "at_ns": at * 1_000_000}))
            .collect();
        stages.push(json!({"stage": "answered", "at_ns": 110_000_000}));
        json!({
            "node": {"versions": {"xen": "4.17.5"}}, "boot": {"dns_answering_since_dom0_ns": 2_000_000_000_u64},
            "xen": {}, "resources": {}, "shells": {"wanted": 0, "ready": 0, "taken": 0}, "problems": [],
            "services": [{
                "name": "www", "address": "10.0.2.20", "dns": [], "state": "ready", "in_shell": false, "starts": 1, "requests": 1, "failures": 0, "last_start": stages,
            }],
        })
    }

    fn at(figures: &Figures, stage: &str) -> u64 {
        figures.timeline.0.iter().find(|moment| moment.stage == stage).unwrap().after_ns
    }

    #[test]
    fn two_clocks_are_joined_in_the_middle() {
        let status: Status = serde_json::from_value(status()).unwrap();
        let client =
            Outside { answer_received_ns: 14_000_000, syn_sent_ns: 15_000_000, first_byte_ns: 20_000_000 };
        let figures = Figures::of_two_clocks(client, status.service("www").unwrap(), &status).unwrap();
        assert_eq!(figures.uncertainty_ns, 2_000_000);
        assert_eq!(at(&figures, "query_received"), 2_000_000);
        assert_eq!(at(&figures, "answered"), 12_000_000);
        assert_eq!(at(&figures, "dns_answer"), 14_000_000);
    }

    #[test]
    fn one_clock_needs_no_joining() {
        let measured = Measurement {
            name: "www.jitsu.test".into(),
            address: [10, 0, 2, 20].into(),
            query_sent_ns: 99_000_000,
            answer_received_ns: 111_000_000,
            syn_sent_ns: 111_500_000,
            connected_ns: 112_000_000,
            first_byte_ns: 113_000_000,
            done_ns: 120_000_000,
            reply: String::new(),
            status: status(),
        };
        let figures = Figures::of_one_clock(&measured, "www").unwrap();
        assert_eq!((figures.build_ns, figures.first_byte_ns), (2_000_000, 14_000_000));
        assert_eq!(at(&figures, "query_received"), 1_000_000);
        let bars = figures.bars().unwrap();
        assert!(bars.iter().all(Bar::is_met));
        assert!(!Bar { ns: MAX_BUILD_NS + 1, ..bars[0] }.is_met());
    }
}
