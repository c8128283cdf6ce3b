//! The server on real sockets of this machine; behind it, a core that only counts and answers by rote.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_server::proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_server::proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_server::proto::rr::{DNSClass, Name, RData, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Front, Limits, Sockets, Transport, Zone, reply};
use crate::config::{self, Config};
use crate::directory::Moment;
use crate::succession::Succession;
use crate::summoner::{Request, ServiceId, SummonError, Summoned, Summoner};

/// Longer than any of these answers takes, and what "no answer" is waited for where nothing else can tell.
const LONG: Duration = Duration::from_secs(20);

fn config() -> Config {
    let text = r#"
        [node]
        name = "node"
        domain = "jitsu.test"
        address = "10.0.2.15/24"
        [[service]]
        name = "www"
        dns = ["www.jitsu.test", "deep.below.jitsu.test"]
        address = "10.0.2.20"
        kernel = "any"
        [[service]]
        name = "broken"
        address = "10.0.2.21"
        kernel = "any"
        [[service]]
        name = "slow"
        address = "10.0.2.22"
        kernel = "any"
        [[service]]
        name = "watched"
        dns = ["www2.jitsu.test", "monitor.www2.jitsu.test"]
        address = "10.0.2.23"
        kernel = "any"
        quiet = { names = ["monitor.*"], networks = ["127.0.0.9"] }
    "#;
    let loaded = config::loaded(text);
    assert_eq!(loaded.problems, []);
    loaded.config
}

/// None that these tests reach.
fn limits() -> Arc<Limits> {
    let mut node = config().node;
    node.dns.queries.interval = Duration::ZERO;
    node.dns.responses.interval = Duration::ZERO;
    Arc::new(Limits::new(&node, *b"a secret 16 byte", Arc::default()))
}

/// A running server and the core behind it.
struct Rig {
    udp: SocketAddr,
    tcp: SocketAddr,
    summons: Arc<AtomicUsize>,
    /// Lets the service "slow" get ready.
    release: Arc<Notify>,
    shutdown: CancellationToken,
    server: tokio::task::JoinHandle<()>,
}

impl Rig {
    async fn new() -> Self {
        let mut sockets = Sockets::default();
        let address = sockets.open("127.0.0.1:0".parse().unwrap(), &Succession::default()).unwrap();
        let (summoner, mut requests) = Summoner::new(64);
        let (summons, release) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let (count, gate) = (Arc::clone(&summons), Arc::clone(&release));
        tokio::spawn(async move {
            let mut slow = Vec::new();
            loop {
                let request = tokio::select! {
                    request = requests.recv() => request,
                    () = gate.notified() => {
                        slow.drain(..).for_each(|answer: tokio::sync::oneshot::Sender<_>| {
                            let _ = answer.send(Ok(summoned(22)));
                        });
                        continue;
                    }
                };
                let Some(Request::Summon { service, received, answer }) = request else { return };
                assert!(received > 0);
                count.fetch_add(1, Ordering::SeqCst);
                match service {
                    ServiceId(0) => drop(answer.send(Ok(summoned(20)))),
                    ServiceId(3) => drop(answer.send(Ok(summoned(23)))),
                    ServiceId(1) => drop(answer.send(Err(SummonError::Failed {
                        reason: "no memory".to_owned(),
                        retry_in: Duration::from_secs(3),
                    }))),
                    _ => slow.push(answer),
                }
            }
        });
        let shutdown = CancellationToken::new();
        let zone = Arc::new(Zone::new(&config()).unwrap());
        let front = Front::new(zone, summoner, limits());
        let server = tokio::spawn(Arc::new(front).serve(sockets, shutdown.clone()));
        Rig { udp: address, tcp: address, summons, release, shutdown, server }
    }

    fn summons(&self) -> usize {
        self.summons.load(Ordering::SeqCst)
    }

    async fn client(&self) -> UdpSocket {
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(self.udp).await.unwrap();
        client
    }

    async fn ask(&self, message: &Message) -> Message {
        self.ask_from(Ipv4Addr::LOCALHOST, message).await
    }

    async fn ask_from(&self, source: Ipv4Addr, message: &Message) -> Message {
        let client = UdpSocket::bind((source, 0)).await.unwrap();
        client.connect(self.udp).await.unwrap();
        client.send(&message.to_vec().unwrap()).await.unwrap();
        receive(&client).await
    }
}

fn summoned(host: u8) -> Summoned {
    Summoned { address: Ipv4Addr::new(10, 0, 2, host), ttl: Duration::from_secs(60) }
}

