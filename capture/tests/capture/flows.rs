//! The open connections of guests: tables of what counts, the bounds, and any bytes whatever. The fuzz target
//! `capture_flows` makes the choices, too.

use std::collections::HashMap;
use std::net::SocketAddr;

use capture::{CONNECTION_LIFE, Direction, FlowBounds, Flows, Moment, ServiceId};
use smoltcp::wire::{EthernetFrame, TcpControl};

use crate::build::*;

const GUEST: ServiceId = ServiceId(1);

/// The segments of a script: a letter each, capitals from the client, small ones from the guest.
fn segment(letter: char, client: SocketAddr, guest: SocketAddr) -> (Direction, Vec<u8>) {
    let (direction, from, to) = match letter.is_uppercase() {
        true => (Direction::ToGuest, client, guest),
        false => (Direction::FromGuest, guest, client),
    };
    let (control, ack) = match letter.to_ascii_uppercase() {
        'S' => (TcpControl::Syn, None),
        'A' => (TcpControl::Syn, Some(1)),
        'F' => (TcpControl::Fin, Some(1)),
        'R' => (TcpControl::Rst, None),
        'D' => (TcpControl::Psh, Some(1)),
        other => panic!("{other}"),
    };
    (direction, tcp(from, to, &plain(from, to, control, 7, ack)))
}

/// A table of connections, and its clock.
struct Script {
    flows: Flows,
    ms: u64,
}

impl Script {
    fn new(bounds: FlowBounds) -> Self {
        Script { flows: Flows::new(bounds), ms: 1_000_000_000 }
    }

    fn now(&self) -> Moment {
        ms(self.ms)
    }

    fn say(&mut self, letter: char, client: SocketAddr) -> Option<ServiceId> {
        self.say_to(GUEST, letter, client, v4(1))
    }

    fn say_to(
        &mut self,
        id: ServiceId,
        letter: char,
        client: SocketAddr,
        at: SocketAddr,
    ) -> Option<ServiceId> {
        let (direction, frame) = segment(letter, client, at);
        self.flows.segment(self.now(), id, direction, &frame)
    }

    fn wait(&mut self, seconds: f64) -> Vec<ServiceId> {
        self.ms += (seconds * 1000.0) as u64;
        self.flows.advance(self.now())
    }

    /// Connections, and how many of them are half open.
    fn count(&self) -> (usize, usize) {
        (self.flows.open(GUEST), self.flows.half_open(GUEST))
    }
}

#[test]
fn what_counts_as_a_connection() {
    // What is said, connections and half-open ones after that, and whether the guest has had its last.
    let table = [
        ("S", (1, 1), false),
        ("SS", (1, 1), false),
        ("Sa", (1, 0), false),
        ("SaS", (1, 0), false),
        ("Saa", (1, 1), false),
        ("SaF", (1, 0), false),
        ("SaFF", (1, 0), false),
        ("Saf", (1, 0), false),
        ("SaFf", (0, 0), true),
        ("SafF", (0, 0), true),
        ("SaR", (0, 0), true),
        ("Sr", (0, 0), true),
        ("SaFfFf", (0, 0), false),
        // The old one has not ended, for all that is known, and another one begins between the same ends.
        ("SafS", (1, 1), false),
        ("SafSaF", (1, 0), false),
        ("SafSaFf", (0, 0), true),
        // It was there before anybody looked.
        ("a", (1, 0), false),
        ("FfRrDd", (0, 0), false),
        // The guest begins it.
        ("s", (1, 1), false),
        ("sAFf", (0, 0), true),
    ];
    for both in [(client(1), v4(1)), (client6(1), v6(1))] {
        for (letters, expected, last) in table {
            let mut script = Script::new(FlowBounds::default());
            let ends: Vec<_> =
                letters.chars().map(|letter| script.say_to(GUEST, letter, both.0, both.1)).collect();
            assert_eq!(script.count(), expected, "{letters}");
            assert_eq!(ends.last().unwrap(), &last.then_some(GUEST), "{letters}");
            assert_eq!(script.flows.total(), expected.0, "{letters}");
            assert_eq!(script.flows.open(ServiceId(0)), 0, "{letters}");
        }
    }
}

