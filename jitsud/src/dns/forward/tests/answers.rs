//! What becomes of answers: told, kept, told again.

use hickory_server::proto::rr::rdata::CNAME;

use super::*;

#[test]
fn an_answer_goes_to_who_has_asked_and_is_kept() {
    let mut bench = Bench::new(&[NEAR]);
    let asked = with_edns(query("WWW.example.", RecordType::A), false);
    let ticket = bench.ask(ALICE, &asked).unwrap_err();
    let sent = bench.only();
    assert_eq!((sent.server, sent.via), (NEAR.parse().unwrap(), Via::Udp));
    assert!(sent.message.metadata.recursion_desired);
    let edns = sent.message.edns.as_ref().unwrap();
    assert_eq!((edns.max_payload(), edns.flags().dnssec_ok), (1232, false));
    bench.answer(&sent, |message| {
        message.metadata.authoritative = true;
        message.metadata.authentic_data = true;
        address(message, 60);
    });

    let reply = bench.reply(ticket).unwrap().clone();
    assert_eq!(reply.queries, asked.queries);
    assert_eq!(reply.queries[0].name().to_ascii(), "WWW.example.");
    assert_eq!(reply.metadata.id, 4711);
    let bits = reply.metadata;
    assert!(bits.recursion_available && bits.recursion_desired, "{bits:?}");
    assert!(!bits.authoritative && !bits.authentic_data && !bits.truncation, "{bits:?}");
    assert_eq!(reply.answers[0].ttl, 60);
    assert_eq!(reply.edns.as_ref().unwrap().max_payload(), 1232);
    assert_eq!(bench.closed, [sent.attempt]);

    // To another client, in another spelling, without EDNS, and for as long as it holds.
    bench.pass(40_000);
    let reply = bench.ask(BOB, &query("www.Example.", RecordType::A)).unwrap();
    assert_eq!(reply.queries[0].name().to_ascii(), "www.Example.");
    assert_eq!((reply.answers[0].ttl, reply.edns.is_none()), (20, true));
    assert!(bench.sent().is_empty());
    bench.pass(20_000);
    bench.wait_for(BOB, "www.example.");
    assert_eq!(bench.sent().len(), 1);
}

#[test]
fn what_has_no_ttl_is_not_kept_and_none_is_too_long() {
    let day = 24 * 60 * 60;
    for (ttl, told, kept) in [(0, 0, false), (1 << 31, 1 << 31, false), (u32::MAX >> 1, day, true)] {
        let mut bench = Bench::new(&[NEAR]);
        let ticket = bench.wait_for(ALICE, "www.example.");
        let sent = bench.only();
        bench.answer(&sent, |message| address(message, ttl));
        let told = if told > day { 0 } else { told };
        assert_eq!(bench.reply(ticket).unwrap().answers[0].ttl, told, "{ttl}");
        assert_eq!(bench.ask(ALICE, &query("www.example.", RecordType::A)).is_ok(), kept, "{ttl}");
    }
}

#[test]
fn an_absence_is_kept_for_as_long_as_its_soa_record_says() {
    for (code, ttl, minimum, kept) in [
        (ResponseCode::NXDomain, 300, 60, 60),
        (ResponseCode::NoError, 30, 60, 30),
        (ResponseCode::NXDomain, 86400, 86400, 3600),
    ] {
        let mut bench = Bench::new(&[NEAR]);
        let ticket = bench.wait_for(ALICE, "no.example.");
        let sent = bench.only();
        bench.answer(&sent, |message| absence(message, code, ttl, minimum));
        assert_eq!(bench.reply(ticket).unwrap().metadata.response_code, code);
        bench.pass(kept * 1000 - 1);
        let reply = bench.ask(BOB, &query("no.example.", RecordType::A)).unwrap();
        assert_eq!((reply.metadata.response_code, reply.authorities.len()), (code, 1));
        bench.pass(1);
        bench.wait_for(BOB, "no.example.");
    }
}

#[test]
fn an_absence_without_soa_record_is_not_kept() {
    let mut bench = Bench::new(&[NEAR]);
    bench.wait_for(ALICE, "no.example.");
    let sent = bench.only();
    bench.answer(&sent, |message| message.metadata.response_code = ResponseCode::NXDomain);
    bench.wait_for(ALICE, "no.example.");
}

#[test]
fn an_alias_that_leads_nowhere_is_an_absence() {
    let mut bench = Bench::new(&[NEAR]);
    bench.wait_for(ALICE, "alias.example.");
    let sent = bench.only();
    let alias = |message: &mut Message| {
        let target = RData::CNAME(CNAME(Name::from_ascii("nowhere.example.").unwrap()));
        let name = message.queries[0].name().clone();
        message.add_answer(Record::from_rdata(name, 3600, target));
        absence(message, ResponseCode::NXDomain, 50, 40);
    };
    bench.answer(&sent, alias);
    bench.pass(39_000);
    let reply = bench.ask(BOB, &query("alias.example.", RecordType::A)).unwrap();
    let ttls = (reply.answers[0].ttl, reply.authorities[0].ttl);
    assert_eq!(ttls, (3600 - 39, 50 - 39));
    bench.pass(1000);
    bench.wait_for(BOB, "alias.example.");
}

