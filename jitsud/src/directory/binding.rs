//! Instances of a service, and the host names that they are bound to.
//!
//! An instance belongs to one host name for as long as it runs, and as clients may have been told that it will. After
//! that it keeps the name until another one needs it: so who comes back finds what is his, and packets that come late do
//! not start an instance for somebody else.

use super::entry::Entry;
use super::{Directory, Moment};
use crate::summoner::{ServiceId, SummonError};

impl Directory {
    /// The instance that a host name is bound to; or else one that is free, which is bound to it from now on: one that is
    /// nobody's, or the one that nobody has needed for longest.
    ///
    /// # Errors
    /// None is free.
    pub(super) fn bind(
        &mut self,
        now: Moment,
        instance: ServiceId,
        host: &str,
    ) -> Result<usize, SummonError> {
        let service = self.entries.get(instance.0).and_then(|entry| entry.service().instance_of.clone());
        let instances = || {
            let numbered = self.entries.iter().enumerate();
            let service = service.as_deref().filter(|service| !service.is_empty());
            numbered.filter(move |(_, entry)| {
                service.is_some() && entry.service().instance_of.as_deref() == service
            })
        };
        if let Some((bound, _)) = instances().find(|(_, entry)| entry.host() == Some(host)) {
            return Ok(bound);
        }
        let free = instances().filter(|(_, entry)| entry.is_free(now));
        let Some((free, _)) = free.min_by_key(|(_, entry)| entry.needed_until()) else {
            return Err(SummonError::NoInstance { count: instances().count() });
        };
        self.entries[free].bind(host);
        self.warm.bind(ServiceId(free), host);
        Ok(free)
    }
}

impl Entry {
    /// Whether it can be bound to another host name.
    fn is_free(&self, now: Moment) -> bool {
        let off = match self.state() {
            super::State::Off => true,
            super::State::Failed { until, .. } => now >= *until,
            _ => false,
        };
        off && self.waiting() == 0 && self.needed_until().is_none_or(|until| now >= until)
    }
}
