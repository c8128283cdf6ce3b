//! Packets as a sign of life: who is asked, what follows from the answer, and what a pause is.

use super::*;

fn withdrawn(number: u64) -> Input {
    Input::Withdrawn { incarnation: life(number) }
}

fn busy(number: u64, last: Moment, open: usize) -> Input {
    Input::Busy { incarnation: life(number), last, open }
}

fn restore(number: u64) -> Effect {
    Effect::Restore { incarnation: life(number), domid: domid(number) }
}

fn pause(number: u64) -> Effect {
    Effect::Pause { incarnation: life(number), domid: domid(number) }
}

fn resume(number: u64) -> Effect {
    Effect::Resume { incarnation: life(number), domid: domid(number) }
}

/// That many seconds on the clock.
fn at(seconds: u64) -> Moment {
    Moment(0).after(Duration::from_secs(seconds))
}

impl Script {
    fn packet(&mut self) -> Vec<Effect> {
        let at = self.now();
        self.send(Input::Woken { service: S, at })
    }
}

#[test]
fn a_packet_wakes_as_a_query_does() {
    let mut script = Script::new();
    script.wait(1.0);
    assert_eq!(script.packet(), [build(1)]);
    assert_eq!(script.packet(), [], "once");
    script.built(1);
    assert_eq!(script.ready(1), []);
    let entry = &script.directory.entries()[0];
    assert_eq!(entry.timeline().begun(), Some(at(1)));
    assert_eq!(entry.timeline().at(Stage::PacketReceived), Some(at(1)));
    let counted = entry.statistics();
    assert_eq!((counted.wakes, counted.requests, counted.last_request), (2, 0, None));

    // While it ends, and in its back-off.
    script.wait(120.0);
    assert_eq!(script.idle(1), [destroy(1)]);
    assert_eq!(script.packet(), []);
    assert_eq!(script.stopped(1), [build(2)]);
    script.built(2);
    script.died(2, Death::Crash);
    assert_eq!(script.packet(), []);
    assert_eq!(script.stopped(2), []);
    assert_eq!((script.phase(), script.packet()), (Phase::Failed, vec![]));
    script.wait(1.0);
    assert_eq!(script.packet(), [build(3)]);
    script.send(Input::Shutdown);
    assert_eq!(script.packet(), []);
    script.send(Input::BuildFailed { incarnation: life(3), reason: String::new() });
    assert_eq!((script.phase(), script.packet()), (Phase::Off, vec![]));
    assert_eq!(script.send(Input::Woken { service: ServiceId(7), at: Moment(0) }), []);
}

#[test]
fn packets_keep_a_service_up() {
    let mut script = Script::new();
    script.start(1);
    script.wait(120.0);
    assert_eq!(script.send(Input::Timer), [withdraw(1, at(0), false)]);
    assert_eq!(script.deadline_in(), None, "the driver looks");
    assert_eq!(script.send(busy(1, at(90), 0)), []);
    assert_eq!(script.deadline_in(), Some(90.0));
    let traffic = script.directory.entries()[0].traffic();
    assert_eq!(traffic, KnownTraffic { last_packet: Some(at(90)), open: 0 });
    script.wait(90.0);
    assert_eq!(script.send(Input::Timer), [withdraw(1, at(90), false)]);
    // It is busy, and the driver says that it is not: there is no use in asking at once.
    assert_eq!(script.send(busy(1, at(10), 0)), []);
    assert_eq!(script.deadline_in(), Some(0.1));
    script.wait(0.1);
    assert_eq!(script.idle(1), [destroy(1)]);
    assert_eq!(script.send(busy(1, at(211), 0)), [], "too late");
    assert_eq!(script.send(withdrawn(1)), [], "too late");
}

#[test]
fn an_open_connection_keeps_a_service_up() {
    let mut script = Script::new();
    script.start(1);
    script.wait(120.0);
    script.send(Input::Timer);
    assert_eq!(script.send(busy(1, at(100), 2)), []);
    assert_eq!(script.deadline_in(), Some(7440.0 - 20.0));
    // A query does not shorten that.
    script.wait(80.0);
    assert_eq!(script.summon(2), [up(2)]);
    assert_eq!(script.deadline_in(), Some(7440.0));
    // Both are closed.
    script.wait(1000.0);
    assert_eq!(script.send(Input::Closed { incarnation: life(1), last: at(1150) }), []);
    assert_eq!(script.deadline_in(), Some(70.0));
    script.wait(70.0);
    assert_eq!(script.send(Input::Timer), [withdraw(1, at(1150), false)]);
    // There is another one, whose other end does not answer any more.
    assert_eq!(script.send(busy(1, at(1150), 1)), []);
    script.wait(7440.0 - 120.0);
    assert_eq!(script.deadline_in(), Some(0.0));
    assert_eq!(script.send(Input::Timer), [withdraw(1, at(1150), true)]);
    assert_eq!(script.send(withdrawn(1)), [destroy(1)]);
}

