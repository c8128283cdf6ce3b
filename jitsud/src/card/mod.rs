//! The card that the node was started from: its files for people, and its room for the node's state.
//!
//! ```text
//! let parameters = Parameters::of_this_boot();
//! let card = Card::open(&parameters).await;       // finds it and mounts /boot, before anything is configured
//! …                                               // configuration, services, DNS
//! card.settle().await;                            // in the background: mounts /data, grows it
//! card.report(&problems).await;                   // brings problems.txt in line
//! ```
//!
//! Nothing about a card keeps the node from running: each thing that is wrong becomes a [`Problem`], and the node
//! goes on without what the card should have given. The partition for PCs is read-only but for the moments that
//! `problems.txt` is written in, or a new `jitsu.toml` that an administrator has ordered. The data partition is never formatted here: what is on it may be somebody's.

mod device;
mod file;
mod gate;
mod grow;
mod mount;
mod parameters;
pub mod partition;
mod report;
mod sys;

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use file::replace as replace_file;
pub use parameters::{Fallback, Fault, Parameters, Slot};
pub use partition::{NotAPartUuid, PartUuid};

use crate::config::Problem;
use crate::schema::{CardStatus, PartitionState, PartitionStatus};
use crate::text::chain;
use device::Partition;
use gate::Gate;
use partition::SECTOR;

/// What every card's problems name as their place.
const CARD: &str = "the card";

/// The card. Clones are the same card.
#[derive(Clone, Debug)]
pub struct Card {
    shared: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    status: CardStatus,
    problems: Vec<Problem>,
    boot: Option<Partition>,
    gate: Option<Gate>,
}

impl Card {
    /// Finds the card that the boot script named, waiting for it if need be, and mounts its FAT partition
    /// read-only at `/boot`. `None` when the node was not started from a card.
    ///
    /// Takes at most 10 s; then, and when anything fails, the card has [`problems`](Self::problems).
    pub async fn open(parameters: &Parameters) -> Option<Self> {
        let wanted = parameters.card?;
        let mut state = State {
            status: CardStatus::new(wanted.to_string()),
            problems: parameters.fallback.iter().map(fallback_problem).collect(),
            boot: None,
            gate: None,
        };
        match device::wait_for(wanted).await {
            Ok(Some(partition)) => state.mount_boot(partition).await,
            found => {
                let what = match found {
                    Err(error) => format!("partition {wanted} cannot be looked for: {error}"),
                    _ => format!("partition {wanted}, which the node was started from, is not to be found"),
                };
                state.status.boot.state = PartitionState::Missing;
                state.problem(CARD, what, "the node runs with its defaults; put the card back and restart");
            }
        }
        Some(Card { shared: Arc::new(Mutex::new(state)) })
    }

