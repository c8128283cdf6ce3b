//! `jitsuctl` on the node.

use super::{Context, Test, config};
use anyhow::{Result, ensure};
use serde_json::Value;

/// The tests, in order.
pub const TESTS: [Test; 3] = [
    ("jitsuctl starts a service, shows it and what it says, and stops it", life),
    ("jitsuctl says what is wrong with the node's configuration, line by line", check),
    ("jitsuctl lists XenStore, follows nothing that is not there, and says so by its exit code", others),
];

/// What jitsuctl prints, and its exit code.
fn jitsuctl(context: &Context, arguments: &str) -> Result<(String, String)> {
    let output = context.node().shell(&format!("NO_COLOR=1 jitsuctl {arguments} 2>&1; echo code $?"))?;
    let (text, code) = output.rsplit_once("code ").unwrap_or_default();
    Ok((text.to_owned(), code.trim().to_owned()))
}

/// The same, where it succeeds.
fn succeed(context: &Context, arguments: &str) -> Result<String> {
    let (text, code) = jitsuctl(context, arguments)?;
    ensure!(code == "0", "jitsuctl {arguments} ended with {code}: {text}");
    Ok(text)
}

fn life(context: &Context) -> Result<()> {
    let started = succeed(context, "start brief")?;
    ensure!(started.starts_with("brief is ready, 10.0.2.22"), "{started}");
    let listed = succeed(context, "list")?;
    let row = listed.lines().find(|line| line.starts_with("brief "));
    ensure!(row.is_some_and(|row| row.contains("ready") && row.contains("10.0.2.22")), "{listed}");
    let json = succeed(context, "show brief --json")?;
    let shown: Value = serde_json::from_str(&json)?;
    let status = context.node().status()?;
    ensure!(shown["domid"].as_u64() == status.service("brief")?.domid.map(u64::from), "{json}");
    let said = succeed(context, "logs brief")?;
    ensure!(said.contains("ready on"), "its console has {said:?}");
    // The end of the input is the end of it.
    let attached = context.node().shell("jitsuctl console brief </dev/null 2>&1")?;
    ensure!(attached.contains("the input has ended"), "{attached}");
    let stopped = succeed(context, "stop brief")?;
    ensure!(stopped.starts_with("brief is off"), "{stopped}");
    let said = succeed(context, "logs brief")?;
    ensure!(said.contains("ready on"), "when it has ended, its console has {said:?}");
    let events = succeed(context, "events -n 2 --json")?;
    let last: Vec<Value> = events.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(last.len() == 2 && last[1]["to"] == "off" && last[0]["service"] == "brief", "{events}");
    let log = succeed(context, "logs -n 5")?;
    ensure!(log.contains("stopping → off: its domain is gone service=brief"), "{log}");
    Ok(())
}

fn check(context: &Context) -> Result<()> {
    let (text, code) = jitsuctl(context, "check /etc/jitsu.toml")?;
    ensure!(code == "5", "it ended with {code}: {text}");
    for (line, mistake) in config::mistakes() {
        let place = format!("/etc/jitsu.toml:{line}: ");
        let told = text.lines().find(|told| told.starts_with(&place));
        ensure!(told.is_some_and(|told| told.contains(mistake)), "{place}{mistake} is not told: {text}");
    }
    let (text, code) = jitsuctl(context, "reload")?;
    ensure!(code == "5" && text.contains("nothing has changed"), "it ended with {code}: {text}");
    Ok(())
}

fn others(context: &Context) -> Result<()> {
    let store = succeed(context, "xenstore ls /local/domain/0")?;
    ensure!(store.lines().any(|line| line.starts_with("/local/domain/0/")), "{store}");
    for (arguments, wanted) in [
        ("start nobody", "4"),
        ("xenstore ls /nowhere", "4"),
        ("--socket /nowhere list", "3"),
        ("dance", "2"),
    ] {
        let (text, code) = jitsuctl(context, arguments)?;
        ensure!(code == wanted, "jitsuctl {arguments} ended with {code}: {text}");
    }
    let (text, code) = jitsuctl(context, "logs cycle0")?;
    ensure!(code == "1" && text.contains("has had no guest"), "it ended with {code}: {text}");
    ensure!(succeed(context, "completions bash")?.contains("_jitsuctl"), "no completions");
    Ok(())
}
