use super::*;
use std::os::unix::fs::symlink;

/// A host whose sysfs and procfs are files.
struct Fabricated {
    directory: tempfile::TempDir,
}

impl Fabricated {
    fn new() -> Self {
        let host = Self { directory: tempfile::tempdir().expect("tempdir") };
        host.file("proc/self/mountinfo", "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n");
        host.file("proc/swaps", "Filename\tType\tSize\tUsed\tPriority\n");
        host
    }

    fn file(&self, path: &str, content: &str) {
        let path = self.directory.path().join(path);
        fs::create_dir_all(path.parent().expect("parent")).expect("create_dir_all");
        fs::write(path, content).expect("write");
    }

    /// A disk at `place` in the tree of devices, with one partition, of 1000 sectors.
    fn disk(&self, place: &str, removable: bool, number: u32) -> String {
        let name = place.rsplit('/').next().expect("name").to_owned();
        let partition = if name.ends_with(|last: char| last.is_ascii_digit()) { "p1" } else { "1" };
        let partition = format!("{name}{partition}");
        for (file, content) in [
            ("size".to_owned(), "1000\n".to_owned()),
            ("removable".to_owned(), format!("{}\n", u8::from(removable))),
            ("ro".to_owned(), "0\n".to_owned()),
            ("dev".to_owned(), format!("8:{number}\n")),
            (format!("{partition}/partition"), "1\n".to_owned()),
            (format!("{partition}/dev"), format!("8:{}\n", number + 1)),
        ] {
            self.file(&format!("sys/devices/{place}/{file}"), &content);
        }
        let root = self.directory.path();
        for directory in ["sys/block", "sys/dev/block"] {
            fs::create_dir_all(root.join(directory)).expect("create_dir_all");
        }
        let target = root.join("sys/devices").join(place);
        symlink(&target, root.join("sys/block").join(&name)).expect("symlink");
        symlink(&target, root.join(format!("sys/dev/block/8:{number}"))).expect("symlink");
        let part = root.join(format!("sys/dev/block/8:{}", number + 1));
        symlink(target.join(&partition), part).expect("symlink");
        name
    }

    fn host(&self) -> Host {
        Host::at(self.directory.path())
    }

    fn uses(&self, name: &str) -> Vec<Use> {
        self.host().disk(name).expect("disk").uses
    }
}

const USB: &str = "pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host6/target6:0:0/6:0:0:0/block/sdb";
const SATA: &str = "pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda";
const SD: &str = "pci0000:00/0000:02:00.0/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0";

#[test]
fn a_usb_card_is_described() {
    let fake = Fabricated::new();
    fake.disk(USB, true, 16);
    fake.file(&format!("sys/devices/{USB}/device/vendor"), "Generic \n");
    fake.file(&format!("sys/devices/{USB}/device/model"), "STORAGE DEVICE  \n");
    let disk = fake.host().disk("sdb").expect("disk");
    let expected = Candidate {
        name: "sdb".into(),
        model: "Generic STORAGE DEVICE".into(),
        size: 512_000,
        transport: Transport::Usb,
        removable: true,
        read_only: false,
        uses: vec![],
    };
    assert_eq!(disk, expected);
    assert_eq!(disk.refusals(512_000), []);
    assert_eq!(fake.host().disks().expect("disks"), [disk]);
    assert!(fake.host().has_disk("sdb") && !fake.host().has_disk("sdc") && !fake.host().has_disk(""));
}

#[test]
fn transports_are_told_apart() {
    let fake = Fabricated::new();
    for (place, kind, transport) in [
        (USB, None, Transport::Usb),
        (SATA, None, Transport::Other),
        (SD, Some("SD"), Transport::Sd),
        ("platform/mmc_host/mmc1/mmc1:0001/block/mmcblk1", Some("MMC"), Transport::Emmc),
        ("pci/usb1/1-2/mmc_host/mmc2/mmc2:0001/block/mmcblk2", Some("SD"), Transport::Sd),
        ("pci/usb1/1-3/host1/block/sr0", Some("5"), Transport::Optical),
        ("virtual/block/loop0", None, Transport::Loop),
        ("virtual/block/dm-0", None, Transport::Other),
        // Names that only look like a bus.
        ("platform/usbdisk/mmc/block/nvme0n1", None, Transport::Other),
    ] {
        let number = 100 + 2 * place.len() as u32;
        let name = fake.disk(place, false, number);
        if let Some(kind) = kind {
            fake.file(&format!("sys/devices/{place}/device/type"), &format!("{kind}\n"));
        }
        assert_eq!(fake.host().disk(&name).expect("disk").transport, transport, "{name}");
    }
}

