//! Installing what is missing with apt, where that is allowed; else saying the one command that does it.
//!
//! QEMU is recent enough only in a backports suite of older releases. So that nothing under /etc/apt has
//! to change, apt is given a private list of sources in our cache: the mirror that the host uses, with the
//! release's own suites and the backports added. Third parties' sources, which may be down, stay out too.

use super::tools::{self, Missing};
use crate::debian::mirror::Mirror;
use crate::fail::{Class, Fail};
use crate::{paths, ui};
use anyhow::{Context, Result};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// Waits between attempts at a mirror that has trouble.
const BACKOFF: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(10), Duration::from_secs(30)];

/// Lines of apt's output shown when it fails.
const TAIL: usize = 12;

/// Makes sure that the host lacks nothing: silent and fast when it does not.
pub fn provide() -> Result<()> {
    provide_what(tools::missing)
}

/// The same for what only tests need.
pub fn provide_for_tests() -> Result<()> {
    provide_what(tools::missing_for_tests)
}

/// The same for what only the fuzz targets need.
pub fn provide_for_fuzzing() -> Result<()> {
    provide_what(tools::missing_for_fuzzing)
}

/// The same for building Xen from its source.
pub fn provide_for_xen() -> Result<()> {
    provide_what(tools::missing_for_xen)
}

/// Installs what `missing` finds.
fn provide_what(missing_now: fn() -> Vec<Missing>) -> Result<()> {
    let missing = missing_now();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.iter().map(|m| m.what.as_str()).collect::<Vec<_>>().join(", ");
    let apt = Apt::prepare()?;
    match Privilege::here() {
        Some(privilege) if apt.present => {
            ui::say(format!("missing on this host: {list}"));
            apt.install(privilege, &missing)?;
        }
        _ => {
            return Err(Fail::new(
                Class::Host,
                format!(
                    "missing on this host: {list}; install it with\n\n    {}\n",
                    apt.command_line(&missing)
                ),
            ));
        }
    }
    let still = missing_now();
    if still.is_empty() {
        return Ok(());
    }
    let list = still.iter().map(|m| m.what.as_str()).collect::<Vec<_>>().join(", ");
    Err(Fail::new(
        Class::Host,
        format!(
            "apt installed what it has, and still missing is: {list}; this release of the distribution may be too old"
        ),
    ))
}

/// How commands become root's.
#[derive(Clone, Copy)]
enum Privilege {
    Root,
    Sudo,
}

impl Privilege {
    fn here() -> Option<Self> {
        if std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0) {
            return Some(Self::Root);
        }
        let quiet =
            Command::new("sudo").args(["-n", "true"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        quiet.is_ok_and(|status| status.success()).then_some(Self::Sudo)
    }

    fn apt_get(self) -> Command {
        let mut command = match self {
            Self::Root => Command::new("env"),
            Self::Sudo => {
                let mut sudo = Command::new("sudo");
                sudo.args(["-n", "env"]);
                sudo
            }
        };
        command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=300"]);
        command
    }
}

pub(super) struct Apt {
    present: bool,
    /// Options that point apt to our private sources; empty where the host's own must do.
    options: Vec<String>,
    /// The suite for packages that the release has too old.
    backports: Option<String>,
}

impl Apt {
    /// Whether this host has apt-get.
    pub(super) fn is_present(&self) -> bool {
        self.present
    }

    /// Options that point apt to our private sources; none where the host's own must do.
    pub(super) fn options(&self) -> &[String] {
        &self.options
    }

    pub(super) fn prepare() -> Result<Self> {
        let present = Path::new("/usr/bin/apt-get").exists();
        let os = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
        let own = Self { present, options: Vec::new(), backports: None };
        let (Some("debian"), Some(codename)) = (os_field(&os, "ID"), os_field(&os, "VERSION_CODENAME"))
        else {
            return Ok(own);
        };
        let Some(mirror) = Mirror::of_host() else { return Ok(own) };

        let backports = (codename == "bookworm").then(|| format!("{codename}-backports"));
        let dir = paths::cache()?.join("apt");
        let (parts, lists) = (dir.join("parts"), dir.join("lists"));
        paths::create_dir(&lists.join("partial"))?;
        paths::write_atomic(
            &parts.join("jitsu.sources"),
            sources(&mirror, codename, backports.as_deref()).as_bytes(),
        )?;
        let options = vec![
            "-o".into(),
            "Dir::Etc::SourceList=/dev/null".into(),
            "-o".into(),
            format!("Dir::Etc::SourceParts={}", parts.display()),
            "-o".into(),
            format!("Dir::State::Lists={}", lists.display()),
        ];
        Ok(Self { present, options, backports })
    }

