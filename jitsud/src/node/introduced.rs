//! Domains that other tools in dom0 have made, such as those of `xl create`: who introduces one at XenStore's
//! socket has its XenStore ring and its console served, until the domain is gone.
//!
//! Here jitsud does what Xen's own xenstored and xenconsoled do for their toolstack, and no more: nothing is made
//! or ended, and the directory does not know of these domains. Those that jitsud has made itself are none of the
//! tools' business: an INTRODUCE or RELEASE of one is refused. What the next daemon needs to go on is kept in
//! XenStore, for each domain a node with the ring's frame and event channel.

use std::collections::HashMap;
use std::io;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use xen_sys::{DomId, EvtchnPort, Gfn};
use xenstore::{Change, DriverRequest, Store};

use super::Toolstack;
use crate::console::{self, ConsoleLog};
use crate::domain::nodes;
use crate::store::serve_ring;
use crate::text::chain;
use crate::xen::{self, Port, SharedPages};

/// A ring that cannot be served.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0} is not the number of a frame")]
    Frame(i64),
    #[error(transparent)]
    Xen(#[from] xen::Error),
    #[error("binding event channel {0}")]
    EventChannel(EvtchnPort, #[source] io::Error),
    #[error("noting it for the next daemon")]
    Store(#[from] xenstore::Error),
}

/// The domains, each with the tasks that serve it. Xen bounds how many there are: what is not a domain has no
/// frame that could be mapped.
#[derive(Debug)]
pub struct Introduced {
    toolstack: Toolstack,
    domains: HashMap<DomId, JoinSet<()>>,
}

impl Introduced {
    /// None so far.
    pub fn new(toolstack: Toolstack) -> Self {
        Introduced { toolstack, domains: HashMap::new() }
    }

    /// Does what tools ask, for as long as it is polled.
    pub async fn serve(
        mut self,
        mut requests: mpsc::Receiver<DriverRequest>,
        mut exceptions: watch::Receiver<()>,
    ) {
        self.take_over().await;
        loop {
            tokio::select! {
                Some(request) = requests.recv() => self.request(request).await,
                Ok(()) = exceptions.changed() => self.look_at_domains().await,
                else => return,
            }
        }
    }

    /// Goes on with the domains that an earlier daemon has served.
    async fn take_over(&mut self) {
        for (domid, introduction) in self.toolstack.store.with(|store| introductions(store)) {
            let done = match introduction {
                Some((gfn, port)) => self.introduce(domid, gfn, port).await.map_err(|error| chain(&error)),
                None => Err("its introduction is damaged".into()),
            };
            if let Err(why) = done {
                tracing::warn!(%domid, why, "a domain that a tool had introduced is not served any more");
                self.toolstack.store.end_rings(|other| other != domid);
                self.forget(domid);
            }
        }
    }

    async fn request(&mut self, request: DriverRequest) {
        match request {
            DriverRequest::Introduce { domid, .. } | DriverRequest::Release { domid }
                if self.toolstack.owns(domid) =>
            {
                tracing::warn!(%domid, "a tool wants to introduce or release a domain of jitsud's own: refused");
            }
            DriverRequest::Introduce { domid, gfn, port } => {
                if let Err(error) = self.introduce(domid, gfn, port).await {
                    tracing::warn!(%domid, error = %chain(&error), "a domain that a tool introduces is not served");
                }
            }
            DriverRequest::Release { domid } => self.release(domid).await,
            DriverRequest::Log { .. } => tracing::warn!("XenStore: jitsud does not log each request"),
            DriverRequest::Print { text } => tracing::info!(text, "XenStore"),
        }
    }

    /// Serves a domain's rings; of one that is served already, on the event channel `port` from now on, and as if it
    /// had not asked for anything before. `gfn` is the frame of its XenStore ring, in the domain.
    async fn introduce(&mut self, domid: DomId, gfn: i64, port: EvtchnPort) -> Result<(), Error> {
        // A ring's old port has to be closed before it can be bound anew.
        if let Some(served) = self.domains.get_mut(&domid) {
            served.shutdown().await;
        }
        let frame = Gfn(u64::try_from(gfn).map_err(|_| Error::Frame(gfn))?);
        let record = Change::write(nodes::introduction(domid), format!("{gfn} {port}"));
        let (page, port) = connect(&self.toolstack, domid, frame, port)?;
        let store = self.toolstack.store.clone();
        // Together, so that no daemon finds one without the other.
        store.with(|store| store.commit(&[record]).map(|()| store.introduce(domid)))?;
        let tasks = self.domains.entry(domid).or_default();
        tasks.spawn(async move {
            let error = serve_ring(store, domid, page, port, None).await;
            tracing::warn!(%domid, error = %chain(&error), "a domain is out of step with XenStore");
        });
        tasks.spawn(serve_console(self.toolstack.clone(), domid));
        tracing::info!(%domid, "a tool has introduced a domain");
        // It may have ended before anybody knew of it.
        self.look_at(domid).await;
        Ok(())
    }

    /// Lets go of a domain. Xen frees it when it is dying and nobody else has anything of it.
    async fn release(&mut self, domid: DomId) {
        if let Some(mut served) = self.domains.remove(&domid) {
            served.shutdown().await;
            self.forget(domid);
            tracing::info!(%domid, "a domain that a tool had introduced is released");
        }
    }

    fn forget(&self, domid: DomId) {
        let record = Change::remove(nodes::introduction(domid));
        let removed = self.toolstack.store.with(|store| {
            store.release(domid);
            store.commit(&[record])
        });
        if let Err(error) = removed {
            tracing::error!(%domid, %error, "a domain's introduction cannot be removed");
        }
    }

    async fn look_at_domains(&mut self) {
        let domains: Vec<DomId> = self.domains.keys().copied().collect();
        for domid in domains {
            self.look_at(domid).await;
        }
    }

    /// Asks Xen whether a domain has ended, and tells those who watch `@releaseDomain`. One that has shut down is
    /// still served: its tool decides what becomes of it.
    async fn look_at(&mut self, domid: DomId) {
        match self.toolstack.hypervisor.domain_info(domid) {
            Ok(Some(info)) if !info.is_dying() => {
                if info.shutdown_code().is_some() {
                    self.toolstack.store.with(|store| store.stopped(domid));
                }
            }
            Ok(_) => self.release(domid).await,
            Err(error) => tracing::error!(%domid, error = %chain(&error), "a domain cannot be looked at"),
        }
    }
}

/// The domains that are introduced, each with its ring's frame and event channel, if those can be read.
fn introductions(store: &Store) -> Vec<(DomId, Option<(i64, EvtchnPort)>)> {
    let names = store.list(nodes::INTRODUCTIONS).unwrap_or_default();
    let domids = names.iter().filter_map(|name| name.parse().ok().map(DomId));
    let ring = |domid| {
        let text = std::str::from_utf8(store.read(&nodes::introduction(domid))?).ok()?;
        let (gfn, port) = text.split_once(' ')?;
        Some((gfn.parse().ok()?, EvtchnPort(port.parse().ok()?)))
    };
    domids.map(|domid| (domid, ring(domid))).collect()
}

/// Maps a ring and binds its event channel.
fn connect(
    toolstack: &Toolstack,
    domid: DomId,
    frame: Gfn,
    port: EvtchnPort,
) -> Result<(SharedPages, Port), Error> {
    let page = toolstack.hypervisor.map(domid, &[frame])?;
    let port =
        toolstack.events.bind_interdomain(domid, port).map_err(|source| Error::EventChannel(port, source))?;
    Ok((page, port))
}

/// Serves a domain's console, once its tool has written where it is; one of another type is left alone, for it has
/// a device model to serve it.
async fn serve_console(toolstack: Toolstack, domid: DomId) {
    let store = &toolstack.store;
    let node = |name: &str| format!("{}/console/{name}", nodes::home(domid));
    for name in ["type", "ring-ref", "port"] {
        match store.watch(node(name), None) {
            Ok(written) => written.comes_true().await,
            Err(error) => return tracing::error!(%domid, %error, "its console cannot be watched"),
        }
    }
    let text = |name| store.with(|store| store.read(&node(name)).map(<[u8]>::to_vec)).unwrap_or_default();
    let number = |name| String::from_utf8(text(name)).ok()?.parse::<u64>().ok();
    if text("type") != b"xenconsoled" {
        return;
    }
    let (Some(frame), Some(port)) =
        (number("ring-ref"), number("port").and_then(|port| port.try_into().ok()))
    else {
        return tracing::warn!(%domid, "its console's nodes have no numbers in them");
    };
    let announce = |terminal: &str| {
        if let Err(error) = store.commit(&[nodes::console_terminal(domid, terminal)]) {
            tracing::warn!(%domid, %error, "the console's terminal cannot be told");
        }
    };
    match connect(&toolstack, domid, Gfn(frame), EvtchnPort(port)) {
        Ok((page, port)) => console::serve(page.into(), port, ConsoleLog::private(), announce).await,
        Err(error) => tracing::warn!(%domid, error = %chain(&error), "its console is not served"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn introductions_are_read_as_they_are_written() {
        let mut store = Store::new(xenstore::Limits::default());
        let write = |domid, text: &str| Change::write(nodes::introduction(DomId(domid)), text);
        let damaged = write(9, "233473");
        store.commit(&[write(7, &format!("{} {}", 233_473, EvtchnPort(3))), damaged]).unwrap();
        let read = introductions(&store);
        assert_eq!(read, [(DomId(7), Some((233_473, EvtchnPort(3)))), (DomId(9), None)]);
    }
}
