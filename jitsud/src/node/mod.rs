//! The node: the directory's decisions carried out on real parts.
//!
//! One task owns everything that changes ([`Core`]). Requests come from the front through
//! [`Summoner`](crate::summoner::Summoner); what happens in Xen, in the store and on the network comes as
//! [`Report`]s. Builds run on blocking threads, side by side.

mod admission;
mod complaints;
mod domains;
mod facts;
mod frames;
mod inherited;
mod introduced;
mod life;
mod pool;
mod record;
mod requests;
mod shells;
mod template;
mod toolstack;
mod traffic;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use xen_sys::DomId;
use xenstore::Change;

use crate::capture::{self, Captor, handover};
use crate::card::Card;
use crate::clock::Clock;
use crate::config::{Loaded, ReadyKey};
use crate::console::Follower;
use crate::directory::{
    Death, Directory, Effect, Entry, Incarnation, Input, Moment, Phase, Room, Stage, Standing, State,
    Statistics, Ticket,
};
use crate::domain::builder::Step;
use crate::domain::{BuildError, DEFAULT_WEIGHT, Domain, Shell, nodes};
use crate::net::{Network, Vif};
use crate::schema::Boot;
use crate::succession::Succession;
use crate::summoner::{Requests, ServiceId, SummonError, Summoned};
use crate::text::chain;
use crate::xen;
use admission::Refusal;
use inherited::Inherited;
use life::Life;
use record::{Counters, Record};
use shells::Shells;
use template::Template;
pub use toolstack::{Estate, Toolstack};

/// Where the daemon keeps what outlives it, on a memory-backed file system.
pub const RUN: &str = "/run/jitsud";

/// How long XenStore is served after the last domain has gone. dom0's kernel then takes the domain's interface
/// apart and asks a few more questions; without answers it would wait for ever, and dom0 could not power off.
/// Nothing tells when it has asked the last one; this is a hundred times what it takes.
const LAST_QUESTIONS: Duration = Duration::from_millis(500);

/// Lines of consoles in `/status`, all services together: of each the last ones.
const CONSOLE_LINES: usize = 1000;

/// How long a good moment for the next daemon is waited for: while nobody waits for a service, and none is being started.
/// Clients ask again after that, and what they have sent is lost like that of a daemon that was killed.
const SUCCESSION_PATIENCE: Duration = Duration::from_secs(2);

/// Whoever begins anew in this daemon's place.
pub struct Heir {
    /// Notified when that is to happen.
    pub wanted: Arc<Notify>,
    /// Does it. Returns only if it cannot, and says why.
    pub begin: Box<dyn Fn() -> io::Error + Send>,
}

impl Heir {
    fn begin(&self) -> io::Error {
        (self.begin)()
    }
}

/// Guests that are gone whose last words are kept, each 16 KiB.
const ENDED_CONSOLES: usize = 16;

/// What happened outside the core.
#[derive(Debug)]
enum Report {
    /// A build has come this far.
    Step(Incarnation, Step, Moment),
    /// A build has ended.
    Built(Incarnation, Result<Box<Domain>, BuildError>),
    /// The readiness key of a life has been written.
    Ready(Incarnation, Moment),
    /// A guest goes on with the connections that were opened on its behalf.
    TookOver(Incarnation),
    /// A guest broke a protocol and is not served any more.
    Broken(DomId, String),
    /// The bridge forwards to a guest's first interface.
    VifUp(Vif, Moment),
    /// A shell has been made, or could not be.
    Shell(Result<Box<Shell>, BuildError>),
    /// A domain has been destroyed; Xen may still hold what others refer to.
    Destroyed,
}

/// Without a bound of its own: each life makes a handful of reports, and lives are bounded.
type Reports = (mpsc::UnboundedSender<Report>, mpsc::UnboundedReceiver<Report>);

/// Everything that changes.
#[derive(Debug)]
pub struct Core {
    loaded: Loaded,
    specs: Vec<Template>,
    directory: Directory,
    toolstack: Toolstack,
    captor: Captor,
    shells: Shells,
    /// dom0's frames for domains; `None` when that is not known.
    frames: Option<u64>,
    exceptions: watch::Receiver<()>,
    lives: HashMap<Incarnation, Life>,
    /// What guests have said that are gone, the last one first.
    said: VecDeque<(ServiceId, Follower)>,
    tickets: HashMap<Ticket, oneshot::Sender<Result<Summoned, SummonError>>>,
    next_ticket: u64,
    reports: Reports,
    boot: Boot,
    card: Option<Card>,
    clock: Clock,
}