#[test]
fn signatures_are_another_answer() {
    let mut bench = Bench::new(&[NEAR]);
    bench.ask(ALICE, &with_edns(query("www.example.", RecordType::A), true)).unwrap_err();
    let sent = bench.only();
    assert!(sent.message.edns.as_ref().unwrap().flags().dnssec_ok);
    bench.answer(&sent, |message| address(message, 60));
    let again = with_edns(query("www.example.", RecordType::A), true);
    assert!(bench.ask(BOB, &again).unwrap().edns.unwrap().flags().dnssec_ok);
    // Without signatures, or unchecked ones, it has to be asked for.
    bench.wait_for(BOB, "www.example.");
    let mut unchecked = again;
    unchecked.metadata.checking_disabled = true;
    bench.ask(BOB, &unchecked).unwrap_err();
    let sent = bench.sent();
    assert_eq!(
        sent.iter().map(|sent| sent.message.metadata.checking_disabled).collect::<Vec<_>>(),
        [false, true]
    );
}

#[test]
fn whoever_does_not_desire_recursion_is_told_what_is_known() {
    let mut bench = Bench::new(&[NEAR]);
    let mut asked = with_edns(query("www.example.", RecordType::A), false);
    asked.metadata.recursion_desired = false;
    let reply = bench.ask(ALICE, &asked).unwrap();
    assert_eq!(reply.metadata.response_code, ResponseCode::Refused);
    assert!(reply.metadata.recursion_available && !reply.metadata.recursion_desired);
    assert_eq!(extended_error(&reply).unwrap().0, 20);
    assert!(bench.sent().is_empty());

    bench.wait_for(BOB, "www.example.");
    let sent = bench.only();
    bench.answer(&sent, |message| address(message, 60));
    assert_eq!(bench.ask(ALICE, &asked).unwrap().answers.len(), 1);
}

#[test]
fn a_reply_fits_who_has_asked() {
    let large = |message: &mut Message| {
        let name = message.queries[0].name().clone();
        for last in 0..60 {
            message.add_answer(Record::from_rdata(name.clone(), 60, RData::A(A::new(192, 0, 2, last))));
        }
        for last in 0..20 {
            message.add_additional(Record::from_rdata(
                name.clone(),
                60,
                RData::A(A::new(198, 51, 100, last)),
            ));
        }
    };
    let mut bench = Bench::new(&[NEAR]);
    let plain = bench.wait_for(ALICE, "large.example.");
    let edns = bench.ask(ALICE, &with_edns(query("large.example.", RecordType::A), false)).unwrap_err();
    let tcp = bench.ask_via(ALICE, &query("large.example.", RecordType::A), true).unwrap_err();
    let sent = bench.only();
    bench.answer(&sent, large);
    // 60 records of 16 bytes and no more than 1,232 bytes: without what is additional.
    for (ticket, truncated, answers, additional) in
        [(plain, true, 0, 0), (edns, false, 60, 0), (tcp, false, 60, 20)]
    {
        let reply = bench.reply(ticket).unwrap();
        let found = (reply.metadata.truncation, reply.answers.len(), reply.additionals.len());
        assert_eq!(found, (truncated, answers, additional));
    }
}

#[test]
fn records_of_types_that_nobody_knows_arrive_whole() {
    let mut bench = Bench::new(&[NEAR]);
    let ticket = bench.ask(ALICE, &query("odd.example.", RecordType::Unknown(65280))).unwrap_err();
    let sent = bench.only();
    let mut message = answer_to(&sent.message, |message| message.edns = None);
    message[7] = 1;
    message.extend([0xc0, 12, 0xff, 0x00, 0, 1, 0, 0, 0, 9, 0, 3, 1, 2, 3]);
    bench.receive(sent.attempt, &message);
    let reply = bench.reply(ticket).unwrap();
    assert_eq!((reply.answers[0].record_type(), reply.answers[0].ttl), (RecordType::Unknown(65280), 9));
}

#[test]
fn the_cache_has_a_bound_in_bytes_and_what_is_used_stays() {
    let mut bench = Bench::new(&[NEAR]);
    let mut most = 0;
    for number in 0..4000 {
        bench.wait_for(ALICE, &format!("host-{number}.example."));
        for sent in bench.sent() {
            bench.answer(&sent, |message| address(message, 3600));
        }
        most = most.max(bench.core.figures().kept_bytes);
        // In use all the time.
        assert!(bench.ask(BOB, &query("host-0.example.", RecordType::A)).is_ok(), "{number}");
    }
    assert!(most <= crate::dns::forward::cache::MAX_BYTES, "{most}");
    assert!(bench.core.figures().kept < 3000, "{}", bench.core.figures().kept);
    bench.wait_for(BOB, "host-1.example.");
    assert!(bench.ask(BOB, &query("host-3999.example.", RecordType::A)).is_ok());
}
