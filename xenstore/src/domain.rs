//! The domains that the store knows, and the special watches that tell of their coming and going.

use std::collections::BTreeMap;

use xen_sys::{DomId, EvtchnPort};

use crate::perms::{Access, Caller, Perms};

/// Fires when a domain is introduced.
pub(crate) const INTRODUCE_DOMAIN: &str = "@introduceDomain";
/// Fires when a domain stops, by shutdown, crash or release.
pub(crate) const RELEASE_DOMAIN: &str = "@releaseDomain";

/// What a client of the control domain has asked of the toolstack. The client has its answer already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DriverRequest {
    /// INTRODUCE: serve this domain's ring, then call [`Store::introduce`](crate::Store::introduce).
    Introduce {
        /// The domain, not the control domain.
        domid: DomId,
        /// The ring's frame, as sent. Grant-mapping the ring does without it.
        gfn: i64,
        /// The event channel's unbound port in that domain.
        port: EvtchnPort,
    },
    /// RELEASE: stop serving this domain's ring, then call [`Store::release`](crate::Store::release).
    Release {
        /// The domain, which was introduced.
        domid: DomId,
    },
}

#[derive(Default)]
struct Domain {
    target: Option<DomId>,
    /// It has stopped, and that was told.
    stopped: bool,
}

/// The introduced domains and the special watches' permissions.
pub(crate) struct Domains {
    introduced: BTreeMap<DomId, Domain>,
    introduce_perms: Perms,
    release_perms: Perms,
}

impl Domains {
    /// Only the control domain is there, and it alone hears of others.
    pub fn new() -> Domains {
        let closed = Perms::new(DomId::DOM0, Access::None);
        Domains {
            introduced: BTreeMap::from([(DomId::DOM0, Domain::default())]),
            introduce_perms: closed.clone(),
            release_perms: closed,
        }
    }

    /// Returns whether the domain is new.
    pub fn introduce(&mut self, domid: DomId) -> bool {
        match self.introduced.get_mut(&domid) {
            Some(domain) => {
                domain.stopped = false;
                false
            }
            None => self.introduced.insert(domid, Domain::default()).is_none(),
        }
    }

    /// Forgets a domain and whatever named it. Returns whether it was introduced.
    pub fn release(&mut self, domid: DomId) -> bool {
        let known = self.introduced.remove(&domid).is_some();
        for domain in self.introduced.values_mut() {
            domain.target = domain.target.filter(|target| *target != domid);
        }
        self.introduce_perms = self.introduce_perms.without(domid);
        self.release_perms = self.release_perms.without(domid);
        known
    }

    pub fn is_introduced(&self, domid: DomId) -> bool {
        self.introduced.contains_key(&domid)
    }

    /// Returns whether this is news.
    pub fn stop(&mut self, domid: DomId) -> bool {
        match self.introduced.get_mut(&domid) {
            Some(domain) => !std::mem::replace(&mut domain.stopped, true),
            None => false,
        }
    }

    /// Undoes [`stop`](Domains::stop). Returns whether the domain is known.
    pub fn resume(&mut self, domid: DomId) -> bool {
        self.introduced.get_mut(&domid).is_some_and(|domain| {
            domain.stopped = false;
            true
        })
    }

    pub fn set_target(&mut self, domid: DomId, target: DomId) -> Result<(), DomId> {
        if !self.is_introduced(target) {
            return Err(target);
        }
        self.introduced.get_mut(&domid).ok_or(domid)?.target = Some(target);
        Ok(())
    }

    /// Who a client of `domid` is.
    pub fn caller(&self, domid: DomId) -> Caller {
        Caller { domid, target: self.introduced.get(&domid).and_then(|domain| domain.target) }
    }

    /// The permissions of a special watch; `None` for names that mean nothing.
    pub fn special_perms(&mut self, name: &[u8]) -> Option<&mut Perms> {
        if name == INTRODUCE_DOMAIN.as_bytes() {
            Some(&mut self.introduce_perms)
        } else if name == RELEASE_DOMAIN.as_bytes() {
            Some(&mut self.release_perms)
        } else {
            None
        }
    }

    /// Whether a client of `domid` may hear of a special watch.
    pub fn may_hear(&self, name: &str, caller: &Caller) -> bool {
        let perms = if name == INTRODUCE_DOMAIN { &self.introduce_perms } else { &self.release_perms };
        caller.access(perms).reads()
    }
}
