//! TRANSACTION_START, TRANSACTION_END.

use xen_sys::DomId;

use super::{Asker, Reply};
use crate::error::{Error, Quota};
use crate::store::Store;
use crate::transaction::Transaction;

impl Store {
    pub(super) fn transaction_start(&mut self, from: Asker) -> Result<Reply, Error> {
        let connection = self.connections.get(from.conn).ok_or(Error::Denied)?;
        match from.tx_id {
            0 => {}
            id if connection.transactions.contains_key(&id) => return Err(Error::Nested),
            id => return Err(Error::NoTransaction(id)),
        }
        let mut pinned = 0;
        if !from.caller.privileged() {
            if connection.transactions.len() >= self.limits_of(from).transactions {
                return Err(Error::Quota(Quota::Transactions));
            }
            // The snapshot may come to be the only holder of all that the guest has now.
            pinned = self.tree.account(from.caller.domid).bytes;
            self.demand(from, pinned)?;
        }
        let now = self.paces.now;
        let transaction = Transaction::new(self.tree.clone(), pinned, now);
        let connection = self.connections.get_mut(from.conn).ok_or(Error::Denied)?;
        let id = connection.add_transaction(transaction);
        self.oldest_transaction.get_or_insert(now);
        Ok(Reply::Bytes(format!("{id}\0").into_bytes()))
    }

    pub(super) fn transaction_end(&mut self, from: Asker, payload: &[u8]) -> Result<Reply, Error> {
        let commit = match payload {
            b"T\0" => true,
            b"F\0" => false,
            _ => return Err(Error::Malformed("TRANSACTION_END")),
        };
        let connection = self.connections.get_mut(from.conn).ok_or(Error::Denied)?;
        let transaction = connection.transactions.remove(&from.tx_id);
        let transaction = transaction.ok_or(Error::NoTransaction(from.tx_id))?;
        if !commit {
            return Ok(Reply::Done);
        }
        let transaction = transaction.ok_or(Error::TooOld)?;
        let stamp = self.next_stamp(from.caller.domid);
        let merge = transaction.merge(&self.tree).map_err(|culprit| {
            if culprit != DomId::DOM0 && culprit != from.caller.domid {
                self.paces.spoiled(culprit, &self.limits);
            }
            Error::Conflict
        })?;
        if let Some(domid) = from.caller.creator() {
            let before = self.tree.account(domid).nodes;
            let nodes = merge.nodes(domid, before);
            if nodes > self.limits_of(from).nodes && nodes > before {
                return Err(Error::Quota(Quota::Nodes));
            }
        }
        merge.apply(&mut self.tree, stamp);
        for path in &transaction.order {
            self.count_write(from);
            self.fire_at(path, transaction.removes(path), || transaction.past(path));
        }
        Ok(Reply::Done)
    }
}