#[test]
fn forged_syns_are_given_up_soon_and_honest_ones_are_believed() {
    let mut script = Script::new(FlowBounds::default());
    // The guest does not even answer.
    script.say('S', client(1));
    assert_eq!(script.flows.next(), Some(script.now().after(capture::HALF_OPEN)));
    assert_eq!(script.wait(63.9), []);
    script.say('S', client(1));
    assert_eq!(script.wait(63.9), []);
    assert_eq!(script.wait(0.1), [GUEST]);
    assert_eq!((script.count(), script.flows.next()), ((0, 0), None));

    // It answers as Linux does, and nobody completes it.
    script.say('S', client(1));
    script.say('a', client(1));
    assert_eq!(script.flows.next(), None);
    for pause in [1.0, 2.0, 4.0, 8.0, 16.0] {
        assert_eq!(script.wait(pause), []);
        script.say('a', client(1));
        assert_eq!(script.count(), (1, 1));
    }
    assert_eq!(script.wait(64.0), [GUEST]);

    // One answer, or two, were lost.
    for pauses in [&[1.0][..], &[1.0, 2.0]] {
        script.say('S', client(1));
        script.say('a', client(1));
        for pause in pauses {
            script.wait(*pause);
            script.say('S', client(1));
            script.say('a', client(1));
        }
        assert_eq!(script.count(), (1, 1));
        assert_eq!(script.wait(3.0 * pauses.last().unwrap()), []);
        assert_eq!((script.count(), script.flows.next()), ((1, 0), None));
        assert_eq!(script.wait(100_000.0), []);
        assert_eq!(script.say('r', client(1)), Some(GUEST));
    }
}

#[test]
fn room_is_made_by_those_that_are_half_open() {
    let mut script = Script::new(FlowBounds { per_guest: 3, total: 4 });
    for letter in ['S', 'a'] {
        script.say(letter, client(0));
    }
    // A flood.
    for source in 1..1000 {
        script.wait(0.001);
        assert_eq!(script.say('S', client(source)), None);
        assert!(script.flows.open(GUEST) <= 3);
    }
    assert_eq!(script.count(), (3, 2), "the open one is not among those that go");
    // One that had to go has been answered.
    script.say('a', client(500));
    assert_eq!(script.count(), (3, 1));
    // Another guest's share is its own, and what all have together is bounded.
    let other = ServiceId(2);
    script.say_to(other, 'S', client(7), v4(2));
    script.say_to(other, 'a', client(7), v4(2));
    assert_eq!((script.flows.total(), script.flows.open(other), script.count()), (4, 1, (3, 1)));
    script.say_to(other, 'S', client(8), v4(2));
    assert_eq!((script.flows.total(), script.flows.open(other), script.count()), (4, 2, (2, 0)));
    // Whose last one it was is told.
    script.flows.forget(GUEST);
    script.say_to(other, 'R', client(7), v4(2));
    assert_eq!(script.flows.total(), 1);
    for source in 0..3 {
        script.say('a', client(source));
    }
    assert_eq!((script.flows.open(other), script.flows.half_open(other)), (1, 1));
    assert_eq!(script.say_to(ServiceId(3), 'a', client(1), v4(3)), Some(other));
}

#[test]
fn what_is_not_noted_counts_all_the_same() {
    let mut script = Script::new(FlowBounds { per_guest: 2, total: 10 });
    for source in 0..3 {
        script.say('a', client(source));
    }
    assert_eq!((script.count(), script.flows.total()), ((3, 0), 2));
    for source in 0..3 {
        assert_eq!(script.say('R', client(source)), None);
    }
    assert_eq!((script.count(), script.flows.total()), ((1, 0), 0));
    assert_eq!(script.flows.next(), Some(script.now().after(CONNECTION_LIFE)));
    assert_eq!(script.wait(CONNECTION_LIFE.as_secs_f64()), [GUEST]);
    assert_eq!(script.count(), (0, 0));
}