#[test]
fn a_request_while_the_driver_looks_gives_the_guest_its_packets_back() {
    for by_packet in [false, true] {
        let mut script = Script::new();
        script.start(1);
        script.wait(120.0);
        script.send(Input::Timer);
        if by_packet {
            assert_eq!(script.packet(), []);
        } else {
            assert_eq!(script.summon(2), [up(2)]);
        }
        script.wait(0.5);
        assert_eq!(script.send(withdrawn(1)), [restore(1)]);
        assert_eq!((script.phase(), script.deadline_in()), (Phase::Ready, Some(119.5)));
        // What is not asked for is given back, too.
        assert_eq!(script.send(withdrawn(1)), [restore(1)]);
    }
    // The driver was not quick enough, and it is too old.
    let mut script = Script::with(|service| service.max_uptime = Some(Duration::from_secs(121)));
    script.start(1);
    script.wait(120.0);
    script.send(Input::Timer);
    assert_eq!(script.deadline_in(), Some(1.0));
    script.wait(1.0);
    assert_eq!(script.send(Input::Timer), [destroy(1)]);
}

#[test]
fn a_paused_service_goes_on_where_it_was() {
    let mut script = Script::with(|service| service.stop = Stop::Pause);
    script.start(1);
    for by_packet in [false, true] {
        script.wait(120.0);
        let quiet_since = script.now().before(IDLE);
        assert_eq!(script.send(Input::Timer), [withdraw(1, quiet_since, true)], "connections outlive it");
        assert_eq!(script.send(withdrawn(1)), [pause(1)]);
        assert_eq!((script.phase(), script.deadline_in()), (Phase::Paused, None));
        assert_eq!(script.directory.incarnation_of(domid(1)), Some(life(1)));
        assert!(!script.directory.is_quiet());
        script.wait(100_000.0);
        if by_packet {
            assert_eq!(script.packet(), [resume(1)]);
        } else {
            assert_eq!(script.summon(2), [resume(1), up(2)]);
        }
        assert_eq!((script.phase(), script.deadline_in()), (Phase::Ready, Some(120.0)));
    }
    // Open connections count no more than silence does.
    script.wait(120.0);
    script.send(Input::Timer);
    let last = script.now();
    script.send(busy(1, last, 5));
    assert_eq!(script.deadline_in(), Some(120.0));
    assert_eq!(script.directory.entries()[0].statistics().starts, 1);
}

#[test]
fn a_paused_service_may_end() {
    let paused = |change: fn(&mut Service)| {
        let mut script = Script::with(|service| {
            service.stop = Stop::Pause;
            change(service);
        });
        script.start(1);
        script.wait(120.0);
        script.send(Input::Timer);
        assert_eq!(script.send(withdrawn(1)), [pause(1)]);
        script
    };
    let mut refused = paused(|_| {});
    assert_eq!(refused.died(1, Death::Vanished), [destroy(1)]);
    refused.stopped(1);
    assert_eq!(refused.phase(), Phase::Failed);

    let mut stopped = paused(|_| {});
    assert_eq!(stopped.send(Input::Stop { service: S }), [destroy(1)]);
    assert_eq!(stopped.packet(), []);
    assert_eq!(stopped.stopped(1), [build(2)]);

    let mut old = paused(|service| service.max_uptime = Some(Duration::from_secs(300)));
    assert_eq!(old.deadline_in(), Some(180.0));
    old.wait(180.0);
    assert_eq!(old.send(Input::Timer), [destroy(1)]);

    let mut down = paused(|_| {});
    assert_eq!(down.send(Input::Shutdown), [destroy(1)]);

    let mut taken_over = Script::with(|service| service.stop = Stop::Pause);
    let now = taken_over.now();
    taken_over.directory.take_over(now, life(4), domid(4), Standing::Paused);
    assert_eq!((taken_over.phase(), taken_over.deadline_in()), (Phase::Paused, None));
    assert_eq!(taken_over.summon(1), [resume(4), up(1)]);
}
