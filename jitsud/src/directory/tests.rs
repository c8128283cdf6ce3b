//! The life of services, step by step, without a clock.

mod instances;
mod policies;
mod room;
mod traffic;

use std::net::Ipv4Addr;
use std::path::PathBuf;

use super::*;
use crate::config::{Answer, Dns, LogLevel, Mac, Node, Quiet, ReadyKey, Service, Start, Stop};

pub const TTL: Duration = Duration::from_secs(60);
pub const IDLE: Duration = Duration::from_secs(120);
pub const BOOT_TIMEOUT: Duration = Duration::from_secs(10);
pub const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A configuration with that many services.
pub fn config(services: usize) -> Config {
    let service = |index: usize| Service {
        name: format!("s{index}"),
        dns: vec![format!("s{index}.jitsu.test")],
        instance_of: None,
        announce: Vec::new(),
        address: address(index),
        address6: None,
        mac: Mac::of_address(address(index)),
        disks: Vec::new(),
        vifs: Vec::new(),
        kernel: PathBuf::from("/kernel"),
        ramdisk: None,
        memory_mib: 4,
        vcpus: 1,
        weight: 256,
        cmdline: String::new(),
        start: Start::Summon,
        answer: Answer::Ready,
        response_delay: Duration::ZERO,
        wake: true,
        tcp: capture::Ports::All,
        udp: capture::Ports::All,
        refuse: capture::Refusal::Reset,
        quiet: Quiet::default(),
        ttl: TTL,
        idle: IDLE,
        min_uptime: Duration::ZERO,
        max_uptime: None,
        boot_timeout: BOOT_TIMEOUT,
        stop: Stop::Destroy,
        wait_for_key: ReadyKey::default(),
        listens_on: None,
        keys: Vec::new(),
    };
    let node = Node {
        name: "node".to_owned(),
        domain: "jitsu.test".to_owned(),
        uplink: None,
        address: Ipv4Addr::new(10, 0, 2, 15),
        prefix: 24,
        address6: None,
        gateway: None,
        bridge: "br0".to_owned(),
        kernels: PathBuf::from("/"),
        ntp: Vec::new(),
        quota: Vec::new(),
        capture: capture::Limits::default(),
        shells: 0,
        quiet: Quiet::default(),
        forward: crate::config::Forward::Off,
        syslog: None,
        log: LogLevel::default(),
        dns: Dns::default(),
        mdns: false,
    };
    Config { node, services: (0..services).map(service).collect(), records: Vec::new() }
}

fn address(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 2, 100 + u8::try_from(index).unwrap())
}

const S: ServiceId = ServiceId(0);

fn life(number: u64) -> Incarnation {
    Incarnation { service: S, number }
}

/// A directory with one service, and the seconds on its clock.
struct Script {
    directory: Directory,
    seconds: f64,
}

impl Script {
    fn new() -> Self {
        Script::with(|_| {})
    }

    /// With a service that is not as others are.
    fn with(change: impl FnOnce(&mut Service)) -> Self {
        let mut config = config(1);
        change(&mut config.services[0]);
        Script { directory: Directory::new(&config, Moment(0)), seconds: 0.0 }
    }

    /// With a service that is asked to switch itself off.
    fn gentle() -> Self {
        Script::with(|service| service.stop = Stop::Shutdown { timeout: STOP_TIMEOUT })
    }

    fn now(&self) -> Moment {
        Moment(0).after(Duration::from_secs_f64(self.seconds))
    }

    fn wait(&mut self, seconds: f64) {
        self.seconds += seconds;
    }

    fn send(&mut self, input: Input) -> Vec<Effect> {
        let now = self.now();
        self.directory.handle(now, input)
    }

    fn summon(&mut self, ticket: u64) -> Vec<Effect> {
        let received = self.now();
        self.send(Input::Summon { service: S, received, ticket: Ticket(ticket) })
    }

    fn built(&mut self, number: u64) -> Vec<Effect> {
        self.send(Input::Built { incarnation: life(number), domid: domid(number) })
    }

    fn ready(&mut self, number: u64) -> Vec<Effect> {
        let at = self.now();
        self.send(Input::Ready { incarnation: life(number), at })
    }

    fn died(&mut self, number: u64, death: Death) -> Vec<Effect> {
        self.send(Input::Died { incarnation: life(number), death, detail: "panic: oh".to_owned() })
    }

