//! The cards, as people get them: each test starts from a copy of the very image, changed the way that a person, or
//! wear, changes a card.
//!
//! A board that QEMU has a machine for starts from the card in its slot, boot ROM first. Of the others everything
//! is tried that QEMU can: the boot script by U-Boot on a machine of the same family, up to Xen; what it would have
//! loaded, on the `virt` machine with the card as a disk; and the device tree, against what Xen and Linux need.

mod device_tree;
mod fsck;
mod handover;
mod payload;
mod whole;

use super::{Report, log_file, matches};
use crate::board::{self, Board};
use crate::card::Edit;
use crate::client::{RunningNode, Status};
use crate::image::{self, Image};
use crate::{cross, debian};
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

/// A test of a card: its name, which is what it shows, and what it does.
type Test = (&'static str, fn(&Bench<'_>) -> Result<()>);

/// Longest life of a node under test.
const LIMIT: Duration = Duration::from_secs(300);

/// Longest wait for a step of a start, or for something that happens beside a node that serves.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the tests of one board work with.
struct Bench<'a> {
    /// The board's image.
    image: &'a Image,
    /// The image of a board of the same family that QEMU has a machine for.
    machine: &'a Image,
    /// The unikernel www, as somebody would copy it to a card.
    kernel: &'a [u8],
    /// For the page to show.
    token: String,
    /// For copies of cards; gone with the test.
    directory: TempDir,
}

/// Runs the tests of all boards that start from a card and are `wanted`.
pub fn run(
    options: &debian::Options,
    wanted: impl Fn(&str) -> bool,
    filter: Option<&str>,
    report: &mut Report,
) -> Result<()> {
    let boards = board::names().iter().map(|name| Board::read(name)).collect::<Result<Vec<_>>>()?;
    let cards: Vec<&Board> = boards.iter().filter(|board| board.card.is_some()).collect();
    let with_machine = cards.iter().find(|board| board.machine.is_some());
    let mut machine: Option<Image> = None;
    for board in cards.iter().filter(|board| wanted(&board.name)) {
        let tests: &[&[Test]] = match board.machine {
            Some(_) => &[&device_tree::TESTS, &whole::TESTS],
            None => &[&device_tree::TESTS, &handover::TESTS, &payload::TESTS],
        };
        let named = |name: &str| format!("{}: {name}", board.name);
        let tests: Vec<Test> =
            tests.concat().into_iter().filter(|(name, _)| matches(&named(name), filter)).collect();
        if tests.is_empty() {
            continue;
        }
        let image = image::build(&board.name, options)?;
        let machine = match (&machine, with_machine) {
            (Some(machine), _) => machine,
            (None, Some(other)) => machine.insert(image::build(&other.name, options)?),
            (None, None) => anyhow::bail!("QEMU has a machine for none of the boards that start from a card"),
        };
        let kernel = cross::unikernels(None)?.remove("www").context("there is no unikernel www")?;
        println!("\nthe card of {}; consoles: {}", board.title, log_file("").display());
        for (name, test) in tests {
            report.check(&named(name), || test(&Bench::new(&image, machine, &kernel)?));
        }
    }
    Ok(())
}

impl<'a> Bench<'a> {
    fn new(image: &'a Image, machine: &'a Image, kernel: &'a [u8]) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("jitsu-card-").tempdir();
        let directory = directory.context("creating a temporary directory")?;
        Ok(Bench { image, machine, kernel, token: crate::client::token()?, directory })
    }

    /// A copy of the card, changed.
    fn card(&self, change: impl FnOnce(&mut Edit) -> Result<()>) -> Result<PathBuf> {
        let copy = crate::qemu::copy_of_card(self.image, self.directory.path())?;
        change(&mut Edit::open(&copy)?)?;
        Ok(copy)
    }

    /// The log of the console in `test`.
    fn log(&self, test: &str) -> PathBuf {
        log_file(&format!("console-{}-{test}.log", self.image.board.name))
    }

    /// The jitsu.toml that came with the card, with this run's token for the page of www.
    fn config_with_token(&self, card: &mut Edit) -> Result<String> {
        let text = String::from_utf8(card.read("jitsu.toml")?).context("jitsu.toml on the card")?;
        let line = "\nkernel = \"www\"\n";
        ensure!(text.contains(line), "jitsu.toml on the card has no service with the kernel www:\n{text}");
        Ok(text.replacen(line, &format!("{line}cmdline = \"token={}\"\n", self.token), 1))
    }
}

/// Fails unless `service` serves a page with `token`.
fn ensure_serves(node: &RunningNode, service: &str, token: &str) -> Result<()> {
    let page = node.summon(service)?.page;
    ensure!(page.body.contains(token), "the page of {service} does not have {token}:\n{}", page.body);
    Ok(())
}

/// Fails unless `/status` has a problem of `file`, in line `line`, that says `what`.
fn ensure_problem(status: &Status, file: &str, line: u32, what: &str) -> Result<()> {
    let is = |problem: &crate::client::Problem| {
        problem.file.ends_with(file) && problem.line == line && problem.what.contains(what)
    };
    ensure!(
        status.problems.iter().any(is),
        "/status has no problem of {file}, line {line}, about {what:?}, only {:?}",
        status.problems
    );
    Ok(())
}

/// Fails unless every one of `texts` is in `text`, each behind the one before.
fn ensure_in_order(text: &str, texts: &[&str]) -> Result<()> {
    let mut rest = text;
    for wanted in texts {
        rest = rest
            .split_once(wanted)
            .with_context(|| format!("{wanted:?} is not on the console, or not after what is before it"))?
            .1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_matters() {
        assert!(ensure_in_order("a b c", &["a", "c"]).is_ok());
        assert!(ensure_in_order("a b c", &["c", "a"]).is_err());
        assert!(ensure_in_order("a b c", &["a", "a"]).is_err());
    }
}
