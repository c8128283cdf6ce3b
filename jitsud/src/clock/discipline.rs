//! What to do with the clock after a server's answer, and when to ask again. No I/O.
//!
//! The first answer sets the clock. Later ones move it gently ([`Verdict::Slew`]), so that it never goes back under a
//! program's feet; one that is far off is believed when a second one agrees with it. The crystal's error is not
//! estimated: at 50 ppm the clock is 50 ms off after the longest interval, and is put right then.

use std::time::Duration;

/// Shortest and longest time between questions to a server that answers (RFC 4330, section 10: never under 15 s).
const SHORTEST: Duration = Duration::from_secs(64);
const LONGEST: Duration = Duration::from_secs(1024);
/// How soon a silent server is asked again the first time; then after twice that, and so on.
const RETRY: Duration = Duration::from_secs(16);

/// Offsets up to this many microseconds are slewed away (RFC 5905, STEPT). Linux slews by 500 ppm: that is
/// 256 s for this one.
const STEP_US: u64 = 128_000;
/// With offsets up to this many microseconds the clock runs well enough to ask less often.
const CALM_US: u64 = 50_000;
/// Half of a delay is how wrong an offset can be; beyond this many microseconds the answer says nothing.
const LATE_US: u64 = 1_000_000;

/// What an exchange with a server came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    /// The server's clock minus this one's, in microseconds.
    pub offset_us: i64,
    /// Time on the way, there and back, in microseconds.
    pub roundtrip_us: u64,
}

/// What to do with the clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Set it, by the whole offset at once.
    Step,
    /// Let it run a little faster or slower until the offset is gone.
    Slew,
    /// Nothing yet: the offset is a surprise.
    Doubtful,
    /// Nothing: the answer was under way for too long.
    Late,
}

/// What is known of the clock and its server.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Discipline {
    set: bool,
    silent: bool,
    interval: Duration,
    /// An offset that waits for another one like it.
    doubtful: Option<i64>,
}

impl Discipline {
    /// Takes a server's answer in. After [`Verdict::Late`] call [`silence`](Self::silence), unless another server
    /// answers better.
    pub fn answer(&mut self, sample: Sample) -> Verdict {
        let Sample { offset_us: offset, roundtrip_us } = sample;
        if roundtrip_us > LATE_US {
            return Verdict::Late;
        }
        self.silent = false;
        let doubtful = self.doubtful.take();
        if self.set && offset.unsigned_abs() <= STEP_US {
            let calm = offset.unsigned_abs() <= CALM_US;
            self.interval = if calm { (self.interval * 2).clamp(SHORTEST, LONGEST) } else { SHORTEST };
            return Verdict::Slew;
        }
        self.interval = SHORTEST;
        if self.set && doubtful.is_none_or(|earlier| earlier.abs_diff(offset) > STEP_US) {
            self.doubtful = Some(offset);
            return Verdict::Doubtful;
        }
        self.set = true;
        Verdict::Step
    }

    /// Nobody gave the time. Returns whether that is new.
    pub fn silence(&mut self) -> bool {
        let began = !std::mem::replace(&mut self.silent, true);
        self.interval = if began && !self.set { RETRY } else { (self.interval * 2).clamp(RETRY, LONGEST) };
        began
    }

    /// How long to wait until the next question.
    pub fn interval(&self) -> Duration {
        self.interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEARS: i64 = 30 * 365 * 86_400 * 1_000_000;

    fn answer(discipline: &mut Discipline, offset_us: i64) -> (Verdict, u64) {
        let verdict = discipline.answer(Sample { offset_us, roundtrip_us: 20_000 });
        (verdict, discipline.interval().as_secs())
    }

    #[test]
    fn the_first_answer_sets_the_clock_and_later_ones_correct_it() {
        let mut discipline = Discipline::default();
        assert_eq!(answer(&mut discipline, YEARS), (Verdict::Step, 64));
        for seconds in [128, 256, 512, 1024, 1024] {
            assert_eq!(answer(&mut discipline, -3_000), (Verdict::Slew, seconds));
        }
        assert_eq!(answer(&mut discipline, 60_000), (Verdict::Slew, 64));
        assert_eq!(answer(&mut discipline, -128_000), (Verdict::Slew, 64));
    }

    #[test]
    fn a_small_first_offset_is_a_step_too() {
        assert_eq!(answer(&mut Discipline::default(), 10), (Verdict::Step, 64));
    }

    #[test]
    fn a_surprise_is_believed_the_second_time() {
        let mut discipline = Discipline::default();
        answer(&mut discipline, 0);
        assert_eq!(answer(&mut discipline, YEARS), (Verdict::Doubtful, 64));
        // A different surprise is one of its own, and an ordinary answer makes the first one forgotten.
        assert_eq!(answer(&mut discipline, -YEARS), (Verdict::Doubtful, 64));
        assert_eq!(answer(&mut discipline, 1), (Verdict::Slew, 128));
        assert_eq!(answer(&mut discipline, YEARS), (Verdict::Doubtful, 64));
        assert_eq!(answer(&mut discipline, YEARS + 100_000), (Verdict::Step, 64));
        assert_eq!(answer(&mut discipline, i64::MIN), (Verdict::Doubtful, 64));
        assert_eq!(answer(&mut discipline, i64::MAX), (Verdict::Doubtful, 64));
    }

    #[test]
    fn silence_is_asked_into_less_and_less_often() {
        let mut discipline = Discipline::default();
        let mut waits = |rounds: usize| -> Vec<(bool, u64)> {
            (0..rounds).map(|_| (discipline.silence(), discipline.interval().as_secs())).collect()
        };
        let first = [(true, 16), (false, 32), (false, 64), (false, 128), (false, 256), (false, 512)];
        assert_eq!(waits(6), first);
        assert_eq!(waits(2), [(false, 1024), (false, 1024)]);
        assert_eq!(answer(&mut discipline, YEARS), (Verdict::Step, 64));
        assert!(discipline.silence());
        assert_eq!(discipline.interval().as_secs(), 128);
    }

    #[test]
    fn a_late_answer_changes_nothing() {
        let mut discipline = Discipline::default();
        let late = Sample { offset_us: YEARS, roundtrip_us: LATE_US + 1 };
        assert_eq!(discipline.answer(late), Verdict::Late);
        assert_eq!(discipline, Discipline::default());
    }
}
