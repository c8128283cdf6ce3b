//! What this host has and lacks for building and running the node, and its Rust standard libraries for ARM.

mod apt;
pub mod rust_std;
mod tools;
pub mod unpacked;

pub use apt::{provide, provide_for_fuzzing, provide_for_tests, provide_for_xen};
pub use tools::{CROSS_GCC, QEMU, debian_keyring};
