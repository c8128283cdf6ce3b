//! A world of services that fail in every way, run by seeds: whatever the order of reports, what the module's
//! documentation promises holds.

mod world;

use self::world::{SERVICES, World};
use super::tests::{STOP_TIMEOUT, config};
use super::*;
use crate::config::{Answer, Config, Start, Stop};

const REQUESTS: u64 = 400;

/// The service that is asked to switch itself off before it is destroyed, and answered when it is ready.
const GENTLE: ServiceId = ServiceId(1);
const PAUSING: ServiceId = ServiceId(2);
const MANUAL: ServiceId = ServiceId(3);
/// In every fourth world.
const ALWAYS: ServiceId = ServiceId(4);

fn services(seed: u64) -> Config {
    let mut config = config(SERVICES);
    let services = &mut config.services;
    for service in services.iter_mut().step_by(2) {
        service.answer = Answer::Start;
    }
    services[GENTLE.0].stop = Stop::Shutdown { timeout: STOP_TIMEOUT };
    services[PAUSING.0].stop = Stop::Pause;
    services[MANUAL.0].start = Start::Manual;
    services[0].max_uptime = Some(Duration::from_secs(2000));
    services[1].wake = false;
    services[5].min_uptime = Duration::from_secs(300);
    if runs_always(seed) {
        services[ALWAYS.0].start = Start::Always;
    }
    config
}

fn runs_always(seed: u64) -> bool {
    seed.is_multiple_of(4)
}

#[test]
fn a_world_of_failures() {
    let mut seen = world::Seen::default();
    for seed in 0..120 {
        let config = services(seed);
        let mut world = World::new(seed, config.clone());
        let mut directory = Directory::new(&config, Moment(0));
        directory.set_rooms(world.rooms());
        directory.share(Moment(0), Arc::clone(&world.warm));
        // Some seeds ask often, so that queues fill; others leave time for idleness.
        let spread = [1, 1_000, 60_000, 3_600_000, 20_000_000][seed as usize % 5];
        for ticket in 0..REQUESTS {
            let at = world.soon(spread);
            let service = ServiceId(world.random.below(SERVICES as u64) as usize);
            let service = if spread == 1 { GENTLE } else { service };
            let received = Moment(at);
            world.report(at, Input::Summon { service, received, ticket: Ticket(ticket) });
            // Nothing empties the queue of one that is asked by all at once.
            if spread > 1 {
                world.disturb(at, service);
            }
        }
        // One that runs always is started for ever.
        let shut_down = seed % 5 == 1 || runs_always(seed);
        if shut_down {
            let at = world.soon(2 * spread);
            world.report(at, Input::Shutdown);
        }
        world.run(&mut directory);
        for entry in directory.entries() {
            let phase = entry.state().phase();
            let rests = matches!(phase, Phase::Off | Phase::Failed | Phase::Paused);
            assert!(rests, "seed {seed}: {}: {:?}", entry.service().name, entry.state());
        }
        assert!(shut_down || world.seen.outcomes[3] == 0, "seed {seed}");
        let now = world.now;
        world.report(now, Input::Shutdown);
        world.run(&mut directory);
        assert!(directory.is_quiet(), "seed {seed}: {directory:?}");
        world.at_rest();
        let starts: u64 = directory.entries().iter().map(|entry| entry.statistics().starts).sum();
        assert_eq!(starts, world.seen.builds, "seed {seed}");
        let asked: u64 = directory.entries().iter().map(|entry| entry.statistics().requests).sum();
        assert!(asked == REQUESTS || shut_down, "seed {seed}: {asked}");
        assert_eq!(world.seen.outcomes.iter().sum::<u64>(), REQUESTS, "seed {seed}");
        seen.add(&world.seen);
    }
    // Everything has happened that may happen, or this has tested nothing.
    seen.check();
}
