//! Xen built from its source, for versions that Debian has no package of for 32-bit ARM.
//!
//! What is built is the upstream tarball of Debian's source package: a commit of Xen's own stable branch, with its
//! security fixes. Debian's patches to it, which are about packaging and tools, are left out. The result is kept in
//! the cache, by everything that it was made of.

use crate::debian::PackageFile;
use crate::download::sha256;
use crate::fail::{Class, Fail};
use crate::{host, paths, ui};
use anyhow::{Context, Result};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is configured, in the repository.
pub const CONFIG: &str = "board/xen.config";

/// Changes when the way in which it is built does.
const GENERATION: &str = "1";

/// Of the tarball, what the hypervisor is built from; its tools and documentation are not.
const PARTS: [&str; 3] = ["Config.mk", "config", "xen"];

/// What Xen's build would find out about this host, the time and whoever builds: the same everywhere.
const VARIABLES: [&str; 7] = [
    "XEN_TARGET_ARCH=arm32",
    "XEN_BUILD_DATE=",
    "XEN_BUILD_TIME=",
    "XEN_BUILD_HOST=localhost",
    "XEN_DOMAIN=localhost",
    "XEN_WHOAMI=jitsu-node",
    // The prefix of the cross compiler and its binutils.
    "CROSS_COMPILE=arm-linux-gnueabihf-",
];

/// Lines of the build's log shown when it fails.
const TAIL: usize = 20;

/// The licence of the hypervisor, by the file COPYING in its source.
pub const LICENCE: &str = "GPL-2.0-only";

/// The hypervisor of `source`, which must be of `version` (`4.20`), and what compiled it.
pub fn provide(source: &PackageFile, version: &str) -> Result<(Vec<u8>, String)> {
    let found = &source.pinned.version;
    if !found.strip_prefix(version).is_some_and(|rest| rest.starts_with('.')) {
        let message = format!(
            "board.toml, packages.hypervisor: {} is Xen {found} instead of {version}; correct the key",
            source.pinned.request
        );
        return Err(Fail::new(Class::Input, message));
    }
    host::provide_for_xen()?;
    let config = String::from_utf8_lossy(&paths::read(&paths::root().join(CONFIG))?).into_owned();
    let compiler = first_line(Command::new(host::CROSS_GCC).arg("--version"))?;
    let linker = first_line(Command::new("arm-linux-gnueabihf-ld").arg("--version"))?;
    let made_of = [
        [GENERATION, &source.pinned.sha256, found, &config, &compiler, &linker].join("\n"),
        VARIABLES.join("\n"),
    ];
    let key = sha256(made_of.concat().as_bytes());
    let place = paths::cache()?.join("xen").join(format!("xen-{version}-{}", &key[..16]));
    if !place.is_file() {
        build(source, &config, &place)
            .with_context(|| format!("building Xen {found} from its source, {}", source.path.display()))?;
    }
    Ok((paths::read(&place)?, compiler))
}

/// The log of the build of what is at `place`.
fn log_of(place: &Path) -> PathBuf {
    let mut name = place.as_os_str().to_owned();
    name.push(".log");
    name.into()
}

/// Builds in a folder of its own, and puts the hypervisor at `place`; the log is beside it.
fn build(source: &PackageFile, config: &str, place: &Path) -> Result<()> {
    let parent = place.parent().context("a file in the cache has a folder")?;
    paths::create_dir(parent)?;
    let dir = tempfile::Builder::new()
        .prefix(".new-")
        .tempdir_in(parent)
        .context("creating a temporary directory")?;
    let _task = ui::Task::start(format!("building Xen {} from source", source.pinned.version));
    unpack(&source.path, dir.path())?;
    // What Xen's banner says for its changeset.
    paths::write_atomic(&dir.path().join(".scmversion"), source.pinned.version.as_bytes())?;
    let dot_config = dir.path().join("xen/.config");
    paths::write_atomic(&dot_config, config.as_bytes())?;
    let log = log_of(place);
    let output = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
    make(dir.path(), "olddefconfig", &output, &log)?;
    check_config(config, &String::from_utf8_lossy(&paths::read(&dot_config)?))?;
    make(dir.path(), "build", &output, &log)?;
    paths::write_atomic(place, &paths::read(&dir.path().join("xen/xen"))?)
}

/// Unpacks what is needed of the tarball, without the folder that everything in it is in.
fn unpack(tarball: &Path, into: &Path) -> Result<()> {
    let work = || -> Result<()> {
        let mut tar = tar::Archive::new(liblzma::read::XzDecoder::new(File::open(tarball)?));
        for entry in tar.entries()? {
            let mut entry = entry?;
            let path: PathBuf = entry.path()?.components().skip(1).collect();
            if !PARTS.iter().any(|part| path.starts_with(part)) {
                continue;
            }
            let target = into.join(&path);
            paths::create_dir(target.parent().unwrap_or(into))?;
            entry.unpack(&target).with_context(|| path.display().to_string())?;
        }
        Ok(())
    };
    work().with_context(|| format!("unpacking {}", tarball.display()))
}

