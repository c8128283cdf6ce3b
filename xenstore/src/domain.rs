//! The domains that the store knows, and the special watches that tell of their coming and going.

use std::collections::BTreeMap;

use xen_sys::io::xs_wire::{
    XENSTORE_SERVER_FEATURE_DOMID_ANY, XENSTORE_SERVER_FEATURE_ERROR, XENSTORE_SERVER_FEATURE_RECONNECTION,
    XENSTORE_SERVER_FEATURE_WATCHDEPTH,
};
use xen_sys::{DomId, EvtchnPort};

use crate::perms::{Access, Caller, Perms};
use crate::quota::Limits;

/// Fires when a domain is introduced.
pub(crate) const INTRODUCE_DOMAIN: &str = "@introduceDomain";
/// Fires when a domain stops, by shutdown, crash or release.
pub(crate) const RELEASE_DOMAIN: &str = "@releaseDomain";

/// What the server can do, as the ring page says it (`XENSTORE_SERVER_FEATURE_…`). A domain may be told
/// of less (SET_FEATURE).
pub(crate) const FEATURES: u32 = XENSTORE_SERVER_FEATURE_RECONNECTION
    | XENSTORE_SERVER_FEATURE_ERROR
    | XENSTORE_SERVER_FEATURE_WATCHDEPTH
    | XENSTORE_SERVER_FEATURE_DOMID_ANY;

/// What a client of the control domain has asked of the toolstack. The client has its answer already.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DriverRequest {
    /// INTRODUCE: serve this domain's ring, then call [`Store::introduce`](crate::Store::introduce). Of
    /// a domain that is introduced already: its ring starts anew, on another event channel
    /// ([`Store::reset`](crate::Store::reset)).
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
    /// CONTROL `log|on` and `log|off`: whether each request is to be logged.
    Log {
        /// On.
        on: bool,
    },
    /// CONTROL `print`: put this into the log.
    Print {
        /// Whatever the client sent; not checked.
        text: String,
    },
}

/// What is known of one domain.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Domain {
    /// Not only named by SET_FEATURE or SET_QUOTA, ahead of its introduction.
    pub introduced: bool,
    pub target: Option<DomId>,
    /// It has stopped, and that was told.
    pub stopped: bool,
    pub features: u32,
    /// Limits of its own (SET_QUOTA); else the global ones hold.
    pub limits: Option<Box<Limits>>,
}

impl Default for Domain {
    fn default() -> Domain {
        Domain { introduced: false, target: None, stopped: false, features: FEATURES, limits: None }
    }
}

/// The domains and the special watches' permissions.
#[derive(PartialEq, Debug)]
pub(crate) struct Domains {
    pub known: BTreeMap<DomId, Domain>,
    pub introduce_perms: Perms,
    pub release_perms: Perms,
}

impl Domains {
    /// Only the control domain is there, and it alone hears of others.
    pub fn new() -> Domains {
        let closed = Perms::new(DomId::DOM0, Access::None);
        let dom0 = Domain { introduced: true, ..Domain::default() };
        Domains {
            known: BTreeMap::from([(DomId::DOM0, dom0)]),
            introduce_perms: closed.clone(),
            release_perms: closed,
        }
    }

    /// Returns whether the domain is new.
    pub fn introduce(&mut self, domid: DomId) -> bool {
        let domain = self.known.entry(domid).or_default();
        domain.stopped = false;
        !std::mem::replace(&mut domain.introduced, true)
    }

    /// Forgets a domain and whatever named it. Returns whether it was introduced.
    pub fn release(&mut self, domid: DomId) -> bool {
        let known = self.known.remove(&domid).is_some_and(|domain| domain.introduced);
        for domain in self.known.values_mut() {
            domain.target = domain.target.filter(|target| *target != domid);
        }
        self.introduce_perms = self.introduce_perms.without(domid);
        self.release_perms = self.release_perms.without(domid);
        known
    }

    pub fn is_introduced(&self, domid: DomId) -> bool {
        self.known.get(&domid).is_some_and(|domain| domain.introduced)
    }

    /// Returns whether this is news.
    pub fn stop(&mut self, domid: DomId) -> bool {
        match self.known.get_mut(&domid).filter(|domain| domain.introduced) {
            Some(domain) => !std::mem::replace(&mut domain.stopped, true),
            None => false,
        }
    }

    /// Undoes [`stop`](Domains::stop).
    pub fn resume(&mut self, domid: DomId) {
        if let Some(domain) = self.known.get_mut(&domid) {
            domain.stopped = false;
        }
    }

    pub fn set_target(&mut self, domid: DomId, target: DomId) -> Result<(), DomId> {
        if !self.is_introduced(target) {
            return Err(target);
        }
        self.known.get_mut(&domid).ok_or(domid)?.target = Some(target);
        Ok(())
    }

    /// The bits of `XENSTORE_SERVER_FEATURE_…` that a domain's ring page has.
    pub fn features(&self, domid: DomId) -> u32 {
        self.known.get(&domid).map_or(FEATURES, |domain| domain.features)
    }

    /// The limits that hold for a domain.
    pub fn limits<'l>(&'l self, domid: DomId, global: &'l Limits) -> &'l Limits {
        self.known.get(&domid).and_then(|domain| domain.limits.as_deref()).unwrap_or(global)
    }

    /// Who a client of `domid` is.
    pub fn caller(&self, domid: DomId) -> Caller {
        Caller { domid, target: self.known.get(&domid).and_then(|domain| domain.target) }
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
