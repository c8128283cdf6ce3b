//! Paths: `/`-separated names, checked once when they come in.
//!
//! Allowed are ASCII letters, digits and `-/_@`; no empty name, no trailing slash except for the root
//! itself. A path that does not start with `/` is relative to the home of the domain that sent it,
//! `/local/domain/N` (`docs/misc/xenstore.txt`).

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use thiserror::Error;
use xen_sys::DomId;
use xen_sys::io::xs_wire::{XENSTORE_ABS_PATH_MAX, XENSTORE_REL_PATH_MAX};

/// The rule that a path breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum PathError {
    /// The empty path.
    #[error("is empty")]
    Empty,
    /// Longer than the protocol, or the guest's limit, allows.
    #[error("is longer than {0} bytes")]
    TooLong(usize),
    /// A character outside of `A–Z a–z 0–9 - / _ @`.
    #[error("has a character other than letters, digits, and -/_@")]
    Character,
    /// Two slashes in a row.
    #[error("has an empty name in it (//)")]
    DoubleSlash,
    /// A slash at the end.
    #[error("ends in a slash")]
    TrailingSlash,
    /// Relative, or special (`@…`), where neither has a meaning.
    #[error("does not start with /")]
    NotAbsolute,
}

/// A checked, absolute path, or the name of a special watch (`@introduceDomain`). Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Path(Arc<str>);

/// A path as a client named it.
pub(crate) struct Named {
    /// The absolute path.
    pub path: Path,
    /// Bytes to cut off its front to get what the client said: 0 unless it was relative.
    pub home: usize,
}

impl Path {
    /// Checks an absolute path.
    pub fn absolute(text: &[u8]) -> Result<Path, PathError> {
        match text.first() {
            None => Err(PathError::Empty),
            Some(b'/') => Ok(Path(check(text, XENSTORE_ABS_PATH_MAX)?.into())),
            Some(_) => Err(PathError::NotAbsolute),
        }
    }

    /// Checks a path that a client of `domid` sent, and makes it absolute.
    pub fn from_client(text: &[u8], domid: DomId) -> Result<Named, PathError> {
        match text.first() {
            None => Err(PathError::Empty),
            Some(b'@') => Err(PathError::NotAbsolute),
            Some(b'/') => Ok(Named { path: Path::absolute(text)?, home: 0 }),
            Some(_) => {
                let relative = check(text, XENSTORE_REL_PATH_MAX)?;
                let mut path = home(domid);
                path.push('/');
                let home = path.len();
                path.push_str(relative);
                Ok(Named { path: Path(path.into()), home })
            }
        }
    }

    /// Checks what a client wants to watch: a path, or a special name that starts with `@`.
    pub fn to_watch(text: &[u8], domid: DomId) -> Result<Named, PathError> {
        if text.first() == Some(&b'@') {
            let special = check(text, XENSTORE_REL_PATH_MAX)?;
            return Ok(Named { path: Path(special.into()), home: 0 });
        }
        Path::from_client(text, domid)
    }

    /// A path that was cut out of a checked one.
    pub fn trusted(text: &str) -> Path {
        Path(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether this names a special watch and no node.
    pub fn is_special(&self) -> bool {
        self.0.starts_with('@')
    }
}

impl Borrow<str> for Path {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A domain's home, where its relative paths start.
pub(crate) fn home(domid: DomId) -> String {
    format!("/local/domain/{domid}")
}

/// The part of a path that is below some domain's home, or all of it if it is not.
pub(crate) fn below_home(path: &str) -> &str {
    let rest = path.strip_prefix("/local/domain/").and_then(|rest| rest.split_once('/'));
    match rest {
        Some((domid, rest)) if domid.bytes().all(|byte| byte.is_ascii_digit()) => rest,
        _ => path,
    }
}

/// The names along an absolute path, from the root's child down; none for the root.
pub(crate) fn names(path: &str) -> Names<'_> {
    Names(path.get(1..).unwrap_or(""))
}

/// Names that are separated by slashes. Names are short: looking at byte after byte is faster here
/// than the standard library's search.
pub(crate) struct Names<'p>(pub &'p str);

impl<'p> Iterator for Names<'p> {
    type Item = &'p str;

    fn next(&mut self) -> Option<&'p str> {
        if self.0.is_empty() {
            return None;
        }
        let end = self.0.bytes().position(|byte| byte == b'/').unwrap_or(self.0.len());
        let (name, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or("");
        Some(name)
    }
}

/// The path that stands `levels` above `path`; the root where there is no more.
pub(crate) fn ancestor(path: &str, levels: usize) -> &str {
    let mut end = path.len();
    for _ in 0..levels {
        end = path[..end].rfind('/').unwrap_or(0);
    }
    if end == 0 { "/" } else { &path[..end] }
}

/// The first `levels` names of `path`; all of it where there are no more.
pub(crate) fn prefix(path: &str, levels: usize) -> &str {
    let end: usize = names(path).take(levels).map(|name| 1 + name.len()).sum();
    if end == 0 { "/" } else { &path[..end] }
}

/// The part of `path` below `top`: `Some("")` if they are the same, `None` if it is not below.
pub(crate) fn below<'p>(path: &'p str, top: &str) -> Option<&'p str> {
    if top == "/" {
        return path.strip_prefix('/');
    }
    let rest = path.strip_prefix(top)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}

