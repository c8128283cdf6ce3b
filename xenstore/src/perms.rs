//! Who may do what with a node.
//!
//! A node has a list of entries, each a domain and what it may do. The first entry's domain is the
//! *owner*, who may do everything; that entry's access is what everybody who has no entry may do.
//! The control domain may do everything everywhere (`docs/misc/xenstore.txt`).

use std::sync::Arc;

use xen_sys::DomId;

use crate::wire;

/// What a domain may do with a node; on the wire a letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// `n`: nothing.
    None,
    /// `r`: read the value, the children's names and the permissions.
    Read,
    /// `w`: write the value, create children, remove the node.
    Write,
    /// `b`: both.
    Both,
}

impl Access {
    /// Whether reading is included.
    pub const fn reads(self) -> bool {
        matches!(self, Access::Read | Access::Both)
    }

    /// Whether writing is included.
    pub const fn writes(self) -> bool {
        matches!(self, Access::Write | Access::Both)
    }

    /// Whether all of `wanted` is included.
    pub const fn includes(self, wanted: Access) -> bool {
        (self.reads() || !wanted.reads()) && (self.writes() || !wanted.writes())
    }

    pub(crate) const fn letter(self) -> char {
        match self {
            Access::None => 'n',
            Access::Read => 'r',
            Access::Write => 'w',
            Access::Both => 'b',
        }
    }

    pub(crate) const fn from_letter(letter: u8) -> Option<Access> {
        Some(match letter {
            b'n' => Access::None,
            b'r' => Access::Read,
            b'w' => Access::Write,
            b'b' => Access::Both,
            _ => return None,
        })
    }
}

/// One entry of a node's permissions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Perm {
    /// The domain it is about.
    pub domid: DomId,
    /// What that domain may do.
    pub access: Access,
}

/// A node's permissions: never empty, the owner first. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Perms(Arc<[Perm]>);

impl Perms {
    /// Owned by `owner`; everybody else has `others`.
    pub fn new(owner: DomId, others: Access) -> Perms {
        Perms(Arc::new([Perm { domid: owner, access: others }]))
    }

    /// The same, with one entry more.
    #[must_use]
    pub fn with(&self, domid: DomId, access: Access) -> Perms {
        Perms(self.0.iter().copied().chain([Perm { domid, access }]).collect())
    }

    /// The domain that owns the node.
    pub fn owner(&self) -> DomId {
        self.0[0].domid
    }

    /// All entries, the owner's first.
    pub fn entries(&self) -> &[Perm] {
        &self.0
    }

    /// The permissions of a node created below one that has these: the same, but what a guest
    /// creates is its own.
    pub(crate) fn inherited_by(&self, creator: Option<DomId>) -> Perms {
        match creator {
            Some(domid) if domid != self.owner() => {
                let owner = Perm { domid, ..self.0[0] };
                Perms([owner].into_iter().chain(self.0[1..].iter().copied()).collect())
            }
            _ => self.clone(),
        }
    }

    /// Entries other than the owner's that name `domid`.
    pub(crate) fn names(&self, domid: DomId) -> bool {
        self.0[1..].iter().any(|perm| perm.domid == domid)
    }

    /// Without what `domid` had, so that a later domain of the same number does not get it.
    pub(crate) fn without(&self, domid: DomId) -> Perms {
        let owner = match self.0[0] {
            perm if perm.domid == domid => Perm { domid: DomId::DOM0, ..perm },
            perm => perm,
        };
        let others = self.0[1..].iter().copied().filter(|perm| perm.domid != domid);
        Perms([owner].into_iter().chain(others).collect())
    }

    /// Whether some entry is for [any domain](DomId::ANY).
    pub(crate) fn name_any(&self) -> bool {
        self.names(DomId::ANY)
    }

    /// From entries that are known to be good; `None` if there is none.
    pub(crate) fn from_entries(entries: Vec<Perm>) -> Option<Perms> {
        (!entries.is_empty()).then(|| Perms(entries.into()))
    }

