//! Where things live: the checkout, what it produces, and the download cache outside of it.

use crate::fail::{Class, Fail};
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// The root of the checkout that this xtask was built from.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// `out/BOARD`, where a board's image ends up.
pub fn out(board: &str) -> PathBuf {
    root().join("out").join(board)
}

/// The cache for what was fetched or can be made again from it: `$XDG_CACHE_HOME/jitsu-node`, or
/// `~/.cache/jitsu-node`. Created when missing.
pub fn cache() -> Result<PathBuf> {
    let base = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
        (Some(dir), _) if Path::new(&dir).is_absolute() => PathBuf::from(dir),
        (_, Some(home)) if !home.is_empty() => Path::new(&home).join(".cache"),
        _ => {
            return Err(Fail::new(
                Class::Host,
                "no place for the download cache: neither XDG_CACHE_HOME nor HOME is set; set one of them",
            ));
        }
    };
    let dir = base.join("jitsu-node");
    create_dir(&dir)?;
    Ok(dir)
}

/// `create_dir_all` that names the directory in its error.
pub fn create_dir(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("creating directory {}", dir.display()))
}

/// Reads a whole file, naming it in the error.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

/// Writes a whole file under a temporary name beside `path` and renames it into place, so that nobody
/// ever sees half of it.
pub fn write_atomic(path: &Path, data: &[u8]) -> Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    create_dir(dir)?;
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(dir)?;
        std::io::Write::write_all(&mut file, data)?;
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        file.as_file().set_permissions(mode)?;
        file.persist(path).map_err(|e| e.error)?;
        Ok(())
    };
    write().with_context(|| format!("writing {}", path.display()))
}
