//! What the toolstack sets for a domain: GET_FEATURE, SET_FEATURE, GET_QUOTA, SET_QUOTA (Xen 4.22).
//!
//! A domain that has no quotas of its own follows the global ones. Settings may be made for a domain
//! before it is introduced, and end with it.

use xen_sys::DomId;

use super::{Asker, Reply};
use crate::domain::FEATURES;
use crate::error::Error;
use crate::quota::{Limits, NAMED, Named};
use crate::store::Store;
use crate::wire;

impl Store {
    pub(super) fn get_feature(&self, from: Asker, payload: &[u8]) -> Result<Reply, Error> {
        let strings: Vec<_> = wire::strings(payload).filter(|string| !string.is_empty()).collect();
        let domid = match strings[..] {
            [] => from.caller.domid,
            [_] if !from.caller.privileged() => return Err(Error::Denied),
            [domid] => wire::domid(domid).ok_or(Error::Malformed("GET_FEATURE's domain"))?,
            _ => return Err(Error::Malformed("GET_FEATURE")),
        };
        Ok(Reply::text(self.domains.features(domid).to_string()))
    }

    pub(super) fn set_feature(&mut self, payload: &[u8]) -> Result<Reply, Error> {
        let [domid, value] = all_strings(payload, "SET_FEATURE")?;
        let domid = wire::domid(domid).ok_or(Error::Malformed("SET_FEATURE's domain"))?;
        let value = wire::number(value).filter(|value| value & !FEATURES == 0);
        let value = value.ok_or(Error::Malformed("SET_FEATURE's value"))?;
        if self.domains.is_introduced(domid) {
            return Err(Error::Introduced(domid));
        }
        self.domains.known.entry(domid).or_default().features = value;
        Ok(Reply::Done)
    }

    pub(super) fn get_quota(&self, payload: &[u8]) -> Result<Reply, Error> {
        let strings: Vec<_> = wire::strings(payload).filter(|string| !string.is_empty()).collect();
        let (limits, name) = match strings[..] {
            [] => {
                let names: Vec<_> = NAMED.iter().map(|named| named.name).collect();
                return Ok(Reply::text(names.join(" ")));
            }
            [name] => (&self.limits, name),
            [domid, name] => {
                let domid = wire::domid(domid).ok_or(Error::Malformed("GET_QUOTA's domain"))?;
                (self.domains.limits(domid, &self.limits), name)
            }
            _ => return Err(Error::Malformed("GET_QUOTA")),
        };
        let named = Named::find(name).ok_or(Error::Malformed("GET_QUOTA's quota"))?;
        Ok(Reply::text(named.get(limits).to_string()))
    }

    pub(super) fn set_quota(&mut self, payload: &[u8]) -> Result<Reply, Error> {
        let (domid, name, value) = match wire::strings(payload).count() {
            2 => {
                let [name, value] = all_strings(payload, "SET_QUOTA")?;
                (None, name, value)
            }
            _ => {
                let [domid, name, value] = all_strings(payload, "SET_QUOTA")?;
                let domid = wire::domid(domid).ok_or(Error::Malformed("SET_QUOTA's domain"))?;
                (Some(domid), name, value)
            }
        };
        let named = Named::find(name).ok_or(Error::Malformed("SET_QUOTA's quota"))?;
        let value = wire::number(value).ok_or(Error::Malformed("SET_QUOTA's value"))?;
        named.set(self.limits_to_set(domid), value as usize);
        Ok(Reply::Done)
    }

    /// The global limits, or those of one domain's own.
    pub(super) fn limits_to_set(&mut self, domid: Option<DomId>) -> &mut Limits {
        match domid {
            None => &mut self.limits,
            Some(domid) => {
                let domain = self.domains.known.entry(domid).or_default();
                domain.limits.get_or_insert_with(|| Box::new(self.limits.clone()))
            }
        }
    }
}

/// The strings of a payload, of which there must be just so many.
fn all_strings<'p, const N: usize>(payload: &'p [u8], what: &'static str) -> Result<[&'p [u8]; N], Error> {
    if wire::strings(payload).count() != N {
        return Err(Error::Malformed(what));
    }
    wire::first_strings(payload, what)
}