    /// The arguments of `apt-get install`.
    fn install_args(&self, missing: &[Missing]) -> Vec<String> {
        let mut args = self.options.clone();
        args.extend(["install", "-y", "--no-install-recommends"].map(str::to_owned));
        let packages = || missing.iter().flat_map(|m| m.packages).copied();
        // For QEMU and what it depends on; the release's own will do for everything else.
        if let Some(suite) = self.backports.as_ref().filter(|_| packages().any(|name| name == tools::QEMU)) {
            args.extend(["-t".to_owned(), suite.clone()]);
        }
        args.extend(packages().map(str::to_owned));
        args
    }

    fn install(&self, privilege: Privilege, missing: &[Missing]) -> Result<()> {
        let mut update = self.options.clone();
        update.push("update".to_owned());
        if let Err(error) = retried(privilege, &update, "reading the package lists") {
            // One suite that is out of step fails the whole update, and may not be needed.
            ui::say(format!("WARNING: {error:#}"));
        }
        let names: Vec<_> = missing.iter().flat_map(|m| m.packages).copied().collect();
        retried(privilege, &self.install_args(missing), &format!("installing {}", names.join(" ")))
    }

    /// What to type, for somebody who may become root.
    fn command_line(&self, missing: &[Missing]) -> String {
        if !self.present {
            return "cargo xtask setup    (on Debian or a derivative of it: this host has no apt-get)"
                .to_owned();
        }
        let update = [self.options.join(" "), "update".to_owned()].join(" ");
        let install = self.install_args(missing).join(" ");
        format!("sudo sh -c 'apt-get {} && apt-get {install}'", update.trim_start())
    }
}

/// The private `.sources` file.
fn sources(mirror: &Mirror, codename: &str, backports: Option<&str>) -> String {
    let signed =
        tools::debian_keyring().map_or(String::new(), |path| format!("Signed-By: {}\n", path.display()));
    let entry = |uri: &str, suites: &str| {
        format!("Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: main\n{signed}\n")
    };
    let suites = format!("{codename} {codename}-updates {}", backports.unwrap_or_default());
    entry(&mirror.main, suites.trim_end()) + &entry(&mirror.security, &format!("{codename}-security"))
}

/// A field of os-release, without quotes.
fn os_field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(line.trim_matches('"'))
}

/// Runs apt-get quietly, several times if need be, and shows the end of its output when it fails.
fn retried(privilege: Privilege, args: &[String], what: &str) -> Result<()> {
    let mut waits = BACKOFF.iter();
    loop {
        let task = ui::Task::start(what);
        let run = privilege.apt_get().args(args).stdin(Stdio::null()).output().context("running apt-get")?;
        drop(task);
        if run.status.success() {
            return Ok(());
        }
        let said =
            [run.stdout, run.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        let lines: Vec<_> = said.lines().collect();
        let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n    ");
        let Some(wait) = waits.next() else {
            let command = format!("apt-get {}", args.join(" "));
            return Err(Fail::new(
                Class::Host,
                format!("{what} failed ({}): {command}\n    {tail}", run.status),
            ));
        };
        ui::say(format!("{what} failed; trying again in {} s\n    {tail}", wait.as_secs()));
        std::thread::sleep(*wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_fields() {
        let text = "PRETTY_NAME=\"Debian GNU/Linux 12\"\nID=debian\nVERSION_CODENAME=\"bookworm\"\n";
        assert_eq!(os_field(text, "ID"), Some("debian"));
        assert_eq!(os_field(text, "VERSION_CODENAME"), Some("bookworm"));
        assert_eq!(os_field(text, "VERSION"), None);
    }

    #[test]
    fn private_sources_have_the_backports() {
        let mirror = Mirror {
            main: "http://m.example/debian".into(),
            security: "http://s.example/debian-security".into(),
        };
        let text = sources(&mirror, "bookworm", Some("bookworm-backports"));
        assert!(text.contains(
            "URIs: http://m.example/debian\nSuites: bookworm bookworm-updates bookworm-backports\n"
        ));
        assert!(text.contains("URIs: http://s.example/debian-security\nSuites: bookworm-security\n"));
    }
}
