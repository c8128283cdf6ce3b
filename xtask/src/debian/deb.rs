//! Reading a `.deb`: an `ar` archive whose `data.tar.xz` holds the files, and `control.tar.xz`, which precedes it,
//! what the package says about itself. Nothing is installed, no
//! maintainer script is looked at.

use crate::fail::{Class, Fail};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The regular files of a package, by path without a leading slash, in memory: the largest package used
/// here unpacks to some hundred megabytes, and is read once.
pub struct Deb {
    control: String,
    files: BTreeMap<String, Vec<u8>>,
}

impl Deb {
    /// Unpacks those files whose path `wanted` says yes to.
    pub fn open(path: &Path, wanted: impl Fn(&str) -> bool) -> Result<Self> {
        Self::read(path, wanted).with_context(|| format!("unpacking {}", path.display()))
    }

    fn read(path: &Path, wanted: impl Fn(&str) -> bool) -> Result<Self> {
        let mut archive = ar::Archive::new(File::open(path)?);
        let mut control = String::new();
        while let Some(member) = archive.next_entry() {
            let member = member.context("reading the ar archive")?;
            match member.header().identifier() {
                b"control.tar.xz" => {
                    let files = unpack(liblzma::read::XzDecoder::new(member), |path| path == "control")?;
                    let text = files.get("control").map(|text| String::from_utf8_lossy(text).into_owned());
                    control = text.unwrap_or_default();
                }
                b"data.tar.xz" => {
                    let files = unpack(liblzma::read::XzDecoder::new(member), wanted)?;
                    return Ok(Self { control, files });
                }
                other if other.starts_with(b"data.tar") => {
                    let name = String::from_utf8_lossy(other);
                    return Err(Fail::new(
                        Class::Integrity,
                        format!("its content is {name}; Debian's own archive has only data.tar.xz"),
                    ));
                }
                _ => {}
            }
        }
        Err(Fail::new(Class::Integrity, "it has no data.tar.xz; it is not a Debian package"))
    }

    /// The text of its control file; empty when it has none.
    pub fn control(&self) -> &str {
        &self.control
    }

    /// The files, by path.
    pub fn files(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.files
    }

    /// The one file whose path satisfies `is`; `what` names it in the error.
    pub fn find(&self, what: &str, is: impl Fn(&str) -> bool) -> Result<(&str, &[u8])> {
        self.files
            .iter()
            .find(|(path, _)| is(path))
            .map(|(path, content)| (path.as_str(), content.as_slice()))
            .ok_or_else(|| Fail::new(Class::Integrity, format!("the package has no {what}")))
    }
}

/// The regular files of a tar archive whose path `wanted` says yes to.
fn unpack(data: impl Read, wanted: impl Fn(&str) -> bool) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    let mut tar = tar::Archive::new(data);
    for entry in tar.entries().context("reading the tar archive")? {
        let mut entry = entry.context("reading the tar archive")?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path().context("reading the tar archive")?.to_string_lossy().into_owned();
        let path = path.trim_start_matches("./").to_owned();
        if wanted(&path) {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).with_context(|| format!("reading {path} in the tar archive"))?;
            files.insert(path, content);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn deb(member: &str) -> tempfile::NamedTempFile {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, content) in [("./boot/xen", "hypervisor"), ("./usr/share/doc/x", "text")] {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_entry_type(tar::EntryType::Regular);
            tar.append_data(&mut header, path, content.as_bytes()).expect("append");
        }
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(&tar.into_inner().expect("tar")).expect("xz");
        let data = xz.finish().expect("xz");
        let file = tempfile::NamedTempFile::new().expect("file");
        let mut ar = ar::Builder::new(file.reopen().expect("reopen"));
        ar.append(&ar::Header::new(b"debian-binary".to_vec(), 4), &b"2.0\n"[..]).expect("ar");
        ar.append(&ar::Header::new(member.into(), data.len() as u64), &data[..]).expect("ar");
        file
    }

    #[test]
    fn takes_only_what_is_wanted() {
        let deb = Deb::open(deb("data.tar.xz").path(), |path| path.starts_with("boot/")).expect("open");
        assert_eq!(deb.files().len(), 1);
        assert_eq!(deb.find("Xen", |p| p == "boot/xen").expect("found").1, b"hypervisor");
        assert!(deb.find("kernel", |p| p == "boot/vmlinuz").is_err());
    }

    #[test]
    fn other_archives_are_refused() {
        assert!(Deb::open(deb("data.tar.zst").path(), |_| true).is_err());
        let mut junk = tempfile::NamedTempFile::new().expect("file");
        junk.write_all(b"not an archive").expect("write");
        assert!(Deb::open(junk.path(), |_| true).is_err());
    }
}
