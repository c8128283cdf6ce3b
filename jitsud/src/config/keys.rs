//! XenStore keys in a `[[service]]` table: those that the guest finds, and the one that says it is ready.

use std::fmt;

use super::reader::{Field, Reader};

/// Most keys for one guest.
const MAX_KEYS: usize = 64;

/// Longest value in bytes: as much as a guest itself may write to a node (`quota_max_entry_size` of C xenstored).
const MAX_VALUE: usize = 2048;

/// Longest relative XenStore path in bytes, `XENSTORE_REL_PATH_MAX` (`xen/include/public/io/xs_wire.h`).
const MAX_PATH: usize = 2048;

const DEFAULT_KEY: &str = "data/ready";

/// What a domain's directory has anyway, each with all below it (`crate::domain::nodes`).
const TAKEN: [&str; 9] = ["name", "domid", "vm", "memory", "cpu", "control", "device", "console", "backend"];

/// A key that the guest finds in its directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Key {
    /// Its path, relative to `/local/domain/N`.
    pub path: String,
    /// Its value.
    pub value: String,
}

/// The XenStore key that says that a guest accepts connections.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadyKey {
    /// Its path, relative to `/local/domain/N`.
    pub path: String,
    /// The value that it must have; `None` when it is enough that it is there.
    pub value: Option<String>,
}

impl Default for ReadyKey {
    fn default() -> Self {
        ReadyKey { path: DEFAULT_KEY.to_owned(), value: None }
    }
}

impl fmt::Display for ReadyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        self.value.as_ref().map_or(Ok(()), |value| write!(f, "={value}"))
    }
}

/// `wait_for_key`: `PATH`, or `PATH=VALUE`. No path has an equals sign in it.
pub fn wait_for_key(reader: &mut Reader<'_, '_>) -> ReadyKey {
    let Some(Field { value: text, line }) = reader.string("wait_for_key", "wait_for_key = \"data/ready\"")
    else {
        return ReadyKey::default();
    };
    let (path, value) = text.split_once('=').map_or((text, None), |(path, value)| (path, Some(value)));
    if let Some(fault) = path_fault(path) {
        reader.problem(
            line,
            format!("wait_for_key {text:?} {fault}"),
            format!("write for example {DEFAULT_KEY:?}"),
        );
        return ReadyKey::default();
    }
    if value.is_none() && is_taken(path) {
        const FIX: &str = "write the value that it is to have, as in \"device/vif/0/state=4\"";
        reader.problem(line, format!("wait_for_key {text:?} is one that every domain has"), FIX);
    }
    ReadyKey { path: path.to_owned(), value: value.map(str::to_owned) }
}

/// `keys`: what the guest finds, in the order of their paths. `ready` must not be among them.
pub fn keys(reader: &mut Reader<'_, '_>, ready: &ReadyKey) -> Vec<Key> {
    let pairs = reader.strings_by_name("keys", "keys = { \"data/greeting\" = \"hello\" }");
    if pairs.len() > MAX_KEYS {
        let line = reader.line_of("keys");
        let what = format!("keys has {} keys, more than {MAX_KEYS}", pairs.len());
        reader.problem(line, what, "put them together into fewer, longer values");
    }
    let mut keys = Vec::new();
    for (path, Field { value, line }) in pairs {
        const FIX: &str = "write for example \"data/greeting\"";
        if let Some(fault) = path_fault(path) {
            reader.problem(line, format!("key {path:?} {fault}"), FIX);
        } else if is_taken(path) {
            reader.problem(line, format!("key {path:?} is one that every domain has"), FIX);
        } else if path == ready.path {
            let what = format!("key {path:?} is the one that the guest is to write when it is ready");
            reader.problem(line, what, "take another one, or another wait_for_key");
        } else if path.strip_prefix(&ready.path).is_some_and(|below| below.starts_with('/')) {
            // What is above a key comes into being with it.
            let what = format!("key {path:?} lies below the one that the guest is to write when it is ready");
            reader.problem(line, what, "take another one, or another wait_for_key");
        } else if value.len() > MAX_VALUE {
            let what = format!("the value of key {path:?} has {} bytes, more than {MAX_VALUE}", value.len());
            reader.problem(line, what, "put it into several keys");
        } else {
            keys.push(Key { path: path.to_owned(), value: value.to_owned() });
        }
    }
    keys
}

/// Whether every domain has it, or a directory that it lies in and that is not for others.
fn is_taken(path: &str) -> bool {
    path == "data" || TAKEN.contains(&path.split('/').next().unwrap_or_default())
}

/// Why this is no path in a domain's directory; `None` when it is one.
fn path_fault(path: &str) -> Option<&'static str> {
    // The characters that a XenStore path may have (`docs/misc/xenstore.txt` of Xen).
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-/_@".contains(c);
    if path.starts_with('/') {
        Some("is not relative to the domain's directory")
    } else if path.len() > MAX_PATH || path.split('/').any(str::is_empty) || !path.chars().all(allowed) {
        Some("is not a XenStore path")
    } else {
        None
    }
}
