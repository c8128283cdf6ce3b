"""Limits: questions and starts of one source, equal responses to one network. Each case has sources of its own."""

import socket
import time

import dns.flags
import dns.message

from frame import PATIENCE, ask, case, data, dig, equal, extended_error, question, rcode, receive, service, status

import frame


def flood(source, messages):
    """Sends datagrams all at once; the replies, until the node answers somebody else who asks after them."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind((source, 0))
        datagrams.connect(frame.server.udp)
        for message in messages:
            datagrams.send(message.to_wire())
        # Those that wait for nothing are answered in turn, so that when this one is, all have been.
        ask("node.jitsu.test", source=f"127.200.{time.monotonic_ns() % 250}.{time.monotonic_ns() // 250 % 250 + 1}")
        datagrams.settimeout(0.2)
        replies = []
        try:
            while True:
                replies.append(dns.message.from_wire(datagrams.recv(4096), raise_on_truncation=False))
        except TimeoutError:
            return replies


@case("a source that asks too much over UDP is not answered, and others are")
def questions():
    before = status()["dns"]["limited"]
    # All different, so that responses are not what is limited: NODATA of each type.
    messages = [question("node.jitsu.test", f"TYPE{1000 + number}") for number in range(150)]
    replies = flood("127.1.0.1", messages)
    # As many as are saved, and those of the time that this has taken.
    assert 50 <= len(replies) < 120, f"{len(replies)} replies to 150 questions"
    assert status()["dns"]["limited"] - before >= 30
    equal(rcode(ask("node.jitsu.test", source="127.1.0.2")), "NOERROR")


@case("over TCP, questions beyond the rate are put off and not lost")
def put_off():
    with socket.create_connection(frame.server.tcp, PATIENCE, ("127.2.0.1", 0)) as stream:
        begin = time.monotonic()
        wire = question("node.jitsu.test").to_wire()
        stream.sendall((len(wire).to_bytes(2, "big") + wire) * 120)
        for _ in range(120):
            equal(rcode(dns.message.from_wire(receive(stream))), "NOERROR")
        took = time.monotonic() - begin
        assert took >= (120 - 50) / 100 * 0.9, f"120 questions were answered in {took:.2f} s"


@case("a source starts only so many services, is told so, and others start them")
def starts():
    replies = [ask(f"s{number}.jitsu.test", source="127.3.0.1", use_edns=0) for number in range(6)]
    equal([rcode(reply) for reply in replies], ["NOERROR"] * 3 + ["SERVFAIL"] * 3)
    code, text = extended_error(replies[-1])
    equal(code, 0)
    assert "started too many services" in text, text
    equal(service("s5")["state"], "off")
    # Those that run are answered for, whoever asks.
    while service("s0")["state"] != "ready":
        time.sleep(0.01)
    equal(data(ask("s0.jitsu.test", source="127.3.0.1")), ["10.0.2.20"])
    equal(data(ask("s5.jitsu.test", source="127.3.0.2")), ["10.0.2.25"])
    assert status()["dns"]["boots_limited"] >= 3
    time.sleep(1.1)
    equal(rcode(ask("s6.jitsu.test", source="127.3.0.1")), "NOERROR")


@case("equal responses to one network are limited, and every second one beyond says: come by TCP")
def responses():
    before = status()["dns"]
    replies = flood("127.4.0.1", [question("node.jitsu.test") for _ in range(50)])
    whole = [reply for reply in replies if reply.answer]
    slipped = [reply for reply in replies if not reply.answer]
    assert 20 <= len(whole) <= 35, f"{len(whole)} whole ones"
    assert all(reply.flags & dns.flags.TC for reply in slipped)
    assert abs(len(slipped) - (50 - len(whole)) / 2) <= 1, f"{len(slipped)} of {50 - len(whole)} were slipped"
    after = status()["dns"]
    equal(after["slipped"] - before["slipped"], len(slipped), "the number of slipped ones")
    equal(after["suppressed"] - before["suppressed"], 50 - len(replies), "the number of suppressed ones")
    # A neighbour is in the same network; another name, another network and TCP are not limited with it.
    neighbours = flood("127.4.0.2", [question("node.jitsu.test") for _ in range(10)])
    assert sum(bool(reply.answer) for reply in neighbours) <= 6
    equal(data(ask("node.jitsu.test", source="127.4.1.1")), ["10.0.2.15"])
    equal(rcode(ask("jitsu.test", "SOA", source="127.4.0.1")), "NOERROR")
    equal(data(ask("node.jitsu.test", source="127.4.0.1", tcp=True)), ["10.0.2.15"])


@case("who has really asked gets his answer: dig comes by TCP")
def slip():
    flood("127.5.0.1", [question("node.jitsu.test") for _ in range(49)])
    for _ in range(4):
        said = dig("-b", "127.5.0.1", "node.jitsu.test", "A", "+short", "+tries=3", "+time=1")
        equal([line for line in said.split() if not line.startswith(";")][-1], "10.0.2.15")


@case("names that do not exist are one kind of response")
def no_such_names():
    replies = flood("127.6.0.1", [question(f"n{number}.jitsu.test") for number in range(50)])
    whole = [reply for reply in replies if not reply.flags & dns.flags.TC]
    assert 20 <= len(whole) <= 35, f"{len(whole)} whole ones"
    equal({rcode(reply) for reply in whole}, {"NXDOMAIN"})
