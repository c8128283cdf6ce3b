"""What the node answers as the authority for its zone, and how it deals with messages that are not as usual."""

import socket
import struct
import threading
import time

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.query
import dns.rdataclass
import dns.rdatatype

from frame import (
    ask, case, data, dig, equal, extended_error, is_absent, kdig, matches, question, raw, rcode, receive, requests,
    server, service, silence, status, wakes,
)

import frame


# Records of the zone.

@case("an A record of a service, from a name in any spelling")
def a_record():
    reply = ask("www.jitsu.test")
    equal((rcode(reply), data(reply)), ("NOERROR", ["10.0.2.21"]))
    assert reply.flags & dns.flags.AA
    matches_dig = dig("WWW.Jitsu.Test", "A", "+short")
    equal(matches_dig.split(), ["10.0.2.21"])


@case("an AAAA record of a service that has one, and of the node")
def aaaa_record():
    equal(data(ask("six.jitsu.test", "AAAA"), "AAAA"), ["fd00:6a::22"])
    equal(data(ask("node.jitsu.test", "AAAA"), "AAAA"), ["fd00:6a::15"])


@case("the node's own A record")
def node_record():
    equal(data(ask("node.jitsu.test")), ["10.0.2.15"])


@case("PTR records of services and the node, in both families, by dig -x")
def ptr_record():
    for address, name in [
        ("10.0.2.21", "www.jitsu.test."),
        ("10.0.2.15", "node.jitsu.test."),
        ("fd00:6a::22", "six.jitsu.test."),
    ]:
        equal(dig("-x", address, "+short").split(), [name])


@case("a reverse name is a zone of its own: NODATA and NXDOMAIN with its SOA")
def reverse_zone():
    zone = "21.2.0.10.in-addr.arpa."
    is_absent(ask(zone, "A"), "NOERROR", zone)
    is_absent(ask("x." + zone, "PTR"), "NXDOMAIN", zone)
    equal(len(ask(zone, "SOA").answer), 1)


@case("SOA and NS at the zone's name")
def zone_records():
    reply = ask("jitsu.test", "SOA")
    (soa,) = reply.answer
    equal((soa.name.to_text(), soa[0].mname.to_text()), ("jitsu.test.", "node.jitsu.test."))
    equal(data(ask("jitsu.test", "NS"), "NS"), ["node.jitsu.test."])
    is_absent(ask("www.jitsu.test", "NS"), "NOERROR")


@case("HTTPS and SVCB records where they are configured")
def https_record():
    matches(r"^www\.jitsu\.test\.\s+60\s+IN\s+(TYPE65|HTTPS)\s", kdig("www.jitsu.test", "TYPE65"))
    (rrset,) = ask("www.jitsu.test", "HTTPS").answer
    equal((rrset[0].priority, rrset[0].target.to_text()), (1, "."))
    equal(rrset[0].params[1].ids, (b"h2",))
    (rrset,) = ask("_dns.jitsu.test", "SVCB").answer
    equal(rrset[0].target.to_text(), "node.jitsu.test.")


@case("SRV, TXT, MX and CAA records where they are configured, with their TTLs")
def other_records():
    matches(r"^_http\._tcp\.jitsu\.test\.\s+300\s+IN\s+SRV\s+0 5 80 www\.jitsu\.test\.$", dig("_http._tcp.jitsu.test", "SRV"))
    equal(data(ask("www.jitsu.test", "TXT"), "TXT"), ['"one string" "and another"'])
    equal(data(ask("jitsu.test", "MX"), "MX"), ["10 mail.example.org."])
    equal(data(ask("jitsu.test", "CAA"), "CAA"), ['0 issue "ca.example.net"'])


@case("names with several addresses are answered with all of them, in turns")
def several_addresses():
    firsts = set()
    for _ in range(4):
        reply = ask("fixed.jitsu.test")
        equal(data(reply), ["10.0.2.200", "10.0.2.201"])
        firsts.add(reply.answer[0][0].to_text())
    equal(len(firsts), 2, "the number of first addresses")


