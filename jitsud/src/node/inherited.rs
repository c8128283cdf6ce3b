//! What an earlier daemon has left running: its services' domains, taken over as they are.
//!
//! Xen goes on with the domains of a daemon that is gone, dom0's kernel with their interfaces. What only the daemon
//! had is found again: XenStore's state in its file, the rings where the builder always puts them, and what a domain
//! is for in its [`Record`]. Their rings are served at once, before the configuration is known.

use std::collections::BTreeSet;

use tokio::sync::mpsc::UnboundedSender;
use xen_sys::DomId;
use xen_sys::domctl::DomainInfo;
use xenstore::{Change, Store};

use super::domains::is_ours;
use super::life::{Life, console_file};
use super::record::Record;
use super::shells::is_from_shell;
use super::{Report, Toolstack};
use crate::console::ConsoleLog;
use crate::domain::{self, disk, nodes};
use crate::text::chain;

/// A domain that goes on, and what it is for.
#[derive(Debug)]
pub struct Inherited {
    pub record: Record,
    pub life: Life,
    /// It stands still: by Xen's word, which is newer than the record's if the daemon before ended at a bad moment.
    pub paused: bool,
}

/// Takes over what can be, and ends the rest of what is ours. `restored` tells whether XenStore has its state of
/// before: without, no guest can go on.
///
/// # Errors
/// When Xen does not tell about its domains.
pub fn take_over(
    toolstack: &Toolstack,
    restored: bool,
    reports: &UnboundedSender<Report>,
) -> Result<Vec<Inherited>, Box<dyn std::error::Error>> {
    let domains = toolstack.hypervisor.domains()?;
    let mut inherited = Vec::new();
    let mut alive = BTreeSet::from([DomId::DOM0]);
    for info in domains.iter().filter(|info| info.domain != DomId::DOM0) {
        let domid = info.domain;
        if restored && !is_ours(&info.handle) {
            tracing::info!(%domid, "a domain of another toolstack runs on");
            alive.insert(domid);
            continue;
        }
        let record = toolstack.store.with(|store| {
            Record::read(store, domid).filter(|record| restored && can_go_on(store, info, record))
        });
        match record {
            Some(record) => match take_over_one(toolstack, info, reports) {
                Ok(life) => {
                    tracing::info!(%domid, service = record.service, "a running domain is taken over");
                    alive.insert(domid);
                    inherited.push(Inherited { record, life, paused: info.is_paused() });
                }
                Err(error) => {
                    tracing::error!(%domid, error = %chain(&*error), "a running domain cannot be taken over and ends");
                }
            },
            None => {
                tracing::warn!(%domid, "ending a domain that the daemon before was making or ending");
                alive.insert(domid);
                end(toolstack, info, restored);
            }
        }
    }
    forget_the_others(toolstack, &alive)?;
    Ok(inherited)
}

/// One that has a record but has never run is not worth having: nobody waits for it any more. Nor is one with a disk
/// that only the daemon before had open.
fn can_go_on(store: &Store, info: &DomainInfo, record: &Record) -> bool {
    let disks = store.list(&nodes::disks(info.domain)).unwrap_or_default();
    !info.is_dying()
        && (record.ready || !info.is_paused())
        && disks.iter().all(|number| disk::is_with_blkback(info.domain, number))
}

fn take_over_one(
    toolstack: &Toolstack,
    info: &DomainInfo,
    reports: &UnboundedSender<Report>,
) -> Result<Life, Box<dyn std::error::Error>> {
    let Toolstack { hypervisor, events, store, .. } = toolstack;
    let domain = domain::take_over(hypervisor, events, store, info.domain, info.handle)?;
    let mut life = Life::default();
    life.domid = Some(info.domain);
    life.in_shell = is_from_shell(&info.handle);
    life.attach(domain, store, reports);
    Ok(life)
}

/// Has dom0's kernel remove a domain's devices, and ends it. Nobody has to wait for that.
fn end(toolstack: &Toolstack, info: &DomainInfo, restored: bool) {
    let (Toolstack { hypervisor, store, .. }, info) = (toolstack.clone(), *info);
    let domid = info.domain;
    tokio::spawn(async move {
        store.drivers_settled(domid).await;
        // Without the state of before, the kernel has devices of which the store knows nothing: they come and go.
        let known = if restored { Ok(()) } else { store.commit(&nodes::recall_devices(domid)) };
        if let Err(error) = known.and_then(|()| store.commit(&nodes::remove(domid, info.handle))) {
            tracing::error!(%domid, %error, "the nodes of a domain cannot be removed");
        }
        ConsoleLog::remove(&console_file(domid));
        if let Err(error) = hypervisor.destroy_domain(domid) {
            tracing::error!(%domid, error = %chain(&error), "a domain of the daemon before cannot be ended");
        }
        store.end_rings(|other| other != domid);
        store.with(|store| store.release(domid));
    });
}

/// Removes what XenStore still has of domains that are not there any more.
fn forget_the_others(
    toolstack: &Toolstack,
    alive: &BTreeSet<DomId>,
) -> Result<(), Box<dyn std::error::Error>> {
    let gone = toolstack.store.with(|store| {
        let homes = store.list("/local/domain").unwrap_or_default();
        let known = homes.iter().filter_map(|name| name.parse().ok().map(DomId));
        let gone: Vec<DomId> = known.filter(|domid| !alive.contains(domid)).collect();
        gone.into_iter().map(|domid| (domid, vm(store, domid))).collect::<Vec<_>>()
    });
    for (domid, vm) in gone {
        let mut changes = nodes::remove(domid, [0; 16]);
        changes.extend(vm.map(Change::remove));
        toolstack.store.commit(&changes)?;
        toolstack.store.with(|store| store.release(domid));
        ConsoleLog::remove(&console_file(domid));
    }
    toolstack.store.end_rings(|domid| alive.contains(&domid));
    Ok(())
}

/// Where a domain's other directory is.
fn vm(store: &Store, domid: DomId) -> Option<String> {
    let path = store.read(&format!("{}/vm", nodes::home(domid)))?;
    String::from_utf8(path.to_vec()).ok().filter(|path| path.starts_with("/vm/"))
}