    fn stopped(&mut self, number: u64) -> Vec<Effect> {
        self.send(Input::Stopped { incarnation: life(number) })
    }

    /// The deadline has come; the driver is asked whether it has been quiet for its idle time, and finds that it has.
    fn idle(&mut self, number: u64) -> Vec<Effect> {
        let expected = withdraw(number, self.now().before(IDLE), false);
        assert_eq!(self.send(Input::Timer), [expected]);
        self.send(Input::Withdrawn { incarnation: life(number) })
    }

    /// Brings the service up for ticket `number`.
    fn start(&mut self, number: u64) {
        assert_eq!(self.summon(number), [build(number)]);
        assert_eq!(self.built(number), []);
        assert_eq!(self.ready(number), [up(number)]);
    }

    fn phase(&self) -> Phase {
        self.directory.entries()[0].state().phase()
    }

    fn deadline_in(&self) -> Option<f64> {
        let deadline = self.directory.next_deadline()?;
        Some(deadline.since(self.now()).as_secs_f64())
    }
}

fn domid(number: u64) -> DomId {
    DomId(u16::try_from(number).unwrap())
}

fn build(number: u64) -> Effect {
    Effect::Build { incarnation: life(number) }
}

fn destroy(number: u64) -> Effect {
    Effect::Destroy { incarnation: life(number), domid: domid(number) }
}

fn withdraw(number: u64, quiet_since: Moment, ignore_connections: bool) -> Effect {
    let (incarnation, domid) = (life(number), domid(number));
    Effect::WithdrawIfIdle { incarnation, domid, quiet_since, ignore_connections }
}

fn shut_down(number: u64) -> Effect {
    Effect::ShutDown { incarnation: life(number), domid: domid(number) }
}

fn up(ticket: u64) -> Effect {
    let outcome = Ok(Summoned { address: address(0), ttl: TTL });
    Effect::Answer { ticket: Ticket(ticket), outcome }
}

fn down(ticket: u64, reason: &str, retry_in: f64) -> Effect {
    let (reason, retry_in) = (reason.to_owned(), Duration::from_secs_f64(retry_in));
    Effect::Answer { ticket: Ticket(ticket), outcome: Err(SummonError::Failed { reason, retry_in }) }
}

fn refused(ticket: u64, error: SummonError) -> Effect {
    Effect::Answer { ticket: Ticket(ticket), outcome: Err(error) }
}

#[test]
fn transitions_are_these_and_no_others() {
    use Phase::{AwaitingRoom, Booting, Building, Failed, Off, Paused, Ready, ShuttingDown, Stopping};
    let legal = [
        (Off, Building),
        (Off, Booting),
        (Off, Ready),
        (Off, Paused),
        (Building, Booting),
        (Building, AwaitingRoom),
        (Building, Failed),
        (Building, Off),
        (AwaitingRoom, Building),
        (AwaitingRoom, Failed),
        (AwaitingRoom, Off),
        (Booting, Ready),
        (Booting, Stopping),
        (Ready, Paused),
        (Ready, ShuttingDown),
        (Ready, Stopping),
        (Paused, Ready),
        (Paused, Stopping),
        (ShuttingDown, Stopping),
        (Stopping, Off),
        (Stopping, Failed),
        (Failed, Building),
        (Failed, Off),
    ];
    for from in Phase::ALL {
        for to in Phase::ALL {
            assert_eq!(from.may_become(to), legal.contains(&(from, to)), "{from} → {to}");
        }
    }
}

#[test]
fn a_domain_of_an_earlier_daemon_goes_on_as_if_it_had_just_been_made() {
    let mut script = Script::new();
    script.directory.remember(S, 6, Statistics { starts: 6, requests: 50, ..Statistics::default() });
    let now = script.now();
    script.directory.take_over(now, life(6), domid(6), Standing::Ready);
    assert_eq!(script.directory.take_changed(), [S]);
    assert_eq!(script.directory.take_changed(), []);
    assert_eq!(script.deadline_in(), Some(120.0));
    assert_eq!(script.summon(1), [up(1)]);
    script.wait(120.0);
    assert_eq!(script.idle(6), [destroy(6)]);
    assert_eq!(script.stopped(6), []);
    assert_eq!(script.summon(2), [build(7)]);
    let counted = script.directory.entries()[0].statistics();
    assert_eq!((counted.starts, counted.requests), (7, 52));

    let mut script = Script::new();
    let now = script.now();
    script.directory.take_over(now, life(3), domid(3), Standing::Booting);
    assert_eq!(script.deadline_in(), Some(10.0));
    assert_eq!(script.summon(1), []);
    assert_eq!(script.ready(3), [up(1)]);
}

