//! A card with small parts, built as the real ones are, and what other people's tools say about it.

use super::*;
use crate::bmap::Bmap;
use crate::manifest::Manifest;
use std::path::{Path, PathBuf};
use std::process::Command;

fn system() -> System {
    let part = |byte: u8, size: usize| vec![byte; size];
    System {
        xen: part(1, 9_000),
        kernel: part(2, 300_000),
        initramfs: part(3, 50_001),
        device_tree: part(4, 2_047),
        ssh: part(5, 1),
    }
}

/// A card's image in a directory of its own.
struct Built {
    directory: tempfile::TempDir,
}

impl Built {
    /// Without the packed image, which takes its time.
    fn new() -> Self {
        Self::with(|disk, directory, manifest| write::write_plain(disk, directory, manifest))
    }

    fn with(write: impl FnOnce(&mut Disk, &Path, &mut Manifest) -> Result<()>) -> Self {
        let board = Board::read("cubietruck").expect("board");
        let card = board.card.clone().expect("card");
        let (mut disk, _) = assemble(&board, &card, &[0xee; 600_000], &system()).expect("card");
        let directory = tempfile::tempdir().expect("directory");
        write(&mut disk, directory.path(), &mut Manifest::new("test")).expect("written");
        Self { directory }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn image(&self) -> PathBuf {
        self.file(IMAGE)
    }

    /// A partition as a file of its own, for tools that know no partitions.
    fn partition(&self, part: layout::Extent) -> tempfile::NamedTempFile {
        let image = fs::read(self.image()).expect("image");
        let file = tempfile::NamedTempFile::new().expect("file");
        fs::write(file.path(), &image[part.start as usize..(part.start + part.size) as usize])
            .expect("write");
        file
    }
}

/// What a tool of the host says; it must be content. Administrators' tools are not in everybody's PATH.
fn said_by(tool: &str, arguments: &[&str], file: &Path) -> String {
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let run = Command::new("env").arg(format!("PATH={path}")).arg(tool).args(arguments).arg(file).output();
    let run = run.expect("running env");
    let said = [run.stdout, run.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(run.status.success(), "{tool}: {}; `cargo xtask setup` installs it\n{said}", run.status);
    said
}

#[test]
fn fsck_vfat_finds_nothing_wrong() {
    let built = Built::new();
    let said = said_by("fsck.vfat", &["-n", "-v"], built.partition(FAT).path());
    for complaint in ["Fixing", "Free cluster summary", "Invalid", "differ"] {
        assert!(!said.contains(complaint), "{said}");
    }
    assert!(said.contains("32 bit entries"), "{said}");
}

#[test]
fn fsck_ext4_finds_nothing_wrong() {
    let built = Built::new();
    let said = said_by("fsck.ext4", &["-f", "-n"], built.partition(DATA).path());
    assert!(said.contains("11/1024 files"), "{said}");
}

#[test]
fn sfdisk_finds_nothing_wrong() {
    let built = Built::new();
    assert!(said_by("sfdisk", &["--verify"], &built.image()).contains("No errors"));
    let dump = said_by("sfdisk", &["--dump"], &built.image());
    assert!(dump.contains("label-id: 0x6a697473"), "{dump}");
    assert!(dump.contains("start=        8192, size=      393216, type=c"), "{dump}");
    assert!(dump.contains("start=      401408, size=      131072, type=83"), "{dump}");
}

#[test]
fn mtools_see_long_names() {
    let built = Built::new();
    let said = said_by("mdir", &["-b", "-/", "-i"], built.partition(FAT).path());
    for name in ["README.txt", "jitsu.toml", "boot.scr", "a/initramfs", "b/sums.env", "unikernels"] {
        assert!(said.contains(name), "{name}: {said}");
    }
}

/// What Linux's own tool makes of the file system's promise to grow.
#[test]
fn the_data_partition_grows_to_64_gib() {
    let file = Built::new().partition(DATA);
    file.as_file().set_len(64 << 30).expect("longer");
    let path = file.path().to_owned();
    said_by("resize2fs", &[], &path);
    assert!(said_by("fsck.ext4", &["-f", "-n"], &path).contains("/16777216 blocks"));
}

#[test]
fn what_was_written_can_be_read_and_changed() {
    let built = Built::new();
    let image = built.image();
    assert_eq!(Edit::open(&image).expect("image").read("b/kernel").expect("read"), system().kernel);
    let mut edit = Edit::open(&image).expect("open");
    edit.write("unikernels/mine/hello", b"kernel").expect("write");
    edit.truncate("a/kernel", 1000).expect("truncate");
    edit.remove("jitsu.toml").expect("remove");
    edit.garble_data().expect("garble");
    edit.grow(512 << 20).expect("grow");
    assert_eq!(edit.read("unikernels/mine/hello").expect("read"), b"kernel");
    assert_eq!(edit.read("a/kernel").expect("read").len(), 1000);
    assert!(edit.read("jitsu.toml").is_err());
    drop(edit);
    assert!(!said_by("fsck.vfat", &["-n"], built.partition(FAT).path()).contains("Fixing"));
    assert_eq!(fs::metadata(&image).expect("metadata").len(), 512 << 20);
}

#[test]
fn files_beside_the_image_belong_to_it() {
    let built = Built::with(write);
    let map = Bmap::read(&built.file("sdcard.img.bmap")).expect("block map");
    assert_eq!(map.image_size(), SIZE);
    // The journal is zeros, and has to be written all the same.
    let data = map.ranges().iter().find(|range| map.bytes(range).contains(&DATA.start)).expect("mapped");
    assert!(map.bytes(data).end > DATA.start + (4 << 20));
    let sums = fs::read_to_string(built.file("sdcard.img.sha256")).expect("sums");
    assert_eq!(
        sums,
        format!("{}  sdcard.img\n", crate::download::sha256(&fs::read(built.image()).expect("image")))
    );
    let packed = fs::File::open(built.file("sdcard.img.xz")).expect("open");
    let mut unpacked = Vec::new();
    std::io::Read::read_to_end(&mut liblzma::read::XzDecoder::new(packed), &mut unpacked).expect("unpack");
    assert!(unpacked == fs::read(built.image()).expect("image"));
}

#[test]
fn a_packed_image_is_kept_only_while_it_belongs_to_the_image() {
    let built = Built::with(write);
    let packed = built.file("sdcard.img.xz");
    let pack_again = |firmware: u8| {
        let board = Board::read("cubietruck").expect("board");
        let card = board.card.clone().expect("card");
        let (mut disk, _) = assemble(&board, &card, &[firmware; 600_000], &system()).expect("card");
        write(&mut disk, built.directory.path(), &mut Manifest::new("test")).expect("written");
        fs::read(&packed).expect("read")
    };
    let first = fs::read(&packed).expect("read");
    fs::write(&packed, b"damaged").expect("write");
    assert!(pack_again(0xee) == first);
    assert!(pack_again(0xef) != first);
}

#[test]
fn two_builds_are_identical() {
    let files = || {
        let built = Built::new();
        ["sdcard.img.sha256", "sdcard.img.bmap"]
            .map(|name| fs::read_to_string(built.file(name)).expect("read"))
    };
    assert_eq!(files(), files());
}

#[test]
fn files_that_would_overwrite_each_other_in_memory_are_refused() {
    let board = Board::read("cubietruck").expect("board");
    assert!(check_memory(&board, &system()).is_ok());
    let large = System { kernel: vec![0; 33 << 20], ..system() };
    let error = check_memory(&board, &large).expect_err("refused").to_string();
    assert!(error.contains("dom0's kernel") && error.contains("the initramfs"), "{error}");
}
