//! What the service has to say.

use alloc::format;
use alloc::string::String;
use core::fmt::Write as _;
use core::time::Duration;

use crate::http::{self, Request, Status};

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

const TEXT: &str = "text/plain";
const HTML: &str = "text/html";

impl Page {
    /// The response to a request, or to what should have been one.
    pub fn respond(&self, request: &Result<Request, Status>) -> alloc::vec::Vec<u8> {
        match request {
            Ok(Request { path, head }) => match path.as_str() {
                "/" => http::response(Status::Ok, HTML, &self.html(), *head),
                "/healthz" => http::response(Status::Ok, TEXT, "ok\n", *head),
                _ => http::response(Status::NotFound, TEXT, "404 Not Found\n", *head),
            },
            Err(status) => http::response(*status, TEXT, &format!("{}\n", status.line()), false),
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

    fn page() -> Page {
        Page { name: "www".into(), domid: 7, boot_time: Duration::from_micros(12_034), token: "<a&b>".into() }
    }

    fn respond(path: &str, head: bool) -> String {
        let response = page().respond(&Ok(Request { path: path.into(), head }));
        String::from_utf8(response).unwrap()
    }

    #[test]
    fn the_page_names_its_domain() {
        let response = respond("/", false);
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n"));
        for part in ["Hello from www", ">7<", "12.034 ms", "&#60;a&#38;b&#62;"] {
            assert!(response.contains(part), "{part}: {response}");
        }
        assert!(respond("/", true).ends_with("\r\n\r\n"));
    }

    #[test]
    fn other_paths() {
        assert!(respond("/healthz", false).ends_with("\r\n\r\nok\n"));
        assert!(respond("/x", false).starts_with("HTTP/1.1 404 "));
        let refused = page().respond(&Err(Status::BadRequest));
        assert!(refused.starts_with(b"HTTP/1.1 400 Bad Request\r\n"));
    }
}
