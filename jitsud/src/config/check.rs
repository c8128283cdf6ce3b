//! Looking for mistakes in a file that is not to run yet, as strictly as can be: on the node before it is taken, and
//! anywhere else.

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::address::Wish;
use super::disk::{DiskIdentity, probe_disk};
use super::files::{KERNELS, bytes, unusable};
use super::kernel::{KernelHead, Kernels, probe_kernel};
use super::{Addressing, Draft, Given, Problem, Unusable, parse};
use crate::text::chain;

/// A network that every address is in, for who does not know the node's.
const ANY: Addressing = Addressing { address: std::net::Ipv4Addr::UNSPECIFIED, prefix: 0, gateway: None };

/// Reads a file as the node would, with the kernels beside it: those of the card that it is on, or is to be on.
///
/// Returns its bytes, too.
///
/// # Errors
/// [`Unusable`] when it cannot be read or is not TOML.
pub fn read_draft(file: &Path, card: Option<&Path>) -> Result<(Vec<u8>, Draft), Unusable> {
    let kernels =
        Kernels { card: card.map(|card| card.join(KERNELS)), probe: &probe_kernel, disk: &probe_disk };
    let bytes = read(file)?;
    let draft = parse(&bytes, file, &kernels)?;
    Ok((bytes, draft))
}

/// What is found in a file, away from the node.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Findings {
    /// What is wrong with it, in the order of the file.
    pub problems: Vec<Problem>,
    /// Files that it names, which are not here, and may well be on the node.
    pub unseen: Vec<PathBuf>,
}

/// Looks for mistakes on any machine. Kernels are looked for beside the file, in `unikernels/`, and where the file says;
/// one that is in neither is taken to be on the node, unless this is one (`on_node`).
pub fn check(file: &Path, on_node: bool) -> Findings {
    let unseen = RefCell::new(Vec::new());
    let may_be_there = |path: &Path, error: &io::Error| {
        let absent = !on_node && error.kind() == ErrorKind::NotFound && !path.starts_with(beside(file));
        if absent && !unseen.borrow().iter().any(|seen| seen == path) {
            unseen.borrow_mut().push(path.to_owned());
        }
        absent
    };
    let probe = |path: &Path| match probe_kernel(path) {
        Err(error) if may_be_there(path, &error) => Ok(KernelHead::stand_in()),
        found => found,
    };
    let disk = |path: &Path| -> io::Result<DiskIdentity> {
        match probe_disk(path) {
            // No two files are the same one.
            Err(error) if may_be_there(path, &error) => Ok((0, unseen.borrow().len() as u64)),
            found => found,
        }
    };
    let kernels = Kernels { card: Some(beside(file)), probe: &probe, disk: &disk };
    let draft = read(file).and_then(|bytes| parse(&bytes, file, &kernels));
    let problems = match draft {
        Ok(draft) => draft.into_problems(None, &[]),
        Err(Unusable(problems)) => problems,
    };
    Findings { problems, unseen: unseen.into_inner() }
}

fn beside(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("")).join(KERNELS)
}

fn read(file: &Path) -> Result<Vec<u8>, Unusable> {
    bytes(file).map_err(|error| {
        let what = format!("cannot be read: {}", chain(&error));
        unusable(file, what, "name a jitsu.toml that can be")
    })
}

impl Draft {
    /// The services that it has, whatever becomes of them.
    pub fn service_names(&self) -> impl Iterator<Item = &str> {
        self.services.iter().filter_map(|service| service.name.as_deref())
    }

    /// All that is wrong with it: on a node that has the address `leased` if the file gives it none, and has been given
    /// `given` for its services. Those that have no address yet are taken to get one.
    pub fn into_problems(mut self, leased: Option<Addressing>, given: &[Given]) -> Vec<Problem> {
        let node = self.node.addressing.or(leased).unwrap_or(ANY);
        for service in &mut self.services {
            let name = service.settings.as_ref().map(|settings| settings.name.as_str());
            let has_one = given.iter().any(|given| Some(given.wanted.service.as_str()) == name);
            service.address = service.address.filter(|(wish, _)| *wish != Wish::Dhcp || has_one);
        }
        self.resolve(node, given, Duration::ZERO).problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn found(text: &str, on_node: bool) -> (Vec<String>, Vec<PathBuf>) {
        let folder = tempfile::tempdir().expect("a directory");
        let file = folder.path().join("jitsu.toml");
        fs::write(&file, text).expect("written");
        let Findings { problems, unseen } = check(&file, on_node);
        (problems.into_iter().map(|problem| format!("{}: {}", problem.line, problem.what)).collect(), unseen)
    }

    const TWICE: &str = "[[service]]\nname = \"a\"\nkernel = \"nowhere\"\naddress = \"10.0.0.7\"\n\
                         [[service]]\nname = \"b\"\nkernel = \"nowhere\"\naddress = \"10.0.0.7\"\n\
                         [[service]]\nname = \"c\"\nkernel = \"nowhere\"\n";

    #[test]
    fn addresses_are_compared_though_the_network_is_not_known() {
        let (problems, unseen) = found(TWICE, false);
        assert_eq!(problems, ["8: address 10.0.0.7 already belongs to a"]);
        assert_eq!(unseen, [Path::new("/usr/lib/jitsu/kernels/nowhere")]);
    }

    #[test]
    fn on_the_node_kernels_have_to_be_there() {
        let (problems, unseen) = found(TWICE, true);
        let kernel = "kernel /usr/lib/jitsu/kernels/nowhere, nor ";
        let lines: Vec<_> = problems.iter().filter_map(|problem| problem.split_once(": ")).collect();
        assert_eq!(lines.iter().map(|(line, _)| *line).collect::<String>(), "37811");
        assert!([0, 1, 3].iter().all(|&index| lines[index].1.starts_with(kernel)), "{problems:?}");
        assert!(unseen.is_empty());
    }

    #[test]
    fn what_cannot_be_read_is_a_problem() {
        let (problems, _) = found("[node\n", false);
        assert_eq!(problems.len(), 1);
        let findings = check(Path::new("/nonexistent/jitsu.toml"), false);
        assert!(findings.problems[0].what.starts_with("cannot be read: "), "{findings:?}");
    }
}
