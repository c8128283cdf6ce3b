//! How much of the tree each domain owns.

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

/// The accounts of all domains that have anything in the tree. A sorted vector: a transaction copies
/// them, and each change looks one up.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Accounts {
    by_domain: Vec<(DomId, Account)>,
    nodes: usize,
}

impl Accounts {
    pub fn of(&self, domid: DomId) -> Account {
        self.position(domid).map_or(Account::default(), |at| self.by_domain[at].1)
    }

    /// Nodes of all domains together.
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    pub fn add(&mut self, name: &str, value: &[u8], perms: &Perms) {
        self.nodes += 1;
        self.change(perms.owner(), |account| {
            account.nodes += 1;
            account.bytes += size(name, value, perms);
        });
        for perm in &perms.entries()[1..] {
            self.change(perm.domid, |account| account.named += 1);
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

    /// A value has changed its length.
    pub fn resize(&mut self, owner: DomId, from: usize, to: usize) {
        self.change(owner, |account| account.bytes = account.bytes - from + to);
    }

    /// Books what makes `to` of `from`.
    pub fn add_difference(&mut self, from: &Accounts, to: &Accounts) {
        self.nodes = self.nodes + to.nodes - from.nodes;
        let (mut from, mut to) = (from.by_domain.as_slice(), to.by_domain.as_slice());
        loop {
            // Almost all are the same.
            while let (Some(old), Some(new)) = (from.first(), to.first())
                && old == new
            {
                (from, to) = (&from[1..], &to[1..]);
            }
            let Some(domid) = [from, to].iter().filter_map(|rest| Some(rest.first()?.0)).min() else {
                return;
            };
            let (old, new) = (take(&mut from, domid), take(&mut to, domid));
            self.change(domid, |account| {
                account.nodes = account.nodes + new.nodes - old.nodes;
                account.bytes = account.bytes + new.bytes - old.bytes;
                account.named = account.named + new.named - old.named;
            });
        }
    }

    fn change(&mut self, domid: DomId, change: impl FnOnce(&mut Account)) {
        let at = match self.position(domid) {
            Ok(at) => at,
            Err(at) => {
                self.by_domain.insert(at, (domid, Account::default()));
                at
            }
        };
        let account = &mut self.by_domain[at].1;
        change(account);
        if *account == Account::default() {
            self.by_domain.remove(at);
        }
    }

    fn position(&self, domid: DomId) -> Result<usize, usize> {
        // Most nodes are the control domain's, which is the first.
        match self.by_domain.first() {
            Some((first, _)) if *first == domid => Ok(0),
            _ => self.by_domain.binary_search_by_key(&domid, |(known, _)| *known),
        }
    }
}

/// The account of `domid`, if it is the first of these; it is then taken off.
fn take(rest: &mut &[(DomId, Account)], domid: DomId) -> Account {
    match rest.split_first() {
        Some((&(first, account), others)) if first == domid => {
            *rest = others;
            account
        }
        _ => Account::default(),
    }
}

/// Bytes that a node takes.
pub(crate) fn size(name: &str, value: &[u8], perms: &Perms) -> usize {
    NODE_OVERHEAD + name.len() + value.len() + size_of_val::<[Perm]>(perms.entries())
}
