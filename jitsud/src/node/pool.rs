//! The pool of shells: how many there are, when another one is made, and when they are given back.
//!
//! Pure: nothing here makes or ends a domain. Time comes in as an argument.

use std::time::Duration;

use crate::directory::Moment;
use crate::domain::Shape;

/// After the last start, before shells are made: the requests that it was for come first.
const REST: Duration = Duration::from_millis(100);

/// Shells `S`, so many of each shape.
#[derive(Debug)]
pub struct Pool<S> {
    each: usize,
    shapes: Vec<Shape>,
    ready: Vec<(Shape, S)>,
    making: Option<Making>,
    /// Since when nothing is being started; `None` while something is.
    quiet_since: Option<Moment>,
    /// There was no room for another one.
    no_room: bool,
    is_closed: bool,
    taken: u64,
}

#[derive(Debug)]
struct Making {
    shape: Shape,
    is_wanted: bool,
}

impl<S> Pool<S> {
    /// An empty pool that is to have `each` shells of every one of `shapes`.
    pub fn new(each: usize, shapes: impl Iterator<Item = Shape>) -> Self {
        let mut distinct: Vec<Shape> = Vec::new();
        for shape in shapes {
            if !distinct.contains(&shape) {
                distinct.push(shape);
            }
        }
        Pool {
            each,
            shapes: distinct,
            ready: Vec::new(),
            making: None,
            quiet_since: None,
            no_room: false,
            is_closed: false,
            taken: 0,
        }
    }

    /// How many shells there are to be.
    pub fn wanted(&self) -> usize {
        self.each * self.shapes.len()
    }

    /// How many are ready.
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// How many have become services.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// The shapes of all that are there, and of the one that is being made.
    pub fn shapes(&self) -> impl Iterator<Item = (&Shape, bool)> {
        let ready = self.ready.iter().map(|(shape, _)| (shape, false));
        ready.chain(self.making.iter().map(|making| (&making.shape, true)))
    }

    /// A shell for a service.
    pub fn take(&mut self, shape: &Shape) -> Option<S> {
        let index = self.ready.iter().position(|(other, _)| other == shape)?;
        self.taken += 1;
        Some(self.ready.remove(index).1)
    }

    /// Tells whether nothing is being started.
    pub fn set_quiet(&mut self, now: Moment, is_quiet: bool) {
        self.quiet_since = is_quiet.then(|| self.quiet_since.unwrap_or(now));
    }

    /// Tells that a domain has gone: there may be room again.
    pub fn has_room(&mut self) {
        self.no_room = false;
    }

    /// When the next one is to be made, if one is.
    pub fn due(&self) -> Option<Moment> {
        if self.making.is_some() || self.no_room || self.is_closed {
            return None;
        }
        self.missing()?;
        self.quiet_since.map(|since| since.after(REST))
    }

    fn missing(&self) -> Option<&Shape> {
        let count = |shape: &Shape| self.ready.iter().filter(|(other, _)| other == shape).count();
        self.shapes.iter().find(|shape| count(shape) < self.each)
    }

    /// Begins to make one, if `has_room` for it; returns its shape.
    pub fn begin(&mut self, has_room: impl FnOnce(&Shape) -> bool) -> Option<Shape> {
        let shape = self.missing()?.clone();
        self.no_room = !has_room(&shape);
        if self.no_room {
            return None;
        }
        self.making = Some(Making { shape: shape.clone(), is_wanted: true });
        Some(shape)
    }

    /// Takes in what has been made, `None` if it failed; returns it when it is not wanted any more.
    pub fn made(&mut self, shell: Option<S>) -> Option<S> {
        let making = self.making.take()?;
        match shell {
            Some(shell) if making.is_wanted => self.ready.push((making.shape, shell)),
            Some(shell) => return Some(shell),
            // Not again at once.
            None => self.no_room = true,
        }
        None
    }