impl Core {
    /// A node whose services are off, but for those whose domains an earlier daemon has left. One whose kernel cannot
    /// be read is left out.
    ///
    /// # Errors
    /// When packets for services that are off cannot be captured.
    pub async fn start(
        toolstack: Toolstack,
        estate: Estate,
        mut loaded: Loaded,
        network: &Network,
        boot: Boot,
        (card, clock): (Option<Card>, Clock),
        succession: &Succession,
    ) -> Result<Self, capture::Error> {
        let specs = template::all(&mut loaded);
        let offers = specs.iter().map(|template| template.offer);
        let captor = Captor::open(network, &loaded.config, offers, Path::new(RUN), succession).await?;
        let shells = Shells::new(loaded.config.node.shells, &specs);
        let largest_load = specs.iter().map(|template| template.spec.loaded_bytes()).max().unwrap_or(0);
        let set_aside = || -> Result<u64, Box<dyn std::error::Error>> {
            let dom0 = toolstack.hypervisor.domain_info(DomId::DOM0)?.ok_or("Xen has no dom0")?;
            let shells = shells.pool.wanted() as u64;
            Ok(frames::set_aside(dom0.max_pages, &loaded.config.services, shells, largest_load)?)
        };
        let frames = set_aside().inspect_err(|error| {
            tracing::warn!(%error, "dom0 sets no frames aside: mapping guests' pages will take longer");
        });
        if !toolstack.hypervisor.has_weights() {
            for service in loaded.config.services.iter().filter(|service| service.weight != DEFAULT_WEIGHT) {
                tracing::warn!("service {}: the scheduler that Xen runs knows no weight", service.name);
            }
        }
        for quota in &loaded.config.node.quota {
            toolstack.store.with(|store| store.change_quota(quota.name, quota.value));
        }
        let mut core = Core {
            frames: frames.ok(),
            directory: Directory::new(&loaded.config, Moment::now()),
            exceptions: toolstack.exceptions.clone(),
            loaded,
            specs,
            toolstack,
            captor,
            shells,
            lives: HashMap::new(),
            said: VecDeque::new(),
            tickets: HashMap::new(),
            next_ticket: 0,
            reports: estate.reports,
            boot,
            card,
            clock,
        };
        let rooms: Vec<Room> =
            (0..core.specs.len()).map(|index| core.need(ServiceId(index)).into()).collect();
        core.directory.set_rooms(rooms);
        core.remember();
        let outdated: Vec<_> =
            estate.inherited.into_iter().filter_map(|inherited| core.inherit(inherited)).collect();
        core.captor.begin(Moment::now())?;
        outdated.into_iter().for_each(|incarnation| core.input(Input::Outdated { incarnation }));
        // One may have ended while there was no daemon.
        core.look_at_domains();
        core.note_quiet();
        Ok(core)
    }

    /// Goes on counting where an earlier daemon has stopped.
    fn remember(&mut self) {
        for (index, service) in self.loaded.config.services.iter().enumerate() {
            let id = ServiceId(index);
            match self.toolstack.store.with(|store| Counters::read(store, &service.name)) {
                Some(Counters { life, starts, requests, wakes, failures, host }) => {
                    let counted = Statistics { starts, requests, wakes, failures, last_request: None };
                    self.directory.remember(id, life, counted);
                    if let Some(host) = host.filter(|_| service.instance_of.is_some()) {
                        self.directory.remember_host(Moment::now(), id, host);
                    }
                }
                // There from the start, so that a life leaves no node behind.
                None => self.put_away(&[Counters::default().change(&service.name)]),
            }
        }
    }

