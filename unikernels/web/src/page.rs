//! What the service has to say.

use alloc::format;
use alloc::string::String;
use core::fmt::Write as _;
use core::time::Duration;

use crate::request::Request;
use crate::response::{Response, Status};

/// Everything that the page shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// The domain's name.
    pub name: String,
    /// The domain's number.
    pub domid: u16,
    /// From the guest's first instruction until it accepted connections.
    pub boot_time: Duration,
    /// The command line's `token=`; empty without one.
    pub token: String,
}

impl Page {
    /// The response to a request.
    pub fn respond(&self, request: &Request<'_, '_>) -> Response<'static> {
        match (request.path.name.as_str(), request.path.is_folder) {
            // It is another one each time.
            ("", _) => {
                Response::new(Status::Ok).field("Cache-Control", "no-store").text("text/html", &self.html())
            }
            ("healthz", false) => healthy(),
            _ => Response::plain(Status::NotFound),
        }
    }

    fn html(&self) -> String {
        let micros = self.boot_time.as_micros();
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{name}</title>\n\
             <style>body{{font:1.1em system-ui;margin:3em auto;max-width:32em}}\
             dt{{color:#666}}dd{{margin:0 0 1em;font-size:1.3em}}</style>\n\
             <h1>Hello from {name}</h1>\n\
             <p>This page was served by a virtual machine that began to exist when somebody asked for it.</p>\n\
             <dl>\n<dt>Domain</dt><dd id=\"domid\">{domid}</dd>\n\
             <dt>First instruction to ready</dt><dd id=\"boot\">{}.{:03} ms</dd>\n\
             <dt>Token</dt><dd id=\"token\">{token}</dd>\n</dl>\n</html>\n",
            micros / 1000,
            micros % 1000,
            name = escape(&self.name),
            domid = self.domid,
            token = escape(&self.token),
        )
    }
}

/// The response to whoever asks whether the service is well.
pub fn healthy() -> Response<'static> {
    Response::new(Status::Ok).field("Cache-Control", "no-store").text("text/plain", "ok\n")
}

/// Text as HTML.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' | '>' | '&' | '"' | '\'' => {
                // Writing to a string never fails.
                let _ = write!(escaped, "&#{};", u32::from(character));
            }
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{self, Received};
    use crate::response::Connection;

    fn page() -> Page {
        Page { name: "www".into(), domid: 7, boot_time: Duration::from_micros(12_034), token: "<a&b>".into() }
    }

    fn respond(target: &str) -> String {
        let received = format!("GET {target} HTTP/1.0\r\n\r\n");
        let mut room = request::NO_FIELDS;
        let Received::Message(message) = request::parse(received.as_bytes(), &mut room) else {
            panic!("{target}")
        };
        let pieces = page().respond(&message.request.unwrap()).into_pieces(false, Connection::Close);
        pieces.iter().map(|piece| std::str::from_utf8(piece.bytes()).unwrap()).collect()
    }

    #[test]
    fn the_page_names_its_domain() {
        let response = respond("/");
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n"));
        for part in ["Hello from www", ">7<", "12.034 ms", "&#60;a&#38;b&#62;"] {
            assert!(response.contains(part), "{part}: {response}");
        }
    }

    #[test]
    fn other_paths() {
        assert!(respond("/healthz").ends_with("\r\n\r\nok\n"));
        for target in ["/x", "/healthz/"] {
            assert!(respond(target).starts_with("HTTP/1.1 404 "), "{target}");
        }
    }
}
