//! What a request is for: the path that a target leads to (RFC 9112, section 3.2; RFC 3986).

use alloc::string::String;
use alloc::vec::Vec;

use crate::response::Status;

/// Where a target leads: names, one below the other. There is no way out of the root, and no name has a slash in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Path {
    /// Decoded, with slashes between them, none in front, and none behind.
    pub name: String,
    /// Whether the target ends with a slash, and so means what is below.
    pub is_folder: bool,
}

/// The path of a target, and its query: what is behind a question mark.
///
/// # Errors
/// 400 for what is no target of a request for a file, 404 for a path that no file can have.
pub fn parse(target: &str) -> Result<(Path, Option<&str>), Status> {
    if target.bytes().any(|byte| byte <= b' ' || byte == 0x7f || byte == b'#') {
        return Err(Status::BadRequest);
    }
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let path = match without_authority(path) {
        Some("") => "/",
        Some(path) => path,
        None => path,
    };
    let path = path.strip_prefix('/').ok_or(Status::BadRequest)?;
    let decoded = path.split('/').map(decode).collect::<Option<Vec<_>>>().ok_or(Status::BadRequest)?;
    let mut names: Vec<&str> = Vec::new();
    let mut is_folder = true;
    for (number, name) in decoded.iter().enumerate() {
        let is_last = number + 1 == decoded.len();
        is_folder = true;
        match name.as_slice() {
            b"" if is_last => {}
            b"." => {}
            // RFC 3986, section 5.2.4: above the root is the root.
            b".." => drop(names.pop()),
            b"" => return Err(Status::NotFound),
            name => {
                let name = core::str::from_utf8(name).map_err(|_| Status::NotFound)?;
                if name.chars().any(|character| character == '/' || character.is_control()) {
                    return Err(Status::NotFound);
                }
                names.push(name);
                is_folder = false;
            }
        }
    }
    Ok((Path { name: names.join("/"), is_folder }, query))
}

/// What is behind `http://host`, if a target begins so.
fn without_authority(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    let known = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    known.then(|| rest.find('/').map_or("", |slash| &rest[slash..]))
}

/// A part of a path without its percent-encoding; `None` if that is broken.
fn decode(part: &str) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(part.len());
    let mut bytes = part.bytes();
    while let Some(byte) = bytes.next() {
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        decoded.push(match byte {
            b'%' => (digit(bytes.next())? << 4 | digit(bytes.next())?) as u8,
            byte => byte,
        });
    }
    Some(decoded)
}

/// A path as it goes into a Location: every byte encoded that has a meaning in one, or is not ASCII.
pub fn encode(name: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/!$&'()*+,;=@".contains(&byte) {
            encoded.push(byte.into());
        } else {
            let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
            encoded.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(target: &str) -> Result<(String, bool), Status> {
        parse(target).map(|(path, _)| (path.name, path.is_folder))
    }

    #[test]
    fn targets_lead_to_names() {
        for (target, name, is_folder) in [
            ("/", "", true),
            ("/a", "a", false),
            ("/a/", "a", true),
            ("/a/b.html?c=/../d", "a/b.html", false),
            ("/a%20b/%C3%BC.txt", "a b/ü.txt", false),
            ("/%61%2e%2E", "a..", false),
            ("/ü", "ü", false),
            ("/a/./b/../c", "a/c", false),
            ("/a/..", "", true),
            ("/a/.", "a", true),
            ("/../../etc/passwd", "etc/passwd", false),
            ("/%2e%2e/%2E./x", "x", false),
            ("/...", "...", false),
            ("/a:b@c", "a:b@c", false),
            ("http://host", "", true),
            ("HTTP://host:80/a?b", "a", false),
            ("https://host?b", "", true),
            ("/http://", "http:", true),
        ] {
            let expected =
                if target == "/http://" { Err(Status::NotFound) } else { Ok((name.into(), is_folder)) };
            assert_eq!(path(target), expected, "{target}");
        }
        assert_eq!(parse("/a?b=c?d").unwrap().1, Some("b=c?d"));
        assert_eq!(parse("/a?").unwrap().1, Some(""));
    }

    #[test]
    fn others_lead_nowhere() {
        for target in
            ["", "a", "*", "host:80", "ftp://host/", "/%", "/%1", "/%zz", "/%+1", "/#a", "/a b", "/\u{7f}"]
        {
            assert_eq!(path(target), Err(Status::BadRequest), "{target}");
        }
        for target in ["//a", "/a//b", "/a//", "/%2f", "/a%2Fb", "/%00", "/%0d%0aX:", "/%ff", "/..%2f.."] {
            assert_eq!(path(target), Err(Status::NotFound), "{target}");
        }
    }

    #[test]
    fn what_is_encoded_leads_to_the_same() {
        for name in ["a/b", "a b", "ü/%2e", "x?y#z", "\"<>\\^`{|}", "a;b=c,d'e(f)", "50%"] {
            let encoded = encode(name);
            assert!(encoded.is_ascii(), "{encoded}");
            assert_eq!(path(&alloc::format!("/{encoded}")), Ok((name.into(), false)), "{encoded}");
        }
    }
}
