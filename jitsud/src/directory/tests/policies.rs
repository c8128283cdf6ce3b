//! Who starts a service, when its clients are told, and how long it is up.

use super::*;

fn committed(number: u64) -> Input {
    Input::Committed { incarnation: life(number) }
}

const START: Input = Input::Start { service: S };
const STOP: Input = Input::Stop { service: S };

#[test]
fn clients_are_told_when_it_is_certain_that_it_will_start() {
    let mut script = Script::with(|service| service.answer = Answer::Start);
    assert_eq!(script.summon(1), [build(1)]);
    assert_eq!(script.summon(2), []);
    script.wait(0.001);
    assert_eq!(script.send(committed(1)), [up(1), up(2)]);
    assert_eq!(script.directory.entries()[0].timeline().at(Stage::Answered), Some(script.now()));
    assert_eq!(script.summon(3), [up(3)]);
    assert_eq!(script.built(1), []);
    assert_eq!(script.summon(4), [up(4)]);
    assert_eq!(script.ready(1), []);
    // Not before the next life is certain.
    script.wait(120.0);
    assert_eq!(script.idle(1), [destroy(1)]);
    assert_eq!(script.summon(5), []);
    assert_eq!(script.send(committed(1)), [], "that is over");
    assert_eq!(script.stopped(1), [build(2)]);
    assert_eq!(script.send(committed(1)), [], "that is over");
    assert_eq!(script.send(committed(2)), [up(5)]);
    // What is known to have ended will not answer.
    assert_eq!(script.died(2, Death::Crash), []);
    assert_eq!(script.summon(6), []);
    let reason = "its domain crashed before it was ready: panic: oh";
    assert_eq!(script.built(2), [down(6, reason, 1.0), destroy(2)]);

    // One that has been stopped is not on its way.
    let mut script = Script::with(|service| service.answer = Answer::Start);
    script.summon(1);
    script.send(committed(1));
    script.send(STOP);
    assert_eq!(script.summon(2), []);
    assert_eq!(script.built(1), [destroy(1)]);

    let mut script = Script::new();
    script.summon(1);
    assert_eq!(script.send(committed(1)), []);
    script.built(1);
    assert_eq!(script.ready(1), [up(1)]);
}

#[test]
fn the_first_answers_of_a_life_are_held_back() {
    let delay = Duration::from_millis(100);
    let mut script = Script::with(|service| {
        service.answer = Answer::Start;
        service.response_delay = delay;
    });
    script.summon(1);
    assert_eq!(script.deadline_in(), None, "it counts from when it is certain");
    assert_eq!(script.send(committed(1)), []);
    assert_eq!(script.deadline_in(), Some(0.1));
    script.built(1);
    script.wait(0.05);
    assert_eq!(script.ready(1), [], "that is not when it counts from");
    assert_eq!(script.summon(2), []);
    script.wait(0.05);
    assert_eq!(script.send(Input::Timer), [up(1), up(2)]);
    assert_eq!(script.summon(3), [up(3)]);
    assert_eq!(script.deadline_in(), Some(IDLE.as_secs_f64()));
    // Each life has its own.
    script.wait(120.0);
    script.idle(1);
    script.stopped(1);
    script.summon(4);
    assert_eq!(script.send(committed(2)), []);
    script.wait(0.1);
    assert_eq!(script.send(Input::Timer), [up(4)]);

    let mut script = Script::with(|service| service.response_delay = delay);
    script.summon(1);
    script.send(committed(1));
    script.built(1);
    script.wait(1.0);
    assert_eq!(script.ready(1), [], "it counts from the key");
    // Nobody waits any longer for one that has ended.
    let reason = "its domain crashed: panic: oh";
    assert_eq!(script.died(1, Death::Crash), [down(1, reason, 1.0), destroy(1)]);
    assert_eq!(script.deadline_in(), None);
}

