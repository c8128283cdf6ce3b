//! `jitsuctl` against a rehearsal, as somebody types it.

use super::Test;
use super::rehearsal::Rehearsal;
use crate::ctl;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

/// The tests, in order.
pub const TESTS: [Test; 3] = [
    ("jitsuctl: services are listed, started and stopped, for people and as JSON", services),
    ("jitsuctl: events are followed, and a picture is drawn over on a terminal only", followers),
    ("jitsuctl: a configuration is checked without a daemon, and mistakes are told with their lines", check),
];

const CONFIG: &str = "[node]\nname = \"node\"\naddress = \"10.0.2.15/24\"\n\
                      [[service]]\nname = \"www\"\naddress = \"10.0.2.20\"\nkernel = \"www\"\n\
                      [[service]]\nname = \"bad\"\naddress = \"10.0.2.21\"\nkernel = \"fails\"\n";

struct Desk {
    program: PathBuf,
    _rehearsal: Rehearsal,
    folder: TempDir,
}

impl Desk {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir().context("a temporary directory")?;
        let socket = folder.path().join("control");
        let socket = socket.to_str().context("its name is no text")?;
        let rehearsal = Rehearsal::start("jitsuctl", CONFIG, &["--control", socket])?;
        Ok(Desk { program: ctl::program()?, _rehearsal: rehearsal, folder })
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--socket").arg(self.folder.path().join("control")).args(arguments.split(' '));
        command
    }

    fn run(&self, arguments: &str) -> Result<Output> {
        self.command(arguments).output().with_context(|| format!("jitsuctl {arguments}"))
    }

    /// What it prints, where its exit code is that.
    fn text(&self, arguments: &str, code: i32) -> Result<String> {
        let output = self.run(arguments)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(code),
            "jitsuctl {arguments} ended with {}: {said}",
            output.status
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn json(&self, arguments: &str) -> Result<Value> {
        let text = self.text(&format!("--json {arguments}"), 0)?;
        serde_json::from_str(&text).with_context(|| format!("jitsuctl {arguments} prints {text}"))
    }
}

/// A program that is ended with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn services() -> Result<String> {
    let desk = Desk::new()?;
    let listed = desk.text("list", 0)?;
    ensure!(
        listed.lines().count() == 3 && listed.lines().next().is_some_and(|line| line.starts_with("NAME")),
        "{listed}"
    );
    ensure!(!listed.contains('\u{1b}'), "colours where nobody sees them: {listed:?}");
    ensure!(desk.text("--color always list", 0)?.contains('\u{1b}'), "no colours though they are asked for");
    desk.text("start www", 0)?;
    let www = desk.json("show www")?;
    ensure!(www["state"] == "ready" && www["domid"].is_u64(), "{www}");
    ensure!(desk.text("show www", 0)?.contains("guest_ready"), "the stages of its start are not shown");
    desk.text("start bad", 1)?;
    let all = desk.json("list")?;
    ensure!(all[1]["state"] == "failed" && all[1]["reason"] == "its kernel is \"fails\"", "{all}");
    desk.text("stop www bad", 0)?;
    let all = desk.json("list")?;
    ensure!(all[0]["state"] == "off" && all[1]["state"] == "off", "{all}");
    for (arguments, code) in
        [("start nobody", 4), ("show nobody", 4), ("dance", 2), ("logs www", 1), ("--help", 0)]
    {
        desk.text(arguments, code)?;
    }
    for shell in ["bash", "zsh", "fish"] {
        let script = desk.text(&format!("completions {shell}"), 0)?;
        ensure!(script.contains("jitsuctl") && script.contains("xenstore"), "{shell}: {script:.200}");
    }
    Ok(String::new())
}

fn followers() -> Result<String> {
    let desk = Desk::new()?;
    let mut follower = Running(desk.command("--json events -f").stdout(Stdio::piped()).spawn()?);
    let events = BufReader::new(follower.0.stdout.take().context("its output")?);
    desk.text("start www", 0)?;
    let mut states = Vec::new();
    for line in events.lines().take(3) {
        let event: Value = serde_json::from_str(&line?)?;
        states.push(event["to"].as_str().context("no state")?.to_owned());
    }
    ensure!(states == ["building", "booting", "ready"], "{states:?}");
    // In a file there is one picture, and nothing to steer a terminal.
    let once = desk.text("top", 0)?;
    ensure!(once.contains("www") && !once.contains('\u{1b}'), "{once:?}");
    let command = desk.command("top");
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    let line = words.join(std::ffi::OsStr::new(" "));
    let mut top = Command::new("script");
    top.args(["--quiet", "--command"]).arg(line).arg("/dev/null").env_remove("NO_COLOR").env("TERM", "linux");
    let mut top =
        Running(top.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("starting script(1)")?);
    let mut output = top.0.stdout.take().context("its output")?;
    let (mut seen, mut chunk) = (Vec::new(), [0; 4096]);
    while String::from_utf8_lossy(&seen).matches("\u{1b}[H").count() < 2 {
        let length = output.read(&mut chunk)?;
        ensure!(length > 0, "it has ended: {:?}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&chunk[..length]);
    }
    Ok(String::new())
}

fn check() -> Result<String> {
    let folder = tempfile::tempdir().context("a temporary directory")?;
    let file = folder.path().join("jitsu.toml");
    let check = |text: &str, json: bool| -> Result<Output> {
        std::fs::write(&file, text)?;
        let mut command = Command::new(ctl::program()?);
        command.arg("check").arg(&file).args(json.then_some("--json"));
        command.output().context("jitsuctl check")
    };
    let good = check(CONFIG, false)?;
    ensure!(good.status.success(), "{}", String::from_utf8_lossy(&good.stdout));
    let bad =
        CONFIG.replace("10.0.2.21", "10.0.2.20").replace("kernel = \"www\"", "kernel = \"www\"\nmemroy = 4");
    let output = check(&bad, false)?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.code() == Some(5), "{} {said}", output.status);
    let place = file.display();
    for (line, what) in [(8, "unknown key \"memroy\""), (11, "already belongs to www")] {
        let told = said.lines().find(|told| told.starts_with(&format!("{place}:{line}: ")));
        ensure!(told.is_some_and(|told| told.contains(what)), "{place}:{line}: {what} is not told: {said}");
    }
    let json: Value = serde_json::from_slice(&check(&bad, true)?.stdout)?;
    ensure!(json["problems"][0]["line"] == 8 && json["problems"][0]["fix"].is_string(), "{json}");
    Ok(String::new())
}
