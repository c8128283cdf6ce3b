//! A start as a picture: when it reached its stages. The pictures are SVG in relative units, so that they fit phones and
//! desktops without getting small letters, and have their content as text.

use maud::{Markup, html};

use super::words::{spaced, took};
use crate::schema::StageStatus;

/// Height of a row, of its text's base line, and of its bar, in CSS pixels.
const ROW: usize = 34;
const BASELINE: usize = 14;
const BAR: usize = 7;
/// Least width of a bar, in hundredths: what took no time is seen, too.
const LEAST: f64 = 0.6;

/// One step between two stages.
struct Step<'a> {
    stage: &'a str,
    after_ns: u64,
    /// In hundredths of the whole.
    from: f64,
    width: f64,
}

/// The stages by time, each with its way from the one before.
fn steps(stages: &[StageStatus]) -> Vec<Step<'_>> {
    let mut stages: Vec<&StageStatus> = stages.iter().collect();
    stages.sort_by_key(|stage| stage.after_ns);
    let whole = stages.last().map_or(0, |last| last.after_ns).max(1) as f64;
    let mut before = 0;
    let step = |stage: &'_ StageStatus| {
        let width = (100.0 * (stage.after_ns - before) as f64 / whole).max(LEAST);
        let from = (100.0 * before as f64 / whole).min(100.0 - width);
        before = stage.after_ns;
        (from, width)
    };
    let bars: Vec<(f64, f64)> = stages.iter().copied().map(step).collect();
    let all = stages.into_iter().zip(bars);
    all.map(|(stage, (from, width))| Step { stage: &stage.stage, after_ns: stage.after_ns, from, width })
        .collect()
}

/// How long a start took until its guest was ready; `None` when it was not.
pub fn cold_start(stages: &[StageStatus]) -> Option<u64> {
    stages.iter().find(|stage| stage.stage == "guest_ready").map(|stage| stage.after_ns)
}

/// All in one sentence.
fn told(steps: &[Step]) -> String {
    let told: Vec<String> =
        steps.iter().map(|step| format!("{} at {}", name(step.stage), took(step.after_ns))).collect();
    told.join(", ")
}

/// A strip of a line's height, for a table.
pub fn strip(stages: &[StageStatus]) -> Markup {
    let steps = steps(stages);
    html! {
        svg.strip role="img" aria-label=(told(&steps)) width="100%" height="8" {
            rect.track width="100%" height="8" {}
            @for step in &steps {
                rect class={ "g " (step.stage) } x=(percent(step.from)) width=(percent(step.width)) height="8" {}
            }
        }
    }
}

/// Which colour stands for the way to which stage.
pub fn legend() -> Markup {
    let ways = [
        ("build_started", "asked for"),
        ("domain_created", "created"),
        ("unpaused", "built"),
        ("vif_up", "connected"),
        ("guest_ready", "booted"),
    ];
    html! {
        ul.legend aria-label="Stages of a cold start, by colour" {
            @for (stage, name) in ways {
                li { svg width="10" height="10" aria-hidden="true" {
                    rect class={ "g " (stage) } width="10" height="10" rx="3" {}
                } (name) }
            }
        }
    }
}

/// A row for each stage, with names and times.
pub fn picture(stages: &[StageStatus]) -> Markup {
    let steps = steps(stages);
    html! {
        svg.timeline role="img" aria-labelledby="timeline-title timeline-text" width="100%"
            height=(steps.len() * ROW) {
            title #timeline-title { "Timeline of the last start" }
            desc #timeline-text { (told(&steps)) }
            @for (index, step) in steps.iter().enumerate() {
                @let y = index * ROW;
                text x="0" y=(y + BASELINE) { (name(step.stage)) }
                text.at x="100%" y=(y + BASELINE) text-anchor="end" { (took(step.after_ns)) }
                rect.track y=(y + BASELINE + 6) width="100%" height=(BAR) rx="3.5" {}
                rect class={ "g " (step.stage) } x=(percent(step.from)) y=(y + BASELINE + 6)
                    width=(percent(step.width)) height=(BAR) rx="3.5" {}
            }
        }
    }
}

fn percent(hundredths: f64) -> String {
    format!("{hundredths:.2}%")
}

/// What people call a stage.
fn name(stage: &str) -> String {
    match stage {
        "query_received" => "Query received",
        "packet_received" => "Packet received",
        "build_started" => "Build begun",
        "domain_created" => "Domain created",
        "unpaused" => "Domain runs",
        "vif_up" => "Interface connected",
        "guest_ready" => "Guest ready",
        "answered" => "Query answered",
        other => return spaced(other),
    }
    .to_owned()
}
