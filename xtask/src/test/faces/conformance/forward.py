"""What becomes of questions that the node is not authoritative for. The servers that it asks are the test's own."""

import socket
import threading
import time

import dns.flags
import dns.message
import dns.rdatatype

import frame
import upstream
from frame import ask, case, data, dig, equal, extended_error, kdig, matches, question, rcode, server

upstream.start(server.upstream)


@case("a name elsewhere is looked up by dig and kdig, and its spelling comes back as it was")
def forwarded():
    for tool in (dig, kdig):
        said = tool("Plain1.Example", "A")
        matches(r"status: NOERROR", said)
        matches(r"(?i)flags: qr rd ra;", said)
        matches(r"(?i)^plain1\.example\.\s+\d+\s+IN\s+A\s+192\.0\.2\.80$", said)
    matches(r"^Plain1\.Example\.\s", dig("Plain1.Example", "A"))


@case("what an upstream server claims to be is not passed on: authoritative, authentic")
def flags():
    reply = ask("proud1.example", use_edns=0)
    equal(data(reply), [upstream.TRUTH])
    assert not reply.flags & (dns.flags.AA | dns.flags.AD), reply
    assert reply.flags & dns.flags.RA


@case("the node's own answers say that recursion is available, too")
def available():
    reply = ask("node.jitsu.test")
    assert reply.flags & dns.flags.RA and reply.flags & dns.flags.AA


@case("an alias that leads elsewhere is followed for who wants recursion; the code is that of its end (RFC 6604)")
def aliases():
    for _ in range(2):
        reply = ask("abroad.jitsu.test")
        equal((data(reply, "CNAME"), data(reply)), (["plain-alias.example."], [upstream.TRUTH]))
        reply = ask("lost.jitsu.test")
        equal((rcode(reply), data(reply, "CNAME"), len(reply.authority)), ("NXDOMAIN", ["nxdomain-alias.example."], 1))
    asked = question("abroad.jitsu.test")
    asked.flags &= ~dns.flags.RD
    equal(len(ask(asked).answer), 1)
    # As on any host: the C library follows no aliases.
    matches(r"(?s)CNAME\s+plain-alias.example.*A\s+192\.0\.2\.80", dig("abroad.jitsu.test", "A"))


@case("an answer is kept: asked again by others, it comes from the cache")
def cached():
    for name, source in (("plain2.example", None), ("PLAIN2.example", "127.0.0.7"), ("plain2.Example", "127.0.0.8")):
        equal(data(ask(name, source=source)), [upstream.TRUTH])
    equal(len({(heard.server, heard.tcp) for heard in upstream.of("plain2.example")}), len(upstream.of("plain2.example")))
    assert len(upstream.of("plain2.example")) <= 2, "once, or once of each server"


@case("NXDOMAIN and NODATA are kept, with their SOA record (RFC 2308)")
def negative_cache():
    for name, code in (("nxdomain1.example", "NXDOMAIN"), ("nodata1.example", "NOERROR")):
        first = ask(name)
        before = len(upstream.of(name))
        second = ask(name)
        for reply in (first, second):
            equal((rcode(reply), reply.answer, len(reply.authority)), (code, [], 1))
            assert reply.authority[0].ttl <= 300
        equal(len(upstream.of(name)), before, "the number of questions")


@case("a truncated answer is asked for over TCP")
def tcp_fallback():
    equal(data(ask("truncated1.example")), [upstream.TRUTH])
    assert any(heard.tcp for heard in upstream.of("truncated1.example"))


@case("an answer of 4 KiB comes whole over TCP, and truncated over UDP; dig finds its way")
def large():
    equal(len(data(ask("large1.example", tcp=True))), 250)
    reply = ask("large1.example", use_edns=0, payload=1232)
    assert reply.flags & dns.flags.TC and not reply.answer
    # dig goes to the same port of TCP, which is another one behind QEMU.
    matches(r"ANSWER: 250", dig("large1.example", "A", *(["+tcp"] if server.node else [])))


@case("if one server is silent, the other is asked")
def silent():
    for number in range(4):
        equal(data(ask(f"lazy{number}.example")), [upstream.TRUTH])


@case("if one server fails, refuses or answers nonsense, the other is asked")
def failing():
    for what in ("half", "refusing", "garbled"):
        for number in range(3):
            equal(data(ask(f"{what}{number}.example")), [upstream.TRUTH], what)


@case("a server that does not know EDNS is asked without")
def old():
    reply = ask("old1.example", use_edns=0)
    equal((data(reply), reply.edns), ([upstream.TRUTH], 0))


@case("if all servers fail, it is SERVFAIL, with their own reason (RFC 8914)")
def all_fail():
    reply = ask("failing1.example", use_edns=0)
    equal((rcode(reply), extended_error(reply)), ("SERVFAIL", (6, "it is bogus")))


@case("if no server answers, it is SERVFAIL within seconds: No Reachable Authority")
def all_silent():
    start = time.monotonic()
    reply = ask("silent1.example", use_edns=0)
    equal((rcode(reply), extended_error(reply)[0]), ("SERVFAIL", 22))
    assert time.monotonic() - start < 15