#[test]
fn a_request_starts_the_service_and_idleness_stops_it() {
    let mut script = Script::new();
    assert_eq!(script.summon(1), [build(1)]);
    script.wait(0.01);
    assert_eq!(script.built(1), []);
    assert_eq!(script.deadline_in(), Some(10.0));
    script.wait(0.02);
    assert_eq!(script.ready(1), [up(1)]);
    assert_eq!(script.deadline_in(), Some(120.0));

    script.wait(100.0);
    assert_eq!(script.summon(2), [up(2)], "a running service answers at once");
    assert_eq!(script.deadline_in(), Some(120.0), "and starts its idle time again");

    script.wait(119.9);
    assert_eq!(script.send(Input::Timer), [], "not yet");
    script.wait(0.1);
    assert_eq!(script.idle(1), [destroy(1)]);
    assert_eq!(script.send(Input::Timer), [], "once");
    assert!(!script.directory.is_quiet());
    assert_eq!(script.stopped(1), []);
    assert_eq!((script.phase(), script.deadline_in()), (Phase::Off, None));
    assert!(script.directory.is_quiet());
    assert_eq!(script.summon(3), [build(2)]);
}

#[test]
fn concurrent_requests_make_one_domain() {
    let mut script = Script::new();
    assert_eq!(script.summon(0), [build(1)]);
    for ticket in 1..10 {
        assert_eq!(script.summon(ticket), []);
    }
    assert_eq!(script.built(1), []);
    for ticket in 10..20 {
        assert_eq!(script.summon(ticket), []);
    }
    assert_eq!(script.ready(1), (0..20).map(up).collect::<Vec<_>>());
    assert_eq!(script.directory.entries()[0].statistics().starts, 1);
}

#[test]
fn too_many_requests_are_told_so() {
    let mut script = Script::new();
    script.summon(0);
    for ticket in 1..MAX_WAITING as u64 {
        assert_eq!(script.summon(ticket), []);
    }
    assert_eq!(script.summon(999), [refused(999, SummonError::Busy)]);
    script.built(1);
    assert_eq!(script.ready(1).len(), MAX_WAITING);
}

#[test]
fn a_guest_that_never_gets_ready_fails() {
    let mut script = Script::new();
    script.summon(1);
    script.built(1);
    script.wait(10.0);
    let reason = "it did not become ready within 10 s: it writes data/ready when it accepts connections";
    assert_eq!(script.send(Input::Timer), [down(1, reason, 1.0), destroy(1)]);
    assert_eq!(script.phase(), Phase::Stopping);
    assert_eq!(script.summon(2), [down(2, reason, 1.0)], "no second domain beside the first");
    assert_eq!(script.ready(1), [], "too late");
    assert_eq!(script.stopped(1), []);
    assert_eq!(script.phase(), Phase::Failed);
    assert_eq!(script.directory.entries()[0].state().reason(), Some(reason));
    script.wait(0.25);
    assert_eq!(script.summon(3), [down(3, reason, 0.75)]);
    script.wait(0.75);
    assert_eq!(script.summon(4), [build(2)]);
}

#[test]
fn failures_are_retried_ever_more_slowly_until_one_start_is_sound() {
    let mut script = Script::new();
    let fail = |script: &mut Script, number: u64, back_off: f64| {
        let reason = "no memory".to_owned();
        assert_eq!(script.summon(number), [build(number)]);
        let effects = script.send(Input::BuildFailed { incarnation: life(number), reason });
        assert_eq!(effects, [down(number, "no memory", back_off)]);
        assert_eq!(script.phase(), Phase::Failed);
        script.wait(back_off);
    };
    for (number, back_off) in [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0].into_iter().enumerate() {
        fail(&mut script, number as u64 + 1, back_off);
    }
    // Ready for a moment only: that was no success.
    script.start(9);
    script.wait(1.0);
    assert_eq!(script.died(9, Death::Crash), [destroy(9)]);
    script.stopped(9);
    script.wait(60.0);
    // Ready for long enough.
    script.start(10);
    script.wait(10.0);
    assert_eq!(script.died(10, Death::Crash), [destroy(10)]);
    script.stopped(10);
    assert_eq!(script.summon(11), [down(11, "its domain crashed: panic: oh", 1.0)]);
    assert_eq!(script.directory.entries()[0].statistics().failures, 10);
}

