//! Starts of N domains, interleaved request by request, for counting what one costs:
//! `valgrind --tool=callgrind --toggle-collect='*start_all*' target/release/examples/starts 200`.

use probe::starts::{self, Step};
use xen_sys::DomId;
use xen_sys::io::xs_wire::{XsdSockmsg, XsdSockmsgType as Type};
use xenstore::{Change, ConnId, DriverRequest, Limits, Store};

/// What a client sends, ready made, so that only the server's work is counted.
struct Client {
    conn: ConnId,
    messages: Vec<(bool, Vec<u8>)>,
}

fn client(store: &mut Store, domid: u16) -> Client {
    let mut inside = false;
    let mut messages = Vec::new();
    for step in starts::start(domid) {
        let (kind, payload, tx_id) = match step {
            Step::Begin => (Type::TransactionStart, b"\0".to_vec(), 0),
            Step::Ask(kind, payload) => (kind, payload, u32::from(inside)),
            Step::Commit => (Type::TransactionEnd, b"T\0".to_vec(), 1),
        };
        inside = kind == Type::TransactionStart || (inside && kind != Type::TransactionEnd);
        let header = XsdSockmsg { kind: kind as u32, req_id: 1, tx_id, len: payload.len() as u32 };
        messages.push((tx_id != 0, [&header.to_bytes()[..], &payload].concat()));
    }
    Client { conn: store.connect_socket(), messages }
}

#[inline(never)]
fn start_all(store: &mut Store, clients: &mut [Client]) {
    let mut transactions = vec![0_u32; clients.len()];
    for turn in 0..clients[0].messages.len() {
        for (client, transaction) in clients.iter_mut().zip(&mut transactions) {
            let (inside, message) = &mut client.messages[turn];
            if *inside {
                message[8..12].copy_from_slice(&transaction.to_ne_bytes());
            }
            store.receive(client.conn, message).expect("well-formed requests");
            let output = store.output(client.conn);
            if output.starts_with(&(Type::TransactionStart as u32).to_ne_bytes()) {
                let digits = output[XsdSockmsg::SIZE..].iter().take_while(|byte| **byte != 0);
                *transaction = digits.fold(0, |number, digit| 10 * number + u32::from(digit - b'0'));
            }
            let length = output.len();
            store.consume_output(client.conn, length);
            for request in store.take_requests() {
                if let DriverRequest::Introduce { domid, .. } = request {
                    store.introduce(domid);
                }
            }
        }
    }
}

fn main() {
    let count = std::env::args().nth(1).and_then(|count| count.parse().ok()).unwrap_or(200);
    let mut store = Store::new(Limits::default());
    store.commit(&starts::shared("").map(Change::mkdir)).expect("good paths");
    let mut clients: Vec<Client> = (1..=count).map(|domid| client(&mut store, domid)).collect();
    start_all(&mut store, &mut clients);
    let requests = clients[0].messages.len();
    let nodes = store.nodes_owned_by(DomId(1));
    println!(
        "{count} starts of {requests} requests; {} nodes, {nodes} of domain 1's own",
        store.node_count()
    );
}
