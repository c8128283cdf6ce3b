//! Instances of a service, and the host names that they belong to.

use super::*;

/// Two instances of a service, and one of nothing.
struct Instances {
    directory: Directory,
    seconds: u64,
    ticket: u64,
}

impl Instances {
    fn new() -> Self {
        let mut config = config(3);
        for service in &mut config.services[..2] {
            service.instance_of = Some("users".to_owned());
            service.answer = Answer::Start;
        }
        Instances { directory: Directory::new(&config, Moment(0)), seconds: 0, ticket: 0 }
    }

    fn now(&self) -> Moment {
        Moment(0).after(Duration::from_secs(self.seconds))
    }

    fn send(&mut self, input: Input) -> Vec<Effect> {
        let now = self.now();
        self.directory.handle(now, input)
    }

    /// Which service a host name leads to, and what else is to be done, with all that takes; or why there is none.
    fn ask(&mut self, host: &str) -> Result<(usize, usize), SummonError> {
        self.ticket += 1;
        let (received, ticket) = (self.now(), Ticket(self.ticket));
        let instance = ServiceId(1);
        let mut effects =
            self.send(Input::SummonForHost { instance, host: host.to_owned(), received, ticket });
        let builds = effects.iter().filter(|effect| matches!(effect, Effect::Build { .. })).count();
        if let [Effect::Build { incarnation }] = effects[..] {
            effects = self.send(Input::Committed { incarnation });
            let domid = domid(10 * incarnation.service.0 as u64 + incarnation.number);
            self.send(Input::Built { incarnation, domid });
            let at = self.now();
            self.send(Input::Ready { incarnation, at });
        }
        match &effects[..] {
            [Effect::Answer { outcome, .. }] => {
                let found = outcome.clone()?;
                let index = (0..3).find(|index| address(*index) == found.address).expect("one of them");
                assert_eq!(self.directory.entries()[index].host(), Some(host));
                Ok((index, builds))
            }
            other => panic!("{other:?}"),
        }
    }

    fn wait(&mut self, seconds: u64) {
        self.seconds += seconds;
    }

    /// Ends an instance that nobody has used for a while.
    fn end(&mut self, index: usize) {
        let (incarnation, now) = (self.directory.entries()[index].incarnation(), self.now());
        let withdraws = self.directory.handle(now, Input::Timer);
        assert!(!withdraws.is_empty());
        self.send(Input::Withdrawn { incarnation });
        self.send(Input::Stopped { incarnation });
        assert_eq!(self.directory.entries()[index].state().phase(), Phase::Off);
    }
}

fn full() -> SummonError {
    SummonError::NoInstance { count: 2 }
}

#[test]
fn a_host_name_keeps_its_instance_and_one_too_many_is_refused() {
    let mut instances = Instances::new();
    assert_eq!(instances.ask("alice"), Ok((0, 1)));
    assert_eq!(instances.ask("bob"), Ok((1, 1)));
    assert_eq!(instances.ask("alice"), Ok((0, 0)));
    assert_eq!(instances.ask("bob"), Ok((1, 0)));
    assert_eq!(instances.ask("carol"), Err(full()));
    assert_eq!(instances.directory.entries()[2].host(), None);
}

#[test]
fn who_has_not_been_needed_for_longest_gives_way_when_nobody_may_come_any_more() {
    let mut instances = Instances::new();
    instances.ask("alice").unwrap();
    instances.wait(1);
    instances.ask("bob").unwrap();
    instances.wait(IDLE.as_secs() - 1);
    instances.end(0);
    // Its answer is not cached any more. Whoever comes back first finds what was his.
    assert_eq!(instances.ask("alice"), Ok((0, 1)));
    instances.wait(1);
    instances.end(1);
    assert_eq!(instances.ask("carol"), Ok((1, 1)));
    assert_eq!(instances.ask("bob"), Err(full()));
}

#[test]
fn an_instance_that_is_off_is_kept_for_as_long_as_its_address_may_be_cached() {
    let mut instances = Instances::new();
    instances.ask("alice").unwrap();
    instances.ask("bob").unwrap();
    // Switched off by itself, long before its answer is forgotten.
    let incarnation = instances.directory.entries()[0].incarnation();
    instances.send(Input::Died { incarnation, death: Death::Poweroff, detail: String::new() });
    instances.send(Input::Stopped { incarnation });
    assert_eq!(instances.ask("carol"), Err(full()));
    // Packets start it for who has been told.
    let at = instances.now();
    let woken = instances.send(Input::Woken { service: S, at });
    assert_eq!(woken, [build(2)]);
    instances.send(Input::BuildFailed { incarnation: life(2), reason: "oh".to_owned() });
    instances.wait(TTL.as_secs());
    assert_eq!(instances.ask("carol"), Ok((0, 1)));
}

#[test]
fn nobodys_instance_is_started_by_nobody() {
    let mut instances = Instances::new();
    assert_eq!(instances.send(Input::Woken { service: S, at: Moment(0) }), []);
    assert_eq!(instances.send(Input::Start { service: S }), []);
    let summon = Input::Summon { service: S, received: Moment(0), ticket: Ticket(9) };
    assert_eq!(instances.send(summon), [refused(9, SummonError::NoHost)]);
    // What is no instance is none for a host name.
    let (host, received, ticket) = ("alice".to_owned(), Moment(0), Ticket(10));
    let wrong = Input::SummonForHost { instance: ServiceId(2), host, received, ticket };
    assert_eq!(instances.send(wrong), [refused(10, SummonError::NoInstance { count: 0 })]);
}

#[test]
fn the_next_daemon_knows_whose_an_instance_is() {
    let mut instances = Instances::new();
    instances.directory.remember_host(Moment(0), S, "alice".to_owned());
    assert_eq!(instances.ask("bob"), Ok((1, 1)));
    assert_eq!(instances.ask("carol"), Err(full()), "somebody may still have been told of alice's");
    assert_eq!(instances.ask("alice"), Ok((0, 1)));
    let mut instances = Instances::new();
    instances.directory.remember_host(Moment(0), S, "alice".to_owned());
    instances.ask("bob").unwrap();
    instances.wait(TTL.as_secs());
    assert_eq!(instances.ask("carol"), Ok((0, 1)));
}
