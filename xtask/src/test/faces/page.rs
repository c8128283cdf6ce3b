//! The node's pages in a browser.

use super::browser::{Browser, SCHEMES, SCREENS};
use super::{Rehearsal, Test, axe};
use crate::paths;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::net::SocketAddr;

/// The tests, in order.
pub const TESTS: [Test; 5] = [
    ("the page shows every service, mistakes with their lines, and no more than its own", page_is_complete),
    ("the pages are accessible, on phone and desktop, in light and dark", pages_are_accessible),
    ("a summon is seen on the page, without a reload, a shift, or the loss of the focus", summon_is_seen),
    ("a service's page shows its start, its history, and its console as text", service_page),
    ("the pages work without JavaScript", without_scripts),
];

/// Services of all kinds, one of them wrong.
const CONFIG: &str = r#"[node]
name = "node"
address = "192.168.1.10/24"

[[service]]
name = "www"
address = "192.168.1.20"
kernel = "www"
memory = 4
cmdline = "<script>document.title = 'taken over'</script>"

[[service]]
name = "shop"
address = "192.168.1.21"
kernel = "shop"
memory = 8
dns = ["shop.jitsu.test", "orders.jitsu.test"]

[[service]]
name = "mail"
address = "192.168.1.22"
kernel = "fails"

[[service]]
name = "legacy"
address = "192.168.1.23"
kernel = "hangs"
memory = 128

[[service]]
name = "wiki"
address = "192.168.1.24"
kernel = "wiki"

[[service]]
name = "printer"
address = "192.168.1.25"
kernel = "printer"
start = "manual"

[[service]]
name = "camera"
address = "192.168.1.26"
kernel = "camera"
memroy = 64
"#;

/// The services that can run.
const SERVICES: [&str; 6] = ["www", "shop", "mail", "legacy", "wiki", "printer"];
/// What is wrong with the other one, which stands alone in its line.
const MISTAKE: &str = "memroy";

/// Sum of all layout shifts (Layout Instability, W3C) that is as good as none; 0.1 counts as good.
const MOST_SHIFT: f64 = 0.01;

/// The rules of axe-core that must have found something to approve of: that they have looked.
const RULES: [&str; 5] = ["color-contrast", "document-title", "html-has-lang", "link-name", "list"];

/// A node on which some services have been asked for.
fn rehearsal() -> Result<Rehearsal> {
    let node = Rehearsal::start("page", CONFIG, &[])?;
    for name in ["www", "shop", "mail", "legacy"] {
        node.resolver().a(&format!("{name}.jitsu.test"))?;
    }
    Ok(node)
}

/// Waits until the page follows the node.
const LIVE: &str = "
    const live = document.getElementById('live');
    const look = () => live.dataset.live === 'yes' && done(true);
    new MutationObserver(look).observe(live, { attributes: true });
    look();";

fn page_is_complete() -> Result<String> {
    let (node, browser) = (rehearsal()?, Browser::start()?);
    let line = CONFIG.lines().position(|line| line.starts_with(MISTAKE)).context("no mistake")? + 1;
    for screen in SCREENS {
        for scheme in SCHEMES {
            browser.show(screen, scheme)?;
            for (name, path) in [("node", "/"), ("service", "/service/www")] {
                browser.open(&node.url(path))?;
                browser.wait(LIVE, &[])?;
                let file = format!("page-{name}-{}-{scheme}.png", screen.name);
                browser.picture(&paths::out("test").join(file))?;
                let width = browser.run("return document.documentElement.scrollWidth", &[])?;
                ensure!(
                    width.as_u64() <= Some(screen.width.into()),
                    "{path} is {width} wide on a {}",
                    screen.name
                );
            }
            browser.open(&node.url("/"))?;
            let page = browser.run(
                "return {
                    services: [...document.querySelectorAll('.services tbody th a')].map(a => a.innerText),
                    shown: [...document.querySelectorAll('.services tbody tr')].every(tr => tr.checkVisibility()),
                    problems: document.querySelector('.problems').innerText,
                    text: document.body.innerText,
                }",
                &[],
            )?;
            ensure!(page["services"] == json!(SERVICES), "the page has the services {}", page["services"]);
            ensure!(page["shown"] == true, "a service is not to be seen");
            let text = |key: &str| page[key].as_str().unwrap_or_default().to_owned();
            let wrong = [format!("page.toml:{line}"), "camera".into(), MISTAKE.into(), "memory?".into()];
            for part in wrong {
                ensure!(text("problems").contains(&part), "{part} is not in {}", text("problems"));
            }
            for part in ["192.168.1.21", "its kernel is \"fails\"", "booting → ready", "it was asked for"] {
                ensure!(text("text").contains(part), "{part} is not on the page: {}", text("text"));
            }
        }
    }
    ensure_quiet(&browser, node.at.http)?;
    Ok("pictures: out/test/page-*.png".to_owned())
}

