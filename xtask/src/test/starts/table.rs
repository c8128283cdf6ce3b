//! The table of what a start costs, by how many there are at once.

use crate::demo::ms;
use probe::starts::Run;
use std::fmt;

/// Runs of the same sizes, as far as they were made.
pub struct Table<'r> {
    pub ours: &'r [Run],
    pub xenstored: &'r [Run],
    pub in_process: &'r [Run],
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        writeln!(f, "  starts          ours, by socket      C xenstored, by socket    ours, in process")?;
        writeln!(f, "  at once    ms per start  retries    ms per start   retries        ms per start")?;
        let same = |runs: &[Run], starts| runs.iter().copied().find(|run| run.starts == starts);
        for ours in self.ours {
            write!(f, "  {:>7}    {:>12}  {:>7}", ours.starts, per_start(ours), ours.retries)?;
            match same(self.xenstored, ours.starts) {
                Some(run) => write!(f, "    {:>12}   {:>7}", per_start(&run), run.retries)?,
                None => write!(f, "    {:>12}   {:>7}", "-", "-")?,
            }
            match same(self.in_process, ours.starts) {
                Some(run) => writeln!(f, "        {:>12}", per_start(&run))?,
                None => writeln!(f)?,
            }
        }
        for run in self.xenstored.iter().filter(|run| run.finished < run.starts) {
            writeln!(
                f,
                "\n  C xenstored was given up after {} ms, when {} of {} starts were done: it needs more.",
                ms(run.ns),
                run.finished,
                run.starts
            )?;
        }
        Ok(())
    }
}

/// Of starts that were given up, what each of all would have cost had they just been done.
fn per_start(run: &Run) -> String {
    let at_least = if run.finished < run.starts { "> " } else { "" };
    format!("{at_least}{}", ms(run.ns / u64::from(run.starts)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_up_is_marked_and_what_is_missing_left_out() {
        let run = |starts, finished, ns, retries| Run { starts, finished, ns, retries };
        let table = Table {
            ours: &[run(1, 1, 6_500_000, 0), run(2, 2, 12_000_000, 0), run(200, 200, 1_200_000_000, 0)],
            xenstored: &[run(1, 1, 13_000_000, 0), run(200, 4, 3_600_000_000, 986)],
            in_process: &[run(1, 1, 600_000, 0), run(200, 200, 120_000_000, 0)],
        };
        let text = table.to_string();
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[3], ["1", "6.500", "0", "13.000", "0", "0.600"]);
        assert_eq!(rows[4], ["2", "6.000", "0", "-", "-"]);
        assert_eq!(rows[5], ["200", "6.000", "0", ">", "18.000", "986", "0.600"]);
        assert!(text.contains("given up after 3600.000 ms, when 4 of 200 starts were done"), "{text}");
    }
}
