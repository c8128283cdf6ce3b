//! Replacing a file so that there is an old one or a new one, whatever happens meanwhile.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Puts `bytes` in the place of the file. They are under another name until all of them are there; one that a cut of the
/// power has left behind is written over by the next try.
///
/// # Errors
/// Whatever writing fails with. The file is as before then.
pub fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = file.with_extension("tmp");
    let mut new = File::create(&unfinished)?;
    new.write_all(bytes)?;
    new.sync_all()?;
    fs::rename(&unfinished, file)
}
