//! What faces the network: the node's own code for that, on loopback ports of this host, over domains that are only
//! pretended (`rehearsal/`), and clients that others wrote: for DNS, a browser, Prometheus's parser.

mod attacks;
mod axe;
mod browser;
mod conformance;
mod jitsuctl;
mod metrics;
pub mod node;
mod page;
mod rehearsal;
mod soak;
mod throughput;

pub use attacks::{Attack, median_answer};
pub use browser::{Browser, SCREENS};
pub use metrics::read as read_metrics;
pub use page::seen;

use super::{Report, matches};
use anyhow::Result;
use rehearsal::Rehearsal;
use std::cell::RefCell;

/// A test: its name, which is what it shows, and what it does; what it returns is shown beside it.
type Test = (&'static str, fn() -> Result<String>);

/// Runs the tests that need no node, with `filter` in their names; the one that takes any time for minutes, if `long`.
pub fn run(filter: Option<&str>, long: bool, report: &mut Report) -> Result<()> {
    println!("\nwhat faces the network, in rehearsal");
    if filter.is_none_or(|filter| filter.contains("conformance")) {
        conformance::on_this_host(report)?;
    }
    if matches(soak::NAME, filter) {
        soak::run(long, report);
    }
    for (name, test) in
        [&page::TESTS[..], &metrics::TESTS, &jitsuctl::TESTS, &attacks::TESTS, &throughput::TESTS].concat()
    {
        if matches(name, filter) {
            let note = RefCell::default();
            report.check_noting(name, &note, || {
                let figure = test()?;
                note.replace(Some(figure).filter(|figure| !figure.is_empty()));
                Ok(())
            });
        }
    }
    Ok(())
}
