//! Domains of lives: whether there is room for one, how it is built and ended, and what Xen says has become of it.

use std::collections::HashMap;

use xen_sys::DomId;
use xen_sys::domctl::DomainInfo;

use super::admission::{self, Need, Refusal, Stock, Taken};
use super::life::Life;
use super::record::Record;
use super::{Core, Report, Toolstack, frames};
use crate::config::{HOST_KEY, Key};
use crate::directory::{Death, Entry, Incarnation, Input, Moment};
use crate::domain::{self, Shell, Spec};
use crate::summoner::ServiceId;
use crate::text::chain;

impl Core {
    /// Whether there is room for the domain of a new life.
    pub(super) fn admit(&self, incarnation: Incarnation) -> Result<(), Refusal> {
        admission::check(self.need(incarnation.service), self.stock(), self.taken())
    }

    /// What there is for domains.
    pub(super) fn stock(&self) -> Stock {
        let memory = self.toolstack.hypervisor.memory().inspect_err(|error| {
            tracing::error!(error = %chain(error), "Xen does not say how much memory is free");
        });
        Stock { free_pages: memory.ok().map(|memory| memory.free_pages), frames: self.frames }
    }

    /// What the domains take that are there, or are being made.
    pub(super) fn taken(&self) -> impl Iterator<Item = Taken> {
        let lives = self.lives.iter().map(|(incarnation, life)| Taken {
            need: self.need(incarnation.service),
            // A shell's memory is its own already.
            being_built: !life.is_attached() && !life.ending() && !life.in_shell,
        });
        lives.chain(self.shells.taken())
    }

    /// What a service's domain takes.
    pub(super) fn need(&self, service: ServiceId) -> Need {
        Need {
            pages: domain::footprint(self.specs[service.0].spec.memory_mib),
            frames: frames::of_service(&self.loaded.config.services[service.0]),
        }
    }

    /// Builds a domain for a life, in `shell` if there is one.
    pub(super) fn build(&mut self, incarnation: Incarnation, shell: Option<Box<Shell>>) {
        let template = &self.specs[incarnation.service.0];
        let service = &self.loaded.config.services[incarnation.service.0];
        let record = Record::new(service, incarnation, false, &template.digest);
        let uuid = uuid(incarnation.service.0 as u16, incarnation.number);
        let mut spec = Spec { uuid, record: record.text(), ..template.spec.clone() };
        let host = self.directory.entries().get(incarnation.service.0).and_then(Entry::host);
        let host = host.map(|host| Key { path: HOST_KEY.to_owned(), value: host.to_owned() });
        spec.keys.extend(host);
        let Toolstack { hypervisor, events, store, .. } = self.toolstack.clone();
        let reports = self.reports.0.clone();
        let mut life = Life::default();
        life.in_shell = shell.is_some();
        self.lives.insert(incarnation, life);
        let runtime = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || {
            let step = |step| drop(reports.send(Report::Step(incarnation, step, Moment::now())));
            let built = match shell {
                Some(shell) => domain::build_in(*shell, &spec, &step),
                None => domain::build(&hypervisor, &events, &store, &spec, &step),
            };
            let built = built.map(Box::new).map_err(|unfinished| {
                if let Some(domain) = &unfinished.domain {
                    runtime.block_on(store.drivers_settled(domain.domid));
                }
                unfinished.error
            });
            let _ = reports.send(Report::Built(incarnation, built));
        });
    }

    pub(super) fn destroy(&mut self, incarnation: Incarnation, domid: DomId) {
        self.captor.leave(incarnation.service);
        match self.lives.remove(&incarnation) {
            Some(mut life) => {
                self.end(domid, &mut life);
                self.lives.insert(incarnation, life);
            }
            None => tracing::error!(%domid, "a domain that is not known was to be destroyed"),
        }
    }

    /// Stops serving a domain and destroys it.
    pub(super) fn end(&self, domid: DomId, life: &mut Life) {
        let (ended, store, reports) = (life.end(), self.toolstack.store.clone(), self.reports.0.clone());
        tokio::spawn(async move {
            let domain = ended.await;
            store.drivers_settled(domid).await;
            // Freeing memory takes Xen a while when there is much of it.
            let dropped = tokio::task::spawn_blocking(move || drop(domain)).await;
            if let Err(error) = dropped {
                tracing::error!(%domid, %error, "destroying a domain panicked");
            }
            store.with(|store| store.release(domid));
            let _ = reports.send(Report::Destroyed);
        });
    }

    /// Asks Xen about every domain of ours: which ended by themselves, and which are gone for good.
    pub(super) fn look_at_domains(&mut self) {
        // In one go, however many there are.
        let infos: HashMap<DomId, DomainInfo> = match self.toolstack.hypervisor.domains() {
            Ok(infos) => infos.into_iter().map(|info| (info.domain, info)).collect(),
            Err(error) => return tracing::error!(error = %chain(&error), "domains cannot be looked at"),
        };
        let lives: Vec<_> = self.lives.iter().filter_map(|(of, life)| Some((*of, life.domid?))).collect();
        for (incarnation, domid) in lives {
            self.look_at(incarnation, infos.get(&domid));
        }
        self.look_at_shells(&infos);
    }

    /// Looks at one of ours; `info` is what Xen says about it, `None` that it has no such domain.
    pub(super) fn look_at(&mut self, incarnation: Incarnation, info: Option<&DomainInfo>) {
        let Some(life) = self.lives.get_mut(&incarnation) else { return };
        let Some(domid) = life.domid else { return };
        match (info, life.ending()) {
            (None, true) => {
                if life.has_ended() {
                    let life = self.lives.remove(&incarnation);
                    life.iter().for_each(|life| self.keep_console(incarnation, life));
                    self.shells.pool.has_room();
                    self.captor.detach(incarnation.service);
                    self.input(Input::Stopped { incarnation });
                }
            }
            // One that is still being built is looked at when it has been, with its console at hand.
            (_, false) if !life.is_attached() => {}
            (None, false) => {
                self.input(Input::Died { incarnation, death: Death::Vanished, detail: String::new() });
            }
            (Some(info), false) => {
                if let Some(code) = info.shutdown_code() {
                    let detail = life.last_words();
                    self.toolstack.store.with(|store| store.stopped(domid));
                    self.input(Input::Died { incarnation, death: Death::from_code(code), detail });
                }
            }
            (Some(_), true) => {}
        }
    }
}

/// Whether a domain with this UUID is one of jitsud's.
pub(super) fn is_ours(uuid: &[u8; 16]) -> bool {
    uuid[6] == UUID_VERSION && uuid[8] == UUID_VARIANT
}

/// Version 8: made to the maker's own rules.
const UUID_VERSION: u8 = 0x80;
const UUID_VARIANT: u8 = 0x80;

/// Tells a domain from every other of this node: made of the clock, of what it is for and which of these it is, in
/// the form for such (RFC 9562). Nothing about it is secret.
pub(super) fn uuid(purpose: u16, number: u64) -> [u8; 16] {
    let mut uuid = [0; 16];
    uuid[..6].copy_from_slice(&Moment::now().0.to_be_bytes()[2..]);
    uuid[6] = UUID_VERSION;
    uuid[8] = UUID_VARIANT;
    [uuid[7], uuid[9]] = purpose.to_be_bytes();
    uuid[10..].copy_from_slice(&number.to_be_bytes()[2..]);
    uuid
}