/// Fails if the browser had something to complain about, or was sent elsewhere by a page.
fn ensure_quiet(browser: &Browser, node: SocketAddr) -> Result<()> {
    let complaints = browser.complaints()?;
    ensure!(complaints.is_empty(), "the browser complains:\n{}", complaints.join("\n"));
    let (requests, own) = (browser.requests()?, format!("http://{node}/"));
    ensure!(requests.iter().any(|url| url.starts_with(&own)), "the browser's log has none of its requests");
    // Only the icon, which is in the page.
    let elsewhere = |url: &&String| !url.starts_with(&own) && !url.starts_with("data:image/svg+xml,");
    let elsewhere: Vec<_> = requests.iter().filter(elsewhere).collect();
    ensure!(elsewhere.is_empty(), "the pages ask for {elsewhere:?}");
    Ok(())
}

fn pages_are_accessible() -> Result<String> {
    let (node, browser, axe) = (rehearsal()?, Browser::start()?, axe::script()?);
    let mut passed = 0;
    for screen in SCREENS {
        for scheme in SCHEMES {
            browser.show(screen, scheme)?;
            for path in ["/", "/service/www", "/service/nobody"] {
                browser.open(&node.url(path))?;
                browser.run(&axe, &[])?;
                let found = check(&browser)?;
                let violations = found["violations"].as_array().context("no list of violations")?;
                ensure!(violations.is_empty(), "{path}, {}, {scheme}: {violations:#?}", screen.name);
                passed += found["passes"].as_array().map_or(0, Vec::len);
                if path == "/" {
                    for rule in RULES {
                        let looked = found["passes"].as_array().is_some_and(|all| all.contains(&json!(rule)));
                        ensure!(looked, "axe-core's rule {rule} has not looked at {path}: {found:#}");
                    }
                }
            }
        }
    }
    // What is wrong would have been found.
    browser.run(
        "const { style } = document.querySelector('h1'); style.color = '#777'; style.background = '#888'",
        &[],
    )?;
    let found = check(&browser)?;
    let found = found["violations"].as_array().context("no list of violations")?;
    ensure!(found.iter().any(|one| one["rule"] == "color-contrast"), "axe-core finds nothing: {found:?}");
    Ok(format!("{passed} checks"))
}

/// What axe-core says of the page.
fn check(browser: &Browser) -> Result<Value> {
    let found = browser.wait(
        "axe.run(document, { resultTypes: ['violations', 'passes'] }).then(found => done({
            passes: found.passes.map(one => one.id),
            violations: found.violations.map(one => ({
                rule: one.id, help: one.help, nodes: one.nodes.map(node => [node.html, node.failureSummary]),
            })),
        }), error => done({ error: String(error) }))",
        &[],
    )?;
    ensure!(found["error"].is_null(), "axe-core: {}", found["error"]);
    Ok(found)
}

fn summon_is_seen() -> Result<String> {
    let browser = Browser::start()?;
    for screen in SCREENS {
        let node = Rehearsal::start("page", CONFIG, &[])?;
        browser.show(screen, "light")?;
        let summon = || node.resolver().a("wiki.jitsu.test").map(drop);
        seen(&browser, node.at.http, ("wiki", "printer"), summon).context(screen.name)?;
    }
    Ok(String::new())
}

