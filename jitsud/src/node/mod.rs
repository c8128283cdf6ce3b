//! The node: the directory's decisions carried out on real parts.
//!
//! One task owns everything that changes ([`Core`]). Requests come from the front through
//! [`Summoner`](crate::summoner::Summoner); what happens in Xen, in the store and on the network comes as
//! [`Report`]s. Builds run on blocking threads, side by side.

mod facts;
mod life;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use xen_sys::DomId;
use xen_sys::event_channel::VIRQ_DOM_EXC;

use crate::card::Card;
use crate::clock::Clock;
use crate::config::{Loaded, Service};
use crate::directory::{Death, Directory, Effect, Incarnation, Input, Moment, Stage, Ticket};
use crate::domain::builder::Step;
use crate::domain::{self, BuildError, Domain, Spec, Vif, nodes};
use crate::schema::{Boot, NodeStatus};
use crate::store::{KernelWatches, SharedStore, serve_ring};
use crate::summoner::{Request, SummonError, Summoned};
use crate::text::chain;
use crate::xen::{self, EventChannels, Hypervisor, Port, SharedPages};
use life::Life;

/// Where dom0's kernel's watches survive a restart of the daemon; on a memory-backed file system.
const KERNEL_WATCHES: &str = "/run/jitsud.kernel-watches";

/// How long XenStore is served after the last domain has gone. dom0's kernel then takes the domain's interface
/// apart and asks a few more questions; without answers it would wait for ever, and dom0 could not power off.
/// Nothing tells when it has asked the last one; this is a hundred times what it takes.
const LAST_QUESTIONS: Duration = Duration::from_millis(500);

/// What happened outside the core.
#[derive(Debug)]
enum Report {
    /// A build has come this far.
    Step(Incarnation, Step, Moment),
    /// A build has ended.
    Built(Incarnation, Result<Box<Domain>, BuildError>),
    /// The readiness key of a life has been written.
    Ready(Incarnation, Moment),
    /// A guest broke a protocol and is not served any more.
    Broken(Incarnation, String),
    /// The bridge forwards to a guest's interface.
    VifUp(DomId, Moment),
    /// A domain has been destroyed; Xen may still hold what others refer to.
    Destroyed,
}

/// The parts that a build needs, shared with the threads that build.
#[derive(Clone, Debug)]
struct Toolstack {
    hypervisor: Arc<Hypervisor>,
    events: EventChannels,
    store: SharedStore,
}

/// Everything that changes.
#[derive(Debug)]
pub struct Core {
    loaded: Loaded,
    specs: Vec<Template>,
    directory: Directory,
    toolstack: Toolstack,
    exceptions: Port,
    lives: HashMap<Incarnation, Life>,
    tickets: HashMap<Ticket, oneshot::Sender<Result<Summoned, SummonError>>>,
    next_ticket: u64,
    /// Without a bound of its own: each life makes a handful of reports, and lives are bounded.
    reports: (mpsc::UnboundedSender<Report>, mpsc::UnboundedReceiver<Report>),
    boot: Boot,
    card: Option<Card>,
    clock: Clock,
}

/// What is the same in every life of a service.
#[derive(Debug)]
struct Template {
    spec: Spec,
    ready_key: String,
}

impl Core {
    /// Connects to Xen and to dom0's kernel, and ends what an earlier daemon left running.
    ///
    /// # Errors
    /// When this is not dom0 of a Xen that is known, or a kernel image cannot be read.
    pub fn start(
        loaded: Loaded,
        boot: Boot,
        card: Option<Card>,
        clock: Clock,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let hypervisor = Arc::new(Hypervisor::connect()?);
        let events = EventChannels::open()?;
        let store = SharedStore::new(xenstore::Limits::default());
        let specs = templates(&loaded)?;
        let toolstack = Toolstack { hypervisor, events, store };
        toolstack.serve_dom0()?;
        toolstack.end_leftovers()?;
        let exceptions = toolstack.events.bind_virq(VIRQ_DOM_EXC)?;
        tokio::spawn({
            let events = toolstack.events.clone();
            async move {
                if let Err(error) = events.run().await {
                    tracing::error!(%error, "event channels have failed; the daemon ends and is started anew");
                    std::process::exit(1);
                }
            }
        });
        Ok(Core {
            directory: Directory::new(&loaded.config, Moment::now()),
            loaded,
            specs,
            toolstack,
            exceptions,
            lives: HashMap::new(),
            tickets: HashMap::new(),
            next_ticket: 0,
            reports: mpsc::unbounded_channel(),
            boot,
            card,
            clock,
        })
    }