@case("a name of several services starts all of them, and has all their addresses with the shortest TTL")
def several_services():
    reply, count = wakes(["left", "right"], "pair.jitsu.test")
    equal((data(reply), count), (["10.0.2.23", "10.0.2.24"], 2))
    equal(reply.answer[0].ttl, 50, "the TTL")
    reply, count = wakes(["left", "right"], "pair.jitsu.test", "AAAA")
    equal((data(reply, "AAAA"), count), (["fd00:6a::23"], 1), "what has an IPv6 address")


@case("if one of several services cannot be started, the others are answered")
def half_of_the_services():
    equal(data(ask("half.jitsu.test")), ["10.0.2.23"])


@case("wildcard names lead to one service, and names that exist do not (RFC 4592)")
def wildcard_service():
    equal(data(ask("anything.all.jitsu.test")), ["10.0.2.32"])
    equal(data(ask("a.b.all.jitsu.test")), ["10.0.2.32"])
    equal(data(ask("*.all.jitsu.test")), ["10.0.2.32"])
    # The closest encloser of these is a name that exists.
    is_absent(ask("x.own.all.jitsu.test"), "NXDOMAIN")
    is_absent(ask("all.jitsu.test"), "NOERROR")


@case("wildcard records: types that are missing are NODATA, names that exist block them (RFC 4592)")
def wildcard_records():
    reply = ask("some.wild.jitsu.test", "TXT")
    equal((reply.answer[0].name.to_text(), data(reply, "TXT")), ("some.wild.jitsu.test.", ['"a wildcard"']))
    is_absent(ask("some.wild.jitsu.test", "MX"), "NOERROR")
    is_absent(ask("real.wild.jitsu.test", "TXT"), "NOERROR")
    is_absent(ask("x.real.wild.jitsu.test", "TXT"), "NXDOMAIN")


@case("a virtual machine for each host name: it keeps its own, and a name too many gets SERVFAIL with the reason")
def instances():
    (alice,) = data(ask("alice.users.jitsu.test"))
    (bob,) = data(ask("Bob.Users.jitsu.test"))
    equal(sorted([alice, bob]), ["10.0.2.101", "10.0.2.102"])
    equal(data(ask("ALICE.users.jitsu.test")), [alice])
    equal(data(ask("bob.users.jitsu.test")), [bob])
    hosts = {service("users-1")["host"], service("users-2")["host"]}
    equal(hosts, {"alice.users.jitsu.test", "bob.users.jitsu.test"})
    reply = ask("carol.users.jitsu.test", use_edns=0)
    equal((rcode(reply), extended_error(reply)), ("SERVFAIL", (0, "all 2 instances are in use for other host names")))
    equal(data(ask("alice.users.jitsu.test")), [alice])


@case("the question is echoed byte for byte (0x20), and names are compressed to it")
def spelling():
    for name in ("wWw.JiTsU.tEsT", "NOpe.JITsu.test", "aLIAs2.jitsu.TEST"):
        message = question(name).to_wire()
        reply = raw(message)
        equal(reply[12:len(message)], message[12:], "the question")
        if reply[7]:
            equal(reply[len(message):len(message) + 2], b"\xc0\x0c", "the first owner's name")
    # The SOA's name is the end of the question's.
    message = question("NOpe.JITsu.test").to_wire()
    equal(raw(message)[len(message):len(message) + 2], b"\xc0\x11", "the zone's name")


# Edges.

@case("AAAA for a name with IPv4 only is NODATA with SOA, and starts nothing")
def no_aaaa():
    reply, count = wakes(["cold"], "cold.jitsu.test", "AAAA")
    is_absent(reply, "NOERROR")
    equal(count, 0, "the number of starts")
    matches(r"status: NOERROR.*\n.*ANSWER: 0, AUTHORITY: 1", dig("cold.jitsu.test", "AAAA"))


