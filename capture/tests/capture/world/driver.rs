//! The driver and what it drives: what jitsud does with a capture, with the time that each step takes.

use capture::{Moment, Phase, ServiceId};

use super::{Event, Fdb, Way, World};

/// What happens to a service, one after the other.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Step {
    /// Somebody wants it: a packet, or a DNS query. Of any life.
    Wanted,
    /// Its guest accepts connections.
    Ready,
    /// The driver has heard of it.
    ReadyHeard,
    /// The bridge sends its frames to the vif from now on.
    MovedToVif,
    /// The driver has heard of it.
    MoveHeard,
    /// Some of what is held is delivered.
    Replay,
    /// It could not be started.
    Failed,
    /// It crashes.
    Crash,
    /// It is to be stopped.
    Stop,
    /// The bridge sends its frames to the tap from now on.
    MovedToTap,
    /// Its domain is destroyed.
    Destroyed,
    /// Everything of it is gone.
    Gone,
}

#[derive(Debug)]
pub struct Service {
    pub phase: Phase,
    pub life: u32,
    pub fdb: Fdb,
    /// Its guest accepts connections.
    pub alive: bool,
    /// Wanted while it was being stopped.
    wanted: bool,
    /// The driver has seen that the entry is moved, and that the tap is read empty after that makes it `Up`.
    last_read: bool,
    /// Clients of whom a dead guest has got something.
    pub lost: Vec<usize>,
}

impl Service {
    pub fn new() -> Self {
        Service {
            phase: Phase::Down,
            life: 0,
            fdb: Fdb::Tap,
            alive: false,
            wanted: false,
            last_read: false,
            lost: Vec::new(),
        }
    }
}

impl World {
    /// Somebody wants a service so many µs from now.
    pub fn named(&mut self, after: u64, service: usize) {
        let life = self.services[service].life;
        self.after(after, Event::Of { service, life, step: Step::Wanted });
    }

    pub fn step(&mut self, service: usize, life: u32, step: Step) {
        if step == Step::Wanted {
            return self.wanted(service);
        }
        if life != self.services[service].life {
            return;
        }
        let id = ServiceId(service as u16);
        match step {
            Step::Wanted => {}
            Step::Ready => {
                self.services[service].alive = true;
                self.soon(service, Step::ReadyHeard, 10, 100);
                let crashes = self.between(0, 9) == 0;
                if crashes {
                    self.soon(service, Step::Crash, 0, 2_000_000);
                }
            }
            Step::ReadyHeard => match self.way {
                Way::Vif => {
                    self.phase(service, Phase::Forwarding);
                    self.soon(service, Step::Replay, 5, 50);
                }
                Way::Tap => self.soon(service, Step::MovedToVif, 5, 100),
            },
            Step::MovedToVif => {
                self.services[service].fdb = Fdb::Vif;
                self.soon(service, Step::MoveHeard, 5, 60);
            }
            Step::MoveHeard => {
                if self.way == Way::Tap {
                    self.phase(service, Phase::Forwarding);
                    self.soon(service, Step::Replay, 5, 50);
                } else {
                    self.services[service].last_read = true;
                    self.tap_read();
                }
            }
            Step::Replay => {
                let left = self.with_capture(|capture, _, log| capture.replay(id, 2, log));
                match self.way {
                    _ if left > 0 => self.soon(service, Step::Replay, 5, 100),
                    Way::Vif => self.soon(service, Step::MovedToVif, 5, 100),
                    Way::Tap => {
                        self.services[service].last_read = true;
                        self.tap_read();
                    }
                }
            }
            Step::Failed => {
                let until = self.between(1_000, 2_000_000);
                let until = Moment(self.moment().0 + until * 1000);
                self.services[service].life += 1;
                self.phase(service, Phase::Failed { until });
            }
            Step::Crash => {
                self.services[service].alive = false;
                self.soon(service, Step::Stop, 50, 500);
            }
            Step::Stop => {
                self.services[service].life += 1;
                self.services[service].last_read = false;
                self.phase(service, Phase::Stopping);
                self.soon(service, Step::MovedToTap, 5, 100);
            }
            Step::MovedToTap => {
                self.services[service].fdb = Fdb::Tap;
                self.soon(service, Step::Destroyed, 5, 3000);
            }
            Step::Destroyed => {
                self.services[service].alive = false;
                self.soon(service, Step::Gone, 5, 3000);
            }
            Step::Gone => {
                self.services[service].life += 1;
                if std::mem::take(&mut self.services[service].wanted) {
                    self.start(service);
                } else {
                    self.phase(service, Phase::Down);
                }
            }
        }
    }

    /// The tap has been read, perhaps empty.
    pub fn tap_read(&mut self) {
        for service in 0..self.services.len() {
            let empty = self.tap.is_empty() && self.capture.held(ServiceId(service as u16)) == 0;
            if empty && std::mem::take(&mut self.services[service].last_read) {
                self.phase(service, Phase::Up);
                self.soon(service, Step::Stop, 0, 3_000_000);
            }
        }
    }

    fn wanted(&mut self, service: usize) {
        let now = self.moment();
        match self.services[service].phase {
            Phase::Down => self.start(service),
            Phase::Failed { until } if until <= now => self.start(service),
            // Back-off: whoever asked is told.
            Phase::Failed { until } => self.phase(service, Phase::Failed { until }),
            Phase::Stopping => self.services[service].wanted = true,
            _ => {}
        }
    }

    fn start(&mut self, service: usize) {
        self.phase(service, Phase::Starting);
        let longest = [2_000, 20_000, 4_000_000][self.between(0, 2) as usize];
        let step = if self.between(0, 9) == 0 { Step::Failed } else { Step::Ready };
        self.soon(service, step, 500, longest);
    }

    /// Tells the capture. Somebody always comes just then.
    fn phase(&mut self, service: usize, phase: Phase) {
        self.services[service].phase = phase;
        self.with_capture(|capture, now, log| capture.phase(now, ServiceId(service as u16), phase, log));
        if self.clients.len() < 40 {
            let after = self.between(0, 300);
            self.client(after, service);
        }
    }

    fn soon(&mut self, service: usize, step: Step, least: u64, most: u64) {
        let life = self.services[service].life;
        let after = self.between(least, most);
        self.after(after, Event::Of { service, life, step });
    }
}
