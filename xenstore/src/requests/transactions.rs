//! TRANSACTION_START, TRANSACTION_END.

use super::{Asker, Reply};
use crate::error::{Error, Quota};
use crate::event::Effect;
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
            if connection.transactions.len() >= self.limits.transactions {
                return Err(Error::Quota(Quota::Transactions));
            }
            // The snapshot may come to be the only holder of all that the guest has now.
            pinned = self.tree.account(from.caller.domid).bytes;
            self.demand(from, pinned)?;
        }
        let transaction = Transaction::new(self.tree.clone(), pinned);
        let connection = self.connections.get_mut(from.conn).ok_or(Error::Denied)?;
        let id = connection.add_transaction(transaction);
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
        self.stamp += 1;
        let merged = transaction.merged_into(&self.tree, self.stamp).ok_or(Error::Conflict)?;
        if let Some(domid) = from.caller.creator() {
            let nodes = merged.account(domid).nodes;
            if nodes > self.limits.nodes && nodes > self.tree.account(domid).nodes {
                return Err(Error::Quota(Quota::Nodes));
            }
        }
        let effects: Vec<Effect> = transaction.effects().collect();
        self.tree = merged;
        drop(transaction);
        effects.iter().for_each(|effect| self.fire(effect));
        Ok(Reply::Done)
    }
}