@case("negative TTLs are the SOA's minimum (RFC 2308)")
def negative_ttl():
    own = ask("jitsu.test", "SOA").answer[0]
    for reply in (ask("nope.jitsu.test"), ask("www.jitsu.test", "AAAA")):
        (soa,) = reply.authority
        equal((soa.ttl, soa[0]), (min(own.ttl, own[0].minimum), own[0]))


@case("NXDOMAIN below the zone, with SOA")
def no_such_name():
    is_absent(ask("nope.jitsu.test"), "NXDOMAIN")
    is_absent(ask("a.b.c.jitsu.test", "TXT"), "NXDOMAIN")
    is_absent(ask("x.www.jitsu.test"), "NXDOMAIN")
    matches(r"status: NXDOMAIN", dig("nope.jitsu.test"))


@case("a name between others is NODATA and not NXDOMAIN (RFC 8020)")
def empty_non_terminal():
    is_absent(ask("below.jitsu.test"), "NOERROR")
    is_absent(ask("_tcp.jitsu.test", "SRV"), "NOERROR")


@case("a CNAME is followed in the zone, and a question for an address starts the service that it leads to")
def alias():
    reply, count = wakes(["target"], "alias2.jitsu.test")
    equal(count, 1, "the number of starts")
    said = [(rrset.name.to_text(), dns.rdatatype.to_text(rrset.rdtype), rrset[0].to_text()) for rrset in reply.answer]
    equal(said, [
        ("alias2.jitsu.test.", "CNAME", "alias.jitsu.test."),
        ("alias.jitsu.test.", "CNAME", "target.jitsu.test."),
        ("target.jitsu.test.", "A", "10.0.2.31"),
    ])


@case("a CNAME is an answer of its own when it is asked for, and starts nothing")
def alias_itself():
    reply, count = wakes(["target"], "alias.jitsu.test", "CNAME")
    equal((data(reply, "CNAME"), count), (["target.jitsu.test."], 0))


@case("a CNAME whose end lacks the type or the name is NODATA or NXDOMAIN, with the CNAME (RFC 2308, RFC 6604)")
def alias_to_nothing():
    for name, kind, code in (("alias.jitsu.test", "TXT", "NOERROR"), ("nowhere.jitsu.test", "A", "NXDOMAIN")):
        reply = ask(name, kind)
        equal((rcode(reply), len(reply.answer)), (code, 1))
        equal(reply.authority[0].rdtype, dns.rdatatype.SOA)


@case("a CNAME that leads out of the zone is answered as far as it is the zone's, without forwarding", host_only=True)
def alias_out():
    reply = ask("outside.jitsu.test")
    equal((rcode(reply), data(reply, "CNAME")[0]), ("NOERROR", "www.example.org."))


@case("CNAMEs that lead in a circle are SERVFAIL, and an extended error says so")
def circle():
    reply = ask("circle.jitsu.test", use_edns=0)
    equal((rcode(reply), reply.answer), ("SERVFAIL", []))
    assert "alias" in extended_error(reply)[1]


@case("ANY gets HINFO \"RFC8482\", and starts nothing")
def any_type():
    reply, count = wakes(["cold"], "cold.jitsu.test", "ANY")
    equal((data(reply, "HINFO"), count), (['"RFC8482" ""'], 0))
    is_absent(ask("nope.jitsu.test", "ANY"), "NXDOMAIN")
    equal(data(ask("alias.jitsu.test", "ANY"), "HINFO"), ['"RFC8482" ""'])


@case("unknown types are NODATA (RFC 3597)")
def unknown_types():
    for number in (0, 65280, 65535, 130):
        is_absent(ask("www.jitsu.test", f"TYPE{number}"), "NOERROR")
    matches(r"status: NOERROR", dig("www.jitsu.test", "TYPE4711"))


@case("other classes are refused: CH, HS, ANY, unknown ones")
def other_classes():
    for rdclass in ("CH", "HS", "ANY", "CLASS4711"):
        equal(rcode(ask("www.jitsu.test", "A", rdclass=rdclass)), "REFUSED", rdclass)
    for name in ("version.bind", "id.server", "hostname.bind"):
        matches("status: REFUSED", dig(name, "TXT", "CH"))


