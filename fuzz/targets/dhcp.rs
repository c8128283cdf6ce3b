//! What a DHCP server, or whoever claims to be one, sends to a client, in any state of its lease. What is taken is
//! an address that a host can have, for a time that makes sense; and the client never asks without end.
#![no_main]

use std::net::Ipv4Addr;

use jitsud::config::{Addressing, Mac};
use jitsud::dhcp::{Client, Event, Identity, Lease, Output, Reply};
use jitsud::directory::Moment;
use jitsud::random::Random;
use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;

const MAC: Mac = Mac([0x00, 0x16, 0x3e, 0, 2, 20]);
const MINUTE: u64 = 60;
const DAY: u64 = 24 * 60 * MINUTE;

/// Places of the transaction's number and of the client's address on the link (RFC 2131, figure 1).
const XID: usize = 4;
const CHADDR: usize = 28;

fn is_host(address: &Ipv4Addr) -> bool {
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast() || address.is_broadcast())
}

fn check_lease(lease: &Lease) {
    let Addressing { address, prefix, gateway } = lease.addressing;
    assert_eq!(Addressing::fault(address, prefix), None);
    assert!(gateway.is_none_or(|gateway| lease.addressing.gateway_fault(gateway).is_none()));
    for servers in [&lease.dns, &lease.ntp] {
        assert!(servers.len() <= 8 && servers.iter().all(is_host));
    }
    assert!(is_host(&lease.server));
    let fits = |domain: &String| {
        (1..=253).contains(&domain.len()) && domain.bytes().all(|byte| byte.is_ascii_graphic())
    };
    assert!(lease.domain.as_ref().is_none_or(fits));
    let (duration, renewal) = (lease.duration.as_secs(), lease.renewal.as_secs());
    assert!((MINUTE..=30 * DAY).contains(&duration));
    assert!((duration / 8..=duration / 8 * 7).contains(&renewal));
}

/// Looks at what the client does; the number of its transaction, if it asks.
fn check_output(output: Output, client: &Client) -> Option<[u8; 4]> {
    if let Some(Event::Leased(lease)) = output.event {
        check_lease(&lease);
        assert_eq!(client.lease(), Some(&lease));
    }
    let question = output.send?;
    // A BOOTREQUEST over Ethernet, with the broadcast flag.
    assert!(question.len() >= 300 && question[..4] == [1, 1, 6, 0] && question[10] == 0x80);
    assert_eq!(question[CHADDR..CHADDR + 6], MAC.0);
    question[XID..].first_chunk().copied()
}

fuzz_target!(|input: &[u8]| {
    let mut random = Random::seeded(1);
    let mut now = Moment(1);
    let identity = Identity { mac: MAC, name: "www".to_owned() };
    let mut client = Client::new(identity, now, &mut random);
    let mut xid = None;
    let mut script = Unstructured::new(input);
    while let Ok([what, length]) = script.bytes(2).map(|bytes| [bytes[0], bytes[1]]) {
        if what & 1 == 0 {
            // On time, or up to 36 hours late.
            let late = u64::from(length) * u64::from(what >> 1) * 4 * 1_000_000_000;
            now = Moment(client.deadline().0.max(now.0).saturating_add(late));
            // Once for what is due; what comes of that may be due too, but not again and again.
            for _ in 0..3 {
                let output = client.timer(now, &mut random);
                xid = check_output(output, &client).or(xid);
            }
            assert!(client.deadline() > now);
            continue;
        }
        // In words of four bytes.
        let length = (usize::from(length) * 4).min(script.len());
        let mut message = script.bytes(length).expect("there are as many").to_vec();
        // Most are about what the client has asked.
        if what & 2 == 0
            && message.len() >= CHADDR + 6
            && let Some(xid) = xid
        {
            message[XID..XID + 4].copy_from_slice(&xid);
            message[CHADDR..CHADDR + 6].copy_from_slice(&MAC.0);
        }
        let Some(reply) = Reply::parse(&message) else { continue };
        reply.lease.iter().for_each(check_lease);
        let output = client.receive(now, &reply, &mut random);
        xid = check_output(output, &client).or(xid);
    }
});
