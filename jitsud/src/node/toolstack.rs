//! What a build needs, and dom0's kernel too: Xen, event channels, XenStore. It needs no configuration, so that
//! the kernel's questions are answered while the node still waits for an address.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use tokio::sync::{mpsc, watch};
use xen_sys::DomId;
use xen_sys::event_channel::VIRQ_DOM_EXC;

use super::complaints;
use super::domains::is_ours;
use super::inherited::{self, Inherited};
use super::introduced::Introduced;
use super::{RUN, Reports};
use crate::domain::nodes;
use crate::store::{KernelWatches, SharedStore, serve_ring, socket};
use crate::xen::{self, EventChannels, Hypervisor, SharedPages};

/// The parts, shared with the threads that build.
#[derive(Clone, Debug)]
pub struct Toolstack {
    pub(super) hypervisor: Arc<Hypervisor>,
    pub(super) events: EventChannels,
    pub(super) store: SharedStore,
    /// Changes when a domain has shut down, crashed, or gone; which one is for Xen to say.
    pub(super) exceptions: watch::Receiver<()>,
    #[expect(dead_code, reason = "it is there to be closed")]
    running: Arc<File>,
}

/// A FIFO that the daemon holds open as long as it lives. Whoever shuts the node down reads it, and so waits until all
/// services have ended (`rootfs-overlay/etc/init.d/stop`).
fn running(path: &Path) -> Result<File, String> {
    let failed = |error: &dyn std::error::Error| format!("{}: {error}", path.display());
    match mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(error) => return Err(failed(&error)),
    }
    // For both, so that it does not wait for somebody else.
    OpenOptions::new().read(true).write(true).open(path).map_err(|error| failed(&error))
}

/// What an earlier daemon has left, for [`Core::start`](super::Core::start).
#[derive(Debug)]
pub struct Estate {
    pub(super) inherited: Vec<Inherited>,
    /// What happens to it meanwhile.
    pub(super) reports: Reports,
}

impl Toolstack {
    /// Connects to Xen, serves XenStore to dom0's kernel, and takes over what an earlier daemon has left running.
    ///
    /// # Errors
    /// When this is not dom0 of a Xen that is known.
    pub fn connect() -> Result<(Self, Estate), Box<dyn std::error::Error>> {
        let hypervisor = Arc::new(Hypervisor::connect()?);
        let events = EventChannels::open()?;
        let run = Path::new(RUN);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(run)
            .map_err(|error| format!("creating {RUN}: {error}"))?;
        let (store, restored) = SharedStore::open(&run.join("store"), xenstore::Limits::default());
        let exceptions = exceptions(&events)?;
        let running = Arc::new(running(&run.join("running"))?);
        let toolstack = Toolstack { hypervisor, events, store, exceptions, running };
        toolstack.serve_dom0()?;
        let (reports, incoming) = mpsc::unbounded_channel();
        let inherited = inherited::take_over(&toolstack, restored, &reports)?;
        toolstack.serve_tools();
        tokio::spawn(complaints::tell(toolstack.store.clone()));
        tokio::spawn({
            let events = toolstack.events.clone();
            async move {
                if let Err(error) = events.run().await {
                    tracing::error!(%error, "event channels have failed; the daemon ends and is started anew");
                    std::process::exit(1);
                }
            }
        });
        Ok((toolstack, Estate { inherited, reports: (reports, incoming) }))
    }

    /// Whether a domain is of this toolstack's making. Others in dom0 make domains, too, and look after them
    /// themselves.
    pub(super) fn owns(&self, domid: DomId) -> bool {
        self.hypervisor.domain_info(domid).is_ok_and(|info| info.is_some_and(|info| is_ours(&info.handle)))
    }

    /// XenStore.
    pub fn store(&self) -> SharedStore {
        self.store.clone()
    }

    /// Notes that the daemon has come up with what it has taken over.
    pub fn is_sound(&self) {
        self.store.is_sound();
    }

    /// Connects the store to dom0's own kernel, where netback lives.
    fn serve_dom0(&self) -> Result<(), Box<dyn std::error::Error>> {
        let device = xen::hypercall::open_device("/dev/xen/xenbus_backend")?;
        let page = SharedPages::device(&device)?;
        let remote = xen_sys::EvtchnPort(xen::sys::xenbus_backend_port(&device)?);
        let port = self.events.bind_interdomain(DomId::DOM0, remote)?;
        let watches = KernelWatches::open(Path::new(RUN).join("kernel-watches"))?;
        self.store.with(|store| store.introduce(DomId::DOM0));
        self.store.commit(&nodes::shared())?;
        let store = self.store.clone();
        // It wakes the kernel first, which waits for an event to learn that there is a XenStore.
        tokio::spawn(async move {
            let error = serve_ring(store.clone(), DomId::DOM0, page, port, Some(watches)).await;
            // The state has its part in that.
            store.give_up();
            tracing::error!(%error, "dom0's kernel is out of step with XenStore; the daemon starts anew");
            std::process::exit(1);
        });
        Ok(())
    }

    /// Opens the store to dom0's tools, and serves the domains that they make. The node works without them.
    fn serve_tools(&self) {
        let introduced = Introduced::new(self.clone());
        tokio::spawn(introduced.serve(self.store.requests(), self.exceptions.clone()));
        match socket::listen(socket::SOCKET.as_ref()) {
            Ok(listener) => drop(tokio::spawn(socket::serve(self.store.clone(), listener))),
            Err(error) => tracing::error!("XenStore: {error}; Xen's tools in dom0 have to do without it"),
        }
    }
}

/// Xen's word that the state of some domain has changed, for as many as want to hear it: an interrupt can be bound
/// but once.
fn exceptions(events: &EventChannels) -> io::Result<watch::Receiver<()>> {
    let port = events.bind_virq(VIRQ_DOM_EXC)?;
    let (tell, told) = watch::channel(());
    tokio::spawn(async move {
        loop {
            port.wait().await;
            tell.send_replace(());
        }
    });
    Ok(told)
}
