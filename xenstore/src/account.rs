//! How much of the tree each domain owns.

use std::collections::BTreeMap;

use xen_sys::DomId;

use crate::perms::{Perm, Perms};

/// Bytes that a node takes besides its name, value and permissions, roughly.
const NODE_OVERHEAD: usize = 64;

/// What one domain has in the tree.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Account {
    /// Nodes that it owns.
    pub nodes: usize,
    /// Bytes that those nodes take.
    pub bytes: usize,
    /// Permission entries, other than an owner's, that name it.
    pub named: usize,
}

/// The accounts of all domains that have anything in the tree.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Accounts {
    by_domain: BTreeMap<DomId, Account>,
    nodes: usize,
}

impl Accounts {
    pub fn of(&self, domid: DomId) -> Account {
        self.by_domain.get(&domid).copied().unwrap_or_default()
    }

    /// Nodes of all domains together.
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    pub fn add(&mut self, name: &str, value: &[u8], perms: &Perms) {
        self.nodes += 1;
        let account = self.by_domain.entry(perms.owner()).or_default();
        account.nodes += 1;
        account.bytes += size(name, value, perms);
        for perm in &perms.entries()[1..] {
            self.by_domain.entry(perm.domid).or_default().named += 1;
        }
    }

    pub fn remove(&mut self, name: &str, value: &[u8], perms: &Perms) {
        self.nodes -= 1;
        self.change(perms.owner(), |account| {
            account.nodes -= 1;
            account.bytes -= size(name, value, perms);
        });
        for perm in &perms.entries()[1..] {
            self.change(perm.domid, |account| account.named -= 1);
        }
    }

    fn change(&mut self, domid: DomId, change: impl FnOnce(&mut Account)) {
        if let Some(account) = self.by_domain.get_mut(&domid) {
            change(account);
            if *account == Account::default() {
                self.by_domain.remove(&domid);
            }
        }
    }
}

/// Bytes that a node takes.
pub(crate) fn size(name: &str, value: &[u8], perms: &Perms) -> usize {
    NODE_OVERHEAD + name.len() + value.len() + size_of_val::<[Perm]>(perms.entries())
}