/// Runs make in an environment that has nothing of whoever builds.
fn make(dir: &Path, target: &str, output: &File, log: &Path) -> Result<()> {
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let streams = || output.try_clone().map(Stdio::from).with_context(|| log.display().to_string());
    let status = Command::new("make")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("LC_ALL", "C")
        .args(["-C", "xen", &format!("-j{jobs}"), target])
        .args(VARIABLES)
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(streams()?)
        .stderr(streams()?)
        .status()
        .map_err(|e| Fail::new(Class::Host, format!("running make: {e}; try `cargo xtask setup`")))?;
    if status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&paths::read(log)?).into_owned();
    let lines: Vec<&str> = said.lines().collect();
    let tail = lines[lines.len().saturating_sub(TAIL)..].join("\n    ");
    Err(Fail::new(
        Class::Build,
        format!("make {target}: {status}; the whole log is {}, and ends with\n    {tail}", log.display()),
    ))
}

/// Fails when Kconfig has not taken what `wanted` says: it drops unmet wishes without a word.
fn check_config(wanted: &str, found: &str) -> Result<()> {
    let has = |wish: &str| match unset(wish) {
        Some(option) => !found.lines().any(|line| line.starts_with(&format!("{option}="))),
        None => found.lines().any(|line| line == wish),
    };
    let is_wish = |line: &&str| line.starts_with("CONFIG_") || unset(line).is_some();
    let lacking: Vec<&str> = wanted.lines().filter(is_wish).filter(|wish| !has(wish)).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    Err(Fail::new(
        Class::Build,
        format!("{CONFIG}: this Xen's Kconfig does not take: {}", lacking.join(", ")),
    ))
}

/// The option in a line that says that it is off.
fn unset(line: &str) -> Option<&str> {
    line.strip_prefix("# ")?.strip_suffix(" is not set").filter(|option| option.starts_with("CONFIG_"))
}

/// The first line that a tool prints.
fn first_line(command: &mut Command) -> Result<String> {
    let run = command
        .output()
        .map_err(|e| Fail::new(Class::Host, format!("running {command:?}: {e}; try `cargo xtask setup`")))?;
    let text = String::from_utf8_lossy(&run.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::debian::lock::Pinned;
    use std::fs;

    fn source(version: &str, path: &Path) -> PackageFile {
        let pinned = Pinned {
            request: "src:xen".into(),
            name: "xen".into(),
            version: version.into(),
            suite: "trixie".into(),
            path: "pool/xen.orig.tar.xz".into(),
            size: 1,
            sha256: "ab".into(),
        };
        PackageFile { pinned, path: path.to_owned() }
    }

    #[test]
    fn another_version_than_the_key_says_is_refused() {
        for version in ["4.21.0-1", "4.2.0-1", "4.200-1"] {
            let error = provide(&source(version, Path::new("/nowhere")), "4.20").expect_err(version);
            assert!(error.to_string().contains(version), "{error}");
        }
    }

    #[test]
    fn wishes_that_did_not_stick_are_named() {
        let wanted = "# a comment\n# CONFIG_A is not set\nCONFIG_B=y\n";
        assert!(check_config(wanted, "CONFIG_B=y\n# CONFIG_A is not set\n").is_ok());
        assert!(check_config(wanted, "CONFIG_B=y\n").is_ok());
        let error = check_config(wanted, "CONFIG_A=y\nCONFIG_BB=y\n").expect_err("neither");
        assert!(error.to_string().contains("# CONFIG_A is not set, CONFIG_B=y"), "{error}");
    }

    #[test]
    fn only_what_is_needed_is_unpacked() {
        let dir = tempfile::tempdir().expect("directory");
        let mut tar = tar::Builder::new(Vec::new());
        for path in
            ["xen-4.20/Config.mk", "xen-4.20/xen/Makefile", "xen-4.20/tools/Makefile", "xen-4.20/xenfoo"]
        {
            let mut header = tar::Header::new_gnu();
            header.set_size(1);
            header.set_mode(0o644);
            tar.append_data(&mut header, path, &b"x"[..]).expect("append");
        }
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        std::io::Write::write_all(&mut xz, &tar.into_inner().expect("tar")).expect("xz");
        let tarball = dir.path().join("x.tar.xz");
        fs::write(&tarball, xz.finish().expect("xz")).expect("write");
        let into = dir.path().join("into");
        unpack(&tarball, &into).expect("unpack");
        assert!(into.join("Config.mk").is_file() && into.join("xen/Makefile").is_file());
        assert!(!into.join("tools").exists() && !into.join("xenfoo").exists());
    }

    #[test]
    fn a_failed_build_shows_the_end_of_its_log() {
        let dir = tempfile::tempdir().expect("directory");
        fs::create_dir(dir.path().join("xen")).expect("folder");
        fs::write(dir.path().join("xen/Makefile"), "build:\n\t@echo the reason; false\n").expect("write");
        let log = dir.path().join("log");
        let error = make(dir.path(), "build", &File::create(&log).expect("log"), &log).expect_err("fails");
        assert!(error.to_string().contains("the reason"), "{error}");
    }
}
