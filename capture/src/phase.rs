//! What a service is doing, as far as its frames are concerned.

use crate::moment::Moment;

/// What the driver says of a service. Any phase may follow any other; frames that are held stay held until they are
/// replayed, given up ([`Phase::Failed`]) or too old.
///
/// ```text
///         summoned              ready                   all replayed, tap empty
///   Down ──────────▶ Starting ──────────▶ Forwarding ──────────────────────▶ Up ────▶ Paused
///    ▲                 │    │                 ▲                              │          │ summoned
///    │   Failed ◀──────┘    │ hand_over       │ ready                        │          ▼
///    │  (until: as Down)    └────────────▶ Resuming ◀────────────────────────│──────────┘
///    └────────────────────────────────────────────────────── Stopping ◀──────┘
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Phase {
    /// There is no domain. Its address is answered for, packets summon it, connections that it had are reset.
    #[default]
    Down,
    /// It has been summoned, for whatever reason, and is not ready: being built or booting. As `Down`, but nobody
    /// is summoned.
    Starting,
    /// The guest is ready. What is held is handed out by [`crate::Capture::replay`]; what still comes through the
    /// tap follows it, or is passed on at once when nothing is held any more. The guest answers for itself.
    Forwarding,
    /// The guest has all its frames from the bridge. Nothing is done for it.
    Up,
    /// Its domain is being ended. As `Down`, but its connections are not reset: it may still be closing them.
    Stopping,
    /// Its domain stands still, with its connections. As `Down`, but segments of these wake it and are held.
    Paused,
    /// Its guest has connections and cannot be reached yet: summoned out of `Paused`, or it is being handed over
    /// those that were opened on its behalf ([`crate::Capture::hand_over`]). As `Starting`, but their segments are
    /// held.
    Resuming,
    /// It could not be started, or there is no room for it. Until then packets are answered by its
    /// [`crate::Refusal`], those that are held now too; afterwards it is as `Down`.
    Failed {
        /// When a new start is tried if a packet comes.
        until: Moment,
    },
}

impl Phase {
    /// Whether questions for its link address are answered in its stead.
    pub(crate) fn is_stood_in_for(self) -> bool {
        !matches!(self, Phase::Forwarding | Phase::Up)
    }

    /// Whether the guest knows of its connections, or will soon.
    pub(crate) fn has_connections(self) -> bool {
        matches!(self, Phase::Forwarding | Phase::Up | Phase::Paused | Phase::Resuming)
    }

    /// Whether somebody has to start it before its frames are of any use.
    pub(crate) fn waits_for_summons(self) -> bool {
        matches!(self, Phase::Down | Phase::Stopping | Phase::Paused | Phase::Failed { .. })
    }
}
