//! Requests off the wire: taking payloads apart, answering.
//!
//! | type | where | who |
//! |---|---|---|
//! | READ, WRITE, MKDIR, RM, DIRECTORY, DIRECTORY_PART, GET_PERMS, SET_PERMS | here, on `ops.rs` | all |
//! | WATCH, UNWATCH, RESET_WATCHES | `requests/watches.rs` | all |
//! | TRANSACTION_START, TRANSACTION_END | `requests/transactions.rs` | all |
//! | GET_DOMAIN_PATH | `requests/domains.rs` | all |
//! | INTRODUCE, RELEASE, RESUME, SET_TARGET, IS_DOMAIN_INTRODUCED | `requests/domains.rs` | dom0 |
//! | GET_FEATURE | `requests/settings.rs` | all, of another domain dom0 |
//! | SET_FEATURE, GET_QUOTA, SET_QUOTA | `requests/settings.rs` | dom0 |
//! | CONTROL | `requests/control.rs` | dom0 |
//! | WATCH_EVENT, ERROR, 20 (RESTRICT, which is gone), any other | refused: `ENOSYS` | |

use std::sync::Arc;

use xen_sys::io::xs_wire::{
    XENSTORE_PAYLOAD_MAX, XENSTORE_SERVER_FEATURE_DOMID_ANY, XsdSockmsg, XsdSockmsgType as Type,
};

use self::domains::get_domain_path;
use crate::connection::ConnId;
use crate::error::{Error, Quota};
use crate::event::Effect;
use crate::ops::{Op, Scope};
use crate::path::{Named, Path, PathError, below_home};
use crate::perms::{Caller, Perms};
use crate::quota::Limits;
use crate::store::Store;
use crate::transaction::Needs;
use crate::tree::number;
use crate::wire;

mod control;
mod domains;
mod settings;
mod transactions;
mod watches;

/// What a request that was carried out is answered with.
enum Reply {
    /// `OK`.
    Done,
    Value(Arc<[u8]>),
    Bytes(Vec<u8>),
    /// `OK`, and then the watch fires for the first time.
    Watching(Path, Vec<u8>),
}

/// Who asks, and within which transaction.
#[derive(Clone, Copy)]
struct Asker {
    conn: ConnId,
    caller: Caller,
    tx_id: u32,
}

impl Store {
    /// Handles one request and queues its reply.
    pub(crate) fn handle(&mut self, conn: ConnId, header: XsdSockmsg, payload: &[u8]) {
        let Some(connection) = self.connections.get(conn) else {
            return;
        };
        let caller = self.domains.caller(connection.domid);
        let from = Asker { conn, caller, tx_id: header.tx_id };
        let kind = Type::from_wire(header.kind).ok_or(Error::Unsupported(header.kind));
        let done = kind.and_then(|kind| Ok((kind, self.carry_out(kind, from, payload)?)));
        let (kind, reply) = match done {
            Ok((kind, reply)) if reply.as_bytes().len() <= XENSTORE_PAYLOAD_MAX => (kind, reply),
            Ok(_) => return self.refuse(conn, &header, &Error::ReplyTooLong),
            Err(error) => return self.refuse(conn, &header, &error),
        };
        self.connections.reply(conn, kind, &header, &[reply.as_bytes()]);
        if let Reply::Watching(path, token) = reply {
            self.fire_first(conn, &path, &token);
        }
    }

    fn refuse(&mut self, conn: ConnId, header: &XsdSockmsg, error: &Error) {
        let name = error.errno().name();
        self.connections.reply(conn, Type::Error, header, &[name.as_bytes(), b"\0"]);
    }

