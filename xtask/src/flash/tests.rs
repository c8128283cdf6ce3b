//! The command itself, on files, and on a loop device where one can be made.

use super::*;
use clap::Parser;
use std::fs;
use std::io::Write;
use std::process::Command;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

const SIZE: usize = 6 << 20;

/// A directory with `sdcard.img` in it, and its content: two MiB at the beginning, a hole, half a MiB.
fn image() -> (tempfile::TempDir, Vec<u8>) {
    let directory = tempfile::tempdir().expect("tempdir");
    let mut bytes = vec![0; SIZE];
    for (at, byte) in bytes.iter_mut().enumerate().take(2 << 20) {
        *byte = (at % 251) as u8;
    }
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    bytes[4 << 20..9 << 19].fill(9);
    let path = directory.path().join("sdcard.img");
    fs::write(&path, &bytes).expect("write");
    let map = Bmap::of(&path, &[]).expect("map");
    fs::write(directory.path().join("sdcard.img.bmap"), map.to_xml()).expect("write");
    (directory, bytes)
}

fn flash_to(directory: &Path, device: &Path, image: &str) -> Result<()> {
    let image = directory.join(image);
    let words =
        ["flash".as_ref(), "--yes".as_ref(), "--image".as_ref(), image.as_os_str(), device.as_os_str()];
    run(&Cli::try_parse_from(words).expect("arguments").args)
}

#[test]
fn a_new_file_becomes_the_image() {
    let (directory, bytes) = image();
    let card = directory.path().join("card");
    flash_to(directory.path(), &card, "sdcard.img").expect("flashed");
    assert!(fs::read(&card).expect("read") == bytes);
}

#[test]
fn without_a_map_everything_is_written() {
    let (directory, bytes) = image();
    fs::remove_file(directory.path().join("sdcard.img.bmap")).expect("remove");
    let card = directory.path().join("card");
    fs::write(&card, vec![0xa5; SIZE]).expect("write");
    flash_to(directory.path(), &card, "sdcard.img").expect("flashed");
    assert!(fs::read(&card).expect("read") == bytes);
}

#[test]
fn what_is_refused_is_untouched() {
    let (directory, bytes) = image();
    let card = directory.path().join("card");
    fs::write(&card, vec![0xa5; SIZE - 1]).expect("write");
    let error = flash_to(directory.path(), &card, "sdcard.img").expect_err("too small");
    assert!(error.to_string().contains("take a larger one"), "{error}");
    assert!(fs::read(&card).expect("read") == vec![0xa5; SIZE - 1]);

    let itself = directory.path().join("sdcard.img");
    let error = flash_to(directory.path(), &itself, "sdcard.img").expect_err("itself");
    assert!(error.to_string().contains("the image itself"), "{error}");
    let other_name = directory.path().join("link");
    fs::hard_link(&itself, &other_name).expect("link");
    assert!(flash_to(directory.path(), &other_name, "sdcard.img").is_err());
    assert!(fs::read(&itself).expect("read") == bytes);

    let fresh = directory.path().join("fresh");
    let mut edited = bytes.clone();
    edited[4 << 20] = 1;
    fs::write(&itself, edited).expect("write");
    let error = flash_to(directory.path(), &fresh, "sdcard.img").expect_err("not the map's image");
    assert!(format!("{error:#}").contains("changed after its map was made"), "{error:#}");
    assert!(flash_to(directory.path(), &fresh, "nonesuch.img").is_err());
    let packed = directory.path().join("sdcard.img.xz");
    fs::write(&packed, vec![0xfd; SIZE]).expect("write");
    let error = flash_to(directory.path(), &fresh, "sdcard.img.xz").expect_err("packed");
    assert!(format!("{error:#}").contains("unpack it first"), "{error:#}");
    assert!(!fresh.exists());
}

#[test]
fn only_the_name_confirms() {
    let (directory, _) = image();
    let card = directory.path().join("card");
    let map = Bmap::of(&directory.path().join("sdcard.img"), &[]).expect("map");
    let confirmed = |answer: &str| {
        let target = Target::find(&card, &Host::this()).expect("found");
        confirm(false, &target, "", &map, &mut answer.as_bytes()).is_ok()
    };
    assert!(confirmed(""), "a new file needs no question");
    fs::write(&card, "something").expect("write");
    for (answer, right) in
        [("", false), ("y\n", false), ("sdcard.img\n", false), ("card\n", true), ("card", true)]
    {
        assert_eq!(confirmed(answer), right, "{answer:?}");
    }
}

/// A loop device on a file, given back when dropped.
struct Loop(PathBuf);

impl Loop {
    fn on(file: &Path, option: Option<&str>) -> Result<Self, String> {
        let output = Command::new("losetup").args(option).args(["--find", "--show"]).arg(file).output();
        let output = output.map_err(|e| format!("losetup: {e}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        Ok(Self(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim())))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}

#[test]
fn a_loop_device_is_flashed_unless_somebody_has_it() {
    let (directory, bytes) = image();
    let card = directory.path().join("card");
    let used = vec![0xa5; 8 << 20];
    fs::write(&card, &used).expect("write");
    let device = match Loop::on(&card, None) {
        Ok(device) => device,
        Err(cause) => {
            // Past the test harness, which keeps what a passing test prints to itself.
            let _ = writeln!(std::io::stderr(), "NOT TESTED: flashing a loop device: {cause}");
            return;
        }
    };
    let error = flash_to(directory.path(), &card, "sdcard.img").expect_err("a loop device has the file");
    assert!(error.to_string().contains("is in use by loop"), "{error}");
    {
        let target = Target::find(&device.0, &Host::this()).expect("found");
        let _taken = target.open(1).expect("open");
        let error = flash_to(directory.path(), &device.0, "sdcard.img").expect_err("taken");
        assert!(format!("{error:#}").contains("something uses it"), "{error:#}");
    }
    assert!(fs::read(&card).expect("read") == used, "refused means untouched");

    flash_to(directory.path(), &device.0, "sdcard.img").expect("flashed");
    drop(device);
    let found = fs::read(&card).expect("read");
    assert!(found[..2 << 20] == bytes[..2 << 20] && found[4 << 20..9 << 19] == bytes[4 << 20..9 << 19]);
    assert!(found[3 << 20..4 << 20] == used[..1 << 20], "what is not mapped is not written");
    assert!(found[7 << 20..].iter().all(|byte| *byte == 0), "an old GPT's backup is gone");

    let itself = directory.path().join("sdcard.img");
    let device = Loop::on(&itself, None).expect("as before");
    let error = flash_to(directory.path(), &device.0, "sdcard.img").expect_err("the image behind it");
    assert!(error.to_string().contains("the image itself"), "{error}");
    assert!(fs::read(&itself).expect("read") == bytes);
    drop(device);

    let device = Loop::on(&card, Some("--read-only")).expect("as before");
    let error = flash_to(directory.path(), &device.0, "sdcard.img").expect_err("read-only");
    assert!(error.to_string().contains("write-protected"), "{error}");
    drop(device);
    fs::OpenOptions::new().write(true).open(&card).expect("open").set_len(4 << 20).expect("set_len");
    let device = Loop::on(&card, None).expect("as before");
    let error = flash_to(directory.path(), &device.0, "sdcard.img").expect_err("too small");
    assert!(error.to_string().contains("take a larger one"), "{error}");
}
