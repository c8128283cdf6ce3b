//! Who has room in the table.

use super::*;
use crate::dns::forward::core::{MAX_TCP, MAX_WAITING, SHARE};

#[test]
fn equal_questions_are_one_and_each_gets_its_own_reply() {
    let mut bench = Bench::new(&[NEAR]);
    let alice = bench.wait_for(ALICE, "www.example.");
    let mut asked = query("WWW.EXAMPLE.", RecordType::A);
    asked.metadata.id = 42;
    let bob = bench.ask(BOB, &asked).unwrap_err();
    let sent = bench.only();
    bench.answer(&sent, |message| address(message, 60));
    assert_eq!(bench.reply(alice).unwrap().metadata.id, 4711);
    let reply = bench.reply(bob).unwrap();
    assert_eq!((reply.metadata.id, reply.queries[0].name().to_ascii().as_str()), (42, "WWW.EXAMPLE."));
}

#[test]
fn one_client_cannot_fill_the_table() {
    let mut bench = Bench::new(&[NEAR]);
    let bob = bench.wait_for(BOB, "bob.example.");
    let bobs = bench.only();
    let flood: Vec<Ticket> =
        (0..5000).map(|number| bench.wait_for(ALICE, &format!("{number}.flood.example."))).collect();
    assert_eq!(bench.core.figures().waiting, SHARE + 1);
    assert!(bench.core.figures().sockets <= 2 * (SHARE + 1));
    // Its own oldest have gone, with a word.
    let reply = bench.reply(flood[0]).unwrap();
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert!(bench.reply(flood[4999]).is_none());
    bench.answer(&bobs, |message| address(message, 60));
    assert_eq!(bench.reply(bob).unwrap().answers.len(), 1);
    let again = bench.wait_for(BOB, "again.example.");
    let sent = bench.sent().pop().unwrap();
    bench.answer(&sent, |message| address(message, 60));
    assert_eq!(bench.reply(again).unwrap().answers.len(), 1);
}

#[test]
fn when_many_fill_it_whoever_has_most_gives_way() {
    let mut bench = Bench::new(&[NEAR]);
    let bob = bench.wait_for(BOB, "bob.example.");
    let bobs = bench.only();
    for number in 0..SHARE {
        for client in 0..6 {
            bench.wait_for(&format!("10.0.0.{client}"), &format!("{number}.{client}.example."));
        }
    }
    assert_eq!(bench.core.figures().waiting, MAX_WAITING);
    assert!(bench.reply(bob).is_none());
    bench.answer(&bobs, |message| address(message, 60));
    assert_eq!(bench.reply(bob).unwrap().answers.len(), 1);
    // A newcomer finds room.
    let carol = bench.wait_for("192.168.1.52", "carol.example.");
    let sent = bench.sent().pop().unwrap();
    bench.answer(&sent, |message| address(message, 60));
    assert_eq!(bench.reply(carol).unwrap().answers.len(), 1);
}

#[test]
fn a_question_that_others_wait_for_goes_on() {
    let mut bench = Bench::new(&[NEAR]);
    bench.wait_for(ALICE, "shared.example.");
    let bob = bench.wait_for(BOB, "shared.example.");
    let shared = bench.only();
    for number in 0..SHARE {
        bench.wait_for(ALICE, &format!("{number}.flood.example."));
    }
    assert!(!bench.closed.contains(&shared.attempt));
    bench.answer(&shared, |message| address(message, 60));
    assert_eq!(bench.reply(bob).unwrap().answers.len(), 1);
}

#[test]
fn connections_are_few_and_shared() {
    let mut bench = Bench::new(&[NEAR]);
    for client in 0..8 {
        for number in 0..30 {
            bench.wait_for(&format!("10.0.0.{client}"), &format!("{number}.{client}.example."));
            for sent in bench.sent().iter().filter(|sent| sent.via == Via::Udp) {
                bench.answer(sent, |message| message.metadata.truncation = true);
            }
            let open = bench.core.figures().sockets;
            assert!(open <= MAX_TCP && open <= 8 * (client + 1), "{open} connections");
        }
    }
    assert_eq!(bench.core.figures().sockets, MAX_TCP);
    // Whoever came too late has been told to use a connection of its own.
    let (_, last) = bench.replies.last().unwrap();
    assert!(last.metadata.truncation);
    bench.pass(5000);
    assert_eq!(bench.core.figures().sockets, 0);
    assert_eq!(bench.replies.len(), 8 * 30);
}