async fn receive(client: &UdpSocket) -> Message {
    let mut buffer = [0; 4096];
    let length = timeout(LONG, client.recv(&mut buffer)).await.unwrap().unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

#[tokio::test]
async fn monitors_are_told_where_a_service_is_and_start_nothing() {
    let rig = Rig::new().await;
    let (clients, monitors) = (Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 9));
    for (source, name, ttl) in [
        (clients, "www2.jitsu.test.", 60),
        (clients, "Monitor.WWW2.jitsu.test.", 0),
        (monitors, "www2.jitsu.test.", 0),
        (monitors, "www.jitsu.test.", 60),
    ] {
        let before = rig.summons();
        let reply = rig.ask_from(source, &question(name, RecordType::A)).await;
        assert_eq!(reply.response_code, ResponseCode::NoError, "{name}");
        let [record] = &reply.answers[..] else { panic!("{name}: {reply:?}") };
        assert_eq!((record.name.to_string().as_str(), record.ttl), (name, ttl));
        assert!(matches!(record.data, RData::A(_)));
        assert_eq!(rig.summons() - before, usize::from(ttl > 0), "{name} from {source}");
    }
}

#[tokio::test]
async fn questions_and_answers() {
    use RecordType::{A, AAAA, ANY, AXFR, HINFO, MX, NS, PTR, SOA, TXT};
    use ResponseCode::{NXDomain, NoError, Refused, ServFail};
    let rig = Rig::new().await;
    // Question; code, authoritative, types of the answers, whether there is an SOA, summons that it makes.
    type Row<'a> = (&'a str, RecordType, ResponseCode, bool, &'a [RecordType], bool, usize);
    let table: &[Row<'_>] = &[
        ("www.jitsu.test.", A, NoError, true, &[A], false, 1),
        ("WwW.JITSU.tesT.", A, NoError, true, &[A], false, 1),
        ("deep.below.jitsu.test.", A, NoError, true, &[A], false, 1),
        ("broken.jitsu.test.", A, ServFail, false, &[], false, 1),
        // The same names, but nothing that a domain could help to answer.
        ("www.jitsu.test.", AAAA, NoError, true, &[], true, 0),
        ("www.jitsu.test.", MX, NoError, true, &[], true, 0),
        ("www.jitsu.test.", TXT, NoError, true, &[], true, 0),
        ("www.jitsu.test.", SOA, NoError, true, &[], true, 0),
        ("www.jitsu.test.", ANY, NoError, true, &[HINFO], false, 0),
        ("www.jitsu.test.", AXFR, Refused, false, &[], false, 0),
        ("below.jitsu.test.", A, NoError, true, &[], true, 0),
        // The zone and the node.
        ("jitsu.test.", SOA, NoError, true, &[SOA], false, 0),
        ("jitsu.test.", NS, NoError, true, &[NS], false, 0),
        ("jitsu.test.", A, NoError, true, &[], true, 0),
        ("jitsu.test.", AXFR, Refused, false, &[], false, 0),
        ("node.jitsu.test.", A, NoError, true, &[A], false, 0),
        ("node.jitsu.test.", AAAA, NoError, true, &[], true, 0),
        // What is not there, or not ours.
        ("nope.jitsu.test.", A, NXDomain, true, &[], true, 0),
        ("x.www.jitsu.test.", A, NXDomain, true, &[], true, 0),
        ("nope.jitsu.test.", ANY, NXDomain, true, &[], true, 0),
        ("example.org.", A, Refused, false, &[], false, 0),
        ("notjitsu.test.", A, Refused, false, &[], false, 0),
        ("test.", SOA, Refused, false, &[], false, 0),
        (".", NS, Refused, false, &[], false, 0),
        // Reverse names.
        ("20.2.0.10.in-addr.arpa.", PTR, NoError, true, &[PTR], false, 0),
        ("15.2.0.10.in-addr.arpa.", PTR, NoError, true, &[PTR], false, 0),
        ("99.2.0.10.in-addr.arpa.", PTR, Refused, false, &[], false, 0),
        ("20.2.0.10.in-addr.arpa.", A, NoError, true, &[], true, 0),
        ("x.20.2.0.10.in-addr.arpa.", PTR, NXDomain, true, &[], true, 0),
    ];
    for (name, kind, code, authoritative, answers, soa, summons) in table {
        let before = rig.summons();
        let asked = question(name, *kind);
        let reply = rig.ask(&asked).await;
        let what = format!("{name} {kind}");
        assert_eq!((reply.metadata.id, reply.metadata.response_code), (4711, *code), "{what}");
        assert_eq!(reply.metadata.authoritative, *authoritative, "{what}");
        assert!(!reply.metadata.recursion_available && !reply.metadata.truncation, "{what}");
        assert!(reply.queries[0].name().eq_case(asked.queries[0].name()), "{what}: the spelling is kept");
        let types: Vec<_> = reply.answers.iter().map(|record| record.record_type()).collect();
        assert_eq!(types, *answers, "{what}");
        let authorities: Vec<_> = reply.authorities.iter().map(|record| record.record_type()).collect();
        assert_eq!(authorities, if *soa { &[SOA][..] } else { &[] }, "{what}");
        assert!(reply.edns.is_none() && reply.additionals.is_empty(), "{what}");
        assert_eq!(rig.summons() - before, *summons, "{what}");
    }
}

