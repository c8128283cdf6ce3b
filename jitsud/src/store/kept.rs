//! The store's state, kept where it outlives the daemon: in a file on a memory-backed file system.
//!
//! ```text
//!  0  "jitsu-kp"
//!  8  version           of this layout
//! 12  export length     bytes
//! 16  journal length    bytes; grows with every call
//! 20  takeovers         daemons that have begun with this state, and were not sound afterwards
//! 24  stale             not 0: it could not be kept up
//! 64  export, then the journal up to the end of the file
//! ```
//! Words are of the machine's own byte order. The file is mapped, so that a call costs a copy of a few dozen bytes and no system call,
//! and what has been copied is there whatever becomes of the process. A full journal makes a new file, renamed into
//! place. Whether the contents make sense, the store's own checksums tell ([`Store::import`], [`Store::replay`]).

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use xen_sys::PAGE_SIZE;
use xenstore::Store;

use crate::xen::SharedPages;

const MAGIC: [u8; 8] = *b"jitsu-kp";
const VERSION: u32 = 1;

const VERSION_AT: usize = 8;
const EXPORT_LENGTH: usize = 12;
const JOURNAL_LENGTH: usize = 16;
const TAKEOVERS: usize = 20;
const STALE: usize = 24;
const HEADER: usize = 64;

/// Room for the journal, bytes: that of about a hundred starts of a service. If the export is longer, the journal
/// may become as long: so a call's share in the exports is the same however much there is.
const JOURNAL: usize = 512 << 10;

/// After so many daemons in a row that have ended soon after taking a state over, it is taken for the cause.
const MOST_TAKEOVERS: u32 = 3;

/// Why a state cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The file cannot be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is not a file of ours, or cut off.
    #[error("it is no state of a XenStore, or cut off")]
    NotOurs,
    /// It is of another version of jitsud.
    #[error("it is of version {0}, and this jitsud knows {VERSION}")]
    Version(u32),
    /// The daemon that kept it could not keep it up.
    #[error("the daemon before could not keep it up")]
    Stale,
    /// It is not good for a daemon.
    #[error("{MOST_TAKEOVERS} daemons in a row have ended soon after they took it over")]
    Harmful,
    /// The store refuses it.
    #[error(transparent)]
    Damaged(#[from] xenstore::ImportError),
}

/// The file, kept up to date.
pub struct Kept {
    path: PathBuf,
    pages: SharedPages,
    /// Where the journal begins.
    journal: usize,
    /// Bytes in the journal.
    length: usize,
    /// Bytes that it has room for.
    room: usize,
    takeovers: u32,
}

