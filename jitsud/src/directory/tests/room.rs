//! No room: who has to go, and what becomes of the one that waits.

use super::*;

/// Services, of which each takes one page more than the one before, the first one 10; and the seconds on the clock.
struct House {
    directory: Directory,
    seconds: u64,
}

/// What the driver has seen of a service: when its last packet came, and how many connections are open.
type Seen = (usize, u64, usize);

fn of(service: usize, number: u64) -> Incarnation {
    Incarnation { service: ServiceId(service), number }
}

fn domid_of(service: usize) -> DomId {
    DomId(service as u16 + 1)
}

fn build_of(service: usize, number: u64) -> Effect {
    Effect::Build { incarnation: of(service, number) }
}

fn destroy_of(service: usize, number: u64) -> Effect {
    Effect::Destroy { incarnation: of(service, number), domid: domid_of(service) }
}

fn pages(pages: u64) -> Room {
    Room { pages, ..Room::default() }
}

impl House {
    fn new(change: impl FnOnce(&mut [Service])) -> Self {
        let mut config = config(6);
        change(&mut config.services);
        let mut directory = Directory::new(&config, Moment(0));
        directory.set_rooms((0..6).map(|service| Room { pages: 10 + service, frames: 1, guests: 1 }));
        House { directory, seconds: 0 }
    }

    fn now(&self) -> Moment {
        Moment(0).after(Duration::from_secs(self.seconds))
    }

    fn send(&mut self, input: Input) -> Vec<Effect> {
        let now = self.now();
        self.directory.handle(now, input)
    }

    fn summon(&mut self, service: usize, ticket: u64) -> Vec<Effect> {
        let received = self.now();
        self.send(Input::Summon { service: ServiceId(service), received, ticket: Ticket(ticket) })
    }

    /// Brings one up at that second.
    fn start(&mut self, service: usize, second: u64) {
        self.seconds = second;
        assert_eq!(self.summon(service, 1000 + second).len(), 1);
        let incarnation = of(service, 1);
        self.send(Input::Built { incarnation, domid: domid_of(service) });
        let at = self.now();
        assert_eq!(self.send(Input::Ready { incarnation, at }).len(), 1);
    }

    fn no_room(&mut self, service: usize, missing: Room) -> Vec<Effect> {
        let reason = "no room".to_owned();
        self.send(Input::NoRoom { incarnation: of(service, 1), reason, missing })
    }

    fn traffic(&mut self, seen: &[Seen]) -> Vec<Effect> {
        let moment = |second| Moment(0).after(Duration::from_secs(second));
        let traffic =
            |&(service, last, open): &Seen| Traffic { incarnation: of(service, 1), last: moment(last), open };
        self.send(Input::Traffic(seen.iter().map(traffic).collect()))
    }

    fn withdraw_of(&self, service: usize) -> Effect {
        Effect::WithdrawIfIdle {
            incarnation: of(service, 1),
            domid: domid_of(service),
            quiet_since: self.now().before(QUIET_BEFORE_EVICTION),
            ignore_connections: false,
        }
    }

    fn phase(&self, service: usize) -> Phase {
        self.directory.entries()[service].state().phase()
    }
}

fn none(ticket: u64) -> Effect {
    let (reason, retry_in) = ("no room".to_owned(), NO_ROOM_PAUSE);
    refused(ticket, SummonError::NoRoom { reason, retry_in })
}

