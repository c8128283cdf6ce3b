//! Starts of unrelated domains side by side never get in each other's way.

use probe::starts::{self, Step};
use xen_sys::DomId;
use xen_sys::io::xs_wire::{XsdSockmsg, XsdSockmsgType as Type};
use xenstore::{Change, ConnId, DriverRequest, Limits, Store};

/// Knuth's MMIX generator; a seed tells all.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % n
    }
}

/// One xl, starting one domain.
struct Xl {
    conn: ConnId,
    steps: std::vec::IntoIter<Step>,
    tx_id: u32,
}

impl Xl {
    fn new(store: &mut Store, domid: u16) -> Xl {
        Xl { conn: store.connect_socket(), steps: starts::start(domid).into_iter(), tx_id: 0 }
    }

    /// Makes one request; `None` when there are no more, or whether it was refused.
    fn step(&mut self, store: &mut Store) -> Option<bool> {
        let (kind, payload) = match self.steps.next()? {
            Step::Begin => (Type::TransactionStart, b"\0".to_vec()),
            Step::Ask(kind, payload) => (kind, payload),
            Step::Commit => (Type::TransactionEnd, b"T\0".to_vec()),
        };
        let header =
            XsdSockmsg { kind: kind as u32, req_id: 1, tx_id: self.tx_id, len: payload.len() as u32 };
        store.receive(self.conn, &[&header.to_bytes()[..], &payload].concat()).unwrap();
        let output = store.output(self.conn).to_vec();
        store.consume_output(self.conn, output.len());
        let reply = XsdSockmsg::from_bytes(output.first_chunk().unwrap());
        let refused = reply.kind == Type::Error as u32;
        match kind {
            Type::TransactionStart => {
                let text = std::str::from_utf8(&output[XsdSockmsg::SIZE..]).unwrap();
                self.tx_id = text.trim_end_matches('\0').parse().unwrap();
            }
            Type::TransactionEnd => {
                self.tx_id = 0;
                assert!(!refused, "a start was refused: {:?}", String::from_utf8_lossy(&output[16..]));
            }
            _ => {}
        }
        for request in store.take_requests() {
            if let DriverRequest::Introduce { domid, .. } = request {
                store.introduce(domid);
            }
        }
        Some(refused)
    }
}

fn store() -> Store {
    let mut store = Store::new(Limits::default());
    store.commit(&starts::shared("").map(Change::mkdir)).unwrap();
    // dom0's kernel hears of every backend.
    let kernel = store.connect(DomId::DOM0);
    store.introduce(DomId::DOM0);
    let payload = b"backend\0t\0";
    let header = XsdSockmsg { kind: Type::Watch as u32, req_id: 0, tx_id: 0, len: payload.len() as u32 };
    store.receive(kernel, &[&header.to_bytes()[..], payload].concat()).unwrap();
    store
}

/// 200 at once, a request here, a request there: no commit is refused, and all is there in the end.
#[test]
fn two_hundred_starts_interleaved_never_conflict() {
    for seed in 0..2 {
        let mut random = Random(seed);
        let mut store = store();
        let mut alone = self::store();
        for domid in 1..=200 {
            let mut xl = Xl::new(&mut alone, domid);
            while xl.step(&mut alone).is_some() {}
        }
        let mut all: Vec<Xl> = (1..=200).map(|domid| Xl::new(&mut store, domid)).collect();
        while !all.is_empty() {
            let at = random.below(all.len());
            if all[at].step(&mut store).is_none() {
                all.swap_remove(at);
            }
        }
        assert_eq!(store.node_count(), alone.node_count());
        for domid in 1..=200 {
            assert!(store.is_introduced(DomId(domid)));
            assert!(store.nodes_owned_by(DomId(domid)) > 10);
            let mac = format!("/local/domain/0/backend/vif/{domid}/0/mac");
            assert_eq!(store.read(&mac), Some(&b"00:16:3e:00:00:07"[..]));
        }
    }
}

/// The same, while other domains stop and are removed.
#[test]
fn starts_and_stops_side_by_side_never_conflict() {
    let mut random = Random(7);
    let mut store = store();
    let mut all: Vec<Xl> = (1..=40).map(|domid| Xl::new(&mut store, domid)).collect();
    let mut next = 41;
    let mut running: Vec<u16> = Vec::new();
    while next <= 150 || !all.is_empty() {
        if all.len() < 40 && next <= 150 {
            all.push(Xl::new(&mut store, next));
            next += 1;
        }
        let at = random.below(all.len());
        if all[at].step(&mut store).is_none() {
            let done = all.swap_remove(at);
            store.disconnect(done.conn);
            running.extend((1..150).find(|domid| {
                store.is_introduced(DomId(*domid))
                    && !running.contains(domid)
                    && store.read(&format!("/libxl/{domid}/device/vif/0/type")).is_some()
            }));
        }
        if running.len() > 5 {
            let domid = running.swap_remove(random.below(running.len()));
            let gone = [
                format!("/local/domain/{domid}"),
                format!("/local/domain/0/backend/vif/{domid}"),
                format!("/local/domain/0/backend/console/{domid}"),
                format!("/libxl/{domid}"),
            ];
            store.commit(&gone.map(Change::remove)).unwrap();
            store.release(DomId(domid));
        }
    }
}