impl Kept {
    /// Reads what an earlier daemon has kept: the store as that daemon left it, and how many daemons have taken it
    /// over; `None` when there is nothing.
    ///
    /// # Errors
    /// It is there and cannot be used. [`set_aside`] makes room for a new one.
    pub fn load(path: &Path) -> Result<Option<(Store, u32)>, Unusable> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let (header, rest) = bytes.split_at_checked(HEADER).ok_or(Unusable::NotOurs)?;
        let word = |at: usize| {
            u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]) as usize
        };
        if header[..8] != MAGIC {
            return Err(Unusable::NotOurs);
        }
        match word(VERSION_AT) as u32 {
            VERSION => {}
            other => return Err(Unusable::Version(other)),
        }
        if word(STALE) != 0 {
            return Err(Unusable::Stale);
        }
        let takeovers = word(TAKEOVERS) as u32;
        if takeovers >= MOST_TAKEOVERS {
            return Err(Unusable::Harmful);
        }
        let (export, journal) = rest.split_at_checked(word(EXPORT_LENGTH)).ok_or(Unusable::NotOurs)?;
        let journal = journal.get(..word(JOURNAL_LENGTH)).ok_or(Unusable::NotOurs)?;
        let mut store = Store::import(export)?;
        let good = store.replay(journal);
        if good < journal.len() {
            tracing::warn!(
                "XenStore's journal is damaged at byte {good} of {}: what was done after that is lost",
                journal.len()
            );
        }
        Ok(Some((store, takeovers)))
    }

    /// Begins to keep `store` in the file at `path`, instead of what is there. `takeovers` counts the daemons that have
    /// begun with this state, this one included.
    ///
    /// # Errors
    /// Names the file.
    pub fn begin(path: &Path, store: &mut Store, takeovers: u32) -> io::Result<Self> {
        let (pages, journal, room) = write(path, store, takeovers)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
        Ok(Kept { path: path.to_owned(), pages, journal, length: 0, room, takeovers })
    }

    /// Puts away what the store has been told since the last call. To be called before anything of what that has
    /// brought about is let out.
    ///
    /// # Errors
    /// The state is not kept any more, and the file says so.
    pub fn keep_up(&mut self, store: &mut Store) -> io::Result<()> {
        let mut full = false;
        store.pass_journal(|calls| {
            full = self.length + calls.len() > self.room;
            if !full {
                self.pages.write(self.journal + self.length, calls);
                self.length += calls.len();
                self.pages.store(JOURNAL_LENGTH, self.length as u32);
            }
        });
        if !full {
            return Ok(());
        }
        match Self::begin(&self.path, store, self.takeovers) {
            Ok(new) => *self = new,
            Err(error) => {
                self.pages.store(STALE, 1);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Notes that the daemon works with this state.
    pub fn is_sound(&mut self) {
        self.takeovers = 0;
        self.pages.store(TAKEOVERS, 0);
    }

    /// Says that the state must not be taken over.
    pub fn give_up(&mut self) {
        self.pages.store(STALE, 1);
    }
}

/// Writes a whole new file under another name, and renames it into place. Returns its pages, where its journal
/// begins, and how long it may become.
fn write(path: &Path, store: &mut Store, takeovers: u32) -> io::Result<(SharedPages, usize, usize)> {
    store.start_journal();
    let export = store.export();
    let journal = HEADER + export.len();
    let room = export.len().max(JOURNAL);
    let pages = (journal + room).div_ceil(PAGE_SIZE);
    let new = path.with_extension("new");
    let mut file = File::options().read(true).write(true).create(true).truncate(true).open(&new)?;
    // All of it is written now, zeros too: a page that the file system has no room for would be a signal later.
    let mut contents = vec![0; pages * PAGE_SIZE];
    contents[..8].copy_from_slice(&MAGIC);
    for (at, word) in [(VERSION_AT, VERSION), (EXPORT_LENGTH, export.len() as u32), (TAKEOVERS, takeovers)] {
        contents[at..at + 4].copy_from_slice(&word.to_ne_bytes());
    }
    contents[HEADER..journal].copy_from_slice(&export);
    file.write_all(&contents)?;
    let pages = SharedPages::file(&file, pages)?;
    fs::rename(&new, path)?;
    Ok((pages, journal, room))
}

/// Gives a state that cannot be used another name, for whoever wants to look at it. Returns the name.
///
/// # Errors
/// Whatever renaming fails with.
pub fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = path.with_extension("damaged");
    fs::rename(path, &aside)?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;
    use xenstore::{Change, Limits};

    struct Place(TempDir);

    impl Place {
        fn new() -> Self {
            Place(tempfile::tempdir().expect("a directory"))
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("store")
        }
    }

    fn write(store: &mut Store, kept: &mut Kept, path: &str, value: &str) {
        store.commit(&[Change::write(path, value)]).expect("a commit");
        kept.keep_up(store).expect("a state");
    }

    fn taken_over(path: &Path) -> Store {
        Kept::load(path).expect("a good state").expect("a state").0
    }

    #[test]
    fn what_was_put_away_is_there_and_what_was_not_is_not() {
        let place = Place::new();
        let mut store = Store::new(Limits::default());
        let mut kept = Kept::begin(&place.path(), &mut store, 0).expect("a file");
        write(&mut store, &mut kept, "/a", "1");
        store.commit(&[Change::write("/b", "2")]).expect("a commit");
        let over = taken_over(&place.path());
        assert_eq!((over.read("/a"), over.read("/b")), (Some(&b"1"[..]), None));
        kept.keep_up(&mut store).expect("a state");
        assert!(taken_over(&place.path()).export() == store.export());
    }

    #[test]
    fn a_full_journal_makes_a_new_file() {
        let place = Place::new();
        let mut store = Store::new(Limits::default());
        let mut kept = Kept::begin(&place.path(), &mut store, 0).expect("a file");
        let value = "x".repeat(1000);
        for round in 0..2 * JOURNAL / value.len() {
            write(&mut store, &mut kept, &format!("/n{}", round % 7), &format!("{value}{round}"));
        }
        assert!(kept.length < JOURNAL && kept.journal > HEADER + 7 * value.len());
        assert!(taken_over(&place.path()).export() == store.export());
        let more: Vec<_> = fs::read_dir(place.0.path()).expect("the directory").collect();
        assert_eq!(more.len(), 1, "{more:?}");
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        let place = Place::new();
        let path = place.path();
        assert!(Kept::load(&path).expect("nothing is no error").is_none());
        let mut store = Store::new(Limits::default());
        let mut kept = Kept::begin(&path, &mut store, MOST_TAKEOVERS).expect("a file");
        assert!(matches!(Kept::load(&path), Err(Unusable::Harmful)));
        kept.is_sound();
        assert!(Kept::load(&path).expect("a good state").is_some());
        let good = fs::read(&path).expect("the file");
        for (at, wrong) in [(0, Unusable::NotOurs), (VERSION_AT, Unusable::Version(254))] {
            let mut bad = good.clone();
            bad[at] = 254;
            fs::write(&path, bad).expect("writing");
            let error = Kept::load(&path).err().expect("an error");
            assert_eq!(error.to_string(), wrong.to_string());
        }
        let mut bad = good.clone();
        bad[HEADER + 40] ^= 1;
        fs::write(&path, bad).expect("writing");
        assert!(matches!(Kept::load(&path), Err(Unusable::Damaged(_))));
        for length in [0, 8, HEADER, HEADER + 20] {
            fs::write(&path, &good[..length]).expect("writing");
            assert!(matches!(Kept::load(&path), Err(Unusable::NotOurs)), "{length}");
        }
        fs::write(&path, &good).expect("writing");
        let mut kept = Kept::begin(&path, &mut store, 0).expect("a file");
        kept.give_up();
        assert!(matches!(Kept::load(&path), Err(Unusable::Stale)));
        let aside = set_aside(&path).expect("another name");
        assert!(aside.exists() && !path.exists());
    }

    #[test]
    fn a_damaged_journal_loses_its_end() {
        let place = Place::new();
        let mut store = Store::new(Limits::default());
        let mut kept = Kept::begin(&place.path(), &mut store, 0).expect("a file");
        write(&mut store, &mut kept, "/a", "1");
        let at = kept.journal + kept.length + 9;
        write(&mut store, &mut kept, "/b", "2");
        let mut bytes = fs::read(place.path()).expect("the file");
        bytes[at] ^= 1;
        fs::write(place.path(), bytes).expect("writing");
        let over = taken_over(&place.path());
        assert_eq!((over.read("/a"), over.read("/b")), (Some(&b"1"[..]), None));
    }
}
