//! The pages for people, made of the same document as `/status`.
//!
//! Each is whole without a script: HTML with its style and script in it, and nothing from elsewhere. With the script it
//! follows the node: at each change of which the server tells (`follow.rs`), it fetches the page again and puts only
//! what differs into the one that is shown, so that focus, scrolling and layout stay.
//!
//! Whatever comes from guests and configuration gets into a page by `maud`, which escapes it. If that failed, the
//! browser would still run nothing but the page's own script and style: [`SECURITY_POLICY`] names them by their hashes.

mod node;
mod service;
mod timeline;
mod words;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::schema::{NodeStatus, ServiceStatus};
use words::{Now, spaced};

pub use node::page as node;
pub use service::page as service;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What the browser may do with a page (Content Security Policy Level 3). A test compares the hashes.
pub const SECURITY_POLICY: &str = "default-src 'none'; \
    style-src 'sha256-75Yr30Cd+YA4YhK7dkd9TL6LiHiKK6OAfN/aSNUKzJM='; \
    script-src 'sha256-E8UO5khCPyq4s3Bfl6xVHxwZkaylyfNym9gUnI90uP0='; \
    img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A flash, as SVG in a data URL: without an icon browsers ask for one.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'%3E\
    %3Crect width='32' height='32' rx='8' fill='%230b6e6a'/%3E\
    %3Cpath d='M18 4 7 18h7l-1 10 12-15h-8z' fill='%23fff'/%3E%3C/svg%3E";

/// The frame of every page. `seen` says which change of the node the page is up to.
fn document(title: &str, seen: u64, header: &Markup, main: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" data-seen=(seen) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" href=(ICON);
                style { (PreEscaped(STYLE)) }
            }
            body {
                header.top {
                    svg.mark viewBox="0 0 32 32" width="40" height="40" aria-hidden="true" {
                        rect width="32" height="32" rx="8" {}
                        path d="M18 4 7 18h7l-1 10 12-15h-8z" {}
                    }
                    (header)
                    p #live role="status" data-keep {}
                }
                main { (main) }
                footer {
                    p {
                        "For programs: " a href="/status" { "status" } " (JSON), "
                        a href="/metrics" { "metrics" } " (Prometheus), " a href="/healthz" { "health" } "."
                        noscript { " Reload the page to see what has changed since." }
                    }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

/// A service's state, in its colour and in words.
fn state(service: &ServiceStatus) -> Markup {
    html! { span.state data-state=(service.state) { (spaced(&service.state)) } }
}

/// Why it is in that state, and what follows when.
fn why(service: &ServiceStatus, now: Now) -> Markup {
    let why = match service.why.as_str() {
        "" => "it has not been asked for yet",
        why => service.reason.as_deref().unwrap_or(why),
    };
    html! {
        (why)
        @if let Some(at) = service.retry_at_ns { "; next try in " (now.until(at)) }
    }
}

/// A name and what belongs to it, in a list of such.
fn fact(name: &str, content: impl maud::Render) -> Markup {
    html! { div { dt { (name) } dd { (content) } } }
}

/// The page of a service that there is not.
pub fn unknown(status: &NodeStatus, seen: u64) -> String {
    let header = html! { div { h1 { "No such service" } } };
    let main = html! { section { p { a href="/" { "All services of " (status.node.name) } } } };
    document("No such service", seen, &header, &main)
}

#[cfg(test)]
mod tests;
