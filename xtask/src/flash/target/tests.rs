use super::*;
use std::fs;

fn found(name: &Path) -> Target {
    Target::find(name, &Host::this()).expect("found")
}

fn refused(name: &Path) -> String {
    Target::find(name, &Host::this()).expect_err("refused").to_string()
}

#[test]
fn what_is_no_disk_and_no_file_is_refused() {
    let directory = tempfile::tempdir().expect("tempdir");
    assert!(refused(directory.path()).contains("neither a disk nor a plain file"));
    assert!(refused(Path::new("/dev/null")).contains("neither a disk nor a plain file"));
    assert!(refused(Path::new("/dev/no-such-card")).contains("no such device"));
    assert!(!Path::new("/dev/no-such-card").exists());
}

#[test]
fn a_disks_name_without_dev_becomes_no_file() {
    let host = tempfile::tempdir().expect("tempdir");
    fs::create_dir_all(host.path().join("sys/block/sdy")).expect("create_dir_all");
    fs::write(host.path().join("sys/block/sdy/size"), "8\n").expect("write");
    let error = Target::find(Path::new("sdy"), &Host::at(host.path())).expect_err("refused");
    assert!(error.to_string().contains("/dev/sdy"), "{error}");
}

#[test]
fn files_have_the_size_that_somebody_gave_them() {
    let directory = tempfile::tempdir().expect("tempdir");
    let path = directory.path().join("card");
    assert_eq!(found(&path).refusals(1000), []);
    assert!(!path.exists(), "looking makes nothing");
    fs::write(&path, "").expect("write");
    assert_eq!(found(&path).refusals(1000), []);
    for (size, refusals) in
        [(999, vec![Refusal::TooSmall { has: 999, needs: 1000 }]), (1000, vec![]), (5000, vec![])]
    {
        fs::write(&path, vec![1; size]).expect("write");
        assert_eq!(found(&path).refusals(1000), refusals, "{size}");
    }
    let opened = found(&path).open(1000).expect("open");
    assert_eq!(opened.size(), 5000, "neither cut nor extended");
}

#[test]
fn an_empty_file_gets_its_size_and_reads_back_from_anywhere() {
    let directory = tempfile::tempdir().expect("tempdir");
    let path = directory.path().join("card");
    let size = 2 * CHUNK + 700;
    let mut opened = found(&path).open(size).expect("open");
    assert_eq!(opened.size(), size);
    opened.write(4000, &[7; 200]).expect("write");
    opened.write(size - 3, b"end").expect("write");
    opened.sync().expect("sync");
    for (offset, length) in [(0, CHUNK), (4001, CHUNK), (size - CHUNK, CHUNK), (size - 5, 5), (4199, 2)] {
        let mut expected = vec![0; length as usize];
        File::open(&path).expect("open").read_exact_at(&mut expected, offset).expect("read");
        let mut data = vec![1; length as usize];
        opened.read(offset, &mut data).expect("read back");
        assert!(data == expected, "{length} bytes at {offset}");
    }
    // The way of file systems without O_DIRECT.
    opened.direct = None;
    let mut data = [0; 5];
    opened.read(size - 5, &mut data).expect("read back");
    assert_eq!(&data, b"\0\0end");
    assert!(opened.read(size - 1, &mut data).is_err(), "past the end");
}