    /// Where the network says that the bridge forwards to a guest.
    pub fn vif_reports(&self) -> impl Fn(DomId) + Send + use<> {
        let reports = self.reports.0.clone();
        move |domid| drop(reports.send(Report::VifUp(domid, Moment::now())))
    }

    /// Notes that DNS answers from now on.
    pub fn dns_answers(&mut self) {
        self.boot.dns_answering_ns = Some(Moment::now().0);
        self.boot.dns_answering_since_dom0_ns = facts::since_dom0();
    }

    /// Works until `shutdown`, then ends all domains and returns when dom0's kernel has let go of them too.
    pub async fn run(mut self, mut requests: mpsc::Receiver<Request>, shutdown: CancellationToken) {
        let mut going_down = false;
        while !(going_down && self.lives.is_empty()) {
            let deadline = self.directory.next_deadline();
            tokio::select! {
                Some(request) = requests.recv() => self.request(request),
                Some(report) = self.reports.1.recv() => self.report(report),
                () = self.exceptions.wait() => self.look_at_domains(),
                () = until(deadline) => self.input(Input::Timer),
                () = shutdown.cancelled(), if !going_down => {
                    going_down = true;
                    self.input(Input::Shutdown);
                }
            }
        }
        tokio::time::sleep(LAST_QUESTIONS).await;
    }

    fn request(&mut self, request: Request) {
        match request {
            Request::Summon { service, received, answer } => {
                let ticket = Ticket(self.next_ticket);
                self.next_ticket += 1;
                self.tickets.insert(ticket, answer);
                self.input(Input::Summon { service, received: Moment(received), ticket });
            }
            Request::Status { answer } => drop(answer.send(self.status())),
        }
    }

    fn report(&mut self, report: Report) {
        match report {
            Report::Step(incarnation, step, at) => {
                let stage = match step {
                    Step::Start => Stage::BuildStarted,
                    Step::Created(_) => Stage::DomainCreated,
                    Step::Unpaused => Stage::Unpaused,
                };
                self.directory.stage(incarnation, stage, at);
                if let (Step::Created(domid), Some(life)) = (step, self.lives.get_mut(&incarnation)) {
                    let key =
                        format!("{}/{}", nodes::home(domid), self.specs[incarnation.service.0].ready_key);
                    match self.toolstack.store.watch(key) {
                        Ok(ready) => life.created(domid, incarnation, ready, &self.reports.0),
                        Err(error) => tracing::error!(%domid, %error, "the readiness key cannot be watched"),
                    }
                }
            }
            Report::Built(incarnation, Ok(domain)) => {
                let domid = domain.domid;
                if let Some(life) = self.lives.get_mut(&incarnation) {
                    life.attach(incarnation, *domain, &self.toolstack.store, &self.reports.0);
                }
                self.input(Input::Built { incarnation, domid });
                // It may have ended before anybody knew whose it was.
                self.look_at_domains();
            }
            Report::Built(incarnation, Err(error)) => {
                self.lives.remove(&incarnation);
                self.input(Input::BuildFailed { incarnation, reason: chain(&error) });
            }
            Report::Ready(incarnation, at) => {
                if let Some(life) = self.lives.get_mut(&incarnation) {
                    life.accepts_connections = true;
                }
                self.ready_if_reachable(incarnation, at);
            }
            Report::Broken(incarnation, detail) => {
                self.input(Input::Died { incarnation, death: Death::Crash, detail });
            }
            Report::VifUp(domid, at) => {
                let life = self.lives.iter_mut().find(|(_, life)| life.domid == Some(domid));
                if let Some((&incarnation, life)) = life {
                    life.forwarded_to = true;
                    self.directory.stage(incarnation, Stage::VifUp, at);
                    self.ready_if_reachable(incarnation, at);
                }
            }
            Report::Destroyed => self.look_at_domains(),
        }
    }

