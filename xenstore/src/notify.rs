//! Telling those who watch.

use std::cell::LazyCell;

use xen_sys::DomId;

use crate::connection::{ConnId, Connections};
use crate::domain::Domains;
use crate::error::Error;
use crate::event::{Effect, Event, Past};
use crate::path::{Named, Path, below};
use crate::perms::Caller;
use crate::quota::Limits;
use crate::store::Store;
use crate::tree::Tree;
use crate::watch::{Owner, Watch, Watches};

impl Store {
    /// Tells of a change of the live tree.
    pub(crate) fn fire(&mut self, effect: Effect) {
        let removal = effect.past.removed.is_some();
        self.fire_at(&effect.path, removal, || effect.past);
    }

    /// Tells of a change at `path`; `removal`, if something was removed. Most changes concern nobody, so
    /// what there was, and who may know, is only found out when somebody watches.
    pub(crate) fn fire_at(&mut self, path: &Path, removal: bool, past: impl FnOnce() -> Past) {
        let (watches, tree, mut audience) = self.audience();
        let path = path.as_str();
        let past = LazyCell::new(past);
        let mut sight = None;
        watches.at_or_above(path, |watch| {
            let sight = sight.get_or_insert_with(|| past.sight(path, tree));
            audience.tell(watch, path, |caller| sight.includes(caller));
        });
        if removal {
            watches.below(path, |watch| {
                let own = watch.path.clone();
                let rest = below(own.as_str(), path).unwrap_or_default();
                audience.tell(watch, own.as_str(), |caller| past.took_away(rest, caller));
            });
        }
    }

    /// Tells of a special event that is about `domid`.
    pub(crate) fn fire_special(&mut self, name: &'static str, domid: DomId) {
        let (watches, _, mut audience) = self.audience();
        let domains = audience.domains;
        let specific = format!("{name}/{domid}");
        watches.at(name, |watch| {
            let path = if watch.depth == Some(1) { specific.as_str() } else { name };
            audience.tell(watch, path, |caller| domains.may_hear(name, caller));
        });
        watches.at(&specific, |watch| {
            audience.tell(watch, &specific, |caller| domains.may_hear(name, caller));
        });
    }

    /// Adds a client's watch, and fires nothing.
    pub(crate) fn set_watch(
        &mut self,
        conn: ConnId,
        named: &Named,
        token: &[u8],
        depth: Option<u32>,
    ) -> Result<(), Error> {
        let owner = Owner::Conn(conn);
        if self.watches.get(&named.path, owner, token).is_some() {
            return Err(Error::WatchExists);
        }
        if let Some(connection) = self.connections.get_mut(conn) {
            connection.add_watch(named.path.clone(), token);
            self.watches.add(Watch::new(owner, named.path.clone(), token, named.home, depth));
        }
        Ok(())
    }

    /// Fires a watch that was just set: from now on its client learns of changes, and of what was
    /// before it learns by looking now.
    pub(crate) fn fire_first(&mut self, conn: ConnId, path: &Path, token: &[u8]) {
        if let Some(watch) = self.watches.find(path, Owner::Conn(conn), token) {
            self.connections.event(conn, watch, path.as_str(), &self.limits);
        }
    }

    /// Sends the events that a client is owed, as far as there is room.
    pub(crate) fn send_owed(&mut self, conn: ConnId) {
        let Some(connection) = self.connections.get_mut(conn) else {
            return;
        };
        connection.owes_events = false;
        for (path, token) in connection.watches().to_vec() {
            if let Some(watch) = self.watches.find(&path, Owner::Conn(conn), &token)
                && watch.owed
            {
                watch.owed = false;
                self.connections.event(conn, watch, path.as_str(), &self.limits);
            }
        }
    }

    fn audience(&mut self) -> (&mut Watches, &Tree, Audience<'_>) {
        let audience = Audience {
            connections: &mut self.connections,
            domains: &self.domains,
            events: &mut self.events,
            limits: &self.limits,
        };
        (&mut self.watches, &self.tree, audience)
    }
}

/// Everybody who may be told.
struct Audience<'s> {
    connections: &'s mut Connections,
    domains: &'s Domains,
    events: &'s mut Vec<Event>,
    limits: &'s Limits,
}

impl Audience<'_> {
    /// Fires one watch, if its owner may know.
    fn tell(&mut self, watch: &mut Watch, path: &str, may_know: impl Fn(&Caller) -> bool) {
        match watch.owner {
            Owner::Local(subscription) => {
                let event = Event { subscription, path: path.to_owned() };
                let itself = Caller { domid: DomId::DOM0, target: None };
                if may_know(&itself) && self.events.last() != Some(&event) {
                    self.events.push(event);
                }
            }
            Owner::Conn(conn) => {
                let Some(connection) = self.connections.get(conn) else {
                    return;
                };
                if may_know(&self.domains.caller(connection.domid)) {
                    self.connections.event(conn, watch, path, self.limits);
                }
            }
        }
    }
}