#[test]
fn the_ends_of_domains() {
    // How it ends, whether before it is ready, and the reason if that is a failure.
    let table = [
        (Death::Crash, true, Some("its domain crashed before it was ready: panic: oh")),
        (Death::Poweroff, true, Some("its domain switched itself off before it was ready: panic: oh")),
        (Death::Crash, false, Some("its domain crashed: panic: oh")),
        (Death::Watchdog, false, Some("its domain was ended by its watchdog: panic: oh")),
        (Death::Suspend, false, Some("its domain suspended itself: panic: oh")),
        (Death::Vanished, false, Some("its domain vanished: panic: oh")),
        (Death::Poweroff, false, None),
        (Death::Reboot, false, None),
    ];
    for (death, before_ready, reason) in table {
        let mut script = Script::new();
        if before_ready {
            script.summon(1);
            script.built(1);
            assert_eq!(script.died(1, death), [down(1, reason.unwrap(), 1.0), destroy(1)]);
        } else {
            script.start(1);
            assert_eq!(script.died(1, death), [destroy(1)], "{death:?}");
        }
        assert_eq!(script.died(1, death), [], "told twice");
        script.stopped(1);
        let phase = if reason.is_some() { Phase::Failed } else { Phase::Off };
        assert_eq!(script.phase(), phase, "{death:?}");
        assert_eq!(script.directory.entries()[0].state().reason(), reason);
    }
    let codes = [Death::Poweroff, Death::Reboot, Death::Suspend, Death::Crash, Death::Watchdog];
    assert_eq!([0, 1, 2, 3, 4].map(Death::from_code), codes);
    assert_eq!(Death::from_code(200), Death::Crash);
}

#[test]
fn a_guest_that_switches_itself_off_when_asked_is_destroyed_then() {
    let mut script = Script::gentle();
    script.start(1);
    script.wait(120.0);
    assert_eq!(script.idle(1), [shut_down(1)]);
    assert_eq!((script.phase(), script.deadline_in()), (Phase::ShuttingDown, Some(5.0)));
    assert_eq!(script.send(Input::Timer), [], "asked once");
    script.wait(2.0);
    assert_eq!(script.summon(2), [], "it has to wait for the next life");
    assert_eq!(script.died(1, Death::Poweroff), [destroy(1)]);
    assert_eq!(script.stopped(1), [build(2)]);
    script.built(2);
    assert_eq!(script.ready(2), [up(2)]);
}

#[test]
fn a_guest_that_does_not_switch_itself_off_is_destroyed_all_the_same() {
    // What it does instead, if anything.
    for death in [None, Some(Death::Crash), Some(Death::Reboot), Some(Death::Vanished)] {
        let mut script = Script::gentle();
        script.start(1);
        assert_eq!(script.send(Input::Stop { service: S }), [shut_down(1)]);
        assert_eq!(script.send(Input::Stop { service: S }), [], "asked once");
        match death {
            Some(death) => assert_eq!(script.died(1, death), [destroy(1)]),
            None => {
                script.wait(5.0);
                assert_eq!(script.send(Input::Timer), [destroy(1)]);
                assert_eq!(script.died(1, Death::Poweroff), [], "too late");
            }
        }
        assert_eq!(script.stopped(1), []);
        assert_eq!(script.phase(), Phase::Off, "{death:?}");
        assert_eq!(script.directory.entries()[0].statistics().failures, 0, "{death:?}");
    }
}

#[test]
fn a_guest_that_is_not_ready_is_not_asked_to_switch_itself_off() {
    let mut booting = Script::gentle();
    booting.summon(1);
    booting.built(1);
    assert_eq!(booting.send(Input::Shutdown), [refused(1, SummonError::ShuttingDown), destroy(1)]);

    let mut crashed = Script::gentle();
    crashed.start(1);
    assert_eq!(crashed.died(1, Death::Crash), [destroy(1)]);
}

#[test]
fn a_node_that_shuts_down_asks_its_guests() {
    let mut script = Script::gentle();
    script.start(1);
    assert_eq!(script.send(Input::Shutdown), [shut_down(1)]);
    assert_eq!(script.summon(2), [refused(2, SummonError::ShuttingDown)]);
    assert!(!script.directory.is_quiet());
    assert_eq!(script.died(1, Death::Poweroff), [destroy(1)]);
    assert_eq!(script.stopped(1), []);
    assert!(script.directory.is_quiet());
}

