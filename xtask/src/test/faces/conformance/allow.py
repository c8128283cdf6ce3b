"""Who may ask at all."""

import socket

import dns.message

from frame import PATIENCE, ask, case, data, equal, extended_error, question, rcode, requests, status

import frame


@case("who is on the allow-list is answered, over UDP and TCP")
def allowed():
    for tcp in (False, True):
        equal(data(ask("www.jitsu.test", source="127.0.1.7", tcp=tcp)), ["10.0.2.20"])


@case("who is not is refused with the extended error Prohibited, and starts nothing")
def refused():
    before = requests("www")
    for tcp in (False, True):
        reply = ask("wWw.jitsu.test", source="127.0.2.7", tcp=tcp, use_edns=0)
        equal((rcode(reply), reply.answer, extended_error(reply)[0]), ("REFUSED", [], 18))
        equal(reply.question[0].name.to_text(), "wWw.jitsu.test.")
        reply = ask("www.jitsu.test", source="127.0.2.7", tcp=tcp)
        equal((rcode(reply), reply.edns), ("REFUSED", -1))
    equal(requests("www"), before)


@case("a flood of those who are not allowed gets few replies, and others are served")
def bounded():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(("127.0.2.8", 0))
        datagrams.connect(frame.server.udp)
        for _ in range(100):
            datagrams.send(question("www.jitsu.test").to_wire())
        equal(data(ask("www.jitsu.test", source="127.0.1.8")), ["10.0.2.20"])
        datagrams.settimeout(0.2)
        count = 0
        try:
            while True:
                equal(rcode(dns.message.from_wire(datagrams.recv(4096))), "REFUSED")
                count += 1
        except TimeoutError:
            pass
    assert 1 <= count <= 30, f"{count} replies"
    assert status()["dns"]["ignored"] >= 70