    /// Gives a domain that was taken over to its service, or ends it when its service has gone or moved. Returns the
    /// life of one that would be made otherwise by now.
    fn inherit(&mut self, Inherited { record, mut life, paused }: Inherited) -> Option<Incarnation> {
        let services = &self.loaded.config.services;
        let found = services.iter().position(|service| record.is_of(service));
        let domid = life.domid?;
        let Some(service) = found else {
            tracing::warn!(%domid, service = record.service, "the service has gone or moved: its domain ends");
            self.end(domid, &mut life);
            return None;
        };
        let outdated = !record.is_made_of(&self.specs[service].digest);
        let incarnation = Incarnation { service: ServiceId(service), number: record.life };
        if record.ready {
            (life.accepts_connections, life.forwarded_to) = (true, true);
            self.captor.attach(incarnation.service, Vif { domid, handle: 0 });
            self.captor.suspect(Moment::now(), incarnation.service);
        }
        self.lives.insert(incarnation, life);
        let standing = match (record.ready, paused) {
            (false, _) => Standing::Booting,
            (true, false) => Standing::Ready,
            (true, true) => Standing::Paused,
        };
        self.directory.take_over(Moment::now(), incarnation, domid, standing);
        if !record.ready {
            self.await_readiness(incarnation, domid);
        }
        self.note_changes();
        outdated.then_some(incarnation)
    }

    /// What the node serves: without the services that had to be left out.
    pub fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// Where the network says that a bridge forwards to a guest's interface. Its first one counts: clients come to
    /// the address that is for it.
    pub fn vif_reports(&self) -> impl Fn(Vif) + Send + use<> {
        let reports = self.reports.0.clone();
        move |vif| {
            if vif.handle == 0 {
                drop(reports.send(Report::VifUp(vif, Moment::now())));
            }
        }
    }

    /// Tells the network which bridge a guest's interface is to be a port of, if the guest was made here.
    pub fn bridges(&self) -> impl Fn(Vif) -> Option<String> + Send + use<> {
        let toolstack = self.toolstack.clone();
        move |vif| {
            let path = nodes::bridge_of(vif.domid, vif.handle);
            let name = toolstack.store.look(|store| store.read(&path).map(<[u8]>::to_vec))?;
            toolstack.owns(vif.domid).then(|| String::from_utf8_lossy(&name).into_owned())
        }
    }

    /// Notes that DNS answers from now on.
    pub fn dns_answers(&mut self) {
        self.boot.dns_answering_ns = Some(Moment::now().0);
        self.boot.dns_answering_since_dom0_ns = facts::since_dom0();
    }

    /// Works until `shutdown`, then ends all domains and returns when dom0's kernel has let go of them too. When `heir`
    /// is wanted, it takes the place of all that at the next good moment.
    pub async fn run(mut self, mut requests: Requests, shutdown: CancellationToken, heir: Heir) {
        let (mut going_down, mut succession) = (false, None);
        let mut asking = requests.asking();
        self.directory.share(Moment::now(), requests.warm());
        while !(going_down && self.lives.is_empty() && self.shells.are_gone()) {
            requests.changed(self.directory.serial());
            if let Some(patience) = succession
                && !going_down
                && self.gives_way(&requests, patience).await
            {
                tracing::info!("the daemon begins anew; services run on");
                self.directory.take_in(Moment::now());
                self.put_counters_away();
                let error = heir.begin();
                tracing::error!(%error, "the daemon cannot begin anew, and goes on with what it has read before");
                succession = None;
            }
            let (deadline, next_shell) = (self.directory.next_deadline(), self.shells.pool.due());
            tokio::select! {
                Some(request) = requests.recv() => self.request(request),
                Some(report) = self.reports.1.recv() => self.report(report),
                Ok(()) = self.exceptions.changed() => self.look_at_domains(),
                () = self.captor.ready() => self.packets(),
                () = until(deadline) => self.input(Input::Timer),
                () = until(next_shell) => self.make_shell(),
                () = heir.wanted.notified() => succession = Some(Moment::now().after(SUCCESSION_PATIENCE)),
                () = until(succession), if !going_down => {}
                Ok(()) = asking.changed(), if succession.is_some() => {}
                () = shutdown.cancelled(), if !going_down => {
                    going_down = true;
                    self.close_shells();
                    self.input(Input::Shutdown);
                }
            }
        }
        tokio::time::sleep(LAST_QUESTIONS).await;
        // dom0's kernel does not know that there will be another daemon; its connection and watches stay.
        self.toolstack.store.leave();
    }

