//! Servers that are slow, gone, wrong, or not the ones that they seem to be.

use super::*;

#[test]
fn the_next_server_is_asked_when_one_is_slow_and_either_may_answer() {
    for slow_one_answers in [true, false] {
        let mut bench = Bench::new(&[NEAR, FAR]);
        settle(&mut bench);
        let ticket = bench.wait_for(ALICE, "www.example.");
        let first = bench.only();
        assert_eq!(first.server, NEAR.parse().unwrap());
        bench.pass(400);
        let second = bench.only();
        assert_eq!(second.server, FAR.parse().unwrap());
        assert_ne!(first.message.metadata.id, second.message.metadata.id);
        assert!(bench.closed.iter().all(|closed| *closed != first.attempt));
        bench.answer(if slow_one_answers { &first } else { &second }, |message| address(message, 60));
        assert_eq!(bench.reply(ticket).unwrap().answers.len(), 1);
        assert_eq!(bench.core.figures().sockets, 0);
    }
}

#[test]
fn when_nobody_answers_the_client_is_told_in_time() {
    let mut bench = Bench::new(&[NEAR, FAR]);
    let asked = with_edns(query("www.example.", RecordType::A), false);
    let ticket = bench.ask(ALICE, &asked).unwrap_err();
    bench.pass(4999);
    assert!(bench.reply(ticket).is_none());
    bench.pass(1);
    let reply = bench.reply(ticket).unwrap().clone();
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(extended_error(&reply).unwrap().0, 22);
    assert_eq!(bench.core.figures().sockets, 0);
    let times = bench.sent().len();
    assert!((4..=7).contains(&times), "{times} messages");
    // For a second, which is how often the question can go out at all.
    bench.pass(999);
    assert_eq!(bench.ask(BOB, &asked).unwrap().metadata.response_code, ResponseCode::ServFail);
    bench.pass(1);
    bench.ask(BOB, &asked).unwrap_err();
}

#[test]
fn when_nobody_can_be_reached_the_client_is_told_at_once() {
    let mut bench = Bench::new(&[NEAR, FAR]);
    let ticket = bench.ask(ALICE, &with_edns(query("www.example.", RecordType::A), false)).unwrap_err();
    for _ in 0..2 {
        for sent in bench.sent() {
            bench.fail(sent.attempt);
        }
    }
    let reply = bench.reply(ticket).unwrap();
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(extended_error(reply).unwrap().0, 23);
}

#[test]
fn without_servers_there_is_nothing_to_wait_for() {
    let mut bench = Bench::new(&[]);
    let reply = bench.ask(ALICE, &with_edns(query("www.example.", RecordType::A), false)).unwrap();
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(extended_error(&reply).unwrap().0, 22);
}

#[test]
fn a_server_that_says_no_is_not_believed_while_there_is_another() {
    for code in [ResponseCode::ServFail, ResponseCode::Refused, ResponseCode::NotImp, ResponseCode::FormErr] {
        let mut bench = Bench::new(&[NEAR, FAR]);
        settle(&mut bench);
        let ticket = bench.wait_for(ALICE, "www.example.");
        let mut first = bench.only();
        bench.answer(&first, |message| message.metadata.response_code = code);
        if matches!(code, ResponseCode::NotImp | ResponseCode::FormErr) {
            first = bench.only();
            assert_eq!((first.server, first.message.edns.is_none()), (NEAR.parse().unwrap(), true));
            bench.answer(&first, |message| message.metadata.response_code = code);
        }
        let second = bench.only();
        assert_eq!(second.server, FAR.parse().unwrap());
        bench.answer(&second, |message| address(message, 60));
        assert_eq!(bench.reply(ticket).unwrap().answers.len(), 1, "{code}");
    }
}

#[test]
fn why_a_server_has_failed_is_passed_on() {
    let mut bench = Bench::new(&[NEAR]);
    let ticket = bench.ask(ALICE, &with_edns(query("bogus.example.", RecordType::A), true)).unwrap_err();
    let sent = bench.only();
    bench.answer(&sent, |message| {
        message.metadata.response_code = ResponseCode::ServFail;
        let option = hickory_server::proto::rr::rdata::opt::EdnsOption::Unknown(15, b"\0\x06bogus".to_vec());
        message.edns.as_mut().unwrap().options_mut().insert(option);
    });
    let reply = bench.reply(ticket).unwrap();
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert_eq!(extended_error(reply), Some((6, "bogus".to_owned())));
}