    /// Gives all back: returns those that are ready; the one that is being made is not wanted any more. No more are
    /// made until there [is room](Self::has_room).
    pub fn give_back(&mut self) -> Vec<S> {
        self.no_room = true;
        if let Some(making) = &mut self.making {
            making.is_wanted = false;
        }
        self.ready.drain(..).map(|(_, shell)| shell).collect()
    }

    /// Takes out and returns those that are not `good` any more.
    pub fn drop_unless(&mut self, good: impl Fn(&S) -> bool) -> Vec<S> {
        self.ready.extract_if(.., |(_, shell)| !good(shell)).map(|(_, shell)| shell).collect()
    }

    /// As [`Self::give_back`], for good.
    pub fn close(&mut self) -> Vec<S> {
        self.is_closed = true;
        self.give_back()
    }

    /// Whether there is none, and none is being made.
    pub fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.making.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(memory_mib: u32) -> Shape {
        Shape { memory_mib, vcpus: 1, bridge: "br0".into() }
    }

    fn at(ms: u64) -> Moment {
        Moment(ms * 1_000_000)
    }

    /// A pool of one shell of 4 MiB and one of 8.
    fn pool() -> Pool<u32> {
        Pool::new(1, [4, 8, 4].into_iter().map(shape))
    }

    fn filled() -> Pool<u32> {
        let mut pool = pool();
        pool.set_quiet(at(0), true);
        for number in [1, 2] {
            pool.begin(|_| true).expect("one is missing");
            assert_eq!(pool.made(Some(number)), None);
        }
        pool
    }

    #[test]
    fn one_after_another_is_made_when_nothing_is_being_started() {
        let mut pool = pool();
        assert_eq!((pool.wanted(), pool.due()), (2, None));
        pool.set_quiet(at(5), true);
        pool.set_quiet(at(7), true);
        assert_eq!(pool.due(), Some(at(105)));
        assert_eq!(pool.begin(|_| true), Some(shape(4)));
        assert_eq!(pool.due(), None);
        pool.made(Some(1));
        pool.set_quiet(at(8), false);
        assert_eq!(pool.due(), None);
        pool.set_quiet(at(20), true);
        assert_eq!(pool.due(), Some(at(120)));
        assert_eq!(pool.begin(|_| true), Some(shape(8)));
        pool.made(Some(2));
        assert_eq!((pool.due(), pool.ready()), (None, 2));
    }

    #[test]
    fn a_shell_is_taken_once_and_replaced() {
        let mut pool = filled();
        assert_eq!(
            (pool.take(&shape(16)), pool.take(&shape(8)), pool.take(&shape(8))),
            (None, Some(2), None)
        );
        assert_eq!((pool.taken(), pool.begin(|_| true)), (1, Some(shape(8))));
    }

    #[test]
    fn what_is_given_back_does_not_come_again_before_there_is_room() {
        let mut pool = filled();
        pool.take(&shape(4));
        pool.begin(|_| true);
        assert_eq!(pool.give_back(), [2]);
        assert!(!pool.is_empty());
        // The one that was being made is not kept.
        assert_eq!(pool.made(Some(3)), Some(3));
        assert!(pool.is_empty() && pool.due().is_none());
        pool.has_room();
        assert!(pool.due().is_some());
        // For the next one there is none.
        assert_eq!((pool.begin(|_| false), pool.due()), (None, None));
        pool.has_room();
        pool.begin(|_| true);
        // One that fails is not tried again at once.
        assert_eq!((pool.made(None), pool.due()), (None, None));
    }

    #[test]
    fn one_that_has_gone_is_replaced() {
        let mut pool = filled();
        assert_eq!(pool.drop_unless(|&number| number != 1), [1]);
        assert_eq!((pool.ready(), pool.take(&shape(4)), pool.begin(|_| true)), (1, None, Some(shape(4))));
    }

    #[test]
    fn a_pool_that_is_closed_stays_empty() {
        let mut pool = filled();
        assert_eq!(pool.close(), [1, 2]);
        pool.has_room();
        assert!(pool.is_empty() && pool.due().is_none());
    }
}