    /// Reads the entries as they stand on the wire, `r5`; `None` if one is malformed or there is none.
    /// [Any domain](DomId::ANY) may be named, but owns nothing.
    pub(crate) fn from_wire<'a>(entries: impl Iterator<Item = &'a [u8]>) -> Option<Perms> {
        let mut perms = Vec::new();
        for entry in entries {
            let (&letter, number) = entry.split_first()?;
            let any = || wire::number(number).filter(|n| !perms.is_empty() && *n == u32::from(DomId::ANY.0));
            let domid = wire::domid(number).or_else(|| any().map(|_| DomId::ANY))?;
            perms.push(Perm { access: Access::from_letter(letter)?, domid });
        }
        (!perms.is_empty()).then(|| Perms(perms.into()))
    }

    /// The entries as they stand on the wire, each ended by a nul.
    pub(crate) fn to_wire(&self) -> Vec<u8> {
        let mut text = String::new();
        for perm in self.entries() {
            text.push(perm.access.letter());
            text.push_str(&perm.domid.to_string());
            text.push('\0');
        }
        text.into_bytes()
    }
}

/// In whose name a request is handled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Caller {
    pub domid: DomId,
    /// The domain whose rights it has besides its own (SET_TARGET).
    pub target: Option<DomId>,
}

impl Caller {
    /// The control domain: no permissions and no quotas apply.
    pub fn privileged(&self) -> bool {
        self.domid == DomId::DOM0
    }

    /// Who owns what this caller creates; `None` leaves it with the parent's owner.
    pub fn creator(&self) -> Option<DomId> {
        (!self.privileged()).then_some(self.domid)
    }

    pub fn owns(&self, perms: &Perms) -> bool {
        self.privileged() || self.is(perms.owner())
    }

    /// What the caller may do with a node that has these permissions.
    pub fn access(&self, perms: &Perms) -> Access {
        if self.owns(perms) {
            return Access::Both;
        }
        let own = perms.0[1..].iter().find(|perm| self.is(perm.domid) || perm.domid == DomId::ANY);
        own.unwrap_or(&perms.0[0]).access
    }

    fn is(&self, domid: DomId) -> bool {
        self.domid == domid || self.target == Some(domid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(domid: u16) -> Caller {
        Caller { domid: DomId(domid), target: None }
    }

    fn parse(text: &[&str]) -> Option<Perms> {
        Perms::from_wire(text.iter().map(|entry| entry.as_bytes()))
    }

    #[test]
    fn access_is_owner_then_entry_then_default() {
        let perms = parse(&["n5", "r6", "w7", "b8", "n9"]).unwrap();
        let table = [
            (0, Access::Both),
            (5, Access::Both),
            (6, Access::Read),
            (7, Access::Write),
            (8, Access::Both),
            (9, Access::None),
            (10, Access::None),
        ];
        for (domid, expected) in table {
            assert_eq!(caller(domid).access(&perms), expected, "domain {domid}");
        }
        let open = parse(&["r5", "n6"]).unwrap();
        assert_eq!(caller(10).access(&open), Access::Read);
        assert_eq!(caller(6).access(&open), Access::None);
    }

    #[test]
    fn a_stub_domain_has_its_targets_rights() {
        let stub = Caller { domid: DomId(9), target: Some(DomId(5)) };
        assert!(stub.owns(&parse(&["n5"]).unwrap()));
        assert_eq!(stub.access(&parse(&["n0", "r5"]).unwrap()), Access::Read);
        assert!(!stub.privileged());
    }

    #[test]
    fn the_wire_form_is_strict() {
        for bad in [&[][..], &[""], &["r"], &["x5"], &["r5x"], &["r-1"], &["r65536"], &["r32752"]] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
        assert_eq!(parse(&["n0", "b12"]).unwrap().to_wire(), b"n0\0b12\0");
        assert_eq!(parse(&["n32757"]), None, "nobody in particular owns nothing");
    }

    #[test]
    fn any_domain_is_whoever_has_no_entry_before() {
        let perms = parse(&["n5", "n6", "r32757", "b7"]).unwrap();
        assert_eq!(perms.to_wire(), b"n5\0n6\0r32757\0b7\0");
        let access = [5, 6, 7, 8].map(|domid| caller(domid).access(&perms));
        assert_eq!(access, [Access::Both, Access::None, Access::Read, Access::Read]);
    }

    #[test]
    fn a_dead_domains_entries_vanish() {
        let perms = parse(&["r5", "b6", "w7"]).unwrap();
        assert_eq!(perms.without(DomId(6)), parse(&["r5", "w7"]).unwrap());
        assert_eq!(perms.without(DomId(5)), parse(&["r0", "b6", "w7"]).unwrap());
    }

    #[test]
    fn guests_own_what_they_create() {
        let perms = parse(&["r5", "b6"]).unwrap();
        assert_eq!(perms.inherited_by(Some(DomId(6))), parse(&["r6", "b6"]).unwrap());
        assert_eq!(perms.inherited_by(None), perms);
    }
}
