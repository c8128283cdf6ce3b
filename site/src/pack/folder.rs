//! What is in a folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::PackError;

/// Names that begin with a dot and are served all the same (RFC 8615).
const WELL_KNOWN: &str = ".well-known";

/// What was found.
pub struct Found {
    /// What is to be packed, sorted by name.
    pub files: Vec<FoundFile>,
    /// What begins with a dot: paths in the folder, sorted.
    pub left_out: Vec<PathBuf>,
}

/// A file.
pub struct FoundFile {
    /// Its path in the folder, with slashes.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Bytes of it.
    pub length: u64,
    /// When it was modified, in seconds since 1970 (UTC).
    pub modified: Option<u64>,
}

/// Lists all of a folder. Nothing is followed out of it.
pub fn list(folder: &Path) -> Result<Found, PackError> {
    let mut found = Found { files: Vec::new(), left_out: Vec::new() };
    walk(folder, "", &mut found)?;
    found.files.sort_by(|a, b| a.name.cmp(&b.name));
    found.left_out.sort();
    Ok(found)
}

/// `prefix` is the folder's own path, with a slash at its end unless it is empty.
fn walk(folder: &Path, prefix: &str, found: &mut Found) -> Result<(), PackError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| PackError::Read { path, source }
    };
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let entry = entry.map_err(failed(folder))?;
        let path = entry.path();
        let name = entry.file_name().into_string().map_err(|_| PackError::Name(path.clone()))?;
        if name.chars().any(char::is_control) {
            return Err(PackError::Name(path));
        }
        let name = format!("{prefix}{name}");
        // Beside what is meant to be served, folders have `.git` and the like.
        if entry.file_name().as_encoded_bytes().starts_with(b".") && name != WELL_KNOWN {
            found.left_out.push(PathBuf::from(name));
            continue;
        }
        let metadata = entry.metadata().map_err(failed(&path))?;
        if metadata.is_dir() {
            walk(&path, &format!("{name}/"), found)?;
        } else if metadata.is_file() {
            let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let modified = modified.map(|since| since.as_secs());
            found.files.push(FoundFile { name, path, length: metadata.len(), modified });
        } else {
            return Err(PackError::Kind(path));
        }
    }
    Ok(())
}