#[test]
fn one_that_runs_always_is_started_by_the_node_and_started_again() {
    let mut script = Script::with(|service| service.start = Start::Always);
    assert_eq!(script.deadline_in(), Some(0.0));
    assert_eq!(script.send(Input::Timer), [build(1)]);
    script.built(1);
    assert_eq!(script.ready(1), []);
    assert_eq!(script.deadline_in(), None, "it is never idle");
    assert_eq!(script.summon(1), [up(1)]);
    assert_eq!(script.deadline_in(), None);
    // Whatever it ends of, there is a back-off.
    for (number, back_off) in [(1, 1.0), (2, 2.0), (3, 4.0)] {
        let death = if number == 2 { Death::Crash } else { Death::Poweroff };
        assert_eq!(script.died(number, death), [destroy(number)]);
        assert_eq!(script.stopped(number), []);
        assert_eq!((script.phase(), script.deadline_in()), (Phase::Failed, Some(back_off)));
        script.wait(back_off);
        assert_eq!(script.send(Input::Timer), [build(number + 1)]);
        script.built(number + 1);
        script.ready(number + 1);
    }
    // It stays off when it is to, until somebody wants it.
    assert_eq!(script.send(STOP), [destroy(4)]);
    assert_eq!(script.stopped(4), []);
    assert_eq!((script.phase(), script.deadline_in()), (Phase::Off, None));
    assert_eq!(script.summon(2), [build(5)]);
    script.built(5);
    script.ready(5);
    assert_eq!(script.send(Input::Shutdown), [destroy(5)]);
    assert_eq!(script.stopped(5), []);
    assert_eq!(script.deadline_in(), None);
}

#[test]
fn one_that_runs_always_is_tried_again_without_hurry_when_there_is_no_room() {
    let mut script = Script::with(|service| service.start = Start::Always);
    assert_eq!(script.send(Input::Timer), [build(1)]);
    let (reason, missing) = ("no room".to_owned(), Room { pages: 1, ..Room::default() });
    let no_room = Input::NoRoom { incarnation: life(1), reason, missing };
    assert_eq!(script.send(no_room), [Effect::Survey]);
    assert_eq!(script.send(Input::Traffic(Vec::new())), []);
    assert_eq!(script.deadline_in(), Some(10.0));
    script.wait(1.0);
    assert_eq!(script.summon(1), [build(2)], "for somebody it is tried sooner");
}

#[test]
fn one_that_is_started_by_hand_is_started_by_nobody_else() {
    let mut script = Script::with(|service| service.start = Start::Manual);
    let packet = Input::Woken { service: S, at: Moment(0) };
    assert_eq!(script.summon(1), [refused(1, SummonError::Manual)]);
    assert_eq!(script.send(packet.clone()), []);
    assert_eq!(script.phase(), Phase::Off);
    assert_eq!(script.send(START), [build(1)]);
    assert_eq!(script.summon(2), [], "it is on its way");
    script.built(1);
    assert_eq!(script.ready(1), [up(2)]);
    assert_eq!(script.send(START), [], "it runs");
    script.wait(120.0);
    assert_eq!(script.idle(1), [destroy(1)]);
    assert_eq!(script.summon(3), [refused(3, SummonError::Manual)]);
    assert_eq!(script.send(packet.clone()), []);
    // Ordered while it ends: who comes then may wait for it.
    assert_eq!(script.send(START), []);
    assert_eq!(script.summon(4), []);
    assert_eq!(script.stopped(1), [build(2)]);
    assert_eq!(script.send(STOP), [down(4, "stopped by the administrator", 0.0)]);
    assert_eq!(script.summon(5), [refused(5, SummonError::Manual)]);
    assert_eq!(script.built(2), [destroy(2)]);
    assert_eq!(script.stopped(2), []);
    // An order ends a back-off.
    assert_eq!(script.send(START), [build(3)]);
    script.send(Input::BuildFailed { incarnation: life(3), reason: "no memory".to_owned() });
    assert_eq!(script.phase(), Phase::Failed);
    assert_eq!(script.send(packet), []);
    assert_eq!(script.send(START), [build(4)]);

    // What is paused has been started.
    let mut script = Script::with(|service| (service.start, service.stop) = (Start::Manual, Stop::Pause));
    script.send(START);
    script.built(1);
    script.ready(1);
    script.wait(120.0);
    script.send(Input::Timer);
    script.send(Input::Withdrawn { incarnation: life(1) });
    assert_eq!(script.summon(1).last(), Some(&up(1)));
    script.send(Input::Shutdown);
    script.stopped(1);
    assert_eq!(script.send(START), []);
}

