//! What a build needs, and dom0's kernel too: Xen, event channels, XenStore. It needs no configuration, so that
//! the kernel's questions are answered while the node still waits for an address.

use std::sync::Arc;

use xen_sys::DomId;

use crate::domain::nodes;
use crate::store::{KernelWatches, SharedStore, serve_ring, socket};
use crate::xen::{self, EventChannels, Hypervisor, SharedPages};

/// Where dom0's kernel's watches survive a restart of the daemon; on a memory-backed file system.
const KERNEL_WATCHES: &str = "/run/jitsud.kernel-watches";

/// The parts, shared with the threads that build.
#[derive(Clone, Debug)]
pub struct Toolstack {
    pub(super) hypervisor: Arc<Hypervisor>,
    pub(super) events: EventChannels,
    pub(super) store: SharedStore,
}

impl Toolstack {
    /// Connects to Xen, serves XenStore to dom0's kernel, and ends what an earlier daemon left running.
    ///
    /// # Errors
    /// When this is not dom0 of a Xen that is known.
    pub fn connect() -> Result<Self, Box<dyn std::error::Error>> {
        let hypervisor = Arc::new(Hypervisor::connect()?);
        let events = EventChannels::open()?;
        let store = SharedStore::new(xenstore::Limits::default());
        let toolstack = Toolstack { hypervisor, events, store };
        toolstack.serve_dom0()?;
        toolstack.end_leftovers()?;
        toolstack.serve_tools();
        tokio::spawn({
            let events = toolstack.events.clone();
            async move {
                if let Err(error) = events.run().await {
                    tracing::error!(%error, "event channels have failed; the daemon ends and is started anew");
                    std::process::exit(1);
                }
            }
        });
        Ok(toolstack)
    }

    /// Connects the store to dom0's own kernel, where netback lives.
    fn serve_dom0(&self) -> Result<(), Box<dyn std::error::Error>> {
        let device = xen::hypercall::open_device("/dev/xen/xenbus_backend")?;
        let page = SharedPages::device(&device)?;
        let remote = xen_sys::EvtchnPort(xen::sys::xenbus_backend_port(&device)?);
        let port = self.events.bind_interdomain(DomId::DOM0, remote)?;
        let watches = KernelWatches::open(KERNEL_WATCHES.into())?;
        self.store.with(|store| store.introduce(DomId::DOM0));
        self.store.commit(&nodes::shared())?;
        let store = self.store.clone();
        // Wakes the kernel, which waits for the first event to learn that there is a XenStore.
        port.notify();
        tokio::spawn(async move {
            let error = serve_ring(store, DomId::DOM0, page, port, Some(watches)).await;
            tracing::error!(%error, "dom0's kernel is out of step with XenStore; the daemon starts anew");
            std::process::exit(1);
        });
        Ok(())
    }

    /// Opens the store to dom0's tools. The node works without them.
    fn serve_tools(&self) {
        match socket::listen(socket::SOCKET.as_ref()) {
            Ok(listener) => drop(tokio::spawn(socket::serve(self.store.clone(), listener))),
            Err(error) => tracing::error!("{error}; Xen's tools in dom0 have to do without it"),
        }
    }

    /// Destroys the domains of an earlier daemon, and has the kernel remove their interfaces: the watches
    /// of the kernel are there, the nodes that they are about are not.
    fn end_leftovers(&self) -> Result<(), Box<dyn std::error::Error>> {
        for info in self.hypervisor.domains()? {
            let domid = info.domain;
            if domid == DomId::DOM0 {
                continue;
            }
            tracing::warn!(%domid, "ending a domain that was running before this daemon");
            let path = nodes::vif_backend(domid);
            let perms = Some(xenstore::Perms::new(DomId::DOM0, xenstore::Access::None));
            self.store.commit(&[xenstore::Change::Write { path, value: Vec::new(), perms }])?;
            self.store.commit(&nodes::remove(domid, info.handle))?;
            self.hypervisor.destroy_domain(domid)?;
        }
        Ok(())
    }
}
