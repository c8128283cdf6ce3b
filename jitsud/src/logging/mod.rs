//! The daemon's log: `tracing`'s events, to standard error as ever, and into a bounded [`Ring`] in memory, from which
//! `jitsuctl logs` and a syslog server ([`syslog`]) are served.
//!
//! Nobody who logs ever waits for anybody who reads: a reader that is too slow finds that lines are gone, and how many.

mod ring;
pub mod syslog;

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt as text, reload};

use crate::config::LogLevel;
use crate::directory::Moment;
pub use ring::{Line, Ring};

/// The log, for those who read it and for whoever says how much is logged.
#[derive(Clone, Debug)]
pub struct Log {
    ring: Ring,
    level: reload::Handle<Targets, Registry>,
}

impl Log {
    /// Begins to log. To be called once, before anything is logged.
    pub fn begin() -> Self {
        let ring = Ring::default();
        let (filter, level) = reload::Layer::new(filter(LogLevel::default()));
        let console = text::layer()
            .with_writer(std::io::stderr)
            .with_ansi(false)
            .with_target(false)
            .with_timer(text::time::uptime());
        tracing_subscriber::registry().with(filter).with(console).with(Keep(ring.clone())).init();
        Log { ring, level }
    }

    /// What has been logged.
    pub fn ring(&self) -> &Ring {
        &self.ring
    }

    /// Logs what is at least as grave as this from now on.
    pub fn set_level(&self, level: LogLevel) {
        // It fails when nobody logs any more.
        let _ = self.level.modify(|current| *current = filter(level));
    }
}

/// A library that warns of strangers' malformed messages, which anybody may send as many of as he likes.
const READER_OF_MESSAGES: &str = "hickory_proto";

fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
    };
    Targets::new().with_default(level).with_target(READER_OF_MESSAGES, LevelFilter::ERROR)
}

/// Puts every event into the ring.
struct Keep(Ring);

impl<S: Subscriber> Layer<S> for Keep {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line {
            number: 0,
            at_ns: Moment::now().0,
            level: level(*event.metadata().level()),
            message: String::new(),
            fields: Vec::new(),
        };
        event.record(&mut Fields(&mut line));
        self.0.push(line);
    }
}

fn level(level: Level) -> LogLevel {
    match level {
        Level::ERROR => LogLevel::Error,
        Level::WARN => LogLevel::Warn,
        Level::INFO => LogLevel::Info,
        _ => LogLevel::Debug,
    }
}

/// Takes an event's fields apart.
struct Fields<'a>(&'a mut Line);

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        if field.name() == "message" {
            let _ = write!(self.0.message, "{value:?}");
        } else {
            self.0.fields.push((field.name().to_owned(), format!("{value:?}")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_kept_with_their_fields() {
        let ring = Ring::default();
        let (filter, level) = reload::Layer::new(super::filter(LogLevel::Info));
        let subscriber = tracing_subscriber::registry().with(filter).with(Keep(ring.clone()));
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(service = "www", domid = %7, "off → {}: why", "building");
            tracing::debug!("nobody wants to know");
            tracing::warn!(target: "hickory_proto::rr::rdata::opt", "a stranger has sent nonsense");
            level.modify(|current| *current = super::filter(LogLevel::Debug)).expect("it logs");
            tracing::debug!(error = ?Some(1), "somebody does");
        });
        let lines = ring.after(0, 10);
        assert_eq!(lines.len(), 2);
        assert_eq!((lines[0].message.as_str(), lines[0].level), ("off → building: why", LogLevel::Info));
        let fields = [("service".to_owned(), "www".to_owned()), ("domid".to_owned(), "7".to_owned())];
        assert_eq!(lines[0].fields, fields);
        assert_eq!(lines[1].to_string(), "somebody does error=Some(1)");
    }
}