/// Which characters a path may have.
const ALLOWED: [bool; 256] = {
    let mut allowed = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        allowed[byte] = matches!(
            byte as u8,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'/' | b'_' | b'@'
        );
        byte += 1;
    }
    allowed
};

/// Everything but the question of where the path starts.
fn check(text: &[u8], limit: usize) -> Result<&str, PathError> {
    if text.len() > limit {
        return Err(PathError::TooLong(limit));
    }
    let mut previous = 0;
    for &byte in text {
        if !ALLOWED[usize::from(byte)] {
            return Err(PathError::Character);
        }
        if byte == b'/' && previous == b'/' {
            return Err(PathError::DoubleSlash);
        }
        previous = byte;
    }
    if text.len() > 1 && previous == b'/' {
        return Err(PathError::TrailingSlash);
    }
    std::str::from_utf8(text).map_err(|_| PathError::Character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_paths_are_checked() {
        let long = format!("/{}", "x".repeat(XENSTORE_ABS_PATH_MAX));
        let table: &[(&str, Result<(), PathError>)] = &[
            ("/", Ok(())),
            ("/a", Ok(())),
            ("/local/domain/0/x-y_Z@9", Ok(())),
            (&long[..XENSTORE_ABS_PATH_MAX], Ok(())),
            (&long, Err(PathError::TooLong(XENSTORE_ABS_PATH_MAX))),
            ("", Err(PathError::Empty)),
            ("a", Err(PathError::NotAbsolute)),
            ("@introduceDomain", Err(PathError::NotAbsolute)),
            ("//", Err(PathError::DoubleSlash)),
            ("/a//b", Err(PathError::DoubleSlash)),
            ("/a/", Err(PathError::TrailingSlash)),
            ("/a b", Err(PathError::Character)),
            ("/a.b", Err(PathError::Character)),
            ("/ä", Err(PathError::Character)),
        ];
        for (text, expected) in table {
            let got = Path::absolute(text.as_bytes()).map(|path| assert_eq!(path.as_str(), *text));
            assert_eq!(got, *expected, "{text}");
        }
        assert_eq!(Path::absolute(b"/\xff"), Err(PathError::Character));
    }

    #[test]
    fn relative_paths_start_at_home() {
        let named = Path::from_client(b"data/ready", DomId(7)).unwrap();
        assert_eq!(named.path.as_str(), "/local/domain/7/data/ready");
        assert_eq!(&named.path.as_str()[named.home..], "data/ready");
        let long = "x".repeat(XENSTORE_REL_PATH_MAX + 1);
        assert!(Path::from_client(&long.as_bytes()[1..], DomId(7)).is_ok());
        assert_eq!(
            Path::from_client(long.as_bytes(), DomId(7)).err(),
            Some(PathError::TooLong(XENSTORE_REL_PATH_MAX))
        );
        assert_eq!(Path::from_client(b"a/", DomId(7)).err(), Some(PathError::TrailingSlash));
        assert_eq!(Path::from_client(b"@x", DomId(7)).err(), Some(PathError::NotAbsolute));
        assert_eq!(Path::to_watch(b"@x", DomId(7)).map(|n| n.home), Ok(0));
    }

    #[test]
    fn paths_are_taken_apart() {
        assert_eq!(below_home("/local/domain/17/data/x"), "data/x");
        for path in ["/local/domain/17", "/local/domain/x/y", "/vm/local/domain/1/x", "/"] {
            assert_eq!(below_home(path), path);
        }
        assert_eq!(names("/").count(), 0);
        assert_eq!(names("/a/b").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(ancestor("/a/b/c", 0), "/a/b/c");
        assert_eq!(ancestor("/a/b/c", 2), "/a");
        assert_eq!(ancestor("/a/b/c", 3), "/");
        assert_eq!(ancestor("/a", 9), "/");
        assert_eq!(prefix("/a/b/c", 0), "/");
        assert_eq!(prefix("/a/b/c", 2), "/a/b");
        assert_eq!(prefix("/a", 9), "/a");
        assert_eq!(below("/a/b", "/a"), Some("b"));
        assert_eq!(below("/a/b", "/"), Some("a/b"));
        assert_eq!(below("/a", "/a"), Some(""));
        assert_eq!(below("/ab", "/a"), None);
        assert_eq!(below("/a", "/a/b"), None);
    }
}
