//! A timeline as a picture in text, and as JSON.

use serde::Serialize;

/// Columns of the picture's bars.
const WIDTH: usize = 60;

/// Whose clock a moment was read from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Clock {
    /// The client's.
    Client,
    /// The node's.
    Node,
}

/// One moment of a request.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Moment {
    /// What happened, as in `/status` for the node's.
    pub stage: &'static str,
    /// Who saw it.
    pub clock: Clock,
    /// Nanoseconds after the client sent its question.
    pub after_ns: u64,
}

/// A request from its question to the first byte of the page, in order of time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Timeline(pub(super) Vec<Moment>);

impl Timeline {
    /// Sorts the moments; those of the same time stay as they are.
    pub fn new(mut moments: Vec<Moment>) -> Self {
        moments.sort_by_key(|moment| moment.after_ns);
        Timeline(moments)
    }

    /// The picture: a line for each moment, with a bar from the one before.
    pub fn draw(&self) -> String {
        let end = self.0.last().map_or(0, |last| last.after_ns).max(1);
        let column = |ns: u64| (ns as u128 * WIDTH as u128 / end as u128) as usize;
        let mut text = format!("  {:<16} {:>9}   0{:>width$}\n", "", "ms", ms(end), width = WIDTH - 1);
        let mut before = 0;
        for moment in &self.0 {
            let (from, to) = (column(before), column(moment.after_ns));
            let bar = if to > from { "█".repeat(to - from) } else { "▏".into() };
            let bar = format!("{}{bar}", " ".repeat(from.min(WIDTH - 1)));
            let label = moment.stage.replace('_', " ");
            let line = format!("  {label:<16} {:>9}  │{bar}", ms(moment.after_ns));
            text.push_str(line.trim_end());
            text.push('\n');
            before = moment.after_ns;
        }
        text
    }
}

/// Nanoseconds as milliseconds, with as many digits as instruction time is worth.
pub fn ms(ns: u64) -> String {
    format!("{}.{:03}", ns / 1_000_000, ns / 1000 % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(stage: &'static str, after_ns: u64) -> Moment {
        Moment { stage, clock: Clock::Node, after_ns }
    }

    #[test]
    fn bars_join_end_to_end() {
        let timeline = Timeline::new(vec![
            moment("first_byte", 60_000_000),
            moment("query_received", 0),
            moment("unpaused", 20_000_000),
            moment("vif_up", 20_000_000),
        ]);
        let picture = timeline.draw();
        let bars: Vec<&str> =
            picture.lines().skip(1).filter_map(|line| Some(line.split_once('│')?.1)).collect();
        let expected = [
            "▏".to_owned(),
            "█".repeat(20),
            format!("{}▏", " ".repeat(20)),
            " ".repeat(20) + &"█".repeat(40),
        ];
        assert_eq!(bars, expected);
        assert!(picture.contains("first byte          60.000"), "{picture}");
        assert!(picture.lines().all(|line| line.chars().count() <= 100), "{picture}");
    }

    #[test]
    fn moments_in_the_same_nanosecond_can_be_drawn() {
        assert!(Timeline::new(vec![moment("query_received", 0)]).draw().contains("query received"));
        assert!(!Timeline::new(Vec::new()).draw().is_empty());
    }

    #[test]
    fn milliseconds_keep_their_zeros() {
        assert_eq!(ms(9_050_999), "9.050");
    }
}
