//! The files of a configuration: the user's on the card, and the one that came with the node.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use super::disk::probe_disk;
use super::kernel::{Kernels, probe_kernel};
use super::{Draft, Problem, Unusable, parse};
use crate::text::chain;

/// The user's file, on the card.
pub const CARD_FILE: &str = "jitsu.toml";

/// The user's kernels, on the card.
pub(super) const KERNELS: &str = "unikernels";

/// Longest file in bytes: thousands of services, and far from filling dom0's memory.
const MAX_FILE: u64 = 1 << 20;

/// Reads the configuration and looks at the kernels and disks it names. `card` is where the card is mounted, if there is
/// one; `shipped` is the file that came with the node.
///
/// A user's file that is absent is none, and no mistake. One that cannot be used is a [`Problem`], and the
/// shipped one is used meanwhile.
///
/// # Errors
/// [`Unusable`] when the shipped file is needed, and cannot be read or is not TOML.
pub fn load(card: Option<&Path>, shipped: &Path) -> Result<Draft, Unusable> {
    let kernels =
        Kernels { card: card.map(|card| card.join(KERNELS)), probe: &probe_kernel, disk: &probe_disk };
    let mut problems = Vec::new();
    if let Some(file) = card.map(|card| card.join(CARD_FILE)) {
        match read(&file).map(|bytes| bytes.and_then(|bytes| parse(&bytes, &file, &kernels))) {
            Some(Ok(draft)) => return Ok(draft),
            Some(Err(Unusable(found))) => problems = found,
            None => {}
        }
        for problem in &mut problems {
            problem.fix = format!("{}; {} is used meanwhile", problem.fix, shipped.display());
        }
    }
    let bytes = match read(shipped) {
        Some(bytes) => bytes,
        None => Err(unusable(shipped, "is not there".to_owned(), "build the node's image anew")),
    };
    match bytes.and_then(|bytes| parse(&bytes, shipped, &kernels)) {
        Ok(mut draft) => {
            // The user's own file is what there is to mend, so it is named first.
            draft.problems.splice(0..0, problems);
            Ok(draft)
        }
        Err(Unusable(found)) => {
            problems.extend(found);
            Err(Unusable(problems))
        }
    }
}

/// What is in the file; `None` when there is no file.
fn read(file: &Path) -> Option<Result<Vec<u8>, Unusable>> {
    match bytes(file) {
        Ok(bytes) => Some(Ok(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            let what = format!("cannot be read: {}", chain(&error));
            Some(Err(unusable(file, what, "put a jitsu.toml there that can be")))
        }
    }
}

pub(super) fn bytes(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        let fault = format!("it has more than {} KiB", MAX_FILE >> 10);
        return Err(io::Error::new(ErrorKind::FileTooLarge, fault));
    }
    Ok(bytes)
}

pub(super) fn unusable(file: &Path, what: String, fix: &str) -> Unusable {
    let file = file.display().to_string();
    Unusable(vec![Problem { file, line: 1, service: None, what, fix: fix.to_owned() }])
}
