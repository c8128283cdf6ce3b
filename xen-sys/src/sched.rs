//! Scheduling and shutdown (`xen/include/public/sched.h`): `sched_op(SCHEDOP_x, &argument)`.

use core::fmt;
use core::mem::{offset_of, size_of};

use crate::DomId;

/// Let another virtual CPU run; no argument.
pub const SCHEDOP_YIELD: u32 = 0;
/// Sleep until an event is pending; no argument.
pub const SCHEDOP_BLOCK: u32 = 1;
/// End the calling domain; [`SchedShutdown`].
pub const SCHEDOP_SHUTDOWN: u32 = 2;
/// Declare another domain shut down, for toolstacks; [`SchedRemoteShutdown`].
pub const SCHEDOP_REMOTE_SHUTDOWN: u32 = 4;

/// Why a domain was shut down, `enum sched_shutdown_reason`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(transparent)]
pub struct ShutdownReason(pub u32);

impl ShutdownReason {
    /// The domain ended normally; free it.
    pub const POWEROFF: ShutdownReason = ShutdownReason(0);
    /// The domain ended normally; free it and start it again.
    pub const REBOOT: ShutdownReason = ShutdownReason(1);
    /// The domain wants to be saved.
    pub const SUSPEND: ShutdownReason = ShutdownReason(2);
    /// The domain crashed.
    pub const CRASH: ShutdownReason = ShutdownReason(3);
    /// The domain's watchdog expired.
    pub const WATCHDOG: ShutdownReason = ShutdownReason(4);
    /// The domain wants its event channels and memory mappings reset.
    pub const SOFT_RESET: ShutdownReason = ShutdownReason(5);
}

impl fmt::Display for ShutdownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::POWEROFF => f.write_str("poweroff"),
            Self::REBOOT => f.write_str("reboot"),
            Self::SUSPEND => f.write_str("suspend"),
            Self::CRASH => f.write_str("crash"),
            Self::WATCHDOG => f.write_str("watchdog"),
            Self::SOFT_RESET => f.write_str("soft_reset"),
            ShutdownReason(other) => write!(f, "unknown reason {other}"),
        }
    }
}

/// Argument of [`SCHEDOP_SHUTDOWN`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SchedShutdown {
    /// IN: why.
    pub reason: ShutdownReason,
}

/// Argument of [`SCHEDOP_REMOTE_SHUTDOWN`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SchedRemoteShutdown {
    /// IN: which domain.
    pub domain_id: DomId,
    /// IN: why.
    pub reason: ShutdownReason,
}

const _: () = {
    assert!(size_of::<SchedShutdown>() == 4);
    assert!(size_of::<SchedRemoteShutdown>() == 8);
    assert!(offset_of!(SchedRemoteShutdown, reason) == 4);
};
