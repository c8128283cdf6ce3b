//! `__HYPERVISOR_xen_version`: which Xen this is (`xen/include/public/version.h`).

/// Returns major << 16 | minor; takes no argument.
pub const XENVER_VERSION: u32 = 0;
/// Fills an [`ExtraVersion`].
pub const XENVER_EXTRAVERSION: u32 = 1;

/// What follows major.minor, such as `.7`, NUL-terminated.
pub type ExtraVersion = [u8; 16];
