//! `jitsuctl` for other machines than a node, where it is the daemon's own executable: see [`jitsud::ctl`].

use std::process::ExitCode;

fn main() -> ExitCode {
    jitsud::ctl::run(std::env::args_os())
}