    /// A guest is ready when it says that it accepts connections and the bridge forwards to it: an ARP request
    /// sent earlier would be lost, and repeated only after a second.
    fn ready_if_reachable(&mut self, incarnation: Incarnation, at: Moment) {
        let life = self.lives.get(&incarnation);
        if life.is_some_and(|life| life.accepts_connections && life.forwarded_to) {
            self.input(Input::Ready { incarnation, at });
        }
    }

    /// Takes something into the directory and carries out what it decides.
    fn input(&mut self, input: Input) {
        for effect in self.directory.handle(Moment::now(), input) {
            match effect {
                Effect::Build { incarnation } => self.build(incarnation),
                Effect::Destroy { incarnation, domid } => self.destroy(incarnation, domid),
                Effect::Answer { ticket, outcome } => {
                    if let Some(answer) = self.tickets.remove(&ticket) {
                        // A client that has gone away leaves the service running for the next one.
                        let _ = answer.send(outcome);
                    }
                }
            }
        }
    }

    fn build(&mut self, incarnation: Incarnation) {
        let template = &self.specs[incarnation.service.0];
        let spec = Spec { uuid: uuid(incarnation), ..template.spec.clone() };
        let Toolstack { hypervisor, events, store } = self.toolstack.clone();
        let reports = self.reports.0.clone();
        self.lives.insert(incarnation, Life::default());
        tokio::task::spawn_blocking(move || {
            let step = |step| drop(reports.send(Report::Step(incarnation, step, Moment::now())));
            let built = domain::build(&hypervisor, &events, &store, &spec, &step);
            let _ = reports.send(Report::Built(incarnation, built.map(Box::new)));
        });
    }

    fn destroy(&mut self, incarnation: Incarnation, domid: DomId) {
        let Some(life) = self.lives.get_mut(&incarnation) else {
            tracing::error!(%domid, "a domain that is not known was to be destroyed");
            return;
        };
        let (ended, store, reports) = (life.end(), self.toolstack.store.clone(), self.reports.0.clone());
        tokio::spawn(async move {
            let domain = ended.await;
            // Freeing memory takes Xen a while when there is much of it.
            let dropped = tokio::task::spawn_blocking(move || drop(domain)).await;
            if let Err(error) = dropped {
                tracing::error!(%domid, %error, "destroying a domain panicked");
            }
            store.with(|store| store.release(domid));
            let _ = reports.send(Report::Destroyed);
        });
    }

    /// Asks Xen about every domain of ours: which ended by themselves, and which are gone for good.
    fn look_at_domains(&mut self) {
        // One that is still being built is looked at when it has been, with its console at hand.
        let built = |(incarnation, life): (&Incarnation, &Life)| {
            (life.is_attached() || life.ending()).then_some((*incarnation, life.domid?))
        };
        let lives: Vec<_> = self.lives.iter().filter_map(built).collect();
        for (incarnation, domid) in lives {
            let info = match self.toolstack.hypervisor.domain_info(domid) {
                Ok(info) => info,
                Err(error) => {
                    tracing::error!(%domid, error = %chain(&error), "a domain cannot be looked at");
                    continue;
                }
            };
            let Some(life) = self.lives.get_mut(&incarnation) else { continue };
            match (info, life.ending()) {
                (None, true) => {
                    if life.has_ended() {
                        self.lives.remove(&incarnation);
                        self.input(Input::Stopped { incarnation });
                    }
                }
                (None, false) => {
                    self.input(Input::Died { incarnation, death: Death::Vanished, detail: String::new() });
                }
                (Some(info), false) => {
                    if let Some(code) = info.shutdown_code() {
                        let detail = life.last_words();
                        self.toolstack.store.with(|store| store.stopped(domid));
                        self.input(Input::Died { incarnation, death: Death::from_code(code), detail });
                    }
                }
                (Some(_), true) => {}
            }
        }
    }