#[test]
fn those_go_that_were_used_least_recently() {
    let mut house = House::new(|_| {});
    for (service, second) in [(0, 10), (1, 20), (2, 30), (3, 40)] {
        house.start(service, second);
    }
    house.seconds = 50;
    assert_eq!(house.summon(4, 1), [build_of(4, 1)]);
    assert_eq!(house.no_room(4, pages(20)), [Effect::Survey]);
    assert_eq!(house.phase(4), Phase::AwaitingRoom);
    assert_eq!(house.summon(4, 2), [], "it waits as well");
    // The first one has had a packet since.
    let seen = [(0, 35, 0), (1, 20, 0), (2, 30, 0), (3, 40, 0)];
    assert_eq!(house.traffic(&seen), [house.withdraw_of(1), house.withdraw_of(2)]);
    assert_eq!(house.send(Input::Withdrawn { incarnation: of(1, 1) }), [destroy_of(1, 1)]);
    assert_eq!(house.send(Input::Withdrawn { incarnation: of(2, 1) }), [destroy_of(2, 1)]);
    assert_eq!(house.send(Input::Stopped { incarnation: of(2, 1) }), []);
    // Somebody wants the other one again: it comes after the one for which it had to go.
    assert_eq!(house.summon(1, 3), []);
    assert_eq!(house.send(Input::Stopped { incarnation: of(1, 1) }), [build_of(4, 1), build_of(1, 2)]);
    house.send(Input::Built { incarnation: of(4, 1), domid: domid_of(4) });
    let at = house.now();
    assert_eq!(house.send(Input::Ready { incarnation: of(4, 1), at }).len(), 2);
    assert_eq!(house.directory.entries()[4].statistics().starts, 1);
    assert_eq!(house.phase(0), Phase::Ready);
    assert_eq!(house.phase(3), Phase::Ready);
}

#[test]
fn nobody_goes_if_that_is_of_no_use() {
    let mut house = House::new(|services| {
        services[1].start = Start::Always;
        services[2].min_uptime = Duration::from_secs(100);
    });
    for (service, second) in [(0, 10), (1, 20), (2, 30), (3, 40)] {
        house.start(service, second);
    }
    house.seconds = 50;
    let table: [(&[Seen], Room, bool); 8] = [
        // One is idle, and gives 10 pages.
        (&[(0, 10, 0)], pages(10), true),
        (&[(0, 10, 0)], pages(11), false),
        (&[(0, 10, 0)], Room { frames: 2, ..Room::default() }, false),
        (&[(0, 10, 0)], Room { guests: 1, ..Room::default() }, true),
        // It has a connection; has a packet at just that moment; need run always; is too young; is not known.
        (&[(0, 10, 1)], pages(1), false),
        (&[(0, 55, 0)], pages(1), false),
        (&[(1, 20, 0), (2, 30, 0)], pages(1), false),
        (&[], pages(1), false),
    ];
    for (index, (seen, missing, possible)) in table.into_iter().enumerate() {
        let number = index as u64 + 1;
        assert_eq!(house.summon(4, number), [build_of(4, number)]);
        let (incarnation, reason) = (of(4, number), "no room".to_owned());
        assert_eq!(house.send(Input::NoRoom { incarnation, reason, missing }), [Effect::Survey]);
        let effects = house.traffic(seen);
        if possible {
            assert_eq!(effects, [house.withdraw_of(0)]);
            // There is another way after all.
            house.send(Input::Stop { service: ServiceId(4) });
            assert_eq!(house.phase(4), Phase::Off);
            let last = house.now().before(Duration::from_secs(30));
            assert_eq!(house.send(Input::Busy { incarnation: of(0, 1), last, open: 0 }), []);
        } else {
            assert_eq!(effects, [none(number)], "{seen:?}");
            assert_eq!(house.phase(4), Phase::Failed);
            assert_eq!(house.summon(4, 99), [none(99)]);
        }
        house.seconds += 1;
    }
    let counted = house.directory.entries()[4].statistics();
    assert_eq!((counted.starts, counted.failures), (0, 0));
}