@case("zone transfers are refused, over UDP and TCP")
def transfers():
    for tcp in (False, True):
        equal(rcode(ask("jitsu.test", "AXFR", tcp=tcp)), "REFUSED")
        equal(rcode(ask("jitsu.test", "IXFR", tcp=tcp)), "REFUSED")


@case("EDNS is answered with EDNS, and its absence with its absence; 1232 bytes are offered")
def edns():
    equal(ask("www.jitsu.test").edns, -1)
    reply = ask("www.jitsu.test", use_edns=0, payload=4096)
    equal((reply.edns, reply.payload, reply.ednsflags), (0, 1232, 0))
    matches(r"EDNS: version: 0, flags:; udp: 1232", dig("www.jitsu.test", "+edns=0"))


@case("an EDNS version of the future is BADVERS with version 0, and starts nothing")
def bad_version():
    message = question("cold.jitsu.test")
    message.use_edns(1)
    before = requests("cold")
    reply = ask(message)
    equal((rcode(reply), reply.edns, len(reply.answer)), ("BADVERS", 0, 0))
    equal(requests("cold") - before, 0, "the number of starts")
    matches(r"status: BADVERS", dig("www.jitsu.test", "+edns=77", "+noednsnegotiation"))


@case("unknown EDNS options and flags are ignored and not repeated; DO is")
def edns_options():
    option = dns.edns.GenericOption(65001, b"anything")
    message = question("www.jitsu.test")
    message.use_edns(0, ednsflags=0x7fff, options=[option])
    reply = ask(message)
    equal((data(reply), list(reply.options), reply.ednsflags), (["10.0.2.21"], [], 0))
    matches(r"EDNS: version: 0, flags: do;", dig("www.jitsu.test", "+dnssec"))
    matches(r"status: NOERROR", dig("www.jitsu.test", "+ednsflags=0x40", "+ednsopt=100:0102", "+subnet=192.0.2.0/24"))


@case("a cookie and an NSID request do no harm")
def known_options():
    matches(r"status: NOERROR", dig("www.jitsu.test", "+cookie=0011223344556677", "+nsid"))


@case("the Z bit, AD and CD in a question do no harm; CD is repeated and the others are not")
def header_bits():
    message = bytearray(question("www.jitsu.test").to_wire())
    message[3] |= 0x70
    reply = raw(bytes(message))
    equal((reply[3] & 0x70, reply[3] & 0x0f), (0x10, 0), "bits and code")


@case("RD is repeated; a server that does not forward does not offer recursion for its own zone's sake")
def recursion_bits():
    for flags in (0, dns.flags.RD):
        reply = ask("www.jitsu.test", flags=flags)
        equal(reply.flags & dns.flags.RD, flags)


@case("two OPT records, and one outside of the additional section, are FORMERR")
def two_edns():
    opt = b"\0" + struct.pack(">HHIH", 41, 1232, 0, 0)
    plain = question("cold.jitsu.test").to_wire()
    for counts in ((0, 0, 2), (1, 0, 0), (0, 1, 0)):
        message = plain[:6] + struct.pack(">HHH", *counts) + plain[12:] + opt * sum(counts)
        equal(raw(message)[3] & 0xf, 1, f"the code with {counts}")


@case("what does not fit into 512 bytes without EDNS is truncated by whole sets, and is whole over TCP")
def truncation():
    reply = ask("large.jitsu.test", "TXT")
    assert reply.flags & dns.flags.TC and not reply.answer, reply
    assert len(reply.to_wire()) <= 512
    equal(len(ask("large.jitsu.test", "TXT", tcp=True).answer[0]), 4)
    # With EDNS it fits.
    reply = ask("large.jitsu.test", "TXT", use_edns=0, payload=1232)
    assert not reply.flags & dns.flags.TC
    equal(len(reply.answer[0]), 4)


