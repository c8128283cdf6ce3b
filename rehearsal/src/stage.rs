//! The directory, with something that does for its effects what the node would do, after a while.

use std::collections::HashMap;
use std::time::Duration;

use jitsud::config::Loaded;
use jitsud::console::ConsoleLog;
use jitsud::directory::{Directory, Effect, Incarnation, Input, Moment, Stage as Step, Ticket};
use jitsud::schema::{Boot, EventStatus, Facts, NodeStatus, ServiceStatus, Versions, Xen};
use jitsud::summoner::{Request, Requests, ServiceId, SummonError, Summoned};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};
use xen_sys::DomId;

/// All the memory there is, and dom0's, for the page to show.
const MEMORY: u64 = 1 << 30;
const DOM0: u64 = 256 << 20;

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// To build a domain.
    pub build: Duration,
    /// To get ready after that.
    pub boot: Duration,
}

/// What has happened to a pretended domain.
enum Report {
    Input(Input),
    Step(Incarnation, Step, Moment),
}

/// The node behind the faces.
pub struct Stage {
    boot: Boot,
    loaded: Loaded,
    pace: Pace,
    directory: Directory,
    tickets: HashMap<Ticket, oneshot::Sender<Result<Summoned, SummonError>>>,
    next_ticket: u64,
    next_domid: u16,
    /// Of the services that have a domain.
    consoles: HashMap<ServiceId, ConsoleLog>,
    reports: (mpsc::UnboundedSender<Report>, mpsc::UnboundedReceiver<Report>),
}

impl Stage {
    /// A node whose services are off.
    pub fn new(loaded: Loaded, pace: Pace) -> Self {
        let boot = Boot {
            jitsud_started_ns: Some(Moment::now().0),
            board: Some("rehearsal".to_owned()),
            slot: Some("a".to_owned()),
            ..Boot::default()
        };
        let directory = Directory::new(&loaded.config, Moment::now());
        Stage {
            boot,
            loaded,
            pace,
            directory,
            tickets: HashMap::new(),
            next_ticket: 0,
            next_domid: 1,
            consoles: HashMap::new(),
            reports: mpsc::unbounded_channel(),
        }
    }

    /// Works until nobody can ask any more.
    pub async fn run(mut self, mut requests: Requests) {
        self.directory.share(Moment::now(), requests.warm());
        loop {
            requests.changed(self.directory.serial());
            let deadline = self.directory.next_deadline();
            let until = async {
                match deadline {
                    Some(at) => sleep_until(Instant::now() + at.since(Moment::now())).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                request = requests.recv() => match request {
                    Some(request) => self.request(request),
                    None => return,
                },
                Some(report) = self.reports.1.recv() => match report {
                    Report::Input(input) => self.input(input),
                    Report::Step(incarnation, step, at) => self.directory.stage(incarnation, step, at),
                },
                () = until => self.input(Input::Timer),
            }
        }
    }

    fn request(&mut self, request: Request) {
        match request {
            Request::Summon { service, received, answer } => {
                let ticket = self.ticket(answer);
                self.input(Input::Summon { service, received: Moment(received), ticket });
            }
            Request::SummonForHost { instance, host, received, answer } => {
                let ticket = self.ticket(answer);
                self.input(Input::SummonForHost { instance, host, received: Moment(received), ticket });
            }
            Request::Status { answer } => {
                self.directory.take_in(Moment::now());
                drop(answer.send(self.status()));
            }
            Request::Start { service, answer } => {
                self.input(Input::Start { service });
                self.describe(service, answer);
            }
            Request::Stop { service, answer } => {
                self.input(Input::Stop { service });
                self.describe(service, answer);
            }
            Request::Service { service, answer } => self.describe(service, answer),
            Request::Events { after, answer } => {
                let newer = self.directory.events().filter(|event| event.serial > after);
                let _gone =
                    answer.send(newer.map(|event| EventStatus::new(event, &self.directory)).collect());
            }
            Request::Console { service, answer } => {
                let _gone = answer.send(self.consoles.get(&service).map(ConsoleLog::follow));
            }
        }
    }

    fn describe(&self, service: ServiceId, answer: oneshot::Sender<ServiceStatus>) {
        if let Some(entry) = self.directory.entries().get(service.0) {
            let _gone = answer.send(ServiceStatus::new(entry));
        }
    }

    fn ticket(&mut self, answer: oneshot::Sender<Result<Summoned, SummonError>>) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.tickets.insert(ticket, answer);
        ticket
    }

