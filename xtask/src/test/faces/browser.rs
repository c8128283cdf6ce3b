//! Chromium, by way of its driver and the WebDriver protocol (W3C WebDriver Level 2; `goog:` is Chromium's own).

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Longest wait for any answer of the driver, and for what a script waits for, which is less.
const PATIENCE: Duration = Duration::from_secs(60);
const SCRIPT_PATIENCE: Duration = Duration::from_secs(20);

/// A small PNG has at least this; the window is never empty.
const LEAST_PICTURE: usize = 5_000;

/// What an unprivileged, offline test wants of a browser: no sandbox, which needs a user of its own, and no services.
const ARGUMENTS: [&str; 8] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// One browser with one window and an empty profile.
pub struct Browser {
    driver: Child,
    agent: ureq::Agent,
    /// Of the session, with what all commands' paths begin with.
    url: String,
    _profile: TempDir,
}

/// How wide and high the page is shown, in CSS pixels, and how many of the screen's there are to one.
#[derive(Clone, Copy)]
pub struct Screen {
    pub name: &'static str,
    pub width: u32,
    pub height: u32,
    pub scale: u32,
}

/// A phone and a desk.
pub const SCREENS: [Screen; 2] = [
    Screen { name: "phone", width: 390, height: 844, scale: 2 },
    Screen { name: "desktop", width: 1280, height: 900, scale: 1 },
];

/// What people may have set.
pub const SCHEMES: [&str; 2] = ["light", "dark"];

impl Browser {
    /// Starts one.
    ///
    /// # Errors
    /// When driver or browser do not start.
    pub fn start() -> Result<Self> {
        let profile = TempDir::new().context("making a temporary directory")?;
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver = command.spawn().with_context(|| format!("starting {command:?}"))?;
        let port = driver.stdout.take().context("the driver has no output").and_then(port);
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .build()
            .new_agent();
        let mut browser = Browser { driver, agent, url: String::new(), _profile: profile };
        browser.url = format!("http://127.0.0.1:{}/session", port?);
        let mut arguments = ARGUMENTS.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", browser._profile.path().display()));
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "timeouts": { "script": SCRIPT_PATIENCE.as_millis() as u64 },
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        } } });
        let session = browser.post("", &capabilities).context("starting Chromium")?;
        let id = session["sessionId"].as_str().context("the driver names no session")?;
        browser.url = format!("{}/{id}", browser.url);
        Ok(browser)
    }

    /// Shows a page and waits until it is loaded.
    pub fn open(&self, url: &str) -> Result<()> {
        self.post("/url", &json!({ "url": url })).map(drop)
    }

    /// Has the page shown in this size and this colour scheme.
    pub fn show(&self, screen: Screen, scheme: &str) -> Result<()> {
        let Screen { width, height, scale, .. } = screen;
        let metrics =
            json!({ "width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600 });
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics)?;
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.devtools("Emulation.setEmulatedMedia", &features).map(drop)
    }

    /// Whether pages may run scripts.
    pub fn allow_scripts(&self, allowed: bool) -> Result<()> {
        self.devtools("Emulation.setScriptExecutionDisabled", &json!({ "value": !allowed })).map(drop)
    }

    /// What the body of a function returns in the page.
    pub fn run(&self, script: &str, arguments: &[Value]) -> Result<Value> {
        self.post("/execute/sync", &json!({ "script": script, "args": arguments }))
            .with_context(|| format!("running in the page: {}", beginning(script)))
    }

    /// What the body of a function passes on to the function `done`, which it can call whenever it likes.
    pub fn wait(&self, script: &str, arguments: &[Value]) -> Result<Value> {
        let script = format!("const done = arguments[arguments.length - 1];\n{script}");
        self.post("/execute/async", &json!({ "script": script, "args": arguments }))
            .with_context(|| format!("waiting in the page: {}", beginning(&script)))
    }

    /// Writes the whole page, as it is shown, to a PNG file.
    pub fn picture(&self, file: &Path) -> Result<()> {
        let whole = self.devtools("Page.getLayoutMetrics", &json!({}))?["cssContentSize"].clone();
        let clip = json!({ "x": 0, "y": 0, "width": whole["width"], "height": whole["height"], "scale": 1 });
        let shot = json!({ "format": "png", "captureBeyondViewport": true, "clip": clip });
        let shot = self.devtools("Page.captureScreenshot", &shot)?;
        let text = shot["data"].as_str().context("the browser gave no picture")?;
        let bytes = STANDARD.decode(text).context("the picture is no base64")?;
        ensure!(bytes.starts_with(b"\x89PNG") && bytes.len() > LEAST_PICTURE, "the picture is empty");
        crate::paths::write_atomic(file, &bytes)
    }

    /// What the browser has said on its console since it was last asked: errors of scripts, and what a policy forbade.
    pub fn complaints(&self) -> Result<Vec<String>> {
        let entries = self.post("/se/log", &json!({ "type": "browser" }))?;
        let entries = entries.as_array().context("the log is no list")?;
        Ok(entries.iter().map(|entry| format!("{}: {}", entry["level"], entry["message"])).collect())
    }

    /// The addresses that pages have asked for since it was last asked.
    pub fn requests(&self) -> Result<Vec<String>> {
        let entries = self.post("/se/log", &json!({ "type": "performance" }))?;
        let mut urls = Vec::new();
        for entry in entries.as_array().context("the log is no list")? {
            let message: Value = serde_json::from_str(entry["message"].as_str().unwrap_or_default())?;
            let (method, request) = (&message["message"]["method"], &message["message"]["params"]);
            // The browser's own first page asks for its parts, too.
            let by = request["documentURL"].as_str().unwrap_or_default();
            if method == "Network.requestWillBeSent" && !by.starts_with("chrome:") {
                urls.extend(request["request"]["url"].as_str().map(str::to_owned));
            }
        }
        Ok(urls)
    }

    /// A command of the DevTools protocol.
    fn devtools(&self, command: &str, parameters: &Value) -> Result<Value> {
        let body = json!({ "cmd": command, "params": parameters });
        self.post("/goog/cdp/execute", &body).with_context(|| command.to_owned())
    }

    fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let url = format!("{}{path}", self.url);
        let request = self.agent.post(&url).header("content-type", "application/json; charset=utf-8");
        let mut answer = request.send(body.to_string()).with_context(|| format!("asking {url}"))?;
        let limit = 64 << 20;
        let text = answer.body_mut().with_config().limit(limit).read_to_string();
        let mut answer: Value = serde_json::from_str(&text.with_context(|| format!("reading {url}"))?)?;
        let value = answer["value"].take();
        if let Some(error) = value["error"].as_str() {
            let message = value["message"].as_str().unwrap_or_default();
            bail!("{error}: {}", message.lines().next().unwrap_or_default());
        }
        Ok(value)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends its browser with the session; without one there is no browser.
        let _ = self.agent.delete(&self.url).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// The port that the driver says it listens at. Its further words are read and dropped, so that it never waits.
fn port(output: impl Read + Send + 'static) -> Result<u16> {
    let mut lines = BufReader::new(output).lines();
    // It first says which port it was to have.
    let port = lines.by_ref().find_map(|line| {
        let line = line.ok()?;
        line.split_once("successfully on port ")?.1.trim_end_matches('.').parse().ok()
    });
    std::thread::spawn(move || lines.for_each(drop));
    port.context("chromedriver does not say its port")
}

fn beginning(script: &str) -> String {
    script.split_whitespace().take(12).collect::<Vec<_>>().join(" ")
}
