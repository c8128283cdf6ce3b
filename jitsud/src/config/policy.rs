//! What a `[[service]]` table says about the service's life: who starts it, for how long it is up, how it ends.

use std::time::Duration;

use super::reader::Reader;
use super::service::seconds;
use super::{Answer, Start, Stop};

/// When queries are answered, unless a service says otherwise.
pub const DEFAULT_ANSWER: Answer = Answer::Start;

const DEFAULT_TTL: u32 = 60;
/// Longest TTL in seconds, a day: what is cached longer outlives every sensible idle time.
const MAX_TTL: u32 = 86_400;
/// Longest idle time in seconds, a week.
const MAX_IDLE: u32 = 604_800;
/// Longest of the other times in seconds, 10 years.
const MAX_UPTIME: u32 = 315_360_000;
/// Longest `response_delay` in milliseconds: resolvers wait 5 s for an answer (resolv.conf(5)).
const MAX_RESPONSE_DELAY: u32 = 4000;
const DEFAULT_STOP_TIMEOUT: u32 = 10;
const MAX_STOP_TIMEOUT: u32 = 300;

/// A service's life. The fields are [`super::Service`]'s.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    pub start: Start,
    pub answer: Answer,
    pub response_delay: Duration,
    pub ttl: Duration,
    pub idle: Duration,
    pub min_uptime: Duration,
    pub max_uptime: Option<Duration>,
    pub stop: Stop,
}

/// Reads what there is of it in the table.
pub fn read(reader: &mut Reader<'_, '_>) -> Policy {
    let start = start(reader);
    let (ttl, idle) = times(reader);
    if start == Start::Always && reader.has("idle") {
        let fix = "remove idle, or write start = \"summon\"";
        reader.problem(reader.line_of("idle"), "idle is not for a service that runs always", fix);
    }
    let (min_uptime, max_uptime) = uptimes(reader);
    let delay = reader.number("response_delay", 0, MAX_RESPONSE_DELAY, "milliseconds");
    Policy {
        start,
        answer: answer(reader),
        response_delay: Duration::from_millis(delay.map_or(0, |delay| delay.value.into())),
        ttl,
        idle,
        min_uptime,
        max_uptime,
        stop: stop(reader),
    }
}

fn start(reader: &mut Reader<'_, '_>) -> Start {
    let all = [Start::Summon, Start::Always, Start::Manual].map(|start| (start.as_str(), start));
    let fix = "write \"summon\", \"always\", or \"manual\" for a service that only an administrator starts";
    reader.word("start", &all, fix).unwrap_or_default()
}

fn answer(reader: &mut Reader<'_, '_>) -> Answer {
    let words = [("start", Answer::Start), ("ready", Answer::Ready)];
    let fix = "write \"start\", or \"ready\" to have clients wait until it accepts connections";
    reader.word("answer", &words, fix).unwrap_or(DEFAULT_ANSWER)
}

fn times(reader: &mut Reader<'_, '_>) -> (Duration, Duration) {
    let ttl = reader.number("ttl", 1, MAX_TTL, "seconds").map_or(DEFAULT_TTL, |ttl| ttl.value);
    let Some(idle) = reader.number("idle", 1, MAX_IDLE, "seconds") else {
        // Twice, so that a client that asks again when its answer expires always finds the service up.
        return (seconds(ttl), seconds(2 * ttl));
    };
    if idle.value < ttl {
        let what = format!("idle = {} s is shorter than ttl = {ttl} s", idle.value);
        let fix = format!("give idle at least {ttl}: cached answers would lead to a stopped service");
        reader.problem(idle.line, what, fix);
    }
    (seconds(ttl), seconds(idle.value))
}

fn uptimes(reader: &mut Reader<'_, '_>) -> (Duration, Option<Duration>) {
    let min = reader.number("min_uptime", 0, MAX_UPTIME, "seconds").map_or(0, |min| min.value);
    let max = reader.number("max_uptime", 1, MAX_UPTIME, "seconds");
    if let Some(max) = max
        && max.value < min
    {
        let what = format!("max_uptime = {} s is shorter than min_uptime = {min} s", max.value);
        reader.problem(max.line, what, format!("give max_uptime at least {min}"));
    }
    (seconds(min), max.map(|max| seconds(max.value)))
}

fn stop(reader: &mut Reader<'_, '_>) -> Stop {
    let timeout = reader.number("stop_timeout", 1, MAX_STOP_TIMEOUT, "seconds");
    let given = timeout.map_or(DEFAULT_STOP_TIMEOUT, |timeout| timeout.value);
    let shutdown = Stop::Shutdown { timeout: seconds(given) };
    let words = [("destroy", Stop::Destroy), ("shutdown", shutdown), ("pause", Stop::Pause)];
    let fix = "write \"destroy\", \"shutdown\" for a guest that can switch itself off, or \"pause\"";
    let said = reader.has("stop");
    let stop = reader.word("stop", &words, fix);
    if let Some(timeout) = timeout
        && stop != Some(shutdown)
        && (stop.is_some() || !said)
    {
        let fix = "write stop = \"shutdown\", or remove stop_timeout";
        reader.problem(timeout.line, "stop_timeout is for guests that are asked to shut down", fix);
    }
    stop.unwrap_or(Stop::Destroy)
}
