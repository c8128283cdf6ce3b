//! The pages as text: what must be in them, and what must not get into them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::*;
use crate::config;
use crate::directory::{Directory, Moment};
use crate::schema::{EventStatus, Facts, StageStatus};

/// What a guest, a name or a file might say to get into a page.
const NASTY: &str = "</pre><script>alert('x')</script><img src=x onerror=alert(1)>\" onload=\"x&amp;";

fn status(text: &str) -> NodeStatus {
    let loaded = config::loaded(text);
    let directory = Directory::new(&loaded.config, Moment(1));
    NodeStatus::new(&loaded.config, &loaded.problems, &directory, Facts::default(), Moment(90_000_000_000))
}

fn one_service() -> NodeStatus {
    status(
        "[node]\nname = \"node\"\naddress = \"10.0.2.15/24\"\n\
         [[service]]\nname = \"www\"\naddress = \"10.0.2.20\"\nkernel = \"k\"\n",
    )
}

/// The page's own script and style, as the browser sees them, are what the policy allows.
#[test]
fn the_policy_names_script_and_style() {
    for (kind, text) in [("style", STYLE), ("script", SCRIPT)] {
        let hash = format!("{kind}-src 'sha256-{}'", STANDARD.encode(Sha256::digest(text)));
        assert!(SECURITY_POLICY.contains(&hash), "page.{kind} has changed: put {hash} into SECURITY_POLICY");
        let page = node(&one_service(), 0);
        assert!(page.contains(&format!("<{kind}>{text}</{kind}>")), "{kind}");
    }
}

/// All pages, with `text` wherever something is from elsewhere.
fn pages(text: &str) -> [String; 3] {
    let mut status = one_service();
    let text = || text.to_owned();
    status.node.name = text();
    (status.boot.board, status.boot.slot) = (Some(text()), Some(text()));
    (status.clock.server, status.node.versions.xen) = (Some(text()), text());
    let (file, what, fix) = (text(), text(), text());
    status.problems.push(config::Problem { file, line: 3, service: Some(text()), what, fix });
    let service = &mut status.services[0];
    (service.name, service.why, service.reason) = (text(), text(), Some(text()));
    (service.state, service.dns) = (text(), vec![text()]);
    service.last_start = vec![StageStatus { stage: text(), at_ns: 5, after_ns: 0 }];
    let (serial, at_ns) = (1, 2);
    status.events =
        vec![EventStatus { serial, at_ns, service: text(), from: text(), to: text(), why: text() }];
    [node(&status, 0), service_page(&status, &[text()]), unknown(&status, 0)]
}

#[test]
fn what_is_from_elsewhere_stays_text() {
    for (nasty, harmless) in pages(NASTY).iter().zip(pages("harmless")) {
        assert!(nasty.contains("&lt;script&gt;alert") && harmless.contains("harmless"));
        // It has brought no element, no attribute, and no end of one.
        for mark in ['<', '>', '"'] {
            let (found, own) = (nasty.matches(mark).count(), harmless.matches(mark).count());
            assert_eq!(found, own, "{mark} in {nasty}");
        }
    }
}

fn service_page(status: &NodeStatus, console: &[String]) -> String {
    service(status, &status.services[0], console, 0)
}

#[test]
fn no_page_needs_anything_from_elsewhere() {
    let status = one_service();
    for page in [node(&status, 0), service_page(&status, &[])] {
        let page = page.replace("http://www.w3.org/2000/svg", "");
        for elsewhere in ["http:", "https:", "src=", "@import", "url(", "style=", "onload", "onclick"] {
            assert!(!page.contains(elsewhere), "{elsewhere} in {page}");
        }
    }
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    let status = status(
        "[node]\naddress = \"10.0.2.15/24\"\n\
         [[service]]\nname = \"www\"\naddress = \"10.0.2.20\"\nkernel = \"k\"\nmemroy = 4\n",
    );
    let page = node(&status, 0);
    let problem = &status.problems[0];
    assert!(page.contains(&format!("{}:{}", problem.file, problem.line)), "{page}");
    assert!(page.contains("memroy") && page.contains("One problem"), "{page}");
}

#[test]
fn a_page_says_which_change_it_is_up_to() {
    assert!(node(&one_service(), 42).contains("data-seen=\"42\""));
}
