//! Answers requests for the files of a site.

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt::Write as _;
use core::ops::Range;

use site::{Content, File, Site};

use crate::range::{self, Ranges};
use crate::request::Request;
use crate::response::{Piece, Response, Status};
use crate::{coding, date, fields, page, target};

/// What a folder is asked for.
const INDEX: &str = "index.html";
/// What whoever watches the service asks for. A site may have a file of this name.
const HEALTH: &str = "healthz";
/// What is shown instead of what is not there.
const NOT_FOUND: &str = "404.html";

/// A site, and how long its files may be kept.
#[derive(Clone, Debug)]
pub struct Files<'s> {
    site: Site<'s>,
    cache_control: String,
}

impl<'s> Files<'s> {
    /// The files of a site. Clients may keep one for `max_age` seconds before they ask for it again, or have to ask
    /// whether it has changed each time.
    pub fn new(site: Site<'s>, max_age: Option<u32>) -> Self {
        let cache_control = max_age.map_or_else(|| String::from("no-cache"), |age| format!("max-age={age}"));
        Files { site, cache_control }
    }

    /// The response to a request: a file, or its folder's index; the way to a folder; or that there is none.
    pub fn respond(&self, request: &Request<'_, '_>) -> Response<'s> {
        let path = &request.path;
        let index = match path.name.as_str() {
            "" => String::from(INDEX),
            folder => format!("{folder}/{INDEX}"),
        };
        let name = if path.is_folder { &index } else { &path.name };
        if let Some(file) = self.site.find(name) {
            return self.serve(&file, request);
        }
        if !path.is_folder && self.site.find(&index).is_some() {
            let query = request.query.map_or_else(String::new, |query| format!("?{}", escape(query)));
            let location = format!("/{}/{query}", target::encode(&path.name));
            return Response::plain(Status::MovedPermanently).field("Location", location);
        }
        if name == HEALTH {
            return page::healthy();
        }
        self.not_found(request)
    }

    fn not_found(&self, request: &Request<'_, '_>) -> Response<'s> {
        let Some(page) = self.site.find(NOT_FOUND) else { return Response::plain(Status::NotFound) };
        let (content, is_gzip) = represent(&page, request);
        let response = vary(Response::new(Status::NotFound), &page).field("Cache-Control", "no-store");
        describe(response, page.media_type, is_gzip).content(vec![Piece::Borrowed(content.bytes)])
    }

    fn serve(&self, file: &File<'s>, request: &Request<'_, '_>) -> Response<'s> {
        let (content, is_gzip) = represent(file, request);
        let tag = tag(&content);
        let response = vary(Response::new(Status::Ok), file)
            .field("ETag", &tag)
            .field("Cache-Control", &self.cache_control);
        let response = match file.modified {
            Some(modified) => response.field("Last-Modified", date::format(modified)),
            None => response,
        };
        match precondition(request, &tag, file.modified) {
            Some(Status::NotModified) => return response.with(Status::NotModified),
            Some(status) => return Response::plain(status),
            None => {}
        }
        let response = response.field("Accept-Ranges", "bytes");
        let length = content.bytes.len();
        match ranges(request, &tag, length) {
            Ranges::Whole => {
                describe(response, file.media_type, is_gzip).content(vec![Piece::Borrowed(content.bytes)])
            }
            Ranges::None => Response::plain(Status::RangeNotSatisfiable)
                .field("Content-Range", format_args!("bytes */{length}")),
            Ranges::Parts(parts) => {
                partial(response.with(Status::PartialContent), file.media_type, is_gzip, &content, &parts)
            }
        }
    }
}

/// What a client is sent of a file, plain or compressed.
fn represent<'s>(file: &File<'s>, request: &Request<'_, '_>) -> (Content<'s>, bool) {
    let gzip = file.gzip.filter(|_| coding::wants_gzip(request.values("accept-encoding")));
    (gzip.unwrap_or(file.plain), gzip.is_some())
}

