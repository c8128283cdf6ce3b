//! The forwarder's real sockets, against a server on loopback that does what the first label of a name says.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;

use super::*;
use crate::dns::forward::{Forwarded, Forwarder};

/// A server, how many datagrams have come to it, and its tasks, which end with it.
struct Hostile {
    address: SocketAddr,
    datagrams: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Hostile {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Hostile {
    async fn start() -> Self {
        // The kernel knows of a port that is free for both, but not which: some are tried.
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
                break (udp, tcp);
            }
        };
        let address = udp.local_addr().unwrap();
        let datagrams = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&datagrams);
        let over_udp = tokio::spawn(async move {
            let elsewhere = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let mut buffer = [0; 2048];
            loop {
                let (length, peer) = udp.recv_from(&mut buffer).await.unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                let query = Message::from_vec(&buffer[..length]).unwrap();
                let lie = answer_to(&query, |message| {
                    let name = message.queries[0].name().clone();
                    message.add_answer(Record::from_rdata(name, 60, RData::A(A::new(6, 6, 6, 6))));
                });
                let truth = answer_to(&query, address_of);
                match query.queries[0].name().to_ascii().to_ascii_lowercase().split('.').next().unwrap() {
                    "silent" => {}
                    "truncated" => {
                        let reply = answer_to(&query, |message| message.metadata.truncation = true);
                        udp.send_to(&reply, peer).await.unwrap();
                    }
                    "guesses" => {
                        // From another port: all is right but that. From its own: all is right but the number.
                        elsewhere.send_to(&lie, peer).await.unwrap();
                        for number in 0..4u8 {
                            let mut guess = lie.clone();
                            guess[0] ^= 1 + number;
                            udp.send_to(&guess, peer).await.unwrap();
                        }
                        udp.send_to(&truth, peer).await.unwrap();
                    }
                    "respelt" => {
                        let mut guess = lie;
                        let end = crate::dns::forward::wire::question_end(&guess).unwrap();
                        guess[12..end - 4].make_ascii_uppercase();
                        udp.send_to(&guess, peer).await.unwrap();
                    }
                    _ => drop(udp.send_to(&truth, peer).await.unwrap()),
                }
            }
        });
        let over_tcp = tokio::spawn(async move {
            loop {
                let (mut stream, _) = tcp.accept().await.unwrap();
                let mut query = vec![0; stream.read_u16().await.unwrap().into()];
                stream.read_exact(&mut query).await.unwrap();
                let query = Message::from_vec(&query).unwrap();
                let truth = answer_to(&query, address_of);
                stream.write_u16(truth.len() as u16).await.unwrap();
                // In two pieces.
                stream.write_all(&truth[..5]).await.unwrap();
                stream.write_all(&truth[5..]).await.unwrap();
            }
        });
        Hostile { address, datagrams, tasks: vec![over_udp, over_tcp] }
    }

    fn datagrams(&self) -> usize {
        self.datagrams.load(Ordering::SeqCst)
    }
}

fn address_of(message: &mut Message) {
    address(message, 60);
}

async fn ask(forwarder: &Forwarder, client: &str, name: &str) -> Message {
    let message = with_edns(query(name, RecordType::A), false).to_vec().unwrap();
    let reply = match forwarder.forward(&message, client.parse().unwrap(), false).unwrap() {
        Forwarded::Now(reply) => reply,
        Forwarded::Later(reply) => reply.await.unwrap(),
    };
    Message::from_vec(&reply).unwrap()
}

fn is_true(reply: &Message) -> bool {
    matches!(&reply.answers[..], [Record { data: RData::A(A(address)), .. }] if address.octets() == [192, 0, 2, 80])
}

#[tokio::test]
async fn an_answer_comes_from_the_server_and_then_from_the_cache() {
    let server = Hostile::start().await;
    let forwarder = Forwarder::new(&[server.address], Arc::default());
    for _ in 0..3 {
        assert!(is_true(&ask(&forwarder, ALICE, "plain.example.").await));
    }
    assert_eq!(server.datagrams(), 1);
}

#[tokio::test]
async fn a_truncated_answer_comes_over_tcp() {
    let server = Hostile::start().await;
    let forwarder = Forwarder::new(&[server.address], Arc::default());
    assert!(is_true(&ask(&forwarder, ALICE, "truncated.example.").await));
}

#[tokio::test]
async fn guesses_do_not_come_through() {
    let server = Hostile::start().await;
    let forwarder = Forwarder::new(&[server.address], Arc::default());
    for name in ["guesses.example.", "respelt.example."] {
        assert!(is_true(&ask(&forwarder, ALICE, name).await), "{name}");
        assert!(is_true(&ask(&forwarder, BOB, name).await), "{name}");
    }
}

#[tokio::test]
async fn a_closed_port_is_noticed_at_once() {
    let server = Hostile::start().await;
    let gone = UdpSocket::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let forwarder = Forwarder::new(&[gone, server.address], Arc::default());
    assert!(is_true(&ask(&forwarder, ALICE, "plain.example.").await));
    let forwarder = Forwarder::new(&[gone], Arc::default());
    let reply = ask(&forwarder, ALICE, "plain.example.").await;
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(extended_error(&reply).unwrap().0, 23);
}

#[tokio::test]
async fn one_client_that_floods_keeps_nobody_out() {
    let server = Hostile::start().await;
    let forwarder = Forwarder::new(&[server.address], Arc::default());
    let mut flood = Vec::new();
    for number in 0..2000 {
        let asked = query(&format!("silent.{number}.example."), RecordType::A).to_vec().unwrap();
        flood.push(forwarder.forward(&asked, ALICE.parse().unwrap(), false));
        if number % 100 == 0 {
            assert!(is_true(&ask(&forwarder, BOB, &format!("plain.{number}.example.")).await));
        }
    }
    assert!(forwarder.figures().waiting <= crate::dns::forward::core::SHARE);
    assert!(is_true(&ask(&forwarder, BOB, "plain.example.").await));
}

#[tokio::test]
async fn nothing_is_left_when_nobody_can_ask_any_more() {
    let server = Hostile::start().await;
    let forwarder = Forwarder::new(&[server.address], Arc::default());
    let asked = query("silent.example.", RecordType::A).to_vec().unwrap();
    let Some(Forwarded::Later(reply)) = forwarder.forward(&asked, ALICE.parse().unwrap(), false) else {
        panic!("there is an answer")
    };
    drop(forwarder);
    assert_eq!(reply.await, None);
}
