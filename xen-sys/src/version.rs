//! `__HYPERVISOR_xen_version`: which Xen this is (`xen/include/public/version.h`).

use core::fmt;

/// Returns the number of a [`Release`]; takes no argument.
pub const XENVER_VERSION: u32 = 0;
/// Fills an [`ExtraVersion`].
pub const XENVER_EXTRAVERSION: u32 = 1;

/// What follows major.minor, such as `.7`, NUL-terminated.
pub type ExtraVersion = [u8; 16];

/// A release of Xen, such as 4.17; later ones are greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Release {
    /// The first number.
    pub major: u16,
    /// The second number.
    pub minor: u16,
}

impl Release {
    /// From what [`XENVER_VERSION`] returns: major << 16 | minor.
    pub const fn from_number(number: u32) -> Self {
        Release { major: (number >> 16) as u16, minor: number as u16 }
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_ordered_as_numbers() {
        let [old, new] = [0x4_0009, 0x4_0014].map(Release::from_number);
        assert!(old < new && new < Release::from_number(0x5_0000));
        assert_eq!(new, Release { major: 4, minor: 20 });
    }
}