@case("lies are not believed: another port, number, name, type or spelling")
def lies():
    for what in ("liar", "respelling", "guesser"):
        for number in range(3):
            for source in ("127.0.0.7", "127.0.0.8"):
                equal(data(ask(f"{what}{number}.example", source=source)), [upstream.TRUTH], what)


@case("ports, numbers and spellings of questions differ from each other")
def random():
    names = [f"random{number}-with-a-name-of-some-length.example" for number in range(40)]
    for name in names:
        ask(name)
    heard = [upstream.of(name)[0] for name in names]
    assert len({one.port for one in heard}) > 30, "ports"
    assert len({one.message.id for one in heard}) > 35, "numbers"
    upper = {tuple(letter.isupper() for letter in one.message.question[0].name.to_text()) for one in heard}
    assert len(upper) > 35, "spellings"


@case("who does not desire recursion gets what the cache has, or REFUSED")
def no_recursion():
    asked = question("plain3.example", use_edns=0)
    asked.flags &= ~dns.flags.RD
    reply = ask(asked)
    equal((rcode(reply), extended_error(reply)[0]), ("REFUSED", 20))
    equal(upstream.of("plain3.example"), [])
    ask("plain3.example")
    equal(data(ask(asked)), [upstream.TRUTH])


@case("signatures come to who wants them, and to nobody else")
def signatures():
    for dnssec in (True, False, True):
        reply = ask("signed1.example", want_dnssec=dnssec, use_edns=0)
        kinds = {rrset.rdtype for rrset in reply.answer}
        equal(dns.rdatatype.RRSIG in kinds, dnssec, "RRSIG")
        equal(bool(reply.ednsflags & dns.flags.DO), dnssec, "DO")
    assert any(heard.message.ednsflags & dns.flags.DO for heard in upstream.of("signed1.example"))


@case("records of types that nobody knows come whole")
def unknown_type():
    equal(data(ask("odd1.example", "TYPE65280"), "TYPE65280"), [r"\# 4 01020304"])


@case("equal questions of many clients are one", host_only=True)
def joined():
    replies = []
    asking = [
        threading.Thread(target=lambda last=last: replies.append(ask("lazy-joined.example", source=f"127.0.0.{last}")))
        for last in range(10, 30)
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    equal([data(reply) for reply in replies], [[upstream.TRUTH]] * 20)
    assert len(upstream.of("lazy-joined.example")) < 6, upstream.of("lazy-joined.example")


@case("one client that asks for names that nobody answers keeps no other client out", host_only=True)
def flood():
    flooder = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    flooder.bind(("127.0.0.9", 0))
    flooder.connect(server.udp)
    for number in range(2000):
        flooder.send(question(f"silent-flood-{number}.example").to_wire())
        if number % 100 == 0:
            reply = ask(f"plain-beside-{number}.example", source="127.0.0.8")
            equal(data(reply), [upstream.TRUTH])


@case("it is counted what was forwarded, what the cache knew, and what nobody has answered")
def counted():
    before = frame.status()["dns"]
    name = "plain-counted.example"
    for _ in range(3):
        ask(name)
    ask("failing-counted.example")
    after = frame.status()["dns"]
    grown = {key: after[key] - before[key] for key in ("forwarded", "from_cache", "unanswered", "upstream")}
    # One server at least for the first name, both for the other.
    assert grown.pop("upstream") >= 3
    equal(grown, {"forwarded": 4, "from_cache": 2, "unanswered": 1})


@case("reverse names of private addresses are asked of servers in the house")
def private_reverse():
    equal(rcode(ask("nxdomain.1.168.192.in-addr.arpa", "PTR")), "NXDOMAIN")
    equal(len(upstream.of("nxdomain.1.168.192.in-addr.arpa")) > 0, True, "asked")


@case("names that nobody can know are answered by the node: local, invalid, onion, localhost")
def special():
    for name in ("printer.local", "x.invalid", "x.onion", "x.127.in-addr.arpa"):
        reply = ask(name)
        equal((rcode(reply), len(reply.authority)), ("NXDOMAIN", 1), name)
        equal(upstream.of(name), [], name)
    equal(data(ask("localhost")), ["127.0.0.1"])
    equal(data(ask("localhost", "AAAA"), "AAAA"), ["::1"])


@case("many questions on one connection are answered, each with its own answer")
def pipelined():
    with socket.create_connection(server.tcp, frame.PATIENCE) as stream:
        asked = {}
        for number in range(20):
            message = question(f"plain-pipeline-{number}.example")
            asked[message.id] = message
            wire = message.to_wire()
            stream.sendall(len(wire).to_bytes(2, "big") + wire)
        for _ in range(len(asked)):
            reply = dns.message.from_wire(frame.receive(stream))
            equal(data(reply), [upstream.TRUTH])
            equal(reply.question, asked.pop(reply.id).question)