/// Fails unless the summons of a service that is off is seen on the page of the node at `node`, while another service's link
/// has the focus.
pub fn seen(
    browser: &Browser,
    node: SocketAddr,
    (service, focused): (&str, &str),
    summon: impl FnOnce() -> Result<()>,
) -> Result<()> {
    browser.open(&format!("http://{node}/"))?;
    browser.wait(LIVE, &[])?;
    let before = browser.run(
        "const [service, focused] = arguments;
        window.mark = {};
        window.shift = 0;
        new PerformanceObserver(list => {
            for (const entry of list.getEntries()) window.shift += entry.value;
        }).observe({ type: 'layout-shift' });
        const row = document.getElementById(`service-${service}`);
        const state = row.querySelector('.state');
        window.states = [state.innerText];
        window.ready = new Promise(done => new MutationObserver(() => {
            window.states.push(state.innerText);
            const start = row.querySelector('.start').innerText;
            const event = document.querySelector('.events li').innerText;
            if (state.dataset.state === 'ready') done([start, event]);
        }).observe(state, { attributes: true, childList: true, characterData: true, subtree: true }));
        document.querySelector(`#service-${focused} a`).focus();
        window.scrollTo(0, 120);
        return [document.activeElement.innerText, window.scrollY];",
        &[json!(service), json!(focused)],
    )?;
    ensure!(before[0] == focused, "focus and scrolling are {before}");
    summon()?;
    let after = browser.wait(
        "window.ready.then(([start, event]) => requestAnimationFrame(() => setTimeout(() => done({
            where: [document.activeElement.innerText, window.scrollY],
            mark: typeof window.mark,
            states: window.states,
            shift: window.shift,
            start, event,
        }))))",
        &[],
    )?;
    ensure!(after["mark"] == "object", "the page has been loaded anew");
    ensure!(after["states"][0] == "off", "the states were {}", after["states"]);
    ensure!(after["where"] == before, "focus and scrolling went from {before} to {}", after["where"]);
    let (start, event) = (after["start"].as_str(), after["event"].as_str());
    // In seconds on a slow host.
    let is_time = |text: &str| {
        let (value, unit) = text.trim().split_once(char::is_whitespace).unwrap_or_default();
        value.parse::<f64>().is_ok() && (unit.starts_with("ms") || unit.starts_with('s'))
    };
    ensure!(start.is_some_and(is_time), "no time of the start: {after}");
    ensure!(event.is_some_and(|event| event.contains(service)), "no event: {after}");
    let shift = after["shift"].as_f64().context("the browser measures no layout shift")?;
    ensure!(shift <= MOST_SHIFT, "the layout has shifted by {shift}");
    ensure_quiet(browser, node)?;
    // The page goes before its node does.
    browser.open("about:blank")
}

fn service_page() -> Result<String> {
    let (node, browser) = (Rehearsal::start("page", CONFIG, &[])?, Browser::start()?);
    browser.open(&node.url("/service/www"))?;
    browser.wait(LIVE, &[])?;
    browser.run(
        "window.ready = new Promise(done => new MutationObserver(() => {
            const lines = document.getElementById('lines');
            if (lines?.innerText.includes('ready\\n')) done();
        }).observe(document.querySelector('main'), { childList: true, characterData: true, subtree: true }));",
        &[],
    )?;
    node.resolver().a("www.jitsu.test")?;
    let page = browser.wait(
        "window.ready.then(() => done({
            title: document.title,
            state: document.querySelector('h1 .state').innerText,
            console: document.getElementById('lines').innerText,
            scripts: document.querySelectorAll('main script').length,
            history: document.querySelector('.events').innerText,
            picture: document.querySelector('svg.timeline').getAttribute('role'),
            told: document.querySelector('svg.timeline desc').textContent,
            stages: [...document.querySelectorAll('svg.timeline text:not(.at)')].map(text => text.textContent),
        }))",
        &[],
    )?;
    let text = |key: &str| page[key].as_str().unwrap_or_default().to_owned();
    ensure!(text("title") == "www · node", "the title is {}", text("title"));
    ensure!(text("state") == "ready", "the state is {}", text("state"));
    ensure!(
        text("console").contains("<script>document.title = 'taken over'</script>") && page["scripts"] == 0,
        "the console is shown as {page}"
    );
    ensure!(text("history").contains("off → building"), "the history is {}", text("history"));
    ensure!(page["picture"] == "img", "the timeline is no picture: {page}");
    for stage in ["Query received", "Build begun", "Domain created", "Domain runs", "Guest ready"] {
        let drawn = page["stages"].as_array().is_some_and(|stages| stages.contains(&json!(stage)));
        ensure!(drawn && text("told").contains(stage), "{stage} is not in the timeline: {page}");
    }
    ensure_quiet(&browser, node.at.http)?;
    Ok(String::new())
}

fn without_scripts() -> Result<String> {
    let (node, browser) = (rehearsal()?, Browser::start()?);
    browser.show(SCREENS[0], "light")?;
    browser.allow_scripts(false)?;
    for (path, parts) in [("/", &SERVICES[..]), ("/service/shop", &["it accepts connections", "Guest ready"])]
    {
        browser.open(&node.url(path))?;
        let text = browser.run("return document.body.innerText", &[])?;
        let text = text.as_str().unwrap_or_default();
        for part in parts {
            ensure!(text.contains(part), "{part} is not on {path}: {text}");
        }
        ensure!(text.contains("Reload the page"), "{path} does not say that it stands still: {text}");
        let live = browser.run("return document.getElementById('live').innerText", &[])?;
        ensure!(live == "", "a script has run: {live}");
    }
    ensure_quiet(&browser, node.at.http)?;
    Ok(String::new())
}