#[tokio::test]
async fn the_records_say_the_right_thing() {
    let rig = Rig::new().await;
    let www = rig.ask(&question("WWW.jitsu.test.", RecordType::A)).await.answers.remove(0);
    assert_eq!((www.ttl, www.dns_class), (60, DNSClass::IN));
    assert_eq!(www.data, RData::A(Ipv4Addr::new(10, 0, 2, 20).into()));
    assert!(www.name.eq_case(&Name::from_ascii("WWW.jitsu.test.").unwrap()));
    let node = rig.ask(&question("node.jitsu.test.", RecordType::A)).await.answers.remove(0);
    assert_eq!(node.data, RData::A(Ipv4Addr::new(10, 0, 2, 15).into()));
    let ns = rig.ask(&question("jitsu.test.", RecordType::NS)).await.answers.remove(0);
    assert_eq!(ns.data.to_string(), "node.jitsu.test.");
    let reverse = rig.ask(&question("20.2.0.10.in-addr.arpa.", RecordType::PTR)).await.answers.remove(0);
    assert_eq!(reverse.data.to_string(), "www.jitsu.test.");
    let any = rig.ask(&question("www.jitsu.test.", RecordType::ANY)).await.answers.remove(0);
    assert!(any.data.to_string().contains("RFC8482"), "{}", any.data);
}

#[tokio::test]
async fn other_operations_and_classes_are_turned_down() {
    let rig = Rig::new().await;
    for operation in [OpCode::Status, OpCode::Notify, OpCode::Update, OpCode::Unknown(7)] {
        let mut message = question("www.jitsu.test.", RecordType::A);
        message.metadata.op_code = operation;
        message.metadata.recursion_desired = true;
        let reply = rig.ask(&message).await;
        assert_eq!(reply.metadata.response_code, ResponseCode::NotImp, "{operation}");
        assert_eq!((reply.metadata.op_code, reply.metadata.recursion_desired), (operation, true));
    }
    for class in [DNSClass::CH, DNSClass::HS, DNSClass::ANY, DNSClass::NONE] {
        let mut message = question("www.jitsu.test.", RecordType::A);
        message.queries[0].set_query_class(class);
        assert_eq!(rig.ask(&message).await.metadata.response_code, ResponseCode::Refused, "{class}");
    }
    let mut two = question("www.jitsu.test.", RecordType::A);
    two.add_query(two.queries[0].clone());
    assert_eq!(rig.ask(&two).await.metadata.response_code, ResponseCode::FormErr);
    assert_eq!(rig.summons(), 0);
}

#[tokio::test]
async fn edns_is_answered_with_edns() {
    let rig = Rig::new().await;
    let mut message = question("broken.jitsu.test.", RecordType::A);
    message.set_edns(Edns::new());
    let reply = rig.ask(&message).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    let edns = reply.edns.unwrap();
    assert_eq!((edns.version(), edns.max_payload()), (0, 1232));
    let reason = [&[0, 0], &b"no memory; next try in 3 s"[..]].concat();
    assert_eq!(edns.option(EdnsCode::from(15)), Some(&EdnsOption::Unknown(15, reason)));

    let mut future = Edns::new();
    future.set_version(1);
    message.set_edns(future);
    let reply = rig.ask(&message).await;
    assert_eq!(reply.edns.unwrap().rcode_high(), 1, "BADVERS is 16: its low four bits are 0");
    assert_eq!(rig.summons(), 1, "an unknown EDNS version summons nothing");
}

