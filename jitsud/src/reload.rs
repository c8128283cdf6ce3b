//! A changed configuration is looked at, and if there is nothing wrong with it, the daemon begins anew with it.
//!
//! What is looked at is everything that is looked at when the node starts, but for what only then shows: that a DHCP
//! server gives no address, or a kernel goes bad meanwhile. When the node starts, a mistake costs what it is about;
//! here it costs nothing, since the node goes on as it is.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::card::{Card, replace_file};
use crate::config::{self, Addressing, CARD_FILE, Draft, Given, Service, Stop, Unusable};
use crate::control::{Refusal, Reload};
use crate::net::Interfaces;
use crate::summoner::{ServiceId, Summoner};
use crate::text::chain;

/// How long a service that is not in the file any more may take to end, beside the time that it has for that itself.
const FAREWELL: Duration = Duration::from_secs(2);

/// What there is to know about the present configuration.
pub struct Reloading {
    /// The card, if its file is the one to read.
    pub card: Option<Card>,
    /// The file that is read when there is none on a card.
    pub shipped: PathBuf,
    /// The node's address, for a file that leaves it to a DHCP server.
    pub node: Addressing,
    /// What DHCP servers have given to services.
    pub given: Vec<Given>,
    /// The services, in their order.
    pub services: Vec<Service>,
    /// The way to them.
    pub summoner: Summoner,
    /// Notified when the daemon is to begin anew.
    pub begin: Arc<Notify>,
}

impl Reloading {
    /// Does what is ordered, one after the other, for as long as it is polled.
    pub async fn run(self, mut orders: mpsc::Receiver<Reload>) {
        while let Some(Reload { file, answer }) = orders.recv().await {
            match self.consider(file).await {
                Err(refusal) => drop(answer.send(Err(refusal))),
                Ok(leaving) => {
                    self.see_off(leaving).await;
                    let begin = tokio_util::sync::CancellationToken::new();
                    let _ = answer.send(Ok(begin.clone()));
                    begin.cancelled().await;
                    self.begin.notify_one();
                }
            }
        }
    }

    /// Looks at the file, and puts it in the place of the present one if it is another. Returns the services that are
    /// not in it.
    async fn consider(&self, file: Option<PathBuf>) -> Result<Vec<ServiceId>, Refusal> {
        let folder = self.card.as_ref().and_then(Card::boot);
        let on_card =
            folder.map(|folder| folder.join(CARD_FILE)).filter(|path| file.is_some() || path.exists());
        let present = on_card.clone().unwrap_or_else(|| self.shipped.clone());
        let source = file.clone().unwrap_or_else(|| present.clone());
        let read = {
            let source = source.clone();
            spawn_blocking(move || config::read_draft(&source, folder)).await
        };
        let read = read.map_err(|error| Refusal::Failed(format!("reading {}: {error}", source.display())))?;
        let (bytes, mut draft) = read.map_err(|Unusable(problems)| Refusal::Problems(problems))?;
        let interfaces = Interfaces::find().await.map_err(|error| Refusal::Failed(chain(&error)))?;
        draft.fit(&interfaces.list());
        let leaving = self.leaving(&draft);
        let problems = draft.into_problems(Some(self.node), &self.given);
        if !problems.is_empty() {
            return Err(Refusal::Problems(problems));
        }
        if file.is_some() {
            put(self.card.as_ref().filter(|_| on_card.is_some()), &present, bytes).await?;
        }
        Ok(leaving)
    }

    /// The services that have time to shut down, and are not in the draft any more: afterwards nobody would know how much.
    fn leaving(&self, draft: &Draft) -> Vec<ServiceId> {
        let stay: HashSet<&str> = draft.service_names().collect();
        let leaves = |service: &Service| {
            matches!(service.stop, Stop::Shutdown { .. }) && !stay.contains(service.name.as_str())
        };
        let services = self.services.iter().enumerate();
        services.filter(|(_, service)| leaves(service)).map(|(index, _)| ServiceId(index)).collect()
    }

    /// Stops these, all at once, and waits until they are off.
    async fn see_off(&self, leaving: Vec<ServiceId>) {
        let time = |service: &ServiceId| match self.services[service.0].stop {
            Stop::Shutdown { timeout } => timeout,
            Stop::Destroy | Stop::Pause => Duration::ZERO,
        };
        let patience = leaving.iter().map(time).max().unwrap_or_default() + FAREWELL;
        let ended = async {
            let mut changes = self.summoner.changes();
            for service in &leaving {
                let _ = self.summoner.stop(*service).await;
            }
            for service in &leaving {
                loop {
                    changes.mark_unchanged();
                    let status = self.summoner.service(*service).await;
                    let up = |state: &str| matches!(state, "shutting_down" | "stopping" | "building");
                    if !status.is_some_and(|status| up(&status.state)) || changes.changed().await.is_err() {
                        break;
                    }
                }
            }
        };
        if timeout(patience, ended).await.is_err() {
            tracing::warn!("services that are not in the configuration any more take too long to end");
        }
    }
}

/// Puts a new configuration in its place.
async fn put(card: Option<&Card>, place: &Path, bytes: Vec<u8>) -> Result<(), Refusal> {
    let failed = |error: std::io::Error| {
        Refusal::Failed(format!("{}: the file cannot be put there: {error}", place.display()))
    };
    match card {
        Some(card) => card.replace(CARD_FILE, bytes).await.map_err(failed)?,
        None => {
            let place = place.to_owned();
            let put = spawn_blocking(move || replace_file(&place, &bytes)).await;
            put.map_err(std::io::Error::other).flatten().map_err(failed)?;
        }
    }
    tracing::info!("{} is another one now", place.display());
    Ok(())
}
