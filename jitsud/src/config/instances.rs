//! `instances`: one table for several services that are alike, each for a host name of its own.

use std::net::Ipv4Addr;

use super::address::Wish;
use super::draft::ServiceDraft;
use super::policy::Policy;
use super::reader::{Field, Line, Reader};
use super::{Disk, Key, ReadyKey, Start, names};

/// The XenStore key in which an instance finds its host name.
pub const HOST_KEY: &str = "data/host";

/// Most instances of a service.
const MAX_INSTANCES: usize = 250;

const EXAMPLE: &str = "instances = [\"192.168.1.100\", \"192.168.1.101\"]";

/// The instances' addresses and where each stands; `None` when the service has no instances.
pub fn read(reader: &mut Reader<'_, '_>) -> Option<Vec<(Ipv4Addr, Line)>> {
    let Field { value: listed, line } = reader.strings("instances", EXAMPLE)?;
    for key in ["address", "address6"] {
        if reader.has(key) {
            let fix = format!("remove {key}: each instance has one of the list");
            reader.problem(reader.line_of(key), format!("{key} and instances exclude each other"), fix);
        }
    }
    if listed.is_empty() {
        reader.problem(line, "instances is empty", format!("write {EXAMPLE}"));
    }
    if listed.len() > MAX_INSTANCES {
        let what = format!("instances lists {}, more than {MAX_INSTANCES}", listed.len());
        reader.problem(line, what, "remove some");
    }
    let mut addresses = Vec::new();
    for Field { value, line } in listed.into_iter().take(MAX_INSTANCES) {
        match value.parse() {
            Ok(address) => addresses.push((address, line)),
            Err(_) => {
                let what = format!("{value:?} in instances is not an IPv4 address");
                reader.problem(line, what, format!("write {EXAMPLE}"));
            }
        }
    }
    Some(addresses)
}

/// Reports what a service with instances cannot have.
pub fn fit(reader: &mut Reader<'_, '_>, policy: &Policy, keys: &[Key], ready: &ReadyKey, disks: &[Disk]) {
    if policy.start == Start::Always {
        let fix = "remove start, or the instances";
        let what = "instances run for a host name that is asked for, none of them always";
        reader.problem(reader.line_of("start"), what, fix);
    }
    if ready.path == HOST_KEY || keys.iter().any(|key| key.path == HOST_KEY) {
        let what = format!("key {HOST_KEY:?} is the one in which an instance finds its host name");
        reader.problem(reader.line_of("keys"), what, "take another one");
    }
    if let Some(disk) = disks.iter().find(|disk| disk.writable) {
        let what = format!("disk {} cannot be written to by several instances", disk.path.display());
        reader.problem(reader.line_of("disk"), what, "write access = \"ro\"");
    }
}

/// A service for each address: `NAME-1` and so on. `claim` takes a name, and says whether it was free.
pub fn expand(
    reader: &mut Reader<'_, '_>,
    draft: ServiceDraft,
    addresses: &[(Ipv4Addr, Line)],
    mut claim: impl FnMut(&str) -> bool,
) -> Vec<ServiceDraft> {
    let Some(settings) = &draft.settings else { return vec![draft] };
    let mut drafts = Vec::new();
    for (number, (address, line)) in (1..).zip(addresses) {
        let name = format!("{}-{number}", settings.name);
        let fault = match names::label_fault(&name) {
            Some(fault) => Some(fault),
            None => (!claim(&name)).then(|| "is another service's".to_owned()),
        };
        if let Some(fault) = fault {
            let what = format!("the instance's name {name:?} {fault}");
            reader.problem(*line, what, "give the service another name");
            continue;
        }
        let mut settings = settings.clone();
        settings.instance_of = Some(std::mem::replace(&mut settings.name, name.clone()));
        drafts.push(ServiceDraft {
            owner: name.clone(),
            name: Some(name),
            table: draft.table,
            address: Some((Wish::Static(*address), *line)),
            settings: Some(settings),
        });
    }
    drafts
}