/// The code and text of a reply's extended error.
fn extended_error(reply: &Message) -> Option<(u16, String)> {
    let EdnsOption::Unknown(15, data) = reply.edns.as_ref()?.option(EdnsCode::from(15))? else { return None };
    let (code, text) = data.split_first_chunk().unwrap();
    Some((u16::from_be_bytes(*code), String::from_utf8(text.to_vec()).unwrap()))
}

#[tokio::test]
async fn who_is_not_served_is_told_why() {
    let failed = |reason: &str, millis| SummonError::Failed {
        reason: reason.to_owned(),
        retry_in: Duration::from_millis(millis),
    };
    let retry_in = Duration::from_millis(999);
    let no_room = SummonError::NoRoom { reason: "the node has not enough memory".to_owned(), retry_in };
    let long = "ä".repeat(1000);
    let cut_off = "ä".repeat(100);
    let (other, not_ready) = (0, 14);
    let table = [
        (failed("its domain crashed", 3000), other, "its domain crashed; next try in 3 s"),
        (failed("its domain crashed", 3001), other, "its domain crashed; next try in 4 s"),
        (failed(&long, 0), other, cut_off.as_str()),
        (no_room, other, "the node has not enough memory; next try in 1 s"),
        (SummonError::Manual, other, "the service is off, and only an administrator starts it"),
        (SummonError::Busy, other, "too many requests wait for this service"),
        (SummonError::ShuttingDown, not_ready, "the node is shutting down"),
    ];
    let (zone, peer) = (Arc::new(Zone::new(&config()).unwrap()), (Ipv4Addr::LOCALHOST, 4711).into());
    for (error, code, text) in table {
        for with_edns in [false, true] {
            let (summoner, mut requests) = Summoner::new(1);
            let outcome = Err(error.clone());
            tokio::spawn(async move {
                let Some(Request::Summon { answer, .. }) = requests.recv().await else { panic!() };
                answer.send(outcome).unwrap();
            });
            let mut asked = question("www.jitsu.test.", RecordType::A);
            if with_edns {
                asked.set_edns(Edns::new());
            }
            let asked = asked.to_vec().unwrap();
            let reply = reply(&asked, peer, Transport::Udp, Moment(1), &zone, &summoner).await.unwrap();
            assert!(reply.len() <= 512, "{error}: {} bytes", reply.len());
            let reply = Message::from_vec(&reply).unwrap();
            assert_eq!(
                (reply.metadata.response_code, reply.answers.len()),
                (ResponseCode::ServFail, 0),
                "{error}"
            );
            let expected = with_edns.then(|| (code, text.to_owned()));
            assert_eq!(extended_error(&reply), expected, "{error}");
        }
    }
}

#[tokio::test]
async fn what_is_refused_is_none_of_the_nodes_business_or_not_supported() {
    let rig = Rig::new().await;
    let (not_authoritative, not_supported) = (20, 21);
    for (name, kind, class, code) in [
        ("example.org.", RecordType::A, DNSClass::IN, not_authoritative),
        ("99.2.0.10.in-addr.arpa.", RecordType::PTR, DNSClass::IN, not_authoritative),
        ("jitsu.test.", RecordType::AXFR, DNSClass::IN, not_supported),
        ("www.jitsu.test.", RecordType::IXFR, DNSClass::IN, not_supported),
        ("www.jitsu.test.", RecordType::A, DNSClass::CH, not_supported),
    ] {
        let mut message = question(name, kind);
        message.queries[0].set_query_class(class);
        assert_eq!(extended_error(&rig.ask(&message).await), None, "{name} {kind}");
        message.set_edns(Edns::new());
        let reply = rig.ask(&message).await;
        assert_eq!(reply.metadata.response_code, ResponseCode::Refused, "{name} {kind}");
        let error = extended_error(&reply).unwrap();
        assert!(error.0 == code && !error.1.is_empty(), "{name} {kind}: {error:?}");
    }
    assert_eq!(rig.summons(), 0);
}

/// A server that knows an address for www.example.org, and nothing else.
async fn elsewhere() -> SocketAddr {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        loop {
            let (length, client) = server.recv_from(&mut buffer).await.unwrap();
            let mut message = Message::from_vec(&buffer[..length]).unwrap();
            message.metadata.message_type = MessageType::Response;
            message.metadata.recursion_available = true;
            let name = message.queries[0].name().clone();
            if name == Name::from_ascii("www.example.org.").unwrap() {
                let data = RData::A(Ipv4Addr::new(192, 0, 2, 1).into());
                message.add_answer(hickory_server::proto::rr::Record::from_rdata(name, 99, data));
            } else {
                message.metadata.response_code = ResponseCode::NXDomain;
            }
            server.send_to(&message.to_vec().unwrap(), client).await.unwrap();
        }
    });
    address
}

