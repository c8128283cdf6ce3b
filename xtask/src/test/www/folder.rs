//! The folders that are packed.

use anyhow::{Context as _, Result};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Folders with pages, and what is in them.
pub struct Folder {
    directory: tempfile::TempDir,
    site: PathBuf,
    small: PathBuf,
    files: BTreeMap<String, Vec<u8>>,
    small_file: Vec<u8>,
}

/// The large file's bytes: more than 1 MiB, and no multiple of anything.
const LARGE: usize = (1 << 20) + 12_345;
/// Those of the file that is served in 2 MiB of memory.
const SMALL: usize = 150_001;

impl Folder {
    /// Makes them.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn new() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("jitsu-site-").tempdir();
        let directory = directory.context("creating a temporary directory")?;
        let text: String =
            (0..3000).map(|line| format!("line {line} of a text that can be compressed\n")).collect();
        let files: [(&str, Vec<u8>); 9] = [
            ("index.html", b"<!doctype html><title>site</title><p>A packed site.".to_vec()),
            ("404.html", b"<!doctype html><title>404</title><p>There is nothing here.".to_vec()),
            ("text.txt", text.into_bytes()),
            ("style.css", "p{color:red}\n".repeat(50).into_bytes()),
            ("folder/index.html", b"<p>In a folder".to_vec()),
            ("folder/deep/er/a b+c.txt", b"names are encoded".to_vec()),
            ("\u{fc}n\u{ef}.txt", b"and not only ASCII".to_vec()),
            ("large.bin", noise(LARGE)),
            ("empty", Vec::new()),
        ];
        let files: BTreeMap<String, Vec<u8>> = files.map(|(name, content)| (name.to_owned(), content)).into();
        let (site, small) = (directory.path().join("site"), directory.path().join("small"));
        let small_file = noise(SMALL);
        for (name, content) in &files {
            write(&site.join(name), content)?;
        }
        write(&site.join(".git/config"), b"nobody's business")?;
        write(&small.join("index.html"), b"<p>small")?;
        write(&small.join("file.bin"), &small_file)?;
        Ok(Folder { directory, site, small, files, small_file })
    }

    /// The one with everything.
    pub fn path(&self) -> &Path {
        &self.site
    }

    /// The small one.
    pub fn small(&self) -> &Path {
        &self.small
    }

    /// What is in the one with everything.
    pub fn files(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.files
    }

    /// One of these.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn content(&self, name: &str) -> Result<Vec<u8>> {
        self.files.get(name).cloned().with_context(|| format!("the folder has no {name}"))
    }

    /// The largest file of the small one.
    pub fn small_file(&self) -> (&'static str, Vec<u8>) {
        ("file.bin", self.small_file.clone())
    }

    /// A file that is not packed.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn scratch(&self, name: &str, content: &[u8]) -> Result<PathBuf> {
        let path = self.directory.path().join(name);
        write(&path, content)?;
        Ok(path)
    }
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    let context = || format!("writing {}", path.display());
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(context)?;
    }
    fs::write(path, content).with_context(context)
}

/// Bytes that cannot be compressed, and are the same each time.
fn noise(length: usize) -> Vec<u8> {
    let mut random = super::broken::Random(length as u64);
    (0..length).map(|_| random.below(256) as u8).collect()
}

/// A file's name as curl takes it.
pub fn encoded(name: &str) -> String {
    name.bytes()
        .map(|byte| match byte {
            b'/' | b'.' | b'a'..=b'z' | b'0'..=b'9' => char::from(byte).to_string(),
            byte => format!("%{byte:02x}"),
        })
        .collect()
}
