//! What domains take of what there is little of, and who has to go for another one: whoever was used least recently.

use super::{Directory, Entry, Incarnation, Moment, Outbox, Search, State};

/// What a domain takes, or what is missing for one.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Room {
    /// Of Xen's memory, in pages.
    pub pages: u64,
    /// Of dom0's frames behind which it maps guests' pages.
    pub frames: u64,
    /// Of the domains that the processor can tell apart.
    pub guests: u64,
}

impl Room {
    /// Whether it is none at all.
    pub fn is_none(self) -> bool {
        self == Room::default()
    }

    pub(super) fn plus(self, other: Room) -> Room {
        self.with(other, u64::saturating_add)
    }

    pub(super) fn less(self, other: Room) -> Room {
        self.with(other, u64::saturating_sub)
    }

    fn with(self, other: Room, operation: impl Fn(u64, u64) -> u64) -> Room {
        Room {
            pages: operation(self.pages, other.pages),
            frames: operation(self.frames, other.frames),
            guests: operation(self.guests, other.guests),
        }
    }
}

/// What the driver has seen of one guest's packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Traffic {
    /// Of which life.
    pub incarnation: Incarnation,
    /// When its last packet came or went.
    pub last: Moment,
    /// Its open connections.
    pub open: usize,
}

impl Directory {
    /// What the driver has seen, for those for which room is to be made. Who has waited longest comes first.
    pub(super) fn survey(&mut self, now: Moment, seen: &[Traffic], out: &mut Outbox) {
        self.surveying = false;
        for &Traffic { incarnation, last, open } in seen {
            self.with(incarnation, |entry| entry.note_traffic(now, last, open));
        }
        for index in self.awaiting_room() {
            let entry = &self.entries[index];
            if let State::AwaitingRoom { search: Search::Survey { missing }, .. } = *entry.state() {
                self.make_room(now, index, missing, seen, out);
            }
        }
    }

    /// Ends who can be ended for this one, if that helps. What is being ended already counts, and what others wait for
    /// does, too: it is not free for this one.
    fn make_room(&mut self, now: Moment, index: usize, missing: Room, seen: &[Traffic], out: &mut Outbox) {
        let (mut missing, mut ending) = (missing, Vec::new());
        for other in &self.entries {
            if matches!(other.state(), State::AwaitingRoom { search: Search::Ending(_), .. }) {
                missing = missing.plus(other.room());
            }
        }
        for other in self.entries.iter().filter(|other| other.state().is_ending()) {
            missing = missing.less(other.room());
            ending.push(other.incarnation());
        }
        let quiet = |entry: &&Entry| {
            let known = seen.iter().find(|traffic| traffic.incarnation == entry.incarnation());
            known.is_some_and(|traffic| traffic.open == 0) && entry.may_make_way(now)
        };
        let mut quiet: Vec<&Entry> = self.entries.iter().filter(quiet).collect();
        quiet.sort_by_key(|entry| entry.last_seen());
        let mut victims = Vec::new();
        for entry in quiet {
            let left = missing.less(entry.room());
            if left != missing {
                missing = left;
                victims.push(entry.incarnation());
            }
        }
        if !missing.is_none() {
            return self.entries[index].give_up_room(now, out);
        }
        for victim in &victims {
            self.entries[victim.service.0].make_way(now, out);
        }
        ending.extend(victims);
        self.entries[index].await_ends(ending);
    }

    /// Tries again those for which all has been done that could be, and asks for what is to be known about the others.
    pub(super) fn settle(&mut self, now: Moment, out: &mut Outbox) {
        let waiting = self.awaiting_room();
        for index in &waiting {
            let mut of_all = |incarnation: &Incarnation| {
                let entry = &self.entries[incarnation.service.0];
                entry.incarnation() == *incarnation && entry.state().is_ending()
            };
            let State::AwaitingRoom { search: Search::Ending(ending), .. } = self.entries[*index].state()
            else {
                continue;
            };
            if !ending.iter().any(&mut of_all) {
                self.entries[*index].build_again(now, out);
            }
        }
        let asks = |index: &usize| {
            matches!(self.entries[*index].state(), State::AwaitingRoom { search: Search::Survey { .. }, .. })
        };
        if !self.surveying && waiting.iter().any(asks) {
            self.surveying = true;
            out.effects.push(super::Effect::Survey);
        }
    }

    /// Who waits for room, in the order in which they have come.
    fn awaiting_room(&self) -> Vec<usize> {
        let waits = |(_, entry): &(usize, &Entry)| matches!(entry.state(), State::AwaitingRoom { .. });
        let mut waiting: Vec<(usize, &Entry)> = self.entries.iter().enumerate().filter(waits).collect();
        waiting.sort_by_key(|(_, entry)| entry.room_wanted_since());
        waiting.into_iter().map(|(index, _)| index).collect()
    }
}