#[test]
fn an_order_ends_the_back_off_of_a_domain_that_is_still_there() {
    let mut script = Script::new();
    script.start(1);
    script.died(1, Death::Crash);
    assert_eq!(script.send(START), []);
    assert_eq!(script.stopped(1), [build(2)]);
}

/// Changes a service.
type Change = fn(&mut Service);

/// The TTL in seconds with which ticket 9 is answered.
fn ttl(effects: &[Effect]) -> u64 {
    let of = |effect: &Effect| match effect {
        Effect::Answer { ticket: Ticket(9), outcome: Ok(summoned) } => Some(summoned.ttl.as_secs()),
        _ => None,
    };
    effects.iter().find_map(of).unwrap_or_else(|| panic!("{effects:?}"))
}

#[test]
fn answers_are_cached_for_no_longer_than_the_address_works() {
    let not_woken: [(&str, Change); 2] = [
        ("wake = false", |service| service.wake = false),
        ("no ports", |service| {
            (service.tcp, service.udp) = (capture::Ports::Only(Vec::new()), capture::Ports::Only(Vec::new()));
        }),
    ];
    let woken: [(&str, Change); 2] = [
        ("woken by packets", |_| {}),
        ("woken at one port", |service| service.udp = capture::Ports::Only(Vec::new())),
    ];
    let cases = not_woken.map(|case| (case, false)).into_iter().chain(woken.map(|case| (case, true)));
    for ((what, change), is_woken) in cases {
        let script = |max_uptime: u64| {
            Script::with(|service| {
                change(service);
                service.answer = Answer::Start;
                service.max_uptime = Some(Duration::from_secs(max_uptime));
            })
        };
        // Up for how long, of what max_uptime: TTL where packets do not wake.
        for (up_for, max_uptime, promised) in
            [(0.0, 600, 60), (540.0, 600, 60), (541.0, 600, 59), (599.5, 600, 0)]
        {
            let mut script = script(max_uptime);
            script.summon(1);
            script.send(committed(1));
            script.built(1);
            script.ready(1);
            script.wait(up_for);
            let expected = if is_woken { 60 } else { promised };
            assert_eq!(ttl(&script.summon(9)), expected, "{what}, up for {up_for} s");
        }
        // Before it is up, all of it is left.
        let mut script = script(40);
        script.summon(9);
        assert_eq!(ttl(&script.send(committed(1))), if is_woken { 60 } else { 40 }, "{what}");
    }
}

#[test]
fn a_service_is_up_for_long_enough_and_not_too_long() {
    let mut script = Script::with(|service| {
        (service.min_uptime, service.max_uptime) = (Duration::from_secs(500), Some(Duration::from_secs(600)));
    });
    script.start(1);
    assert_eq!(script.deadline_in(), Some(500.0));
    script.wait(500.0);
    assert_eq!(script.send(Input::Timer), [withdraw(1, script.now().before(IDLE), false)]);
    let last = script.now();
    script.send(Input::Busy { incarnation: life(1), last, open: 3 });
    assert_eq!(script.deadline_in(), Some(100.0));
    assert_eq!(script.summon(2), [up(2)]);
    script.wait(100.0);
    assert_eq!(script.send(Input::Timer), [destroy(1)], "whatever it does");
    assert_eq!(script.summon(3), []);
    assert_eq!(script.stopped(1), [build(2)]);

    let mut script = Script::with(|service| {
        (service.start, service.max_uptime) = (Start::Always, Some(Duration::from_secs(600)));
    });
    script.send(Input::Timer);
    script.built(1);
    script.ready(1);
    script.wait(600.0);
    assert_eq!(script.send(Input::Timer), [destroy(1)]);
    script.stopped(1);
    assert_eq!(script.send(Input::Timer), [build(2)], "at once: it is not to blame");
}