    fn carry_out(&mut self, kind: Type, from: Asker, payload: &[u8]) -> Result<Reply, Error> {
        let for_control_domain = matches!(
            kind,
            Type::Control
                | Type::Introduce
                | Type::Release
                | Type::IsDomainIntroduced
                | Type::Resume
                | Type::SetTarget
                | Type::SetFeature
                | Type::GetQuota
                | Type::SetQuota
        );
        if for_control_domain && !from.caller.privileged() {
            return Err(Error::Denied);
        }
        match kind {
            Type::Read => {
                let path = self.path(wire::one_string(payload, "READ")?, from.caller)?;
                let node = self.op(from)?.read(&path, Needs::Content)?.value.clone();
                Ok(Reply::Value(node))
            }
            Type::Write => {
                let [path] = wire::first_strings(payload, "WRITE")?;
                let value = &payload[path.len() + 1..];
                let path = self.path(path, from.caller)?;
                let effect = self.op(from)?.write(&path, Some(value))?;
                Ok(self.changed(from, effect))
            }
            Type::Mkdir => {
                let path = self.path(wire::one_string(payload, "MKDIR")?, from.caller)?;
                let effect = self.op(from)?.write(&path, None)?;
                Ok(self.changed(from, effect))
            }
            Type::Rm => {
                let path = self.path(wire::one_string(payload, "RM")?, from.caller)?;
                let effect = self.op(from)?.remove(&path)?;
                Ok(self.changed(from, effect))
            }
            Type::Directory => {
                let path = self.path(wire::one_string(payload, "DIRECTORY")?, from.caller)?;
                let mut op = self.op(from)?;
                let node = op.read(&path, Needs::Children)?;
                let names = node.child_names().flat_map(|name| name.bytes().chain([0]));
                Ok(Reply::Bytes(names.collect()))
            }
            Type::DirectoryPart => self.directory_part(from, payload),
            Type::GetPerms => self.get_perms(from, payload),
            Type::SetPerms => self.set_perms(from, payload),
            Type::Watch => self.watch_request(from, payload),
            Type::Unwatch => self.unwatch_request(from, payload),
            Type::ResetWatches => Ok(self.reset_watches(from)),
            Type::TransactionStart => self.transaction_start(from),
            Type::TransactionEnd => self.transaction_end(from, payload),
            Type::Introduce => self.introduce_request(payload),
            Type::Release => self.release_request(payload),
            Type::Resume => self.resume_request(payload),
            Type::SetTarget => self.set_target_request(payload),
            Type::GetDomainPath => get_domain_path(payload),
            Type::IsDomainIntroduced => self.is_domain_introduced(payload),
            Type::Control => self.control(payload),
            Type::GetFeature => self.get_feature(from, payload),
            Type::SetFeature => self.set_feature(payload),
            Type::GetQuota => self.get_quota(payload),
            Type::SetQuota => self.set_quota(payload),
            Type::WatchEvent | Type::Error => Err(Error::Unsupported(kind as u32)),
        }
    }

    fn directory_part(&mut self, from: Asker, payload: &[u8]) -> Result<Reply, Error> {
        let [path, offset] = wire::first_strings(payload, "DIRECTORY_PART")?;
        let offset = wire::number(offset).ok_or(Error::Malformed("DIRECTORY_PART's offset"))?;
        let path = self.path(path, from.caller)?;
        let mut op = self.op(from)?;
        let node = op.read(&path, Needs::Children)?;
        let mut reply = format!("{}\0", number(node.changed.max(node.listed))).into_bytes();
        // Whole names as long as they fit, and one empty name after the last of all.
        let mut at = 0;
        for name in node.child_names() {
            let end = at + name.len() + 1;
            let skipped = (offset as usize).saturating_sub(at).min(name.len() + 1);
            if skipped <= name.len() {
                if reply.len() + name.len() + 1 - skipped > XENSTORE_PAYLOAD_MAX {
                    return Ok(Reply::Bytes(reply));
                }
                reply.extend_from_slice(&name.as_bytes()[skipped..]);
                reply.push(0);
            }
            at = end;
        }
        if reply.len() < XENSTORE_PAYLOAD_MAX {
            reply.push(0);
        }
        Ok(Reply::Bytes(reply))
    }

    fn get_perms(&mut self, from: Asker, payload: &[u8]) -> Result<Reply, Error> {
        let text = wire::one_string(payload, "GET_PERMS")?;
        if let Some(perms) = self.domains.special_perms(text) {
            if !from.caller.access(perms).reads() {
                return Err(Error::Denied);
            }
            return Ok(Reply::Bytes(perms.to_wire()));
        }
        let path = self.path(text, from.caller)?;
        let mut op = self.op(from)?;
        Ok(Reply::Bytes(op.read(&path, Needs::Content)?.perms.to_wire()))
    }