#[tokio::test]
async fn an_alias_that_leads_out_of_the_zone_is_followed_for_who_wants_recursion() {
    let text = r#"
        [node]
        address = "10.0.2.15/24"
        [[record]]
        name = "out"
        type = "CNAME"
        data = "www.example.org."
        [[record]]
        name = "lost"
        type = "CNAME"
        data = "lost.example.org."
    "#;
    let config = config::loaded(text).config;
    let forwarder = super::forward::Forwarder::new(&[elsewhere().await], Arc::default());
    let zone = Arc::new(Zone::new(&config).unwrap().forwarding(Some(forwarder)));
    let (peer, (summoner, _requests)) = ((Ipv4Addr::LOCALHOST, 4711).into(), Summoner::new(1));
    use RecordType::{A, CNAME, MX};
    for (name, kind, recursion, code, answers) in [
        ("out.jitsu.test.", A, true, ResponseCode::NoError, &[CNAME, A][..]),
        ("OUT.jitsu.test.", A, false, ResponseCode::NoError, &[CNAME]),
        ("out.jitsu.test.", CNAME, true, ResponseCode::NoError, &[CNAME]),
        ("lost.jitsu.test.", MX, true, ResponseCode::NXDomain, &[CNAME]),
    ] {
        let mut asked = question(name, kind);
        asked.metadata.recursion_desired = recursion;
        let asked = asked.to_vec().unwrap();
        let reply = reply(&asked, peer, Transport::Udp, Moment(1), &zone, &summoner).await.unwrap();
        let reply = Message::from_vec(&reply).unwrap();
        let types: Vec<_> = reply.answers.iter().map(|record| record.record_type()).collect();
        assert_eq!((reply.metadata.response_code, &types[..]), (code, answers), "{name} {kind}");
        assert!(reply.metadata.authoritative && reply.metadata.id == 4711);
        if let [_, address] = &reply.answers[..] {
            assert_eq!((address.name.to_string().as_str(), address.ttl), ("www.example.org.", 99));
        }
    }
}

#[tokio::test]
async fn malformed_messages_get_an_error_or_silence_and_the_server_lives_on() {
    let rig = Rig::new().await;
    let good = question("www.jitsu.test.", RecordType::A).to_vec().unwrap();
    let changed = |at: usize, bytes: &[u8]| {
        let mut message = good.clone();
        message[at..at + bytes.len()].copy_from_slice(bytes);
        message
    };
    let pointer_to_itself = [&good[..12], &[0xc0, 12, 0, 1, 0, 1]].concat();
    let pointer_forward = [&good[..12], &[0xc0, 200, 0, 1, 0, 1]].concat();
    // To where the header of the reply has another value.
    let pointer_to_header = [&good[..12], &[1, b'a', 0xc0, 2, 0, 1, 0, 1]].concat();
    let two_opt = {
        let opt = [0, 0, 41, 16, 0, 0, 0, 0, 0, 0, 0];
        [&changed(10, &[0, 2])[..], &opt, &opt].concat()
    };
    let form_error = [
        ("the question is cut off", good[..20].to_vec()),
        ("a header alone", good[..12].to_vec()),
        ("no question", changed(4, &[0, 0])),
        ("65535 questions", changed(4, &[0xff, 0xff])),
        ("65535 answers", changed(6, &[0xff, 0xff])),
        ("65535 additional records", changed(10, &[0xff, 0xff])),
        ("an overlong label", changed(12, &[0x3f])),
        ("a label of an unknown kind", changed(12, &[0x80])),
        ("a name that points to itself", pointer_to_itself),
        ("a name that points nowhere", pointer_forward),
        ("a name that points into the header", pointer_to_header),
        ("two OPT records", two_opt),
    ];
    for (what, message) in form_error {
        let client = rig.client().await;
        client.send(&message).await.unwrap();
        let reply = receive(&client).await;
        assert_eq!(reply.metadata.response_code, ResponseCode::FormErr, "{what}");
        assert_eq!((reply.metadata.id, reply.queries.len()), (4711, 0), "{what}");
    }

    // What must not be answered: the next answer on the same socket is that to the next good question.
    let client = rig.client().await;
    let silent = [
        ("nothing", Vec::new()),
        ("too short for a header", good[..11].to_vec()),
        ("a reply", changed(2, &[0x80])),
        ("a malformed reply", changed(2, &[0x80])[..20].to_vec()),
        ("a reply of an unknown operation", changed(2, &[0xf8])),
    ];
    for (what, message) in &silent {
        client.send(message).await.unwrap();
        let mut last = question("node.jitsu.test.", RecordType::A);
        last.metadata.id = 99;
        client.send(&last.to_vec().unwrap()).await.unwrap();
        assert_eq!(receive(&client).await.metadata.id, 99, "{what}");
    }

    // Noise. Its seed is fixed, so that a failure comes back.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for count in 0..2000 {
        // Not more at once than a socket's buffer holds: what is dropped there tests nothing.
        if count % 50 == 0 {
            rig.ask(&question("node.jitsu.test.", RecordType::A)).await;
        }
        let mut message = good.clone();
        for _ in 0..4 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let at = state as usize % message.len();
            message[at] = (state >> 32) as u8;
        }
        message.truncate(12 + (state >> 40) as usize % (message.len() - 11));
        client.send(&message).await.unwrap();
    }
    let reply = rig.ask(&question("node.jitsu.test.", RecordType::A)).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
    assert!(!rig.server.is_finished());
}

