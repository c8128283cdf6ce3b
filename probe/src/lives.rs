//! How long services live, as a client sees it: what that client and the configuration of its node agree on.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Stands before an [`Outcome`] on its line.
pub const MARK: &str = "lives-outcome: ";

/// How long services are up that nobody uses, but for those of [`LONG_IDLE`].
pub const IDLE: Duration = Duration::from_secs(1);

/// The same of those that are to end for another reason.
pub const LONG_IDLE: Duration = Duration::from_secs(3600);

/// How long the service "young" is up at least, and "old" at the most.
pub const MIN_UPTIME: Duration = Duration::from_secs(5);
/// See [`MIN_UPTIME`].
pub const MAX_UPTIME: Duration = Duration::from_secs(3);

/// For so long answers may be cached of the service that packets do not start; of the others for a second.
pub const KEPT_TTL: Duration = Duration::from_secs(60);

/// Services of one size, "room1" and so on: more than there is room for, all together.
pub const ROOMS: u32 = 20;

/// What the time-to-live of "steady" becomes, from one second, and the service that comes instead of "leaves".
pub const RELOADED: Duration = Duration::from_secs(7);
/// See [`RELOADED`].
pub const JOINS: &str = "joins";

/// What came of a scenario.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// All was as it must be; what has been measured.
    Good(String),
    /// What was not.
    Bad(String),
}
