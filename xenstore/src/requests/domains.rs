//! Requests about domains: INTRODUCE, RELEASE, RESUME, SET_TARGET, GET_DOMAIN_PATH,
//! IS_DOMAIN_INTRODUCED.

use xen_sys::{DomId, EvtchnPort};

use super::Reply;
use crate::domain::DriverRequest;
use crate::error::Error;
use crate::path::home;
use crate::store::Store;
use crate::wire;

impl Store {
    pub(super) fn introduce_request(&mut self, payload: &[u8]) -> Result<Reply, Error> {
        let [domid, gfn, port] = wire::first_strings(payload, "INTRODUCE")?;
        let domid = wire::domid(domid).filter(|domid| *domid != DomId::DOM0);
        let gfn = std::str::from_utf8(gfn).ok().and_then(|gfn| gfn.parse().ok());
        let port = wire::number(port).filter(|port| *port != 0);
        let (Some(domid), Some(gfn), Some(port)) = (domid, gfn, port) else {
            return Err(Error::Malformed("INTRODUCE"));
        };
        let port = EvtchnPort(port);
        self.requests.push(DriverRequest::Introduce { domid, gfn, port });
        Ok(Reply::Done)
    }

    pub(super) fn release_request(&mut self, payload: &[u8]) -> Result<Reply, Error> {
        let domid = self.introduced_domain(wire::one_string(payload, "RELEASE")?)?;
        self.requests.push(DriverRequest::Release { domid });
        Ok(Reply::Done)
    }

    pub(super) fn resume_request(&mut self, payload: &[u8]) -> Result<Reply, Error> {
        let domid = self.introduced_domain(wire::one_string(payload, "RESUME")?)?;
        self.domains.resume(domid);
        Ok(Reply::Done)
    }

    pub(super) fn set_target_request(&mut self, payload: &[u8]) -> Result<Reply, Error> {
        let [domid, target] = wire::first_strings(payload, "SET_TARGET")?;
        let domid = self.introduced_domain(domid)?;
        let target = self.introduced_domain(target)?;
        self.domains.set_target(domid, target).map_err(Error::NotIntroduced)?;
        Ok(Reply::Done)
    }

    pub(super) fn is_domain_introduced(&self, payload: &[u8]) -> Result<Reply, Error> {
        let text = wire::one_string(payload, "IS_DOMAIN_INTRODUCED")?;
        let number = wire::number(text).ok_or(Error::Malformed("domain id"))?;
        let domid = DomId(u16::try_from(number).unwrap_or(u16::MAX));
        let known = domid == DomId::SELF || self.domains.is_introduced(domid);
        Ok(Reply::Bytes(if known { b"T\0".to_vec() } else { b"F\0".to_vec() }))
    }

    /// A domain that is introduced, and is not the control domain.
    fn introduced_domain(&self, text: &[u8]) -> Result<DomId, Error> {
        match wire::domid(text) {
            None | Some(DomId::DOM0) => Err(Error::Malformed("domain id")),
            Some(domid) if self.domains.is_introduced(domid) => Ok(domid),
            Some(domid) => Err(Error::NotIntroduced(domid)),
        }
    }
}

pub(super) fn get_domain_path(payload: &[u8]) -> Result<Reply, Error> {
    let text = wire::one_string(payload, "GET_DOMAIN_PATH")?;
    let domid = wire::domid(text).ok_or(Error::Malformed("domain id"))?;
    Ok(Reply::Bytes((home(domid) + "\0").into_bytes()))
}