#[tokio::test]
async fn many_clients_wait_for_one_service() {
    let rig = Rig::new().await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let client = rig.client().await;
        client.send(&question("slow.jitsu.test.", RecordType::A).to_vec().unwrap()).await.unwrap();
        clients.push(client);
    }
    // One of them goes away, others are served meanwhile.
    drop(clients.pop());
    rig.ask(&question("www.jitsu.test.", RecordType::A)).await;
    assert_eq!(rig.summons(), 21);
    rig.release.notify_one();
    for client in clients {
        let reply = receive(&client).await;
        assert_eq!(reply.answers[0].data, RData::A(Ipv4Addr::new(10, 0, 2, 22).into()));
    }
}

#[tokio::test]
async fn tcp_serves_several_questions_per_connection() {
    let rig = Rig::new().await;
    let mut stream = TcpStream::connect(rig.tcp).await.unwrap();
    let framed = |message: &[u8]| [&(message.len() as u16).to_be_bytes()[..], message].concat();
    let first = framed(&question("www.jitsu.test.", RecordType::A).to_vec().unwrap());
    let second = framed(&question("nope.jitsu.test.", RecordType::A).to_vec().unwrap());
    // Both at once, and the second in two pieces.
    let (head, tail) = second.split_at(7);
    stream.write_all(&[&first, head].concat()).await.unwrap();
    let mut codes = Vec::new();
    for piece in [tail, &[]] {
        let length = timeout(LONG, stream.read_u16()).await.unwrap().unwrap();
        let mut message = vec![0; length.into()];
        stream.read_exact(&mut message).await.unwrap();
        codes.push(Message::from_vec(&message).unwrap().metadata.response_code);
        stream.write_all(piece).await.unwrap();
    }
    assert_eq!(codes, [ResponseCode::NoError, ResponseCode::NXDomain]);

    // A length that no question has: the connection is closed, the server is not.
    stream.write_all(&[0xff, 0xff]).await.unwrap();
    assert_eq!(timeout(LONG, stream.read(&mut [0; 8])).await.unwrap().unwrap(), 0);
    let mut again = TcpStream::connect(rig.tcp).await.unwrap();
    again.write_all(&first).await.unwrap();
    assert!(timeout(LONG, again.read_u16()).await.unwrap().unwrap() > 12);
}

#[tokio::test]
async fn shutdown_ends_the_server_and_a_gone_core_is_no_disaster() {
    let rig = Rig::new().await;
    // The core goes with its channel: an unexpected request ends the loop in `Rig`.
    let mut sockets = Sockets::default();
    let address = sockets.open("127.0.0.1:0".parse().unwrap(), &Succession::default()).unwrap();
    let (summoner, requests) = Summoner::new(1);
    drop(requests);
    let zone = Arc::new(Zone::new(&config()).unwrap());
    let front = Front::new(zone, summoner, limits());
    tokio::spawn(Arc::new(front).serve(sockets, rig.shutdown.clone()));
    let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(address).await.unwrap();
    client.send(&question("www.jitsu.test.", RecordType::A).to_vec().unwrap()).await.unwrap();
    assert_eq!(receive(&client).await.metadata.response_code, ResponseCode::ServFail);

    rig.shutdown.cancel();
    timeout(LONG, rig.server).await.unwrap().unwrap();
}
