//! WATCH, UNWATCH, RESET_WATCHES.

use xen_sys::io::xs_wire::XENSTORE_SERVER_FEATURE_WATCHDEPTH;

use super::{Asker, Reply};
use crate::connection::watch_size;
use crate::error::{Error, Quota};
use crate::store::Store;
use crate::watch::Owner;
use crate::wire;

impl Store {
    pub(super) fn watch_request(&mut self, from: Asker, payload: &[u8]) -> Result<Reply, Error> {
        let mut strings = wire::strings(payload);
        let (text, token, depth) = match (strings.next(), strings.next(), strings.next(), strings.next()) {
            (Some(text), Some(token), depth, None) => (text, token, depth),
            _ => return Err(Error::Malformed("WATCH")),
        };
        let may_limit = self.domains.features(from.caller.domid) & XENSTORE_SERVER_FEATURE_WATCHDEPTH != 0;
        let depth = match depth.filter(|_| may_limit).map(wire::number) {
            None => None,
            Some(Some(depth)) => Some(depth),
            Some(None) => return Err(Error::Malformed("WATCH's depth")),
        };
        let named = self.path_to_watch(text, from.caller)?;
        if named.path.is_special() && depth.is_some_and(|depth| depth > 1) {
            return Err(Error::Malformed("WATCH's depth: a special watch has 0 or 1"));
        }
        if !from.caller.privileged() {
            let connection = self.connections.get(from.conn).ok_or(Error::NoWatch)?;
            if connection.watches().len() >= self.limits_of(from).watches {
                return Err(Error::Quota(Quota::Watches));
            }
            self.demand(from, watch_size(&named.path, token))?;
        }
        self.set_watch(from.conn, &named, token, depth)?;
        Ok(Reply::Watching(named.path, token.to_vec()))
    }

    pub(super) fn unwatch_request(&mut self, from: Asker, payload: &[u8]) -> Result<Reply, Error> {
        let [text, token] = wire::first_strings(payload, "UNWATCH")?;
        let path = self.path_to_watch(text, from.caller)?.path;
        let owner = Owner::Conn(from.conn);
        self.watches.remove(&path, owner, token).ok_or(Error::NoWatch)?;
        if let Some(connection) = self.connections.get_mut(from.conn) {
            connection.remove_watch(&path, token);
        }
        Ok(Reply::Done)
    }

    pub(super) fn reset_watches(&mut self, from: Asker) -> Reply {
        if let Some(connection) = self.connections.get_mut(from.conn) {
            connection.transactions.clear();
            for (path, token) in connection.take_watches() {
                self.watches.remove(&path, Owner::Conn(from.conn), &token);
            }
        }
        Reply::Done
    }
}
