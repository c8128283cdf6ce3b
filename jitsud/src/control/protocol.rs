//! What goes over the control socket, version [`VERSION`]: a line of JSON for each message.
//!
//! ```text
//! → {"version":1,"do":"events","last":1,"follow":false}
//! ← {"event":{"serial":17000042,"at_ns":17003200000,"service":"www","from":"off","to":"building","why":"it was asked for"}}
//! ← {"done":{}}
//! ```
//!
//! A client sends a request, and gets any number of messages for it, the last of which is `done` or `error`; then it may
//! send another one. With `follow` there is no last one: it ends when the client hangs up. What the messages contain is
//! defined by their types, and follows the rules of [`crate::schema`]: new keys and new kinds of messages may appear.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::Problem;
use crate::logging::Line;
use crate::schema::{EventStatus, NodeStatus, ServiceStatus};

/// The version of the protocol. Another one is refused.
pub const VERSION: u32 = 1;

/// Where the daemon listens. Its directory is root's alone.
pub const SOCKET: &str = "/run/jitsud/control";

/// Longest request, in bytes.
pub const LONGEST_REQUEST: usize = 8192;

/// One line to the daemon.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Request {
    /// [`VERSION`].
    pub version: u32,
    /// What is to be done.
    #[serde(flatten)]
    pub command: Command,
}

/// What can be asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    /// Describe the node: [`Reply::Status`]. With `follow`, again whenever a service changes, and now and then.
    Status {
        /// Go on.
        #[serde(default)]
        follow: bool,
    },
    /// Start a service, as an administrator: [`Reply::Service`] for each state until it is ready, or it is certain that
    /// it will not be.
    Start {
        /// Its name.
        service: String,
    },
    /// Stop a service, as an administrator: [`Reply::Service`] for each state until it is off.
    Stop {
        /// Its name.
        service: String,
    },
    /// The daemon's log: [`Reply::Line`].
    Logs(From),
    /// What a service's guest says: [`Reply::Said`]. With `follow`, over all its lives to come.
    Console {
        /// Its name.
        service: String,
        /// Which lines.
        #[serde(flatten)]
        from: From,
    },
    /// The terminal in dom0 at which a service's guest can be typed to: [`Reply::Terminal`].
    Terminal {
        /// Its name.
        service: String,
    },
    /// Changes of services' states: [`Reply::Event`].
    Events(From),
    /// Read the configuration anew, if there is nothing wrong with it: [`Reply::Reloading`], and then the daemon hangs up
    /// and begins anew; or [`Reply::Problem`] for each mistake, and an error.
    Reload {
        /// A file to take instead of the present one, whose contents it replaces.
        file: Option<PathBuf>,
    },
    /// XenStore's nodes from a path on, with their values: [`Reply::Node`].
    Xenstore {
        /// The path.
        path: String,
    },
}

/// Which numbered things are wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct From {
    /// Those with greater numbers than this one.
    #[serde(default)]
    pub after: u64,
    /// No more than so many of those that are there already.
    #[serde(default)]
    pub last: Option<usize>,
    /// And those to come.
    #[serde(default)]
    pub follow: bool,
}

/// One line from the daemon.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The node.
    Status(Box<NodeStatus>),
    /// A service.
    Service(Box<ServiceStatus>),
    /// A line of the log.
    Line(Line),
    /// A line of a guest's console.
    Said(Said),
    /// Lines or events of that number were there and are not any more: there were too many, or the client was too slow.
    Lost {
        /// How many.
        count: u64,
    },
    /// A change of a service's state.
    Event(EventStatus),
    /// Where a guest's terminal is.
    Terminal {
        /// Its path.
        path: PathBuf,
    },
    /// A node of XenStore.
    Node {
        /// Its path.
        path: String,
        /// Its value, as text.
        value: String,
    },
    /// Something is wrong with the configuration.
    Problem(Problem),
    /// The configuration is good, and the daemon begins anew with it.
    Reloading {},
    /// That was all.
    Done {},
    /// It cannot be done.
    Error {
        /// What kind of error.
        kind: ErrorKind,
        /// What, for people.
        message: String,
    },
}

/// A line that a guest has said.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Said {
    /// Counted from 1 in each life of the service.
    pub number: u64,
    /// Without what could steer a terminal.
    pub text: String,
    /// The guest has not ended it yet.
    pub unfinished: bool,
}

/// Why something cannot be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// It is no request, or one of another version.
    Request,
    /// There is no such service, or node of XenStore.
    NotFound,
    /// The service is in no state for it.
    State,
    /// The configuration has mistakes.
    Configuration,
    /// The daemon has too much to do.
    Busy,
    /// The daemon is ending.
    ShuttingDown,
    /// Something has failed in the node.
    Failed,
}

impl Request {
    /// A request of this version.
    pub fn new(command: Command) -> Self {
        Request { version: VERSION, command }
    }
}