#[test]
fn a_request_while_stopping_starts_again_afterwards() {
    let mut script = Script::new();
    script.start(1);
    script.wait(120.0);
    assert_eq!(script.idle(1), [destroy(1)]);
    assert_eq!(script.summon(2), []);
    assert_eq!(script.summon(3), []);
    assert_eq!(script.stopped(1), [build(2)]);
    script.built(2);
    assert_eq!(script.ready(2), [up(2), up(3)]);
}

#[test]
fn a_request_after_the_back_off_waits_for_the_failed_domain_to_go() {
    let mut script = Script::new();
    script.start(1);
    assert_eq!(script.died(1, Death::Crash), [destroy(1)]);
    script.wait(1.0);
    assert_eq!(script.summon(2), []);
    assert_eq!(script.stopped(1), [build(2)]);
}

#[test]
fn late_reports_change_nothing() {
    let mut script = Script::new();
    script.start(1);
    script.wait(120.0);
    script.idle(1);
    script.stopped(1);
    assert_eq!(script.stopped(1), []);
    assert_eq!(script.phase(), Phase::Off);

    script.summon(2);
    script.built(2);
    assert_eq!(script.ready(1), []);
    assert_eq!(script.died(1, Death::Crash), []);
    assert_eq!(script.stopped(1), []);
    assert_eq!(script.stopped(2), [], "nobody asked for that");
    assert_eq!(script.built(2), [], "told twice");
    assert_eq!(script.phase(), Phase::Booting);
    assert_eq!(script.ready(3), [], "a life that never was");
    let stranger = Incarnation { service: ServiceId(7), number: 1 };
    assert_eq!(script.send(Input::Stopped { incarnation: stranger }), []);
    assert_eq!(script.ready(2), [up(2)]);
}

#[test]
fn a_guest_may_be_faster_than_its_builder() {
    let mut ready = Script::new();
    ready.summon(1);
    assert_eq!(ready.ready(1), []);
    assert_eq!(ready.built(1), [up(1)]);
    assert_eq!(ready.phase(), Phase::Ready);

    let mut died = Script::new();
    died.summon(1);
    assert_eq!(died.ready(1), []);
    assert_eq!(died.died(1, Death::Crash), []);
    let reason = "its domain crashed before it was ready: panic: oh";
    assert_eq!(died.built(1), [down(1, reason, 1.0), destroy(1)]);
}

#[test]
fn the_administrator_stops_a_service_in_any_state() {
    let by_admin = "stopped by the administrator";
    let stop = Input::Stop { service: S };

    let mut off = Script::new();
    assert_eq!(off.send(stop.clone()), []);

    let mut building = Script::new();
    building.summon(1);
    assert_eq!(building.send(stop.clone()), [down(1, by_admin, 0.0)]);
    assert_eq!(building.summon(2), []);
    assert_eq!(building.built(1), [destroy(1)]);
    assert_eq!(building.stopped(1), [build(2)], "asked for again after the stop");

    let mut not_built = Script::new();
    not_built.summon(1);
    not_built.send(stop.clone());
    let reason = "no memory".to_owned();
    assert_eq!(not_built.send(Input::BuildFailed { incarnation: life(1), reason }), []);
    assert_eq!(not_built.phase(), Phase::Off);

    let mut ready = Script::new();
    ready.start(1);
    assert_eq!(ready.send(stop.clone()), [destroy(1)]);
    ready.summon(2);
    assert_eq!(ready.send(stop.clone()), [down(2, by_admin, 0.0)]);
    assert_eq!(ready.stopped(1), []);

    let mut failed = Script::new();
    failed.start(1);
    failed.died(1, Death::Crash);
    failed.stopped(1);
    assert_eq!(failed.send(stop), []);
    assert_eq!(failed.summon(2), [build(2)], "a stop ends the back-off");
}