#[test]
fn a_server_that_does_not_know_edns_is_asked_without() {
    let mut bench = Bench::new(&[NEAR]);
    let ticket = bench.wait_for(ALICE, "www.example.");
    let first = bench.only();
    bench.answer(&first, |message| {
        message.metadata.response_code = ResponseCode::FormErr;
        message.edns = None;
    });
    let second = bench.only();
    assert!(second.message.edns.is_none());
    bench.answer(&second, |message| address(message, 60));
    assert_eq!(bench.reply(ticket).unwrap().answers.len(), 1);
}

#[test]
fn what_does_not_fit_into_a_datagram_is_asked_for_over_tcp() {
    let mut bench = Bench::new(&[NEAR]);
    let ticket = bench.wait_for(ALICE, "large.example.");
    let first = bench.only();
    bench.answer(&first, |message| message.metadata.truncation = true);
    let second = bench.only();
    assert_eq!((second.server, second.via), (NEAR.parse().unwrap(), Via::Tcp));
    assert!(bench.closed.contains(&first.attempt));
    bench.answer(&second, |message| address(message, 60));
    assert_eq!(bench.reply(ticket).unwrap().answers.len(), 1);
    assert!(bench.ask(BOB, &query("large.example.", RecordType::A)).is_ok());
}

#[test]
fn if_tcp_does_not_work_the_client_may_try() {
    let mut bench = Bench::new(&[NEAR]);
    let udp = bench.wait_for(ALICE, "large.example.");
    let tcp = bench.ask_via(ALICE, &query("large.example.", RecordType::A), true).unwrap_err();
    let first = bench.only();
    bench.answer(&first, |message| message.metadata.truncation = true);
    let second = bench.only();
    bench.fail(second.attempt);
    let reply = bench.reply(udp).unwrap();
    assert!(reply.metadata.truncation && reply.metadata.response_code == ResponseCode::NoError);
    let reply = bench.reply(tcp).unwrap();
    assert!(!reply.metadata.truncation && reply.metadata.response_code == ResponseCode::ServFail);
}

#[test]
fn guesses_are_no_answers() {
    let mut bench = Bench::new(&[NEAR]);
    let ticket = bench.wait_for(ALICE, "www.example.");
    let sent = bench.only();
    let guesses: [fn(&mut Message); 5] = [
        |message| message.metadata.id ^= 1,
        |message| message.metadata.message_type = MessageType::Query,
        |message| message.queries.clear(),
        |message| message.queries = query("www.evil.example.", RecordType::A).queries,
        |message| message.queries = query("www.example.", RecordType::AAAA).queries,
    ];
    for guess in guesses {
        bench.answer(&sent, |message| {
            address(message, 60);
            guess(message);
        });
    }
    for noise in [&b""[..], b"x", &[0; 11], &[0xff; 600]] {
        bench.receive(sent.attempt, noise);
    }
    assert!(bench.reply(ticket).is_none());
    // So many that somebody must be guessing: a connection cannot be guessed into.
    let over_tcp = bench.only();
    assert_eq!(over_tcp.via, Via::Tcp);
    bench.answer(&over_tcp, |message| address(message, 60));
    assert_eq!(bench.reply(ticket).unwrap().answers.len(), 1);
}

#[test]
fn the_spelling_is_a_part_of_the_number() {
    let mut bench = Bench::new(&[NEAR]);
    let mut spellings = std::collections::BTreeSet::new();
    for client in 0..8 {
        let name = format!("a-long-name-with-many-letters-{client}.example.");
        bench.wait_for(ALICE, &name);
        let sent = bench.only();
        let spelt = sent.message.queries[0].name().to_ascii();
        assert!(spelt.eq_ignore_ascii_case(&name));
        spellings.insert(spelt.chars().map(|c| c.is_ascii_uppercase()).collect::<Vec<_>>());
    }
    assert_eq!(spellings.len(), 8);
}

#[test]
fn a_server_that_respells_names_is_found_out_over_tcp_and_believed_from_then_on() {
    let lower = |message: &mut Message| {
        let name = message.queries[0].name().to_lowercase();
        message.queries = vec![Query::query(name, RecordType::A)];
        address(message, 60);
    };
    let mut bench = Bench::new(&[NEAR]);
    let ticket = bench.wait_for(ALICE, "some-name.example.");
    let sent = bench.only();
    assert!(sent.message.queries[0].name().to_ascii().chars().any(|c| c.is_ascii_uppercase()));
    bench.answer(&sent, lower);
    assert!(bench.reply(ticket).is_none());
    let over_tcp = bench.only();
    assert_eq!(over_tcp.via, Via::Tcp);
    bench.answer(&over_tcp, lower);
    assert!(bench.reply(ticket).is_some());

    let ticket = bench.wait_for(ALICE, "some-other-name.example.");
    let sent = bench.only();
    bench.answer(&sent, lower);
    assert!(bench.reply(ticket).is_some());
}