    fn set_perms(&mut self, from: Asker, payload: &[u8]) -> Result<Reply, Error> {
        let mut strings = wire::strings(payload);
        let text = strings.next().ok_or(Error::Malformed("SET_PERMS"))?;
        let perms = Perms::from_wire(strings).ok_or(Error::Malformed("SET_PERMS's permissions"))?;
        let may_name_any = self.domains.features(from.caller.domid) & XENSTORE_SERVER_FEATURE_DOMID_ANY != 0;
        if perms.name_any() && !may_name_any {
            return Err(Error::Malformed("SET_PERMS: no entry for any domain is allowed here"));
        }
        if let Some(special) = self.domains.special_perms(text) {
            if !from.caller.owns(special) {
                return Err(Error::Denied);
            }
            if !from.caller.privileged() && perms.owner() != special.owner() {
                return Err(Error::OwnerChange);
            }
            *special = perms;
            return Ok(Reply::Done);
        }
        let path = self.path(text, from.caller)?;
        let effect = self.op(from)?.set_perms(&path, perms)?;
        Ok(self.changed(from, effect))
    }

    fn path(&self, text: &[u8], caller: Caller) -> Result<Path, Error> {
        let named = Path::from_client(text, caller.domid);
        named
            .and_then(|named| self.not_too_long(named, caller))
            .map(|named| named.path)
            .map_err(|reason| Error::path(text, reason))
    }

    fn path_to_watch(&self, text: &[u8], caller: Caller) -> Result<Named, Error> {
        let named = Path::to_watch(text, caller.domid);
        named.and_then(|named| self.not_too_long(named, caller)).map_err(|reason| Error::path(text, reason))
    }

    fn not_too_long(&self, named: Named, caller: Caller) -> Result<Named, PathError> {
        let limit = self.domains.limits(caller.domid, &self.limits).path;
        if !caller.privileged() && below_home(named.path.as_str()).len() > limit {
            return Err(PathError::TooLong(limit));
        }
        Ok(named)
    }

    fn op(&mut self, from: Asker) -> Result<Op<'_>, Error> {
        let stamp = self.next_stamp(from.caller.domid);
        let used = self.used(from);
        let limits = self.domains.limits(from.caller.domid, &self.limits);
        let scope = match from.tx_id {
            0 => Scope::Live(&mut self.tree),
            id => {
                let connection = self.connections.get_mut(from.conn);
                let open = connection.and_then(|connection| connection.transactions.get_mut(&id));
                Scope::In(open.ok_or(Error::NoTransaction(id))?.as_mut().ok_or(Error::TooOld)?)
            }
        };
        Ok(Op { scope, caller: from.caller, limits, stamp, used })
    }

    /// The limits that hold for a client.
    fn limits_of(&self, from: Asker) -> &Limits {
        self.domains.limits(from.caller.domid, &self.limits)
    }

    /// Bytes held for a guest.
    fn used(&self, from: Asker) -> usize {
        if from.caller.privileged() {
            return 0;
        }
        let held = self.connections.get(from.conn).map_or(0, |connection| connection.held());
        held.saturating_add(self.tree.account(from.caller.domid).bytes)
    }

    /// Refuses if too many bytes would be held for a guest.
    fn demand(&self, from: Asker, more: usize) -> Result<(), Error> {
        if self.used(from).saturating_add(more) > self.limits_of(from).memory {
            return Err(Error::Quota(Quota::Memory));
        }
        Ok(())
    }

    /// A change of the live tree counts for a guest's pace.
    fn count_write(&mut self, from: Asker) {
        if !from.caller.privileged() {
            self.paces.wrote(from.caller.domid, &self.limits);
        }
    }

    fn changed(&mut self, from: Asker, effect: Option<Effect>) -> Reply {
        if let Some(effect) = effect {
            self.count_write(from);
            self.fire(effect);
        }
        Reply::Done
    }
}

impl Reply {
    /// A text and its final nul.
    fn text(text: impl Into<String>) -> Reply {
        Reply::Bytes((text.into() + "\0").into_bytes())
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Reply::Done | Reply::Watching(..) => b"OK\0",
            Reply::Value(bytes) => bytes,
            Reply::Bytes(bytes) => bytes,
        }
    }
}