#[test]
fn a_domain_that_cannot_be_destroyed_is_tried_again_and_blocks_a_second() {
    let mut script = Script::new();
    script.start(1);
    script.wait(120.0);
    script.idle(1);
    script.summon(2);
    let failed = Input::StopFailed { incarnation: life(1), reason: "EBUSY".to_owned() };
    let reason = "its last domain could not be destroyed: EBUSY";
    assert_eq!(script.send(failed.clone()), [down(2, reason, 1.0)]);
    script.wait(1.0);
    assert_eq!(script.summon(3), [down(3, reason, 0.0)]);
    assert_eq!(script.send(Input::Timer), [destroy(1)]);
    assert_eq!(script.deadline_in(), None);
    assert_eq!(script.send(failed), []);
    assert_eq!(script.deadline_in(), Some(2.0));
    script.wait(2.0);
    assert_eq!(script.send(Input::Timer), [destroy(1)]);
    assert_eq!(script.stopped(1), []);
    assert_eq!(script.summon(4), [build(2)]);
}

#[test]
fn shutdown_stops_everything_and_starts_nothing() {
    let mut directory = Directory::new(&config(3), Moment(0));
    let summon = |service, ticket| Input::Summon {
        service: ServiceId(service),
        received: Moment(0),
        ticket: Ticket(ticket),
    };
    let first = |service| Incarnation { service: ServiceId(service), number: 1 };
    directory.handle(Moment(0), summon(0, 1));
    directory.handle(Moment(0), Input::Built { incarnation: first(0), domid: DomId(5) });
    directory.handle(Moment(0), summon(1, 2));

    let effects = directory.handle(Moment(1), Input::Shutdown);
    let expected = [
        refused(1, SummonError::ShuttingDown),
        Effect::Destroy { incarnation: first(0), domid: DomId(5) },
        refused(2, SummonError::ShuttingDown),
    ];
    assert_eq!(effects, expected);
    let refusal = [refused(3, SummonError::ShuttingDown)];
    assert_eq!(directory.handle(Moment(2), summon(2, 3)), refusal);
    let built = Input::Built { incarnation: first(1), domid: DomId(6) };
    let destroy = [Effect::Destroy { incarnation: first(1), domid: DomId(6) }];
    assert_eq!(directory.handle(Moment(3), built), destroy);
    assert!(!directory.is_quiet());
    directory.handle(Moment(4), Input::Stopped { incarnation: first(0) });
    directory.handle(Moment(4), Input::Stopped { incarnation: first(1) });
    assert!(directory.is_quiet());
}

#[test]
fn what_happened_is_recorded() {
    let mut script = Script::new();
    script.wait(1.0);
    script.summon(1);
    script.summon(2);
    for stage in [Stage::DomainCreated, Stage::Unpaused, Stage::VifUp] {
        script.wait(0.5);
        let now = script.now();
        script.directory.stage(life(1), stage, now);
        script.directory.stage(life(0), stage, Moment(0));
        script.directory.stage(life(1), stage, Moment(0));
    }
    script.built(1);
    assert_eq!(script.directory.incarnation_of(DomId(1)), Some(life(1)));
    assert_eq!(script.directory.incarnation_of(DomId(2)), None);
    script.wait(0.5);
    script.ready(1);

    let entry = &script.directory.entries()[0];
    let reached: Vec<_> = entry.timeline().reached().map(|(stage, at)| (stage, at.0 / 1_000_000)).collect();
    let expected = [1000, 1000, 1500, 2000, 2500, 3000, 3000];
    let stages = Stage::ALL.into_iter().filter(|stage| *stage != Stage::PacketReceived);
    assert_eq!(reached, stages.zip(expected).collect::<Vec<_>>());
    assert_eq!(entry.since(), script.now());
    let statistics = Statistics {
        starts: 1,
        requests: 2,
        wakes: 0,
        failures: 0,
        last_request: Some(Moment(1_000_000_000)),
    };
    assert_eq!(entry.statistics(), statistics);
    let starts = script.directory.starts();
    assert_eq!((starts.begun(), starts.under_way(), starts.ended(Outcome::Ready)), (1, 0, 1));
    for stage in Stage::ALL {
        let (histogram, reached) = (starts.stage(stage), entry.timeline().at(stage));
        let took = reached.map(|at| at.0 - 1_000_000_000);
        assert_eq!((histogram.count(), histogram.sum_ns()), (u64::from(took.is_some()), took.unwrap_or(0)));
    }
    assert_eq!(entry.why(), "it accepts connections");
    let events: Vec<_> = script.directory.events().map(|event| (event.from, event.to)).collect();
    use Phase::{Booting, Building, Off, Ready};
    assert_eq!(events, [(Off, Building), (Building, Booting), (Booting, Ready)]);
}
