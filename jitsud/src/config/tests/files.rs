//! Files that are there, absent, broken; on the card and beside it.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// A card and the files of a node, in a folder that goes away.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("jitsud-config-{}-{number}", std::process::id()));
        fs::create_dir_all(path.join("card/unikernels")).unwrap();
        fs::create_dir_all(path.join("kernels")).unwrap();
        let folder = Folder(path);
        folder.write("kernels/www", &zeroes(&zimage(0x40, 0x40)));
        let shipped = format!("[node]\nname = \"shipped\"\nkernels = {:?}\n", folder.path("kernels"));
        folder.write("shipped.toml", shipped.as_bytes());
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path(name), bytes).unwrap();
    }

    fn load(&self) -> Result<Draft, Unusable> {
        load(Some(&self.path("card")), &self.path("shipped.toml"))
    }

    /// The problems, with short names.
    fn told(&self, problems: &[Problem]) -> Vec<String> {
        let place = format!("{}/", self.0.display());
        lines(problems).iter().map(|line| line.replace(&place, "")).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A whole kernel file of 64 bytes.
fn zeroes(kernel: &KernelHead) -> Vec<u8> {
    let mut bytes = kernel.head.to_vec();
    bytes.resize(0x40, 0);
    bytes
}

#[test]
fn the_users_file_goes_before_the_shipped_one() {
    let folder = Folder::new();
    let shipped = folder.load().unwrap();
    assert_eq!((shipped.node.name.as_str(), shipped.problems()), ("shipped", &[][..]));
    // As Windows' Notepad may save it.
    folder.write("card/jitsu.toml", b"\xef\xbb\xbf[node]\r\nname = \"own\"\r\n");
    let own = folder.load().unwrap();
    assert_eq!((own.node.name.as_str(), own.problems()), ("own", &[][..]));
    assert_eq!(own.file, folder.path("card/jitsu.toml").display().to_string());
    assert_eq!(load(None, &folder.path("shipped.toml")).unwrap().node.name, "shipped");
}

#[test]
fn a_users_file_that_cannot_be_used_is_told_and_replaced() {
    let long = vec![b'\n'; (1 << 20) + 1];
    let table: [(&[u8], &str); 4] = [
        (
            b"[node]\nname = \"own\"\n\n[[service\n",
            "card/jitsu.toml:4: is not valid TOML: unclosed array table, expected `]]`; correct this line; \
             nothing of the file is used before; shipped.toml is used meanwhile",
        ),
        (
            b"# fine\n# \xff\n",
            "card/jitsu.toml:2: the text is not UTF-8; save the file as UTF-8; shipped.toml is used meanwhile",
        ),
        (
            b"\xff\xfe[\0n\0o\0d\0e\0]\0",
            "card/jitsu.toml:1: the text is not UTF-8; save the file as UTF-8; shipped.toml is used meanwhile",
        ),
        (
            &long,
            "card/jitsu.toml:1: cannot be read: it has more than 1024 KiB; put a jitsu.toml there that can be; \
             shipped.toml is used meanwhile",
        ),
    ];
    let folder = Folder::new();
    for (bytes, expected) in table {
        folder.write("card/jitsu.toml", bytes);
        let draft = folder.load().unwrap();
        assert_eq!(folder.told(draft.problems()), [expected]);
        assert_eq!(draft.node.name, "shipped");
    }
    fs::remove_file(folder.path("card/jitsu.toml")).unwrap();
    fs::create_dir(folder.path("card/jitsu.toml")).unwrap();
    let told = folder.told(folder.load().unwrap().problems());
    assert!(told[0].starts_with("card/jitsu.toml:1: cannot be read: Is a directory"), "{told:?}");
}

#[test]
fn the_users_mistakes_stand_before_those_of_the_shipped_file() {
    let folder = Folder::new();
    folder.write("shipped.toml", b"nodes = 1\n");
    folder.write("card/jitsu.toml", b"\n\n\n\nnode\n");
    let draft = folder.load().unwrap();
    let here = Addressing { address: Ipv4Addr::new(10, 0, 0, 1), prefix: 24, gateway: None };
    let loaded = draft.resolve(here, &[], Duration::ZERO);
    let told = folder.told(&loaded.problems);
    assert!(
        told[0].starts_with("card/jitsu.toml:5: ") && told[1].starts_with("shipped.toml:1: "),
        "{told:?}"
    );
}

#[test]
fn without_a_shipped_file_only_a_good_file_of_the_user_will_do() {
    let folder = Folder::new();
    fs::remove_file(folder.path("shipped.toml")).unwrap();
    let told = |result: Result<Draft, Unusable>| folder.told(&result.unwrap_err().0);
    let expected = "shipped.toml:1: is not there; build the node's image anew";
    assert_eq!(told(folder.load()), [expected]);
    assert_eq!(told(load(None, &folder.path("shipped.toml"))), [expected]);
    folder.write("card/jitsu.toml", b"[node");
    assert_eq!(told(folder.load()).len(), 2);
    folder.write("card/jitsu.toml", b"[node]");
    assert_eq!(folder.load().unwrap().problems(), []);
}

#[test]
fn kernels_are_looked_for_on_the_card_first() {
    let folder = Folder::new();
    let service = |kernel: &str| {
        let kernels = folder.path("kernels");
        let text = format!("[node]\nkernels = {kernels:?}\n[[service]]\nname = \"a\"\nkernel = {kernel:?}\n");
        folder.write("card/jitsu.toml", text.as_bytes());
        let draft = folder.load().unwrap();
        let found = draft.services[0].settings.as_ref().map(|settings| settings.kernel.clone());
        (found, folder.told(draft.problems()))
    };
    let (found, told) = service("www");
    assert_eq!((found, told.len()), (Some(folder.path("kernels/www")), 0));
    folder.write("card/unikernels/www", &zeroes(&zimage(0x40, 0x40)));
    let (found, told) = service("www");
    assert_eq!((found, told.len()), (Some(folder.path("card/unikernels/www")), 0));
    let absolute = folder.path("kernels/www");
    assert_eq!(service(absolute.to_str().unwrap()), (Some(absolute), vec![]));

    let (found, told) = service("nope");
    let expected = "card/jitsu.toml:5: service a: kernel kernels/nope, nor card/unikernels/nope cannot be read: \
                    No such file or directory (os error 2); put the zImage there or correct the path";
    assert_eq!((found, told), (None, vec![expected.to_owned()]));
    // Bytes that are no kernel are not replaced by other ones of the same name either.
    folder.write("card/unikernels/www", b"\x7fELF");
    let (found, told) = service("www");
    assert!(found.is_none() && told[0].contains("card/unikernels/www is not an ARM zImage"), "{told:?}");
    fs::remove_file(folder.path("card/unikernels/www")).unwrap();
    fs::create_dir(folder.path("card/unikernels/www")).unwrap();
    let (found, told) = service("www");
    let expected = "kernel card/unikernels/www cannot be read: it is not a file";
    assert!(found.is_none() && told[0].contains(expected), "{told:?}");
}

#[test]
fn a_kernel_is_read_whole_if_it_has_a_sane_size() {
    let folder = Folder::new();
    let bytes = zeroes(&zimage(0x40, 0x40));
    let www = folder.path("kernels/www");
    assert_eq!(*read_kernel(&www).unwrap(), *bytes);
    let head = probe_kernel(&www).unwrap();
    assert_eq!((head.length, &head.head[..]), (0x40, &bytes[..HEAD_BYTES]));
    folder.write("kernels/short", b"abc");
    let head = probe_kernel(&folder.path("kernels/short")).unwrap();
    assert_eq!((head.length, &head.head[..4]), (3, &b"abc\0"[..]));

    let long = fs::File::create(folder.path("kernels/long")).unwrap();
    long.set_len(MAX_KERNELS + 1).unwrap();
    let error = read_kernel(&folder.path("kernels/long")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    for no_file in ["/dev/zero", "/"] {
        let error = probe_kernel(Path::new(no_file)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{no_file}");
    }
}