@case("what does not fit into 1232 bytes is truncated whatever the client offers, and keeps its EDNS")
def truncation_with_edns():
    message = question("huge.jitsu.test", "TXT", use_edns=0, payload=65535)
    reply = ask(message)
    assert reply.flags & dns.flags.TC and not reply.answer
    equal((reply.edns, reply.payload), (0, 1232))
    matches(r"flags: qr aa[^;]*;.*ANSWER: 12", dig("huge.jitsu.test", "TXT", "+tcp"))


@case("an offer of fewer than 512 bytes counts as 512")
def small_payload():
    message = question("www.jitsu.test", "TXT", use_edns=0, payload=10)
    equal(len(ask(message).answer), 1)


@case("operations other than questions are NOTIMP")
def operations():
    for opcode in (dns.opcode.IQUERY, dns.opcode.STATUS, dns.opcode.NOTIFY, dns.opcode.UPDATE, 7, 15):
        message = bytearray(question("www.jitsu.test").to_wire())
        message[2] = message[2] & ~0x78 | opcode << 3
        reply = raw(bytes(message))
        equal((reply[:2], reply[2] & 0x78, reply[3] & 0xf), (bytes(message[:2]), opcode << 3, 4))
    matches(r"opcode: NOTIFY, status: NOTIMP", dig("www.jitsu.test", "+opcode=notify"))


@case("malformed questions are FORMERR, over UDP and TCP, and start nothing")
def malformed():
    good = question("cold.jitsu.test").to_wire()
    header = good[:12]
    before = requests("cold")
    bad = {
        "no question": good[:4] + b"\0\0" + good[6:],
        "two questions": good[:4] + b"\0\2" + good[6:] + good[12:],
        "a header alone": header,
        "a question that is cut off": good[:-1],
        "a label that is cut off": header + b"\x04col",
        "a label of 64 bytes": header + b"\x40" + b"a" * 64 + b"\0\0\1\0\1",
        "a name of 256 bytes": header + (b"\x3f" + b"a" * 63) * 4 + b"\0\0\1\0\1",
        "a pointer in the question": header + b"\xc0\x0c\0\1\0\1",
        "a record that is missing": good[:10] + b"\0\1" + good[12:],
        "a record that is cut off": good[:10] + b"\0\1" + good[12:] + b"\0\0\x29\4\xd0\0\0\0\0\0\5abc",
        "an option that is longer than its record":
            good[:10] + b"\0\1" + good[12:] + b"\0\0\x29\4\xd0\0\0\0\0\0\4\0\x0a\0\x08",
    }
    for what, message in bad.items():
        for tcp in (False, True):
            reply = raw(message, tcp)
            equal((reply[:2], reply[2] & 0x80, reply[3] & 0xf), (message[:2], 0x80, 1), what)
    equal(requests("cold") - before, 0, "the number of starts")


@case("replies, and what is no message, are met with silence")
def replies():
    good = question("www.jitsu.test").to_wire()
    for message in (b"", b"\0", good[:11], good[:2] + b"\x80" + good[3:], good[:2] + b"\xf8" + good[3:14]):
        silence(message)


# Starting services.

@case("a summon that fails is SERVFAIL, and an extended error says why (RFC 8914)")
def failure():
    reply = ask("broken.jitsu.test", use_edns=0)
    equal(rcode(reply), "SERVFAIL")
    code, text = extended_error(reply)
    assert code == 0 and "next try in" in text, text
    equal(reply.answer, [])
    # The client did not ask for EDNS, and is not told.
    equal((rcode(ask("broken.jitsu.test")), ask("broken.jitsu.test").edns), ("SERVFAIL", -1))
    matches(r"EDE: 0 \(Other\): \(.*next try in", dig("broken.jitsu.test"))