#[test]
fn mounted_partitions_are_found_by_number_and_by_source() {
    let fake = Fabricated::new();
    fake.disk(USB, true, 16);
    let root = "22 1 254:0 / / rw - ext4 /dev/vda rw\n";
    fake.file(
        "proc/self/mountinfo",
        &format!("{root}36 22 8:17 / /media/my\\040card rw shared:2 master:1 - vfat /dev/disk/x rw\n"),
    );
    let at = |part: &str, at: &str| Use::Mounted { part: part.into(), at: at.into() };
    assert_eq!(fake.uses("sdb"), [at("sdb1", "/media/my card")]);
    fake.file("proc/self/mountinfo", &format!("{root}36 22 0:40 /sub /srv rw - btrfs /dev/sdb1 rw\n"));
    assert_eq!(fake.uses("sdb"), [at("sdb1", "/srv")]);
    fake.file("proc/self/mountinfo", &format!("{root}36 22 8:16 / /whole rw - ext4 /dev/sdb rw\n"));
    assert_eq!(fake.uses("sdb"), [at("sdb", "/whole")]);
    fake.file("proc/self/mountinfo", "no mountinfo\n");
    assert!(fake.host().disk("sdb").is_err(), "nothing is guessed");
}

#[test]
fn swap_and_holders_are_found() {
    let fake = Fabricated::new();
    fake.disk(USB, true, 16);
    fake.file(
        "proc/swaps",
        "Filename Type Size Used Priority\n/dev/sdb1 partition 100 0 -2\n/swap\\040file file 1 0 -3\n",
    );
    assert_eq!(fake.uses("sdb"), [Use::Swap { part: "sdb1".into() }]);
    let file = Path::new("/swap file");
    assert_eq!(fake.host().uses_of_file(file).expect("uses").len(), 1);

    fake.file("proc/swaps", "Filename\n");
    fake.disk("virtual/block/dm-0", false, 40);
    fake.file("sys/devices/virtual/block/dm-0/dm/name", "luks-card\n");
    fake.file(&format!("sys/devices/{USB}/sdb1/holders/dm-0"), "");
    fake.disk("virtual/block/loop3", false, 60);
    fake.file("sys/devices/virtual/block/loop3/loop/backing_file", "/dev/sdb\n");
    let held = |part: &str, by: &str| Use::Held { part: part.into(), by: by.into() };
    assert_eq!(fake.uses("sdb"), [held("sdb", "loop3"), held("sdb1", "dm-0 (luks-card)")]);
    fake.file("sys/devices/virtual/block/loop3/loop/backing_file", "/home/card.img\n");
    let image = Path::new("/home/card.img");
    assert_eq!(fake.host().uses_of_file(image).expect("uses"), [held("/home/card.img", "loop3")]);
}

#[test]
fn write_protection_and_missing_cards_are_seen() {
    let fake = Fabricated::new();
    fake.disk(USB, true, 16);
    fake.file(&format!("sys/devices/{USB}/ro"), "1\n");
    fake.file(&format!("sys/devices/{USB}/size"), "0\n");
    let disk = fake.host().disk("sdb").expect("disk");
    assert!(disk.read_only);
    assert_eq!(disk.size, 0);
    fs::remove_file(fake.directory.path().join(format!("sys/devices/{USB}/ro"))).expect("remove");
    assert!(fake.host().disk("sdb").is_err(), "what is not known is not taken for harmless");
}

#[test]
fn numbers_lead_to_disks_and_partitions() {
    let fake = Fabricated::new();
    fake.disk(USB, true, 16);
    assert_eq!(fake.host().block_of(8, 16).expect("disk"), Block::Disk("sdb".into()));
    let partition = Block::Partition { name: "sdb1".into(), disk: "sdb".into() };
    assert_eq!(fake.host().block_of(8, 17).expect("partition"), partition);
    assert!(fake.host().block_of(9, 9).is_err());
}

#[test]
fn octal_escapes_are_undone() {
    assert_eq!(unescape(r"/a\040b\134c\011"), "/a b\\c\t");
    assert_eq!(unescape(r"/a\b\9\é"), r"/a\b\9\é");
}
