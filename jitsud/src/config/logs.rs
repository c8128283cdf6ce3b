//! The keys of `[node]` about the daemon's log.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use super::reader::{Field, Reader};
use crate::logging::syslog;

const SYSLOG_EXAMPLE: &str = "syslog = \"192.168.1.2:514\"";

/// How grave something is that is logged: the gravest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// It does not work.
    Error,
    /// Somebody should know.
    Warn,
    /// What happens.
    #[default]
    Info,
    /// What happens inside.
    Debug,
}

impl LogLevel {
    const ALL: [LogLevel; 4] = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug];

    /// As in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

pub(super) fn level(reader: &mut Reader<'_, '_>) -> LogLevel {
    let Some(Field { value, line }) = reader.string("log", "log = \"info\"") else {
        return LogLevel::default();
    };
    let level = LogLevel::ALL.into_iter().find(|level| level.as_str() == value);
    level.unwrap_or_else(|| {
        let fix = format!("write one of error, warn, info, debug; {} is used meanwhile", LogLevel::default());
        reader.problem(line, format!("log level {value:?} is not known"), fix);
        LogLevel::default()
    })
}

/// A server by its address: a name could not be asked for without logging.
pub(super) fn syslog(reader: &mut Reader<'_, '_>) -> Option<SocketAddr> {
    let Field { value, line } = reader.string("syslog", SYSLOG_EXAMPLE)?;
    let with_port = |address: IpAddr| SocketAddr::new(address, syslog::PORT);
    let server = value.parse().or_else(|_| value.parse().map(with_port)).ok();
    let is_host = |server: &SocketAddr| {
        server.port() != 0 && !server.ip().is_unspecified() && !server.ip().is_multicast()
    };
    let server = server.filter(is_host);
    if server.is_none() {
        let fix = format!("write {SYSLOG_EXAMPLE}; the log goes to no server meanwhile");
        reader.problem(line, format!("syslog {value:?} is not an address, with or without a port"), fix);
    }
    server
}
