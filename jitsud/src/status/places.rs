//! Who may be connected to the HTTP port, and who has to go for others.
//!
//! Nobody waits for a place: whoever is slow loses theirs to whoever comes. A client that means well has sent its request
//! a moment after it has connected, and has taken its answer a moment after that; so it is those that have been here
//! longest who are taken for slow. Of what is kept for clients, their number and the bytes of their answers are bounded.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio_util::sync::CancellationToken;

/// Most connections at a time.
pub const MOST: usize = 32;
/// Most of them of one source: an IPv4 address, or the /64 of an IPv6 address. Browsers open six.
pub const MOST_EACH: usize = 8;
/// Most connections that follow the node.
pub const MOST_FOLLOWERS: usize = 8;
/// Most of them of one source.
pub const MOST_FOLLOWERS_EACH: usize = 4;
/// Bytes of answers that clients have not taken yet. One answer may be larger if there is no other.
pub const MOST_BYTES: usize = 192 << 10;

/// All connections; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Places(Arc<Mutex<Table>>);

/// One connection's place, for as long as it has it.
#[derive(Debug)]
pub struct Place {
    all: Places,
    id: u64,
    lost: CancellationToken,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    /// In the order in which they came.
    taken: Vec<Taken>,
}

#[derive(Debug)]
struct Taken {
    id: u64,
    source: IpAddr,
    doing: Doing,
    lost: CancellationToken,
}

/// What a connection is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Doing {
    /// Its request has not come.
    Silent,
    /// Its answer is not made yet.
    Waiting,
    /// It is being sent an answer of so many bytes.
    Answered(usize),
    /// It is told of changes.
    Following,
}