    fn input(&mut self, input: Input) {
        for effect in self.directory.handle(Moment::now(), input) {
            match effect {
                Effect::Build { incarnation } => self.build(incarnation),
                Effect::Destroy { incarnation, .. } => {
                    self.consoles.remove(&incarnation.service);
                    self.report(Report::Input(Input::Stopped { incarnation }));
                }
                Effect::WithdrawIfIdle { incarnation, .. } => {
                    self.report(Report::Input(Input::Withdrawn { incarnation }));
                }
                Effect::Survey => self.report(Report::Input(Input::Traffic(Vec::new()))),
                // Nobody is there who could refuse to end: it is destroyed when its time is over.
                Effect::ShutDown { .. } => {}
                Effect::Restore { .. } | Effect::Pause { .. } | Effect::Resume { .. } => {}
                Effect::Answer { ticket, outcome } => {
                    if let Some(answer) = self.tickets.remove(&ticket) {
                        let _gone = answer.send(outcome);
                    }
                }
            }
        }
    }

    fn report(&self, report: Report) {
        let _closed = self.reports.0.send(report);
    }

    fn build(&mut self, incarnation: Incarnation) {
        let domid = DomId(self.next_domid);
        self.next_domid = self.next_domid % 0x7fef + 1;
        let service = &self.loaded.config.services[incarnation.service.0];
        let (kernel, cmdline) = (service.kernel.clone(), service.cmdline.clone());
        let console = ConsoleLog::private();
        self.consoles.insert(incarnation.service, console.clone());
        let is = |name: &str| kernel.file_name().is_some_and(|file| file == name);
        let (fails, hangs) = (is("fails"), is("hangs"));
        let (pace, reports) = (self.pace, self.reports.0.clone());
        tokio::spawn(async move {
            let report = |input| drop(reports.send(Report::Input(input)));
            let step = |step| drop(reports.send(Report::Step(incarnation, step, Moment::now())));
            report(Input::Committed { incarnation });
            step(Step::BuildStarted);
            sleep(pace.build / 2).await;
            if fails {
                let reason = "its kernel is \"fails\"".to_owned();
                return report(Input::BuildFailed { incarnation, reason });
            }
            step(Step::DomainCreated);
            sleep(pace.build / 2).await;
            step(Step::Unpaused);
            report(Input::Built { incarnation, domid });
            console.push(format!("booting, command line: {cmdline}\n").as_bytes());
            if hangs {
                return;
            }
            sleep(pace.boot / 2).await;
            step(Step::VifUp);
            sleep(pace.boot / 2).await;
            console.push(b"ready\n");
            report(Input::Ready { incarnation, at: Moment::now() });
        });
    }

    fn status(&self) -> NodeStatus {
        let used: u64 = self
            .directory
            .entries()
            .iter()
            .filter(|entry| entry.state().domid().is_some())
            .map(|entry| u64::from(entry.service().memory_mib) << 20)
            .sum();
        let domains = self.directory.entries().iter().filter(|entry| entry.state().domid().is_some()).count();
        let facts = Facts {
            versions: Versions {
                jitsud: env!("CARGO_PKG_VERSION").to_owned(),
                xen: "none".to_owned(),
                kernel: "any".to_owned(),
            },
            boot: self.boot.clone(),
            xen: Xen {
                total_bytes: Some(MEMORY),
                free_bytes: Some((MEMORY - DOM0).saturating_sub(used)),
                domains: Some(domains as u64 + 1),
                cpus: Some(2),
                dom0_bytes: Some(DOM0),
                dom0_cpu_ns: None,
            },
            ..Facts::default()
        };
        let (config, problems) = (&self.loaded.config, &self.loaded.problems);
        let mut status = NodeStatus::new(config, problems, &self.directory, facts, Moment::now());
        for (service, console) in &self.consoles {
            status.services[service.0].console = console.lines();
        }
        status
    }
}