#[test]
fn frames_need_not_be_whole() {
    let (direction, whole) = segment('S', client(1), v4(1));
    for length in 0..=whole.len() {
        let mut flows = Flows::new(FlowBounds::default());
        flows.segment(ms(0), GUEST, direction, &whole[..length]);
        assert_eq!(flows.open(GUEST), usize::from(length >= 14 + 20 + 14), "{length} bytes");
    }
    // Longer than any that is captured, without checksums, with options.
    let mut long = [&whole[..], &[0; 60_000]].concat();
    long[24..26].fill(0);
    long[50..52].fill(0);
    let mut flows = Flows::new(FlowBounds::default());
    flows.segment(ms(0), GUEST, direction, &long);
    assert_eq!(flows.open(GUEST), 1);
    long[14] = 0x46;
    long.splice(34..34, [1; 4]);
    flows.segment(ms(0), GUEST, direction, &long);
    assert_eq!(flows.open(GUEST), 1, "the same one");
    // Later fragments, other protocols, headers that end before they begin.
    for (at, value) in [(20, 0x01), (21, 0x01), (23, 17), (14, 0x44), (14, 0x65), (12, 0x81)] {
        let mut other = whole.clone();
        other[at] = value;
        let mut flows = Flows::new(FlowBounds::default());
        flows.segment(ms(0), GUEST, direction, &other);
        assert_eq!(flows.open(GUEST), 0, "{value} at {at}");
    }

    // IPv6 with extension headers; too many, or cut off.
    let (direction, plain) = segment('S', client6(1), v6(1));
    for extensions in 0..8 {
        let mut frame = plain.clone();
        for _ in 0..extensions {
            let next = std::mem::replace(&mut frame[20], 60);
            frame.splice(54..54, [next, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
        let mut flows = Flows::new(FlowBounds::default());
        flows.segment(ms(0), GUEST, direction, &frame);
        assert_eq!(flows.open(GUEST), usize::from(extensions <= 6), "{extensions}");
        for length in 0..frame.len().min(54 + 16 * extensions) {
            Flows::new(FlowBounds::default()).segment(ms(0), GUEST, direction, &frame[..length]);
        }
    }
}

/// Makes so many steps; `choose` gives a number below the one it is given.
pub fn run(mut choose: impl FnMut(usize) -> usize, steps: usize) {
    let bounds = FlowBounds { per_guest: 4, total: 10 };
    let mut flows = Flows::new(bounds);
    // Guests that have had a connection, and nobody has said that it was the last.
    let mut connected = HashMap::new();
    let mut now = 0;
    for _ in 0..steps {
        let id = ServiceId(choose(4) as u16);
        let ended = match choose(20) {
            0 => {
                flows.forget(id);
                assert_eq!((flows.open(id), flows.half_open(id)), (0, 0));
                connected.remove(&id);
                Vec::new()
            }
            1..5 => {
                now += choose(256) as u64 * [1, 100, 1_000, 100_000][choose(4)];
                let ended = flows.advance(ms(now));
                assert!(flows.next().is_none_or(|next| next > ms(now)));
                ended
            }
            _ => {
                let (client, guest) = match choose(2) {
                    0 => (client(choose(8) as u32), v4(id.0 as u8)),
                    _ => (client6(choose(8) as u16), v6(id.0 as u8)),
                };
                let letters = ['S', 'a', 'F', 'f', 'R', 'r', 's', 'A', 'D'];
                let (direction, mut frame) = segment(letters[choose(letters.len())], client, guest);
                if choose(8) == 0 {
                    let at = choose(frame.len());
                    frame[at] = choose(256) as u8;
                    frame.truncate(frame.len() - choose(frame.len()));
                }
                // What is no frame at all does nothing.
                let before = flows.total();
                if EthernetFrame::new_checked(&frame[..]).is_err() {
                    assert_eq!(flows.segment(ms(now), id, direction, &frame), None);
                    assert_eq!(flows.total(), before);
                    continue;
                }
                flows.segment(ms(now), id, direction, &frame).into_iter().collect()
            }
        };
        for id in ended {
            assert_eq!(flows.open(id), 0, "it has others");
            assert_eq!(connected.remove(&id), Some(()), "it had none");
        }
        let mut total = 0;
        for id in (0..4).map(ServiceId) {
            let (open, half_open) = (flows.open(id), flows.half_open(id));
            // One more for those that are not noted.
            assert!(half_open <= open && open <= bounds.per_guest + 1);
            assert!(open > 0 || !connected.contains_key(&id), "nobody has said that it was the last");
            if open > 0 {
                connected.insert(id, ());
            }
            total += open;
        }
        assert!(flows.total() <= bounds.total && (flows.total()..=flows.total() + 4).contains(&total));
    }
    // What is doubtful is not so for ever.
    flows.advance(ms(now).after(CONNECTION_LIFE));
    for id in (0..4).map(ServiceId) {
        assert_eq!(flows.half_open(id), 0);
        flows.forget(id);
    }
    assert_eq!((flows.total(), flows.next()), (0, None));
}

#[test]
fn any_bytes_whatever() {
    for seed in 0..300_u64 {
        let mut state = seed;
        let choose = |n: usize| {
            // SplitMix64 (Steele, Lea, Flood 2014).
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) % n as u64) as usize
        };
        run(choose, 500);
    }
}