impl Places {
    /// A place for who comes from `peer`; `None` if none is free, and nobody has to go. Who waits for an answer never has
    /// to: its turn comes.
    pub fn take(&self, peer: IpAddr) -> Option<Place> {
        let (source, mut table) = (source(peer), self.table());
        let silent = |taken: &Taken| taken.doing == Doing::Silent;
        let answered = |taken: &Taken| matches!(taken.doing, Doing::Answered(_));
        let free = if table.taken.iter().filter(|taken| taken.source == source).count() >= MOST_EACH {
            table.end_first(|taken| taken.source == source && silent(taken))
        } else {
            table.taken.len() < MOST || table.end_first(silent) || table.end_first(answered)
        };
        free.then_some(())?;
        let (id, lost) = (table.next, CancellationToken::new());
        table.next += 1;
        table.taken.push(Taken { id, source, doing: Doing::Silent, lost: lost.clone() });
        drop(table);
        Some(Place { all: self.clone(), id, lost })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Place {
    /// Returns when it has gone to somebody else.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Notes that its request has come.
    pub fn ask(&self) {
        if let Some(taken) = self.all.table().of(self.id) {
            taken.doing = Doing::Waiting;
        }
    }

    /// Notes that an answer of so many bytes is being sent. Those that have been taking theirs for longest end, if
    /// there are too many bytes.
    pub fn answer(&self, bytes: usize) {
        let mut table = self.all.table();
        while table.bytes() + bytes > MOST_BYTES
            && table.end_first(|taken| taken.id != self.id && matches!(taken.doing, Doing::Answered(_)))
        {
        }
        if let Some(taken) = table.of(self.id) {
            taken.doing = Doing::Answered(bytes);
        }
    }

    /// Whether it may follow the node, which it then does.
    pub fn follow(&self) -> bool {
        let mut table = self.all.table();
        let following = |table: &Table, source: Option<IpAddr>| {
            let of_source = |taken: &&Taken| source.is_none_or(|source| taken.source == source);
            table.taken.iter().filter(of_source).filter(|taken| taken.doing == Doing::Following).count()
        };
        let Some(source) = table.of(self.id).map(|taken| taken.source) else { return false };
        let free =
            following(&table, None) < MOST_FOLLOWERS && following(&table, Some(source)) < MOST_FOLLOWERS_EACH;
        if let Some(taken) = table.of(self.id).filter(|_| free) {
            taken.doing = Doing::Following;
        }
        free
    }

    /// Whether it follows the node.
    pub fn follows(&self) -> bool {
        self.all.table().of(self.id).is_some_and(|taken| taken.doing == Doing::Following)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let id = self.id;
        self.all.table().taken.retain(|taken| taken.id != id);
    }
}

impl Table {
    fn of(&mut self, id: u64) -> Option<&mut Taken> {
        self.taken.iter_mut().find(|taken| taken.id == id)
    }

    fn bytes(&self) -> usize {
        let bytes = |taken: &Taken| match taken.doing {
            Doing::Answered(bytes) => bytes,
            Doing::Silent | Doing::Waiting | Doing::Following => 0,
        };
        self.taken.iter().map(bytes).sum()
    }

    /// Takes its place from the first that is so; whether there was one.
    fn end_first(&mut self, is: impl FnMut(&Taken) -> bool) -> bool {
        let found = self.taken.iter().position(is);
        if let Some(index) = found {
            self.taken.remove(index).lost.cancel();
        }
        found.is_some()
    }
}

/// Whom a connection is counted for.
fn source(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(last: usize) -> IpAddr {
        [10, 0, 0, u8::try_from(last).unwrap()].into()
    }

    fn has_lost(place: &Place) -> bool {
        place.lost.is_cancelled()
    }

    #[test]
    fn a_source_that_says_nothing_loses_its_first_connection() {
        let places = Places::default();
        let mut mine: Vec<Place> = (0..MOST_EACH).map(|_| places.take(peer(1)).unwrap()).collect();
        let other = places.take(peer(2)).unwrap();
        mine[0].answer(1);
        mine.push(places.take(peer(1)).unwrap());
        let lost: Vec<usize> = (0..mine.len()).filter(|&index| has_lost(&mine[index])).collect();
        assert_eq!((lost, has_lost(&other)), (vec![1], false));
        // One that uses all it may have gets no more, and others do.
        mine.iter().filter(|place| !has_lost(place)).for_each(|place| place.answer(1));
        assert!(places.take(peer(1)).is_none() && places.take(peer(2)).is_some());
        drop(mine.pop());
        assert!(places.take(peer(1)).is_some());
    }

    #[test]
    fn when_all_places_are_taken_the_slowest_goes() {
        let places = Places::default();
        let all: Vec<Place> = (0..MOST).map(|index| places.take(peer(index)).unwrap()).collect();
        for (index, place) in all.iter().enumerate() {
            assert!(index >= MOST_FOLLOWERS || place.follow());
        }
        let new = places.take(peer(99)).unwrap();
        assert!(has_lost(&all[MOST_FOLLOWERS]) && !has_lost(&all[MOST_FOLLOWERS + 1]));
        all[MOST_FOLLOWERS + 1..].iter().for_each(|place| place.answer(1));
        new.answer(1);
        let newest = places.take(peer(98)).unwrap();
        assert!(has_lost(&all[MOST_FOLLOWERS + 1]) && !has_lost(&new) && !has_lost(&newest));
        assert!(all[..MOST_FOLLOWERS].iter().all(|place| !has_lost(place) && place.follows()));
        // Who waits stays, and others find no place.
        all[MOST_FOLLOWERS + 2..].iter().chain([&new, &newest]).for_each(Place::ask);
        assert!(places.take(peer(97)).is_none());
        assert_eq!(places.table().taken.len(), MOST);
    }

    #[test]
    fn answers_that_are_not_taken_are_bounded() {
        let places = Places::default();
        let all: Vec<Place> = (0..4).map(|index| places.take(peer(index)).unwrap()).collect();
        all[0].answer(MOST_BYTES / 2);
        all[1].answer(MOST_BYTES / 2);
        assert!(!has_lost(&all[0]));
        all[2].answer(1);
        assert!(has_lost(&all[0]) && !has_lost(&all[1]));
        all[3].answer(2 * MOST_BYTES);
        let lost: Vec<bool> = all.iter().map(has_lost).collect();
        assert_eq!(lost, [true, true, true, false]);
    }

    #[test]
    fn followers_are_few() {
        let places = Places::default();
        let all: Vec<Place> =
            (0..2 * MOST_FOLLOWERS).map(|index| places.take(peer(index / 6)).unwrap()).collect();
        let follow: Vec<usize> = (0..all.len()).filter(|&index| all[index].follow()).collect();
        assert_eq!(follow, [0, 1, 2, 3, 6, 7, 8, 9]);
    }

    #[test]
    fn sources() {
        let table = [
            ("10.0.0.1", "10.0.0.1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("fe80::1", "fe80::"),
        ];
        for (peer, expected) in table {
            assert_eq!(source(peer.parse().unwrap()), expected.parse::<IpAddr>().unwrap());
        }
    }
}