#[test]
fn a_message_that_claims_more_than_it_holds_is_no_answer() {
    let mut bench = Bench::new(&[NEAR, FAR]);
    settle(&mut bench);
    let ticket = bench.wait_for(ALICE, "www.example.");
    let sent = bench.only();
    let whole = answer_to(&sent.message, |message| address(message, 60));
    // The last byte of the address is missing; or there are 65,535 of them.
    let mut short = whole.clone();
    short.truncate(whole.len() - 12);
    bench.receive(sent.attempt, &short);
    let next = bench.only();
    assert_eq!(next.server, FAR.parse().unwrap());
    let mut many = answer_to(&next.message, |message| address(message, 60));
    many[6..8].copy_from_slice(&[0xff; 2]);
    bench.receive(next.attempt, &many);
    assert_eq!(bench.reply(ticket).unwrap().metadata.response_code, ResponseCode::ServFail);
    assert!(bench.core.figures().kept_bytes < 1000);
}

#[test]
fn a_pointer_leads_back_or_the_message_is_no_answer() {
    let mut bench = Bench::new(&[NEAR]);
    let ticket = bench.wait_for(ALICE, "www.example.");
    let sent = bench.only();
    let mut message = answer_to(&sent.message, |message| message.edns = None);
    message[7] = 1;
    let here = message.len() as u8;
    message.extend([0xc0, here, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 1, 2, 3, 4]);
    bench.receive(sent.attempt, &message);
    assert_eq!(bench.reply(ticket).unwrap().metadata.response_code, ResponseCode::ServFail);
}

#[test]
fn the_quickest_server_goes_first_and_the_others_are_tried_beside_it() {
    let mut bench = Bench::new(&[NEAR, NEXT]);
    // At first, nothing is known of either: both are asked.
    bench.wait_for(ALICE, "0.example.");
    let sent = bench.sent();
    assert_eq!(sent.len(), 2);
    let to = |sent: &[Sent], server: &str| {
        sent.iter().find(|sent| sent.server == server.parse().unwrap()).unwrap().clone()
    };
    bench.pass(10);
    bench.answer(&to(&sent, NEXT), |message| address(message, 60));
    bench.wait_for(ALICE, "1.example.");
    let first = bench.only();
    assert_eq!(first.server, NEXT.parse().unwrap());
    // It goes silent; the other one is found to be there, and goes first after three such questions.
    bench.pass(400);
    let second = bench.only();
    assert_eq!(second.server, NEAR.parse().unwrap());
    bench.pass(20);
    bench.answer(&second, |message| address(message, 60));
    for number in 2..4 {
        bench.wait_for(ALICE, &format!("{number}.example."));
        bench.pass(400);
        let sent = bench.sent();
        bench.answer(&to(&sent, NEAR), |message| address(message, 60));
    }
    bench.wait_for(ALICE, "4.example.");
    let first = bench.only();
    assert_eq!(first.server, NEAR.parse().unwrap());
    bench.pass(20);
    bench.answer(&first, |message| address(message, 60));

    // It comes back: half a minute later it is asked beside the other, answers sooner, and goes first again.
    bench.pass(30_000);
    bench.wait_for(ALICE, "5.example.");
    let sent = bench.sent();
    assert_eq!(sent.len(), 2);
    bench.pass(10);
    bench.answer(&to(&sent, NEXT), |message| address(message, 60));
    bench.wait_for(ALICE, "6.example.");
    assert_eq!(bench.only().server, NEXT.parse().unwrap());
}

#[test]
fn other_servers_are_of_another_network() {
    let mut bench = Bench::new(&[NEAR]);
    bench.wait_for(ALICE, "www.example.");
    let sent = bench.only();
    bench.answer(&sent, |message| address(message, 60));
    bench.core.replace_upstreams(&[FAR.parse().unwrap()]);
    bench.wait_for(ALICE, "www.example.");
    assert_eq!(bench.only().server, FAR.parse().unwrap());
}

/// Has the first server answer a question, so that it goes first and no other is tried for a while.
fn settle(bench: &mut Bench) {
    bench.wait_for(ALICE, "first.example.");
    bench.pass(5);
    let sent = bench.sent();
    let first = sent.iter().find(|sent| sent.server == NEAR.parse().unwrap()).unwrap();
    bench.answer(first, |message| address(message, 60));
}
