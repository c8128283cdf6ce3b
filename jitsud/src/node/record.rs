//! What the next daemon has to know of this one's services: nodes of XenStore below `/jitsu`, which dom0 alone can
//! read and which are kept with all the others.
//!
//! A domain's record is written before it runs, and removed with its other nodes. A domain without one was still
//! being made, or being ended.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use xen_sys::DomId;
use xenstore::{Change, Store};

use crate::config::Service;
use crate::directory::{Entry, Incarnation, Statistics};
use crate::domain::{mac_text, nodes};

/// A running domain.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Whose it is.
    pub service: String,
    /// The number of this life.
    pub life: u64,
    /// Whether it has accepted connections.
    pub ready: bool,
    /// Where its guest answers.
    pub address: Ipv4Addr,
    /// Its address on the link.
    pub mac: String,
    /// What it was made of ([`Template::digest`](super::template::Template)); none in records of earlier versions.
    #[serde(default)]
    pub digest: Option<String>,
}

impl Record {
    /// Of a service's domain.
    pub fn new(service: &Service, incarnation: Incarnation, ready: bool, digest: &str) -> Self {
        Record {
            service: service.name.clone(),
            life: incarnation.number,
            ready,
            address: service.address,
            mac: mac_text(service.mac.0),
            digest: Some(digest.to_owned()),
        }
    }

    /// Whether that service's clients would find this domain.
    pub fn is_of(&self, service: &Service) -> bool {
        self.service == service.name && self.address == service.address && self.mac == mac_text(service.mac.0)
    }

    /// Whether a domain that is made now would be made of the same.
    pub fn is_made_of(&self, digest: &str) -> bool {
        self.digest.as_deref().is_none_or(|own| own == digest)
    }

    /// As it is in XenStore.
    pub fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The record of a domain; `None` when it has none, or one of another version of jitsud.
    pub fn read(store: &Store, domid: DomId) -> Option<Self> {
        serde_json::from_slice(store.read(&nodes::record(domid))?).ok()
    }
}

/// What is counted for a service, over all daemons since the node was switched on, and whose it is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counters {
    /// The number of the last life.
    pub life: u64,
    /// Builds that were started.
    pub starts: u64,
    /// Requests.
    pub requests: u64,
    /// Packets that asked for it.
    #[serde(default)]
    pub wakes: u64,
    /// Lives that ended in failure.
    pub failures: u64,
    /// The host name that it is bound to, if it is an instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}

impl Counters {
    /// Of what the directory has counted.
    pub fn new(entry: &Entry) -> Self {
        let Statistics { starts, requests, wakes, failures, last_request: _ } = entry.statistics();
        let host = entry.host().map(str::to_owned);
        Counters { life: entry.incarnation().number, starts, requests, wakes, failures, host }
    }

    /// What puts them away.
    pub fn change(&self, service: &str) -> Change {
        Change::write(path(service), serde_json::to_string(self).unwrap_or_default())
    }

    /// Those of a service that an earlier daemon has put away.
    pub fn read(store: &Store, service: &str) -> Option<Self> {
        serde_json::from_slice(store.read(&path(service))?).ok()
    }
}

fn path(service: &str) -> String {
    format!("/jitsu/service/{service}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::tests::config;
    use crate::summoner::ServiceId;
    use xenstore::Limits;

    #[test]
    fn records_are_read_as_they_were_written() {
        let service = &config(1).services[0];
        let life = Incarnation { service: ServiceId(0), number: 7 };
        let record = Record::new(service, life, true, "abc");
        let counters = Counters {
            life: 7,
            starts: 6,
            requests: 99,
            wakes: 5,
            failures: 1,
            host: Some("alice.users.jitsu.test".to_owned()),
        };
        let mut store = Store::new(Limits::default());
        let changes = [Change::write(nodes::record(DomId(3)), record.text()), counters.change(&service.name)];
        store.commit(&changes).expect("a commit");
        assert_eq!(Record::read(&store, DomId(3)), Some(record.clone()));
        assert_eq!(Record::read(&store, DomId(4)), None);
        assert_eq!(Counters::read(&store, &service.name), Some(counters));
        assert!(record.is_of(service));
        let moved = Service { address: [10, 0, 2, 99].into(), ..service.clone() };
        assert!(!record.is_of(&moved));
        assert!(record.is_made_of("abc") && !record.is_made_of("abd"));
        let earlier = r#"{"service":"s0","life":7,"ready":true,"address":"10.0.2.100","mac":""}"#;
        assert!(serde_json::from_str::<Record>(earlier).expect("a record").is_made_of("abc"));
    }
}
