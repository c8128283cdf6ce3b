use super::*;
use tokio::io::AsyncWriteExt;
use xen_sys::io::xs_wire::{XsdSockmsg, XsdSockmsgType as Type};
use xenstore::{Change, Limits};

fn message(kind: Type, payload: &[u8]) -> Vec<u8> {
    let header = XsdSockmsg { kind: kind as u32, req_id: 7, tx_id: 0, len: payload.len() as u32 };
    [&header.to_bytes()[..], payload].concat()
}

async fn reply(stream: &mut UnixStream) -> (u32, Vec<u8>) {
    let mut header = [0; XsdSockmsg::SIZE];
    stream.read_exact(&mut header).await.expect("a header");
    let header = XsdSockmsg::from_bytes(&header);
    let mut payload = vec![0; header.len as usize];
    stream.read_exact(&mut payload).await.expect("a payload");
    (header.kind, payload)
}

/// A served socket in a directory of its own.
struct Served {
    directory: std::path::PathBuf,
    store: SharedStore,
}

impl Served {
    fn new(name: &str) -> Served {
        let directory = std::env::temp_dir().join(format!("jitsud-{name}-{}", std::process::id()));
        let store = SharedStore::new(Limits::default());
        store.commit(&[Change::write("/greeting", "hello")]).expect("a good path");
        let served = Served { directory, store };
        let listener = listen(&served.path()).expect("a socket");
        tokio::spawn(serve(served.store.clone(), listener));
        served
    }

    fn path(&self) -> std::path::PathBuf {
        self.directory.join("run/socket")
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.path()).await.expect("connected")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[tokio::test]
async fn only_root_gets_in_and_a_stale_socket_is_replaced() {
    let served = Served::new("mode");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&served.path()), 0o600);
    assert_eq!(mode(served.path().parent().expect("a directory")), 0o700);
    listen(&served.path()).expect("a second one takes its place");
}

#[tokio::test]
async fn requests_in_pieces_are_answered_with_the_control_domains_privilege() {
    let served = Served::new("pieces");
    let mut tool = served.connect().await;
    for byte in message(Type::Read, b"/greeting\0") {
        tool.write_all(&[byte]).await.expect("sent");
    }
    assert_eq!(reply(&mut tool).await, (Type::Read as u32, b"hello".to_vec()));
    assert_eq!(served.store.connections(), 1);
}

#[tokio::test]
async fn watches_fire_across_connections() {
    let served = Served::new("watch");
    let (mut watcher, mut writer) = (served.connect().await, served.connect().await);
    watcher.write_all(&message(Type::Watch, b"/greeting\0token\0")).await.expect("sent");
    assert_eq!(reply(&mut watcher).await.0, Type::Watch as u32);
    let event = (Type::WatchEvent as u32, b"/greeting\0token\0".to_vec());
    assert_eq!(reply(&mut watcher).await, event);
    writer.write_all(&message(Type::Write, b"/greeting\0again")).await.expect("sent");
    assert_eq!(reply(&mut writer).await, (Type::Write as u32, b"OK\0".to_vec()));
    assert_eq!(reply(&mut watcher).await, event);
}

#[tokio::test]
async fn garbage_ends_one_connection_and_no_other() {
    let served = Served::new("garbage");
    let (mut good, mut bad) = (served.connect().await, served.connect().await);
    bad.write_all(&[0xff; 64]).await.expect("sent");
    assert_eq!(bad.read(&mut [0; 64]).await.unwrap_or(0), 0, "it is dropped");
    good.write_all(&message(Type::Read, b"/greeting\0")).await.expect("sent");
    assert_eq!(reply(&mut good).await.1, b"hello");
    drop((good, bad));
}

#[tokio::test]
async fn who_does_not_read_is_not_listened_to() {
    let served = Served::new("deaf");
    served.store.commit(&[Change::write("/large", vec![b'x'; 4000])]).expect("a good path");
    let (deaf, mut other) = (served.connect().await, served.connect().await);
    let request = message(Type::Read, b"/large\0");
    // Until the kernel takes no more, and not either after another one has been served meanwhile.
    let mut refusals = 0;
    while refusals < 3 {
        match deaf.try_write(&request) {
            Ok(_) => refusals = 0,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                refusals += 1;
                other.write_all(&message(Type::Read, b"/greeting\0")).await.expect("sent");
                assert_eq!(reply(&mut other).await.1, b"hello");
            }
        }
    }
    let held: usize = served.store.with(|store| {
        let ids: Vec<_> = store.connections().map(|(id, _, _)| id).collect();
        ids.into_iter().map(|id| store.output(id).len()).sum()
    });
    assert!(held <= Limits::default().output + 5000, "{held} bytes wait");
}
