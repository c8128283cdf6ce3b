//! Leases, kept where the next daemon finds them: it begins with the addresses of before, and asks whether they hold
//! while it serves already.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Client, Lease};
use crate::config::Mac;
use crate::directory::Moment;

/// A lease, whose it is and since when. The clock begins with the node's kernel, and so does the file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Kept {
    mac: [u8; 6],
    /// When it was asked for.
    pub asked_ns: u64,
    /// What the server said.
    pub lease: Lease,
}

/// The file.
#[derive(Debug)]
pub struct KeptLeases {
    path: PathBuf,
    found: Vec<Kept>,
    /// What is in the file.
    written: Vec<Kept>,
}

impl KeptLeases {
    /// What the daemon before has left in the file at `path`. One that makes no sense counts as empty.
    pub fn open(path: &Path) -> Self {
        let found: Vec<Kept> =
            fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        KeptLeases { path: path.to_owned(), written: found.clone(), found }
    }

    /// The lease that an address on the link has, if it has not expired.
    pub fn of(&self, mac: Mac, now: Moment) -> Option<&Kept> {
        let kept = self.found.iter().find(|kept| kept.mac == mac.0)?;
        (Moment(kept.asked_ns).after(kept.lease.duration) > now && Moment(kept.asked_ns) <= now)
            .then_some(kept)
    }

    /// Writes down what these clients have, if that is something else than before.
    pub fn write<'a>(&mut self, clients: impl Iterator<Item = &'a Client>) {
        let now: Vec<Kept> = clients
            .filter_map(|client| {
                let (asked, lease) = client.holds()?;
                Some(Kept { mac: client.identity().mac.0, asked_ns: asked.0, lease: lease.clone() })
            })
            .collect();
        if now == self.written {
            return;
        }
        match write(&self.path, &now) {
            Ok(()) => self.written = now,
            Err(error) => {
                tracing::warn!(%error, "{}: the next daemon has to ask for all leases", self.path.display());
            }
        }
    }
}

/// All of it or nothing: the daemon may be killed meanwhile.
fn write(path: &Path, leases: &[Kept]) -> io::Result<()> {
    let new = path.with_extension("new");
    fs::write(&new, serde_json::to_vec(leases)?)?;
    fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Addressing;
    use crate::dhcp::Identity;
    use crate::random::Random;
    use std::time::Duration;

    const MAC: Mac = Mac([0, 0x16, 0x3e, 1, 2, 3]);

    fn lease() -> Lease {
        Lease {
            addressing: Addressing { address: [10, 0, 0, 7].into(), prefix: 24, gateway: None },
            server: [10, 0, 0, 1].into(),
            dns: vec![[10, 0, 0, 1].into()],
            ntp: Vec::new(),
            domain: Some("example.org".to_owned()),
            duration: Duration::from_secs(3600),
            renewal: Duration::from_secs(1800),
        }
    }

    #[test]
    fn a_lease_is_there_until_it_expires() {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("leases");
        let second = |s: u64| Moment(s * 1_000_000_000);
        let mut random = Random::from_system();
        let identity = Identity { mac: MAC, name: "www".to_owned() };
        let client = Client::resume(identity.clone(), lease(), second(100), second(200), &mut random);
        assert_eq!(client.deadline(), second(200));
        let mut kept = KeptLeases::open(&path);
        assert!(kept.of(MAC, second(1)).is_none());
        kept.write([&client].into_iter());
        let next = KeptLeases::open(&path);
        let found = next.of(MAC, second(3699)).expect("a lease");
        assert_eq!((found.asked_ns, &found.lease), (second(100).0, &lease()));
        assert!(next.of(MAC, second(3700)).is_none() && next.of(MAC, second(99)).is_none());
        assert!(next.of(Mac([0; 6]), second(200)).is_none());
        // One that has none any more is forgotten.
        kept.write([&Client::new(identity, second(5000), &mut random)].into_iter());
        assert!(KeptLeases::open(&path).of(MAC, second(200)).is_none());
        fs::write(&path, "nonsense").expect("written");
        assert!(KeptLeases::open(&path).of(MAC, second(200)).is_none());
    }
}