    /// The FAT partition's folder, `/boot`, if it is mounted.
    pub fn boot(&self) -> Option<&'static Path> {
        (self.state().status.boot.state == PartitionState::Mounted).then(|| Path::new(mount::BOOT.point))
    }

    /// What is wrong with the card, as far as is known.
    pub fn problems(&self) -> Vec<Problem> {
        self.state().problems.clone()
    }

    /// The card for `/status`.
    pub fn status(&self) -> CardStatus {
        self.state().status.clone()
    }

    /// Mounts the data partition, makes it as long as the card is, and lets those in who wait for the card (the SSH
    /// server). Takes as long as the card does; meant to run beside a node that serves already.
    pub async fn settle(&self) {
        let card = self.clone();
        self.blocking("settling the card", move || card.settle_now()).await;
    }

    /// Brings `problems.txt` on the card in line with these problems and the card's own. A card that cannot be
    /// written is logged: whoever reads `/status` sees the problems there.
    pub async fn report(&self, problems: &[Problem]) {
        if self.boot().is_none() {
            return;
        }
        let all: Vec<Problem> = self.problems().into_iter().chain(problems.iter().cloned()).collect();
        self.blocking("reporting on the card", move || match report::write(&all) {
            Ok(true) => tracing::info!(problems = all.len(), "problems.txt on the card brought in line"),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "problems.txt on the card cannot be written"),
        })
        .await;
    }

    /// Replaces a file in the FAT partition's folder, which is mounted writable for that moment.
    ///
    /// # Errors
    /// Names the file. It is as before then.
    pub async fn replace(&self, name: &'static str, bytes: Vec<u8>) -> io::Result<()> {
        let replace = move || {
            let file = Path::new(mount::BOOT.point).join(name);
            mount::writable(|| file::replace(&file, &bytes))
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", file.display())))
        };
        tokio::task::spawn_blocking(replace).await.map_err(io::Error::other)?
    }

    /// Cards are slow, and nothing else may wait for them.
    async fn blocking(&self, what: &str, work: impl FnOnce() + Send + 'static) {
        if let Err(error) = tokio::task::spawn_blocking(work).await {
            tracing::error!(%error, "{what} ended badly");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change of it is whole: a panic elsewhere leaves it usable.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle_now(&self) {
        let Some(boot) = self.state().boot.clone() else { return };
        match boot.sibling(partition::DATA) {
            Some(data) => self.settle_data(&data),
            None => {
                let mut state = self.state();
                state.status.data.state = PartitionState::Missing;
                state.problem(
                    CARD,
                    format!("{} has no partition {}", boot.disk, partition::DATA),
                    "the node keeps nothing over a restart; write the image to the card again",
                );
            }
        }
        match Gate::open() {
            Ok(gate) => self.state().gate = Some(gate),
            Err(error) => tracing::warn!(%error, "the SSH server is not told of the card"),
        }
    }

    fn settle_data(&self, data: &Partition) {
        let mounted = data.id().and_then(|id| mount::attach(mount::DATA, &data.device(), &id));
        if let Err(error) = mounted {
            let mut state = self.state();
            state.status.data = described(data, PartitionState::Unusable);
            let (what, fix) = unusable_data(data, &error);
            state.problem(CARD, what, fix);
            return;
        }
        self.state().status.data = described(data, PartitionState::Mounted);
        match grow::grow(data) {
            Ok(false) => {}
            Ok(true) => {
                let status = described(data, PartitionState::Mounted);
                tracing::info!(bytes = status.bytes, "the data partition has been made as long as the card");
                self.state().status.data = status;
            }
            Err(error) => {
                let what = format!("data partition {} keeps its size: {}", data.name, chain(&error));
                let fix =
                    "it works as it is; look at the card's partitions on a PC, or write the image again";
                self.state().problem(CARD, what, fix);
            }
        }
    }
}

impl State {
    async fn mount_boot(&mut self, partition: Partition) {
        self.status.disk = Some(partition.disk.clone());
        self.status.disk_bytes = device::sectors(&partition.disk).ok().map(|sectors| sectors * SECTOR);
        let mounting = {
            let partition = partition.clone();
            move || mount::attach(mount::BOOT, &partition.device(), &partition.id()?)
        };
        let mounted = tokio::task::spawn_blocking(mounting).await.map_err(std::io::Error::other).flatten();
        let outcome = match &mounted {
            Ok(()) => PartitionState::Mounted,
            Err(_) => PartitionState::Unusable,
        };
        self.status.boot = described(&partition, outcome);
        match mounted {
            Ok(()) => tracing::info!(partition = partition.name, "card at {}", mount::BOOT.point),
            Err(error) => self.problem(
                CARD,
                format!("partition {} cannot be read: {error}", partition.name),
                "the node runs with its defaults; check the partition on a PC, or write the image again",
            ),
        }
        self.boot = Some(partition);
    }

    fn problem(&mut self, file: &str, what: String, fix: impl Into<String>) {
        let problem = Problem { file: file.to_owned(), line: 0, service: None, what, fix: fix.into() };
        tracing::warn!("{problem}");
        self.problems.push(problem);
    }
}

/// A partition as it is now.
fn described(partition: &Partition, state: PartitionState) -> PartitionStatus {
    PartitionStatus {
        state,
        device: Some(partition.name.clone()),
        bytes: partition.sectors().ok().map(|sectors| sectors * SECTOR),
    }
}

fn fallback_problem(fallback: &Fallback) -> Problem {
    let Fallback { file, fault } = fallback;
    Problem {
        file: file.clone(),
        line: 0,
        service: None,
        what: format!("the file is {fault}, so the node was started from the other copy of the system"),
        fix: "write the image to the card again, and keep your jitsu.toml and unikernels/".to_owned(),
    }
}

/// What mounting the data partition came to, and what its owner can do. `EINVAL` is what ext4 says when there is
/// no file system of its kind.
fn unusable_data(data: &Partition, error: &std::io::Error) -> (String, String) {
    let (name, without) = (&data.name, "the node keeps nothing over a restart");
    match error.raw_os_error() {
        Some(libc::EINVAL) => (
            format!("data partition {name} holds no ext4 file system"),
            format!(
                "{without}; if nothing on it is needed, format it on a PC (mkfs.ext4 -L jitsu-data) or write the \
                 image again"
            ),
        ),
        Some(libc::EACCES | libc::EROFS) => (
            format!("data partition {name} is write-protected"),
            format!("{without}; move the card's lock switch"),
        ),
        _ => (
            format!("data partition {name} cannot be mounted: {error}"),
            format!("{without}; check it on a PC (fsck.ext4) or write the image again"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_node_without_a_card_has_none() {
        assert!(Card::open(&Parameters::default()).await.is_none());
    }

    #[test]
    fn what_is_wrong_with_the_data_partition_decides_what_to_do() {
        let data = Partition { name: "mmcblk0p2".into(), disk: "mmcblk0".into(), number: 2 };
        for (errno, what, fix) in [
            (libc::EINVAL, "holds no ext4 file system", "mkfs.ext4 -L jitsu-data"),
            (libc::EROFS, "is write-protected", "lock switch"),
            (libc::EIO, "cannot be mounted: Input/output error", "fsck.ext4"),
        ] {
            let (found, advice) = unusable_data(&data, &std::io::Error::from_raw_os_error(errno));
            assert!(found.contains("mmcblk0p2") && found.contains(what), "{found}");
            assert!(advice.contains(fix), "{advice}");
        }
    }
}