    fn status(&self) -> NodeStatus {
        let facts = facts::gather(&self.toolstack, &self.boot, self.card.as_ref(), &self.clock);
        let mut problems = self.card.as_ref().map(Card::problems).unwrap_or_default();
        problems.extend_from_slice(&self.loaded.problems);
        let config = &self.loaded.config;
        let mut status = NodeStatus::new(config, &problems, &self.directory, facts, Moment::now());
        for (incarnation, life) in &self.lives {
            if let Some(service) = status.services.get_mut(incarnation.service.0) {
                service.console = life.console.lines();
            }
        }
        status
    }
}

impl Toolstack {
    /// Connects the store to dom0's own kernel, where netback lives.
    fn serve_dom0(&self) -> Result<(), Box<dyn std::error::Error>> {
        let device = xen::hypercall::open_device("/dev/xen/xenbus_backend")?;
        let page = SharedPages::device(&device)?;
        let remote = xen_sys::EvtchnPort(xen::sys::xenbus_backend_port(&device)?);
        let port = self.events.bind_interdomain(DomId::DOM0, remote)?;
        let watches = KernelWatches::open(KERNEL_WATCHES.into())?;
        self.store.with(|store| store.introduce(DomId::DOM0));
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

/// What each service's domains have in common. A kernel that several services run is kept once.
fn templates(loaded: &Loaded) -> Result<Vec<Template>, std::io::Error> {
    let node = &loaded.config.node;
    let mut kernels: HashMap<PathBuf, Arc<[u8]>> = HashMap::new();
    let mut template = |service: &Service| {
        let kernel = match kernels.entry(service.kernel.clone()) {
            Entry::Occupied(entry) => entry.get().clone(),
            Entry::Vacant(entry) => {
                let image = std::fs::read(entry.key()).map_err(|error| {
                    std::io::Error::new(error.kind(), format!("kernel {}: {error}", entry.key().display()))
                })?;
                entry.insert(image.into()).clone()
            }
        };
        let gateway = node.gateway.map(|gateway| gateway.to_string()).unwrap_or_default();
        // As Linux takes it (Documentation/admin-guide/nfs/nfsroot.rst), so that any kernel understands it.
        let ip = format!("ip={}::{gateway}:{}:{}:eth0:off", service.address, node.netmask(), service.name);
        Ok(Template {
            spec: Spec {
                name: service.name.clone(),
                uuid: [0; 16],
                kernel,
                memory_mib: service.memory_mib,
                vcpus: service.vcpus,
                bootargs: format!("{ip} {}", service.cmdline).trim_end().to_owned(),
                vif: Vif { mac: mac(service), address: service.address, bridge: node.bridge.clone() },
            },
            ready_key: service.wait_for_key.clone(),
        })
    };
    loaded.config.services.iter().map(&mut template).collect()
}

/// A service's address on the link: Xen's prefix, then the end of its IP address. The same in every life,
/// so that what clients remember of it stays true.
fn mac(service: &Service) -> [u8; 6] {
    let [_, b, c, d] = service.address.octets();
    [0x00, 0x16, 0x3e, b, c, d]
}

/// Tells this life's domain from every other of this node: made of the clock and the life's number, in
/// the form for such (RFC 9562, version 8). Nothing about it is secret.
fn uuid(incarnation: Incarnation) -> [u8; 16] {
    let mut uuid = [0; 16];
    uuid[..6].copy_from_slice(&Moment::now().0.to_be_bytes()[2..]);
    uuid[6] = 0x80;
    uuid[8] = 0x80;
    uuid[9] = incarnation.service.0 as u8;
    uuid[10..].copy_from_slice(&incarnation.number.to_be_bytes()[2..]);
    uuid
}

async fn until(deadline: Option<Moment>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(Instant::now() + deadline.since(Moment::now())).await,
        None => std::future::pending().await,
    }
}