#[test]
fn one_that_packets_would_not_start_again_stays_for_as_long_as_answers_are_cached() {
    let mut house = House::new(|services| {
        services[0].wake = false;
        services[1].start = Start::Manual;
        services[2].wake = false;
    });
    house.start(0, 10);
    house.send(Input::Start { service: ServiceId(1) });
    house.send(Input::Built { incarnation: of(1, 1), domid: domid_of(1) });
    let at = house.now();
    house.send(Input::Ready { incarnation: of(1, 1), at });
    // A daemon does not know what the one before has answered.
    house.directory.take_over(at, of(2, 1), domid_of(2), Standing::Ready);
    let goes = |house: &mut House, second, missing, victims: &[usize]| {
        house.seconds = second;
        let number = house.directory.entries()[4].incarnation().number + 1;
        assert_eq!(house.summon(4, number), [build_of(4, number)]);
        let (incarnation, reason) = (of(4, number), "no room".to_owned());
        house.send(Input::NoRoom { incarnation, reason, missing: pages(missing) });
        let effects = house.traffic(&[(0, 10, 0), (1, 10, 0), (2, 10, 0)]);
        if victims.is_empty() {
            assert_eq!(effects, [none(number)], "at {second} s");
            return;
        }
        let expected: Vec<Effect> = victims.iter().map(|victim| house.withdraw_of(*victim)).collect();
        assert_eq!(effects, expected, "at {second} s");
        house.send(Input::Stop { service: ServiceId(4) });
        for victim in victims {
            let last = house.now().before(Duration::from_secs(2));
            house.send(Input::Busy { incarnation: of(*victim, 1), last, open: 0 });
        }
    };
    // Nobody has asked for the second one's address.
    goes(&mut house, 20, 12, &[]);
    goes(&mut house, 30, 11, &[1]);
    goes(&mut house, 69, 12, &[]);
    house.seconds = 69;
    assert_eq!(house.summon(0, 50).len(), 1);
    goes(&mut house, 75, 23, &[2, 1]);
    goes(&mut house, 128, 33, &[]);
    goes(&mut house, 129, 33, &[0, 1, 2]);
}

#[test]
fn one_that_is_in_use_after_all_stays_and_another_is_looked_for() {
    let mut house = House::new(|_| {});
    house.start(0, 10);
    house.start(1, 20);
    house.seconds = 50;
    house.summon(4, 1);
    house.no_room(4, pages(5));
    assert_eq!(house.traffic(&[(0, 10, 0), (1, 20, 0)]), [house.withdraw_of(0)]);
    let last = house.now();
    assert_eq!(house.send(Input::Busy { incarnation: of(0, 1), last, open: 0 }), [build_of(4, 1)]);
    assert_eq!(house.no_room(4, pages(5)), [Effect::Survey]);
    assert_eq!(house.traffic(&[(0, 50, 0), (1, 20, 0)]), [house.withdraw_of(1)]);
    // A query for it, while the driver looks.
    assert_eq!(house.summon(1, 2).len(), 2, "its answer, and the other one's build");
    assert_eq!(house.no_room(4, pages(5)), [Effect::Survey]);
    assert_eq!(house.traffic(&[(0, 50, 0), (1, 20, 0)]), [none(1)], "both are in use now");
    let restore = Effect::Restore { incarnation: of(1, 1), domid: domid_of(1) };
    assert_eq!(house.send(Input::Withdrawn { incarnation: of(1, 1) }), [restore]);
}

#[test]
fn what_is_being_ended_already_is_waited_for() {
    let mut house = House::new(|_| {});
    house.start(0, 10);
    house.start(1, 20);
    house.seconds = 50;
    assert_eq!(house.send(Input::Stop { service: ServiceId(0) }), [destroy_of(0, 1)]);
    house.summon(4, 1);
    house.no_room(4, pages(10));
    assert_eq!(house.traffic(&[(1, 20, 0)]), [], "it suffices");
    // What the first one waits for is not there for the second.
    house.summon(5, 2);
    assert_eq!(house.no_room(5, pages(10)), [Effect::Survey]);
    assert_eq!(house.traffic(&[(1, 20, 0)]), [none(2)], "14 of 11 pages");
    assert_eq!(house.send(Input::Stopped { incarnation: of(0, 1) }), [build_of(4, 1)]);

    // One that cannot be destroyed is not.
    let mut house = House::new(|_| {});
    house.start(0, 10);
    house.send(Input::Stop { service: ServiceId(0) });
    house.summon(4, 1);
    house.no_room(4, pages(10));
    assert_eq!(house.traffic(&[]), []);
    let reason = "EBUSY".to_owned();
    assert_eq!(house.send(Input::StopFailed { incarnation: of(0, 1), reason }), [build_of(4, 1)]);
    assert_eq!(house.no_room(4, pages(10)), [Effect::Survey]);
    assert_eq!(house.traffic(&[]), [none(1)]);
}

