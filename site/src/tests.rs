//! Folders are packed and read again, archives damaged.

use std::fs;

use super::*;
use crate::pack::{Dates, NewFile, Options, PackError, pack, write};

fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

fn new_file(name: &str, plain: &[u8]) -> NewFile {
    let media_type = "text/plain".into();
    NewFile { name: name.into(), media_type, modified: None, plain: plain.into(), gzip: None }
}

#[test]
fn a_folder_is_packed_and_read_again() {
    let text = "all work and no play\n".repeat(100);
    let folder = folder(&[
        ("index.html", b"<p>hello"),
        ("a/b/deep.txt", text.as_bytes()),
        ("a/latin.txt", b"caf\xe9"),
        ("same.bin", text.as_bytes()),
        ("empty", b""),
        ("photo.JPEG", b"\xff\xd8"),
        ("logo.svg", b"<svg/>"),
        (".well-known/security.txt", b"Contact:"),
        (".git/config", b"secret"),
        ("a/.DS_Store", b"x"),
    ]);
    let packed = pack(folder.path(), &Options { gzip: true, ..Options::default() }, |_, _| ()).unwrap();
    let site = Site::read(&packed.archive).unwrap();
    let names: Vec<_> = site.files().map(|file| (file.name, file.media_type)).collect();
    assert_eq!(
        names,
        [
            (".well-known/security.txt", "text/plain; charset=utf-8"),
            ("a/b/deep.txt", "text/plain; charset=utf-8"),
            ("a/latin.txt", "text/plain"),
            ("empty", "application/octet-stream"),
            ("index.html", "text/html; charset=utf-8"),
            ("logo.svg", "image/svg+xml"),
            ("photo.JPEG", "image/jpeg"),
            ("same.bin", "application/octet-stream"),
        ]
    );
    assert_eq!((packed.files, packed.has_index), (8, true));
    assert_eq!(packed.left_out, [".git", "a/.DS_Store"].map(std::path::PathBuf::from));
    for file in site.files() {
        assert_eq!(site.find(file.name), Some(file));
        assert_eq!(file.plain.bytes, fs::read(folder.path().join(file.name)).unwrap());
        assert_eq!((file.plain.bytes.as_ptr() as usize - packed.archive.as_ptr() as usize) % ALIGNMENT, 0);
        if let Some(gzip) = file.gzip {
            let mut plain = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(gzip.bytes), &mut plain).unwrap();
            assert_eq!(plain, file.plain.bytes);
            assert_ne!(gzip.digest, file.plain.digest);
        }
    }
    let deep = site.find("a/b/deep.txt").unwrap();
    assert!(deep.gzip.is_some() && site.find("photo.JPEG").unwrap().gzip.is_none());
    assert_eq!(deep.plain.bytes.as_ptr(), site.find("same.bin").unwrap().plain.bytes.as_ptr());
    assert_eq!(packed.compressed.0, 2);
    for absent in ["", "/", "a", "a/b", "index.htm", "index.html/", ".git/config", "\u{ff}"] {
        assert_eq!(site.find(absent), None, "{absent}");
    }
}

#[test]
fn the_same_folder_gives_the_same_archive() {
    let files: [(&str, &[u8]); 3] = [("index.html", &[b'a'; 1000]), ("b/c", b"c"), ("a", b"a")];
    let options = Options { gzip: true, ..Options::default() };
    let packed = |files: &[(&str, &[u8])], options| pack(folder(files).path(), options, |_, _| ()).unwrap();
    let first = packed(&files, &options);
    let mut reversed = files;
    reversed.reverse();
    assert_eq!(packed(&reversed, &options).archive, first.archive);
    let dated = Options { dates: Dates::All(1_700_000_000), ..options };
    let site = packed(&files, &dated).archive;
    assert!(Site::read(&site).unwrap().files().all(|file| file.modified == Some(1_700_000_000)));
    let modified = packed(&files, &Options { dates: Dates::Modified, ..options }).archive;
    assert!(Site::read(&modified).unwrap().files().all(|file| file.modified > Some(1_700_000_000)));
}

#[test]
fn what_cannot_be_served_is_refused() {
    let refused =
        |folder: &tempfile::TempDir| pack(folder.path(), &Options::default(), |_, _| ()).unwrap_err();
    assert!(matches!(refused(&folder(&[(".hidden", b"")])), PackError::Empty(_)));
    assert!(matches!(refused(&folder(&[("line\nbreak", b"")])), PackError::Name(_)));
    let linked = folder(&[]);
    std::os::unix::fs::symlink("/etc/hostname", linked.path().join("link")).unwrap();
    assert!(matches!(refused(&linked), PackError::Kind(_)));
    let named = folder(&[]);
    let name = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"caf\xe9");
    fs::write(named.path().join(name), "").unwrap();
    assert!(matches!(refused(&named), PackError::Name(_)));
    let large = folder(&[]);
    let file = fs::File::create(large.path().join("sparse")).unwrap();
    file.set_len(MOST_BYTES as u64 + 1).unwrap();
    assert!(matches!(refused(&large), PackError::TooLarge { .. }));
    let nowhere = std::path::Path::new("/nonexistent");
    let error = pack(nowhere, &Options::default(), |_, _| ()).unwrap_err();
    assert_eq!(error.to_string(), "reading /nonexistent");
}

/// A byte at a time: what is read is in bounds and in order, or it is refused.
#[test]
fn damage_is_found_or_harmless() {
    let files = ["a", "b", "c/d"].map(|name| new_file(name, name.as_bytes()));
    let archive = write(files.into()).unwrap();
    let index = HEADER + 3 * ENTRY;
    for at in 0..archive.len() {
        for flip in [1, 0x80, 0xff] {
            let mut damaged = archive.clone();
            damaged[at] ^= flip;
            let Ok(site) = Site::read(&damaged) else {
                assert!(at < index + 20, "byte {at} is no part of the index");
                continue;
            };
            let names: Vec<_> = site.files().map(|file| file.name).collect();
            assert!(names.is_sorted(), "{names:?}");
            names.iter().for_each(|name| assert!(site.find(name).is_some()));
        }
    }
    for length in 0..archive.len() {
        assert!(Site::read(&archive[..length]).is_err(), "{length} bytes");
    }
    let mut longer = archive.clone();
    longer.extend([0; 100]);
    assert_eq!(Site::read(&longer).unwrap().size(), archive.len());
}

#[test]
fn kinds_of_damage_are_told_apart() {
    let archive = write(vec![new_file("a", b""), new_file("b", b"")]).unwrap();
    let damaged = |at: usize, word: u32| {
        let mut archive = archive.clone();
        archive[at..at + 4].copy_from_slice(&word.to_le_bytes());
        Site::read(&archive).map(|_| ())
    };
    assert_eq!(damaged(4, 0), Err(Damaged::Magic));
    assert_eq!(damaged(8, u32::MAX), Err(Damaged::CutOff));
    assert_eq!(damaged(12, u32::MAX), Err(Damaged::CutOff));
    assert_eq!(damaged(HEADER + ENTRY + 24, u32::MAX), Err(Damaged::File(1)));
    assert_eq!(damaged(HEADER + ENTRY + 4, 0), Err(Damaged::Order(1)));
    let mut injected = new_file("a", b"");
    injected.media_type = "text/plain\r\nX: y".into();
    assert_eq!(Site::read(&write(vec![injected]).unwrap()).map(|_| ()), Err(Damaged::File(0)));
    let empty = write(Vec::new()).unwrap();
    assert_eq!(Site::read(&empty).unwrap().files().len(), 0);
}