@case("a service that only an administrator starts is SERVFAIL with the reason")
def manual():
    reply = ask("manual.jitsu.test", use_edns=0)
    equal((rcode(reply), extended_error(reply)), ("SERVFAIL", (0, "the service is off, and only an administrator starts it")))
    equal(service("manual")["state"], "off")


@case("only questions for an address start a service: no other type does")
def who_wakes():
    for kind in ("TXT", "HTTPS", "SVCB", "SRV", "MX", "CAA", "SOA", "NS", "PTR", "DS", "DNSKEY", "ANY", "AAAA", "TYPE4711"):
        for name in ("cold.jitsu.test", "deep.below.jitsu.test"):
            _, count = wakes(["cold"], name, kind)
            equal(count, 0, f"the number of starts for {name} {kind}")
    equal(service("cold")["state"], "off")


@case("a question for an AAAA record starts a service that has one")
def aaaa_wakes():
    reply, count = wakes(["six"], "six.jitsu.test", "AAAA")
    equal((data(reply, "AAAA"), count), (["fd00:6a::22"], 1))


@case("each service has its own TTL")
def ttl():
    equal(ask("www.jitsu.test").answer[0].ttl, 77)
    equal(ask("six.jitsu.test").answer[0].ttl, 60)


@case("concurrent questions for a cold service are one start, and all are answered")
def herd():
    equal(service("herd")["starts"], 0)
    replies = []
    askers = [threading.Thread(target=lambda: replies.append(data(ask("herd.jitsu.test")))) for _ in range(20)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    equal(replies, [["10.0.2.30"]] * 20)
    equal((service("herd")["starts"], service("herd")["requests"]), (1, 20))


@case("with answer = \"ready\" the answer comes when the guest accepts connections")
def when_ready():
    ask("ready.jitsu.test")
    equal(service("ready")["state"], "ready")


@case("response_delay holds the first answer back, and not the next")
def response_delay():
    begin = time.monotonic()
    equal(data(ask("late.jitsu.test")), ["10.0.2.28"])
    first = time.monotonic() - begin
    assert first >= 0.4, f"the answer came after {first:.3f} s"
    equal(data(ask("late.jitsu.test")), ["10.0.2.28"])
    second = time.monotonic() - begin - first
    assert second < first, f"the second answer took {second:.3f} s, the first {first:.3f}"


@case("monitors are told the address by their names, for no time at all, and start nothing")
def quiet_name():
    reply, count = wakes(["quiet"], "Monitor.quiet.jitsu.test")
    equal((data(reply), reply.answer[0].ttl, count), (["10.0.2.27"], 0, 0))


@case("monitors are told the address by where they come from, and start nothing", host_only=True)
def quiet_source():
    reply, count = wakes(["quiet"], "quiet.jitsu.test", source="127.0.0.9")
    equal((data(reply), reply.answer[0].ttl, count), (["10.0.2.27"], 0, 0))
    reply, count = wakes(["quiet"], "quiet.jitsu.test")
    equal((data(reply), reply.answer[0].ttl, count), (["10.0.2.27"], 60, 1))


# Transport.

@case("UDP and TCP say the same, to dig and kdig")
def transports():
    for tool in (dig, kdig):
        for transport in ("+notcp", "+tcp"):
            matches(r"^www\.jitsu\.test\.\s+77\s+IN\s+A\s+10\.0\.2\.21$", tool("www.jitsu.test", "A", transport))


@case("a TCP connection carries several questions")
def one_connection():
    with socket.create_connection(frame.server.tcp, frame.PATIENCE) as stream:
        for name in ("www.jitsu.test", "nope.jitsu.test", "node.jitsu.test"):
            message = question(name)
            wire = message.to_wire()
            stream.sendall(len(wire).to_bytes(2, "big") + wire)
            reply = dns.message.from_wire(receive(stream))
            assert message.is_response(reply)


@case("what is asked about another zone is refused without forwarding", host_only=True)
def elsewhere():
    reply = ask("example.org", use_edns=0)
    assert not reply.flags & dns.flags.AA
    equal(rcode(reply), "REFUSED")