    /// Whether nothing would be lost if another daemon went on from here: nobody waits, nothing is being started, and all
    /// that was answered has been sent. After `patience` it is so in any case.
    async fn gives_way(&self, requests: &Requests, patience: Moment) -> bool {
        let quiet = || {
            let starting = |entry: &Entry| {
                let phase = entry.state().phase();
                matches!(phase, Phase::Building | Phase::AwaitingRoom | Phase::Booting | Phase::Stopping)
            };
            self.tickets.is_empty() && requests.is_quiet() && !self.directory.entries().iter().any(starting)
        };
        if quiet() {
            // Those who have just been told send it on: each by itself, and then to its client.
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
        }
        quiet() || Moment::now() >= patience
    }

    fn put_counters_away(&self) {
        let counters =
            self.directory.entries().iter().map(|entry| Counters::new(entry).change(&entry.service().name));
        self.put_away(&counters.collect::<Vec<_>>());
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
                if let Step::Created(domid) = step {
                    self.await_readiness(incarnation, domid);
                }
            }
            Report::Built(incarnation, Ok(domain)) => {
                let domid = domain.domid;
                if let Some(life) = self.lives.get_mut(&incarnation) {
                    life.attach(*domain, &self.toolstack.store, &self.reports.0);
                }
                self.input(Input::Built { incarnation, domid });
                // It may have ended before anybody knew whose it was.
                match self.toolstack.hypervisor.domain_info(domid) {
                    Ok(info) => self.look_at(incarnation, info.as_ref()),
                    Err(error) => tracing::error!(%domid, error = %chain(&error), "it cannot be looked at"),
                }
            }
            Report::Built(incarnation, Err(error)) => {
                self.lives.remove(&incarnation);
                self.shells.pool.has_room();
                if error.is_want_of_memory() && self.gains_room(incarnation) {
                    return;
                }
                let reason = chain(&error);
                self.input(if error.is_want_of_memory() {
                    // How much of it was missing is not known.
                    let missing = Room { pages: self.need(incarnation.service).pages, ..Room::default() };
                    Input::NoRoom { incarnation, reason, missing }
                } else {
                    Input::BuildFailed { incarnation, reason }
                });
            }
            Report::Ready(incarnation, at) => self.accepts_connections(incarnation, at),
            Report::TookOver(incarnation) => {
                if self.lives.get(&incarnation).is_some_and(|life| !life.ending()) {
                    self.captor.taken(Moment::now(), incarnation.service);
                }
            }
            Report::Broken(domid, detail) => {
                if let Some((incarnation, _)) = self.life_of(domid) {
                    self.input(Input::Died { incarnation, death: Death::Crash, detail });
                }
            }
            Report::VifUp(vif, at) => {
                if let Some((incarnation, life)) = self.life_of(vif.domid) {
                    let first = !std::mem::replace(&mut life.forwarded_to, true);
                    self.captor.attach(incarnation.service, vif);
                    if let (true, Some(port)) =
                        (first, self.loaded.config.services[incarnation.service.0].listens_on)
                    {
                        self.captor.ask(at, incarnation.service, port);
                    }
                    self.directory.stage(incarnation, Stage::VifUp, at);
                    self.ready_if_reachable(incarnation, at);
                }
            }
            Report::Shell(made) => self.shell_made(made),
            Report::Destroyed => self.look_at_domains(),
        }
    }

    fn life_of(&mut self, domid: DomId) -> Option<(Incarnation, &mut Life)> {
        let mut lives = self.lives.iter_mut();
        lives.find(|(_, life)| life.domid == Some(domid)).map(|(&incarnation, life)| (incarnation, life))
    }

    /// Has the life of a domain that exists reported when its readiness key is written.
    fn await_readiness(&mut self, incarnation: Incarnation, domid: DomId) {
        let Some(life) = self.lives.get_mut(&incarnation) else { return };
        if self.loaded.config.services[incarnation.service.0].listens_on.is_some() {
            // It says nothing; it is asked as soon as its interface is there.
            return life.domid = Some(domid);
        }
        let ReadyKey { path, value } = self.specs[incarnation.service.0].ready_key.clone();
        match self.toolstack.store.watch(format!("{}/{path}", nodes::home(domid)), value) {
            Ok(ready) => life.created(domid, incarnation, ready, &self.reports.0),
            Err(error) => tracing::error!(%domid, %error, "the readiness key cannot be watched"),
        }
    }

    /// A guest has said that it accepts connections, or been found to.
    fn accepts_connections(&mut self, incarnation: Incarnation, at: Moment) {
        if let Some(life) = self.lives.get_mut(&incarnation) {
            life.accepts_connections = true;
        }
        self.ready_if_reachable(incarnation, at);
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
                Effect::Build { incarnation } => self.begin(incarnation),
                Effect::WithdrawIfIdle { incarnation, quiet_since, ignore_connections, .. } => {
                    self.withdraw_if_idle(incarnation, quiet_since, ignore_connections);
                }
                Effect::Restore { incarnation, .. } => {
                    self.captor.reach(Moment::now(), incarnation.service);
                }
                Effect::Pause { incarnation, domid } => {
                    let paused = self.toolstack.hypervisor.pause_domain(domid);
                    self.report_refusal(incarnation, paused, "it cannot be paused");
                }
                Effect::Resume { incarnation, domid } => {
                    let resumed = self.toolstack.hypervisor.unpause_domain(domid);
                    self.report_refusal(incarnation, resumed, "it cannot be resumed");
                }
                Effect::Survey => self.survey(),
                Effect::ShutDown { incarnation, domid } => {
                    self.captor.leave(incarnation.service);
                    if let Err(error) = self.toolstack.store.commit(&[nodes::power_off(domid)]) {
                        tracing::error!(%domid, %error, "a guest cannot be asked to switch itself off");
                    }
                }
                Effect::Destroy { incarnation, domid } => self.destroy(incarnation, domid),
                Effect::Answer { ticket, outcome } => {
                    if let Some(answer) = self.tickets.remove(&ticket) {
                        // A client that has gone away leaves the service running for the next one.
                        let _ = answer.send(outcome);
                    }
                }
            }
        }
        self.note_changes();
        self.note_quiet();
    }

    /// Reports that Xen does not do with a domain what is asked of it: then it is of no more use.
    fn report_refusal(&mut self, incarnation: Incarnation, outcome: Result<(), xen::Error>, what: &str) {
        if let Err(error) = outcome {
            let detail = format!("{what}: {}", chain(&error));
            self.input(Input::Died { incarnation, death: Death::Vanished, detail });
        }
    }

    /// Puts away what has become of services, for the next daemon. The record of a domain goes with its nodes.
    fn note_changes(&mut self) {
        for service in self.directory.take_changed() {
            let Some(entry) = self.directory.entries().get(service.0) else { continue };
            let incarnation = entry.incarnation();
            let counters = Counters::new(entry);
            let mut changes = vec![counters.change(&entry.service().name)];
            match entry.state() {
                State::Ready { domid, .. } => {
                    let (domid, record) = (
                        *domid,
                        Record::new(entry.service(), incarnation, true, &self.specs[service.0].digest),
                    );
                    changes.push(Change::write(nodes::record(domid), record.text()));
                    self.reach(incarnation, domid);
                }
                state => self.captor.follow(Moment::now(), service, state),
            }
            self.put_away(&changes);
        }
    }

    /// Gives a guest that is ready its frames; first the connections that were opened on its behalf, if there are any.
    fn reach(&mut self, incarnation: Incarnation, domid: DomId) {
        let (now, service) = (Moment::now(), incarnation.service);
        let records = self.captor.hand_over(now, service);
        if records.is_empty() {
            return self.captor.reach(now, service);
        }
        let (changes, count) = handover::nodes(domid, &records);
        if count < records.len() {
            tracing::error!(%domid, "{} connections are more than can be handed over", records.len());
        }
        let store = &self.toolstack.store;
        let told = store.watch(handover::taken(domid), None).and_then(|taken| {
            store.commit(&changes)?;
            Ok(taken)
        });
        match (told, self.lives.get_mut(&incarnation)) {
            (Ok(taken), Some(life)) => life.takes_over(incarnation, taken, &self.reports.0),
            (told, _) => {
                let error = told.err();
                tracing::error!(%domid, ?error, "it cannot be told of its connections: they are reset");
                self.captor.taken(now, service);
            }
        }
    }

    fn put_away(&self, changes: &[Change]) {
        if let Err(error) = self.toolstack.store.commit(changes) {
            tracing::error!(%error, "what the next daemon has to know cannot be kept");
        }
    }
}

async fn until(deadline: Option<Moment>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(Instant::now() + deadline.since(Moment::now())).await,
        None => std::future::pending().await,
    }
}
