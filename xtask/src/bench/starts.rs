//! Many starts of domains at once, as far as XenStore is concerned: what xl asks of it, here and of the server written in
//! C. What is measured and how is in `test/starts`.

use super::Plan;
use super::node::Node;
use super::report::{StartRun, Starts};
use crate::test::{IN_PROCESS, OURS, XENSTORED, mean_of_starts as mean, starts_at_once as starts};
use crate::ui;
use anyhow::Result;
use probe::starts::Run;

/// Before anything is measured, so that nothing is done for the first time.
const WARM_UP: u32 = 5;

/// So many starts at once, and fewer, C xenstored is given the time that it needs for.
const FEW: u32 = 10;

/// Measures it. Afterwards there is no jitsud on the node any more: C xenstored has taken its place.
///
/// # Errors
/// When a start fails.
pub fn measure(node: &Node, plan: &Plan) -> Result<Starts> {
    let running = &node.running;
    let mut measured = Starts::default();
    let task = |who: &str, count: u32| ui::Task::start(format!("{count} starts at once: {who}"));
    starts(running, OURS, WARM_UP, None)?;
    for &count in plan.starts {
        let _task = task("our XenStore", count);
        measured.ours.push(run(mean(running, OURS, count)?));
        measured.in_process.push(run(mean(running, IN_PROCESS, count)?));
    }
    running.shell("c-xenstored")?;
    starts(running, XENSTORED, WARM_UP, None)?;
    for &count in plan.starts {
        let _task = task("C xenstored", count);
        let theirs = if count <= FEW {
            mean(running, XENSTORED, count)?
        } else {
            starts(running, XENSTORED, count, Some(plan.patience_ns))?
        };
        measured.xenstored.push(run(theirs));
    }
    Ok(measured)
}

fn run(run: Run) -> StartRun {
    StartRun { starts: run.starts, finished: run.finished, ns: run.ns, retries: run.retries }
}