#[test]
fn paused_ones_go_as_they_are_and_ready_ones_are_not_paused_for_it() {
    let mut house = House::new(|services| {
        for service in services {
            service.stop = Stop::Pause;
        }
    });
    house.start(0, 10);
    house.start(1, 20);
    house.seconds = 130;
    house.send(Input::Timer);
    house.send(Input::Withdrawn { incarnation: of(0, 1) });
    assert_eq!(house.phase(0), Phase::Paused);
    house.summon(4, 1);
    house.no_room(4, pages(15));
    let seen = [(0, 10, 0), (1, 20, 0)];
    assert_eq!(house.traffic(&seen), [destroy_of(0, 1), house.withdraw_of(1)]);
    assert_eq!(house.send(Input::Withdrawn { incarnation: of(1, 1) }), [destroy_of(1, 1)]);
    house.send(Input::Stopped { incarnation: of(1, 1) });
    assert_eq!(house.send(Input::Stopped { incarnation: of(0, 1) }), [build_of(4, 1)]);
}

#[test]
fn it_takes_a_while_and_not_for_ever() {
    let mut house = House::new(|services| services[0].stop = Stop::Shutdown { timeout: STOP_TIMEOUT * 10 });
    house.start(0, 10);
    house.seconds = 50;
    house.summon(4, 1);
    house.no_room(4, pages(10));
    house.traffic(&[(0, 10, 0)]);
    house.send(Input::Withdrawn { incarnation: of(0, 1) });
    assert_eq!(house.phase(0), Phase::ShuttingDown);
    assert_eq!(house.directory.next_deadline(), Some(house.now().after(ROOM_TIMEOUT)));
    house.seconds += 10;
    assert_eq!(house.send(Input::Timer), [none(1)]);

    // There is room each time that it is looked, and none each time that it is taken.
    let mut house = House::new(|_| {});
    house.summon(4, 1);
    for _ in 0..MAX_SEARCHES {
        assert_eq!(house.no_room(4, Room::default()), [Effect::Survey]);
        assert_eq!(house.traffic(&[]), [build_of(4, 1)]);
    }
    assert_eq!(house.no_room(4, Room::default()), [none(1)]);

    // Nobody wants it any more.
    let mut house = House::new(|_| {});
    house.summon(4, 1);
    house.no_room(4, pages(1));
    assert_eq!(house.send(Input::Shutdown), [refused(1, SummonError::ShuttingDown)]);
    assert_eq!(house.traffic(&[]), []);
    assert!(house.directory.is_quiet());
}

#[test]
fn no_room_is_no_failure_of_the_service() {
    let mut script = Script::new();
    let no_room = |number| {
        let (reason, missing) = ("no room".to_owned(), pages(1));
        Input::NoRoom { incarnation: life(number), reason, missing }
    };
    let told = |ticket, retry_in| {
        let (reason, retry_in) = ("no room".to_owned(), Duration::from_secs_f64(retry_in));
        refused(ticket, SummonError::NoRoom { reason, retry_in })
    };
    // However often: the pause does not grow.
    for number in 1..=5 {
        assert_eq!(script.summon(number), [build(number)]);
        assert_eq!(script.send(no_room(number)), [Effect::Survey]);
        assert_eq!(script.send(Input::Traffic(Vec::new())), [told(number, 1.0)]);
        assert_eq!(script.phase(), Phase::Failed);
        script.wait(0.5);
        assert_eq!(script.summon(100 + number), [told(100 + number, 0.5)]);
        script.wait(0.5);
    }
    let counted = script.directory.entries()[0].statistics();
    assert_eq!((counted.starts, counted.failures, counted.requests), (0, 0, 10));
    script.start(6);

    let mut unwanted = Script::new();
    assert_eq!(unwanted.summon(1), [build(1)]);
    let reason = "stopped by the administrator".to_owned();
    let retry_in = Duration::ZERO;
    assert_eq!(
        unwanted.send(Input::Stop { service: S }),
        [refused(1, SummonError::Failed { reason, retry_in })]
    );
    assert_eq!(unwanted.send(no_room(1)), []);
    assert_eq!(unwanted.phase(), Phase::Off);
}
