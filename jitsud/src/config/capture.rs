//! What packets may do: what is said of it in `jitsu.toml`, and what that is for [`capture`].

use std::time::Duration;

use capture::{EthernetAddress, Limits, Ports, Rate, Refusal};

use super::quiet::{self, Quiet};
use super::reader::Reader;
use super::{Config, Service, Start};

pub(super) const SUMMONS_KEYS: [&str; 4] = ["per_second", "burst", "source_per_second", "source_burst"];

const SUMMONS_EXAMPLE: &str = "summons = { per_second = 200, burst = 512 }";

/// Most ports that are listed: more are no choice.
const MOST_PORTS: usize = 64;

/// Summons that packets cause, a second. A node builds a domain in 4 ms, so it is never busy with that alone; what is
/// beyond is put off, not lost.
const SUMMONS: Rates = Rates { per_second: 200, burst: 512 };

/// The same of one source. A client that goes from one cold service to the next, without pause, starts 100 a second when
/// each takes 10 ms; one that asks for 200 at once is within the burst. Nobody takes more than half of the node's.
const SOURCE_SUMMONS: Rates = Rates { per_second: 100, burst: 256 };

const MOST_PER_SECOND: u32 = 10_000;
const MOST_AT_ONCE: u32 = 65_535;

/// Memory for held frames, in KiB: the default, and how little and how much it may be.
const HELD: u32 = 1024;
const LEAST_HELD: u32 = 64;
const MOST_HELD: u32 = 65_536;

/// Frames held of one source: a SYN for each of 200 services at once, and some more.
const FRAMES_PER_SOURCE: u32 = 512;

/// How long a frame is held: as long as a service may take to boot, between these. Before the longer one is over a client
/// has sent its SYN again, or does not wait any more.
const SHORTEST_HOLD: Duration = Duration::from_secs(10);
const LONGEST_HOLD: Duration = Duration::from_secs(60);

#[derive(Clone, Copy)]
struct Rates {
    per_second: u32,
    burst: u32,
}

/// What packets to one service may do. The fields are [`Service`]'s.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Waking {
    pub wake: bool,
    pub tcp: Ports,
    pub udp: Ports,
    pub refuse: Refusal,
    pub quiet: Quiet,
}

/// Reads what a `[[service]]` table says of it. `node` are those that start nothing on the whole node.
pub fn read_service(reader: &mut Reader<'_, '_>, node: &Quiet) -> Waking {
    Waking {
        wake: reader.boolean("wake", "wake = false").unwrap_or(true),
        tcp: ports(reader, "tcp"),
        udp: ports(reader, "udp"),
        refuse: refuse(reader),
        quiet: node.and(quiet::read(reader)),
    }
}

/// Reads what the `[node]` table says of it.
pub fn read_node(reader: &mut Reader<'_, '_>) -> Limits {
    let (summons, summons_per_source) = summons(reader);
    let held = reader.number("held", LEAST_HELD, MOST_HELD, "KiB").map_or(HELD, |held| held.value);
    Limits {
        bytes: held as usize * 1024,
        frames_per_source: FRAMES_PER_SOURCE,
        summons,
        summons_per_source,
        ..Limits::default()
    }
}

/// The services as [`capture::Capture`] wants them, in the order of the configuration, and its bounds. The number of a
/// [`capture::ServiceId`] is that of the [`crate::summoner::ServiceId`].
pub fn capture_services(config: &Config) -> (Vec<capture::Service>, Limits) {
    let longest = config.services.iter().map(|service| service.boot_timeout).max().unwrap_or_default();
    let hold = longest.clamp(SHORTEST_HOLD, LONGEST_HOLD);
    (config.services.iter().map(captured).collect(), Limits { hold, ..config.node.capture.clone() })
}

fn captured(service: &Service) -> capture::Service {
    capture::Service {
        tcp: service.tcp.clone(),
        udp: service.udp.clone(),
        wake: service.wake && service.start != Start::Manual,
        not_from: service.quiet.networks.clone(),
        refusal: service.refuse,
        ..capture::Service::new(EthernetAddress(service.mac.0), service.addresses().collect::<Vec<_>>())
    }
}

fn ports(reader: &mut Reader<'_, '_>, key: &str) -> Ports {
    let Some(listed) = reader.numbers(key, 1, u16::MAX.into(), "or none") else { return Ports::All };
    if listed.value.len() > MOST_PORTS {
        let what = format!("{key} lists {} ports, more than {MOST_PORTS}", listed.value.len());
        reader.problem(listed.line, what, "remove some, or the key for all ports");
    }
    Ports::Only(listed.value.into_iter().filter_map(|port| port.try_into().ok()).collect())
}

fn refuse(reader: &mut Reader<'_, '_>) -> Refusal {
    let words =
        [("reset", Refusal::Reset), ("unreachable", Refusal::Unreachable), ("silence", Refusal::Silence)];
    reader.word("refuse", &words, "write \"reset\", \"unreachable\" or \"silence\"").unwrap_or_default()
}

fn summons(reader: &mut Reader<'_, '_>) -> (Rate, Rate) {
    let rate = |Rates { per_second, burst }| Rate::per_second(per_second, burst);
    let Some((line, table)) = reader.table("summons", SUMMONS_EXAMPLE) else {
        return (rate(SUMMONS), rate(SOURCE_SUMMONS));
    };
    reader.within(line, table, |reader| {
        reader.refuse_unknown(&SUMMONS_KEYS, "summons");
        let [per_second, burst, source_per_second, source_burst] = SUMMONS_KEYS;
        let mut read = |second, burst, default: Rates| {
            let per_second = reader.number(second, 1, MOST_PER_SECOND, "a second");
            let burst = reader.number(burst, 1, MOST_AT_ONCE, "at once");
            rate(Rates {
                per_second: per_second.map_or(default.per_second, |number| number.value),
                burst: burst.map_or(default.burst, |number| number.value),
            })
        };
        (read(per_second, burst, SUMMONS), read(source_per_second, source_burst, SOURCE_SUMMONS))
    })
}