/// Says what kind of content is sent.
fn describe<'s>(response: Response<'s>, media_type: &str, is_gzip: bool) -> Response<'s> {
    let response = response.field("Content-Type", media_type);
    if is_gzip { response.field("Content-Encoding", "gzip") } else { response }
}

/// Says that others may be sent another content.
fn vary<'s>(response: Response<'s>, file: &File<'_>) -> Response<'s> {
    if file.gzip.is_some() { response.field("Vary", "Accept-Encoding") } else { response }
}

/// A strong entity tag: two contents have the same only if they are the same.
fn tag(content: &Content<'_>) -> String {
    let mut tag = String::from("\"");
    for byte in content.digest {
        // Writing to a string never fails.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    tag
}

/// 304 or 412 if that is what the request's conditions come to (RFC 9110, section 13.2.2).
fn precondition(request: &Request<'_, '_>, tag: &str, modified: Option<u64>) -> Option<Status> {
    let dated = |name| Some((modified?, date::parse(request.value(name)?)?));
    if request.has("if-match") {
        if !request.values("if-match").any(|value| fields::names_tag(value, tag, false)) {
            return Some(Status::PreconditionFailed);
        }
    } else if dated("if-unmodified-since").is_some_and(|(modified, since)| modified > since) {
        return Some(Status::PreconditionFailed);
    }
    if request.has("if-none-match") {
        let known = request.values("if-none-match").any(|value| fields::names_tag(value, tag, true));
        known.then_some(Status::NotModified)
    } else {
        let unchanged = dated("if-modified-since").is_some_and(|(modified, since)| modified <= since);
        unchanged.then_some(Status::NotModified)
    }
}

fn ranges(request: &Request<'_, '_>, tag: &str, length: usize) -> Ranges {
    // Ranges are defined for GET alone (RFC 9110, section 14.2).
    let Some(value) = request.value("range").filter(|_| !request.is_head) else { return Ranges::Whole };
    // A date is no proof that nothing has changed: files may have been given the same.
    let unchanged = !request.has("if-range") || request.value("if-range") == Some(tag);
    if unchanged { range::parse(value, length) } else { Ranges::Whole }
}

/// Parts of a content; one of them as it is, several as a multipart message (RFC 9110, section 14.6).
fn partial<'s>(
    response: Response<'s>,
    media_type: &str,
    is_gzip: bool,
    content: &Content<'s>,
    parts: &[Range<usize>],
) -> Response<'s> {
    let length = content.bytes.len();
    let say = |part: &Range<usize>| format!("bytes {}-{}/{length}", part.start, part.end - 1);
    if let [part] = parts {
        return describe(response, media_type, is_gzip)
            .field("Content-Range", say(part))
            .content(vec![Piece::Borrowed(&content.bytes[part.clone()])]);
    }
    // No content has its own digest in it.
    let boundary = tag(content).replace('"', "");
    let mut pieces = Vec::with_capacity(2 * parts.len() + 1);
    for part in parts {
        let line = if pieces.is_empty() { "" } else { "\r\n" };
        let range = say(part);
        let head =
            format!("{line}--{boundary}\r\nContent-Type: {media_type}\r\nContent-Range: {range}\r\n\r\n");
        pieces.push(Piece::Owned(head.into_bytes()));
        pieces.push(Piece::Borrowed(&content.bytes[part.clone()]));
    }
    pieces.push(Piece::Owned(format!("\r\n--{boundary}--\r\n").into_bytes()));
    describe(response, &format!("multipart/byteranges; boundary={boundary}"), is_gzip).content(pieces)
}

/// A query as it goes into a Location: as it came, but in ASCII.
fn escape(query: &str) -> String {
    let mut escaped = String::with_capacity(query.len());
    for byte in query.bytes() {
        if byte.is_ascii() {
            escaped.push(byte.into());
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests;
