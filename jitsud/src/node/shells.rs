//! Shells, as the core makes, uses and ends them. When, the [`Pool`] says.

use std::collections::HashMap;

use xen_sys::DomId;
use xen_sys::domctl::DomainInfo;

use super::admission::{self, Need, Taken};
use super::domains::uuid;
use super::life::Life;
use super::pool::Pool;
use super::template::Template;
use super::{Core, Refusal, Report, Toolstack, frames};
use crate::directory::{Incarnation, Input, Moment, State};
use crate::domain::{self, BuildError, Shape, Shell};
use crate::text::chain;

/// In a shell's UUID, instead of a service's number.
const NO_SERVICE: u16 = 0xffff;

/// Whether a domain of ours has been made as a shell: it keeps its UUID.
pub fn is_from_shell(uuid: &[u8; 16]) -> bool {
    u16::from_be_bytes([uuid[7], uuid[9]]) == NO_SERVICE
}

/// All that the core keeps of shells.
#[derive(Debug)]
pub struct Shells {
    pub(super) pool: Pool<Box<Shell>>,
    /// Those that have been given back and are not gone yet.
    ending: Vec<(Need, DomId, Life)>,
    /// Lives that wait for that.
    waiting: Vec<Incarnation>,
    made: u64,
}

impl Shells {
    /// None yet; there are to be `each` of every shape that these have.
    pub fn new(each: u32, templates: &[Template]) -> Self {
        let shapes = templates.iter().filter_map(|template| Shape::of(&template.spec));
        Shells { pool: Pool::new(each as usize, shapes), ending: Vec::new(), waiting: Vec::new(), made: 0 }
    }

    /// Whether there is none, in whatever state, and nobody waits for that.
    pub fn are_gone(&self) -> bool {
        self.pool.is_empty() && self.ending.is_empty() && self.waiting.is_empty()
    }

    /// What they take.
    pub fn taken(&self) -> impl Iterator<Item = Taken> {
        let ending = self.ending.iter().map(|&(need, ..)| Taken { need, being_built: false });
        self.pool.shapes().map(|(shape, being_built)| Taken { need: need(shape), being_built }).chain(ending)
    }
}

fn need(shape: &Shape) -> Need {
    Need { pages: domain::footprint(shape.memory_mib), frames: frames::OF_SHELL }
}

impl Core {
    /// Begins to build a domain for a life, if there is room: in a shell, if there is one that fits.
    pub(super) fn begin(&mut self, incarnation: Incarnation) {
        let shape = Shape::of(&self.specs[incarnation.service.0].spec);
        let shell = shape.and_then(|shape| self.shells.pool.take(&shape));
        let admitted = if shell.is_some() { Ok(()) } else { self.admit(incarnation) };
        match admitted {
            Ok(()) => {
                self.build(incarnation, shell);
                self.input(Input::Committed { incarnation });
            }
            Err(_) if self.gains_room(incarnation) => {}
            Err(Refusal { shortage, missing }) => {
                self.input(Input::NoRoom { incarnation, reason: shortage.to_string(), missing });
            }
        }
    }

    /// Gives all shells back for a life that finds no room; whether it gains any. It is begun again when they are gone: so
    /// nobody is refused for want of what shells take.
    pub(super) fn gains_room(&mut self, incarnation: Incarnation) -> bool {
        let gains = self.give_shells_back();
        if gains {
            self.shells.waiting.push(incarnation);
        }
        gains
    }

    /// Tells the pool whether something is being started. To be called after whatever may have changed that.
    pub(super) fn note_quiet(&mut self) {
        if self.shells.pool.wanted() == 0 {
            return;
        }
        let is_being_started = |state: &State| {
            matches!(state, State::Building { .. } | State::AwaitingRoom { .. } | State::Booting { .. })
        };
        let is_quiet = !self.directory.entries().iter().any(|entry| is_being_started(entry.state()));
        self.shells.pool.set_quiet(Moment::now(), is_quiet);
    }

    /// Makes the next shell, if there is room for it.
    pub(super) fn make_shell(&mut self) {
        let (stock, taken) = (self.stock(), self.taken().collect::<Vec<_>>());
        let has_room = |shape: &Shape| admission::check(need(shape), stock, taken.into_iter()).is_ok();
        let Some(shape) = self.shells.pool.begin(has_room) else { return };
        self.shells.made += 1;
        let uuid = uuid(NO_SERVICE, self.shells.made);
        let Toolstack { hypervisor, events, store, .. } = self.toolstack.clone();
        let (reports, runtime) = (self.reports.0.clone(), tokio::runtime::Handle::current());
        tokio::task::spawn_blocking(move || {
            let made = domain::make_shell(&hypervisor, &events, &store, shape, uuid);
            let domain = made.as_ref().map_or_else(|made| made.domain.as_ref(), |shell| Some(&shell.domain));
            // It is of use when netback has made the interface.
            if let Some(domain) = domain {
                runtime.block_on(store.drivers_settled(domain.domid));
            }
            let _ = reports.send(Report::Shell(made.map(Box::new).map_err(|unfinished| unfinished.error)));
        });
    }

    /// Takes in what has become of it.
    pub(super) fn shell_made(&mut self, made: Result<Box<Shell>, BuildError>) {
        let made = made.inspect_err(|error| tracing::warn!(error = %chain(error), "no shell could be made"));
        if let Some(shell) = self.shells.pool.made(made.ok()) {
            self.end_shell(*shell);
        }
        self.go_on_without_shells();
    }

    /// Gives all shells back; whether there was any, so that there will be more room.
    fn give_shells_back(&mut self) -> bool {
        let given_back = self.shells.pool.give_back();
        if !given_back.is_empty() {
            tracing::info!("{} shells are given back: their room is needed", given_back.len());
        }
        given_back.into_iter().for_each(|shell| self.end_shell(*shell));
        !self.shells.pool.is_empty() || !self.shells.ending.is_empty()
    }

    /// Ends all shells, and makes no more.
    pub(super) fn close_shells(&mut self) {
        self.shells.pool.close().into_iter().for_each(|shell| self.end_shell(*shell));
    }

    fn end_shell(&mut self, shell: Shell) {
        let (need, domid) = (need(&shell.shape), shell.domain.domid);
        let mut life = Life::unused(shell.domain);
        self.end(domid, &mut life);
        self.shells.ending.push((need, domid, life));
    }

    /// Looks which shells are gone; `infos` are all domains that Xen has.
    pub(super) fn look_at_shells(&mut self, infos: &HashMap<DomId, DomainInfo>) {
        let is_there = |shell: &Shell| infos.get(&shell.domain.domid).is_some_and(|info| !info.is_dying());
        for lost in self.shells.pool.drop_unless(|shell| is_there(shell)) {
            tracing::warn!(domid = %lost.domain.domid, "a shell has gone: somebody else has destroyed it");
            self.end_shell(*lost);
        }
        self.shells.ending.retain(|(_, domid, life)| !life.has_ended() || infos.contains_key(domid));
        self.go_on_without_shells();
    }

    /// Begins what had to wait until the shells had gone.
    fn go_on_without_shells(&mut self) {
        if self.shells.ending.is_empty() && self.shells.pool.is_empty() {
            std::mem::take(&mut self.shells.waiting).into_iter().for_each(|waiting| self.begin(waiting));
        }
    }
}
