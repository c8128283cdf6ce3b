//! The paper's figures ("Jitsu: Just-In-Time Summoning of Unikernels", NSDI 2015): a Cubieboard2 with a Cortex-A7 at
//! 1 GHz, in wall time, as far as they have a counterpart here.

/// Milliseconds that creating a domain took with Xen 4.4's own toolstack, by MiB of memory.
pub const CREATION_XEN: [(u32, u32); 3] = [(16, 660), (64, 730), (256, 980)];

/// The same with the paper's toolstack.
pub const CREATION: [(u32, u32); 3] = [(16, 126), (64, 220), (256, 470)];

/// From the DNS query to the response of a unikernel that did not run: from, to, in milliseconds; how.
pub const COLD: [(u32, u32, &str); 3] =
    [(300, 440, "paper"), (620, 720, "paper, Xen's toolstack"), (1230, 1350, "paper, no Synjitsu")];

/// The same of one that runs: less than so many milliseconds.
pub const WARM: u32 = 15;

/// Seconds that 200 starts at once took, as far as XenStore is concerned, by its implementation.
pub const STARTS: [(u32, &str); 3] = [(1340, "C xenstored"), (225, "OCaml"), (105, "merging OCaml")];

/// How many that were.
pub const STARTS_AT_ONCE: u32 = 200;
