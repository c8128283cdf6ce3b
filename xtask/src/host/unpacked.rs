//! Programs of Debian packages that are run here and not installed: servers, whose packages would start them, and change
//! what this host answers.
//!
//! apt says what the packages need that this host lacks, and fetches and verifies it; it is unpacked into our cache, and
//! no script of any package is run.

use super::apt::Apt;
use crate::fail::{Class, Fail};
use crate::{paths, ui};
use anyhow::{Context, Result};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where programs are, in an unpacked package and on this host.
const PLACES: [&str; 4] = ["usr/sbin", "usr/bin", "sbin", "bin"];

/// Lines of a failed command's output that are shown.
const TAIL: usize = 12;

/// Unpacked packages.
#[derive(Clone, Debug)]
pub struct Unpacked {
    root: PathBuf,
}

impl Unpacked {
    /// Unpacks `packages` and what they need that is not on this host; not again when that has been done. `name` is that of
    /// the folder in the cache.
    ///
    /// # Errors
    /// When there is no apt, or it does not have them.
    pub fn get(name: &str, packages: &[&str]) -> Result<Self> {
        let folder = paths::cache()?.join("unpacked").join(name);
        let (root, done) = (folder.join("root"), folder.join("done"));
        let wanted = packages.join(" ");
        if fs::read_to_string(&done).is_ok_and(|unpacked| unpacked == wanted) {
            return Ok(Unpacked { root });
        }
        let apt = Apt::prepare()?;
        if !apt.is_present() {
            let what = format!("there is no apt-get on this host that could fetch {wanted}");
            return Err(Fail::new(Class::Host, what));
        }
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("emptying {}", folder.display()))?;
        }
        let (debs, cache) = (folder.join("debs"), folder.join("apt"));
        for folder in [&debs, &root, &cache.join("archives/partial")] {
            paths::create_dir(folder)?;
        }
        let task = ui::Task::start(format!("fetching {wanted}"));
        let apt_get = |arguments: &[&str]| {
            let mut command = Command::new("apt-get");
            // Nothing outside of our cache is written, so that nobody has to be root.
            command.args(apt.options()).arg("-o").arg(format!("Dir::Cache={}", cache.display()));
            command.args(["-o", "Debug::NoLocking=1"]).args(arguments).current_dir(&debs);
            run(&mut command)
        };
        if let Err(error) = apt_get(&["update"]) {
            // One suite that is out of step fails the whole update, and may not be needed.
            ui::say(format!("WARNING: {error:#}"));
        }
        let mut install = vec!["--print-uris", "-qq", "--no-install-recommends", "install"];
        install.extend(packages);
        let uris = apt_get(&install)?;
        let names: Vec<&str> = uris.lines().filter_map(package_of).collect();
        if !names.is_empty() {
            apt_get(&[&["download"], names.as_slice()].concat())?;
        }
        for deb in fs::read_dir(&debs).with_context(|| debs.display().to_string())? {
            run(Command::new("dpkg").arg("-x").arg(deb?.path()).arg(&root))?;
        }
        drop(task);
        paths::write_atomic(&done, wanted.as_bytes())?;
        Ok(Unpacked { root })
    }

    /// A command that runs one of the programs, on a processor of this host if one is given. It finds its libraries.
    ///
    /// # Errors
    /// When no package has it, and this host has not either.
    pub fn command(&self, program: &str, processor: Option<usize>) -> Result<Command> {
        let places = PLACES.iter().map(|place| self.root.join(place));
        let places = places.chain(PLACES.iter().map(|place| Path::new("/").join(place)));
        let path = places.map(|place| place.join(program)).find(|path| path.is_file());
        let path = path.ok_or_else(|| {
            Fail::new(
                Class::Host,
                format!("{program} is neither in {} nor on this host", self.root.display()),
            )
        })?;
        let mut command = pinned(path.as_os_str().to_owned(), processor);
        let libraries: Vec<PathBuf> = ["usr/lib", "lib"]
            .iter()
            .filter_map(|place| fs::read_dir(self.root.join(place)).ok())
            .flat_map(|folder| folder.filter_map(|entry| Some(entry.ok()?.path())))
            .filter(|path| path.is_dir())
            .collect();
        command
            .env("LD_LIBRARY_PATH", std::env::join_paths(libraries).context("joining paths of libraries")?);
        Ok(command)
    }
}

/// A command that runs a program, on a processor of this host if one is given.
pub fn pinned(program: OsString, processor: Option<usize>) -> Command {
    let Some(processor) = processor else { return Command::new(program) };
    let mut command = Command::new("taskset");
    command.arg("--cpu-list").arg(processor.to_string()).arg(program);
    command
}

/// The package of a line of `--print-uris`: an address, the name of a file, its size, its checksum.
fn package_of(line: &str) -> Option<&str> {
    line.split_whitespace().nth(1)?.split_once('_').map(|(name, _)| name)
}

/// What a command prints, if it succeeds.
fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("starting {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let said = text + &String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().collect();
    let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n    ");
    Err(Fail::new(Class::Host, format!("{command:?}: {}\n    {tail}", output.status)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_uris() {
        let line = "'http://m.example/debian/pool/main/k/knot/knot_3.2.6-1_amd64.deb' knot_3.2.6-1_amd64.deb 562844 SHA256:00";
        assert_eq!(package_of(line), Some("knot"));
        assert_eq!(package_of("Reading package lists..."), None);
        assert_eq!(package_of(""), None);
    }
}
