"""Two name servers on loopback that do what the first label of a name says, up to its first digit or hyphen."""

import re
import socket
import threading
from collections import namedtuple

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

TRUTH = "192.0.2.80"
LIE = "192.0.2.66"

# A question that has come to a server: which one (0 or 1), over what, from which port, and the message.
Heard = namedtuple("Heard", "server tcp port message")
heard = []


def of(name):
    """What has been heard about a name."""
    name = dns.name.from_text(name)
    return [question for question in heard if question.message.question[0].name == name]


def records(message, *texts, kind="A", ttl=60):
    name = message.question[0].name
    return dns.rrset.from_text(name, ttl, "IN", kind, *texts)


def address(message, text=TRUTH):
    reply = dns.message.make_response(message)
    reply.flags |= dns.flags.RA
    reply.answer.append(records(message, text))
    return reply


def soa(reply):
    reply.authority.append(
        dns.rrset.from_text("example.", 300, "IN", "SOA", "ns.example. root.example. 1 3600 600 86400 60")
    )
    return reply


def code(message, rcode, text=None):
    reply = dns.message.make_response(message)
    reply.set_rcode(rcode)
    if text and message.edns >= 0:
        reply.use_edns(0, options=[dns.edns.EDEOption(dns.edns.EDECode.DNSSEC_BOGUS, text)])
    return reply


def answer(server, tcp, message, guess):
    """The reply as bytes, or None. `guess` sends something before it, from the right port or from another one."""
    what = re.split(r"[\d-]", message.question[0].name.labels[0].decode().lower())[0]
    true = address(message)
    if what == "nxdomain":
        return soa(code(message, dns.rcode.NXDOMAIN))
    if what == "nodata":
        return soa(dns.message.make_response(message))
    if what == "proud":
        true.flags |= dns.flags.AA | dns.flags.AD
    if what == "silent" or what == "lazy" and server == 0:
        return None
    if what == "failing":
        return code(message, dns.rcode.SERVFAIL, "it is bogus")
    if what == "half" and server == 0:
        return code(message, dns.rcode.SERVFAIL)
    if what == "refusing" and server == 0:
        return code(message, dns.rcode.REFUSED)
    if what == "old" and message.edns >= 0:
        return code(message, dns.rcode.FORMERR)
    if what == "truncated" and not tcp:
        reply = dns.message.make_response(message)
        reply.flags |= dns.flags.TC
        return reply
    if what == "large":
        reply = dns.message.make_response(message)
        if not tcp:
            reply.flags |= dns.flags.TC
            return reply
        reply.answer.append(records(message, *(f"192.0.2.{last}" for last in range(250))))
        return reply
    if what == "odd":
        reply = dns.message.make_response(message)
        reply.answer.append(records(message, r"\# 4 01020304", kind="TYPE65280"))
        return reply
    if what == "signed":
        if message.ednsflags & dns.flags.DO:
            true.answer.append(
                records(message, "A 8 2 60 20300101000000 20200101000000 1 example. AAAA", kind="RRSIG")
            )
        return true
    if what == "liar" and not tcp:
        lie = address(message, LIE)
        guess(lie.to_wire(), elsewhere=True)
        lie.id ^= 0x5555
        guess(lie.to_wire())
        other = dns.message.make_query("other.example", "A")
        other.id = message.id
        guess(address(other, LIE).to_wire())
        kind = dns.message.make_query(message.question[0].name, "TXT")
        kind.id = message.id
        guess(dns.message.make_response(kind).to_wire())
        guess(b"\x00")
        guess(message.to_wire())
    if what == "respelling" and not tcp:
        wire = bytearray(address(message, LIE).to_wire())
        end = wire.index(0, 12)
        wire[12:end] = wire[12:end].swapcase()
        guess(bytes(wire))
        return None
    if what == "guesser" and not tcp:
        for number in range(40):
            lie = address(message, LIE)
            lie.id = (message.id + 1 + number) % 65536
            guess(lie.to_wire())
        return None
    if what == "garbled" and server == 0:
        wire = bytearray(true.to_wire())
        wire[6:8] = b"\xff\xff"
        return bytes(wire)
    return true


def serve(server, place):
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(place)
    elsewhere = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    elsewhere.bind((place[0], 0))
    listener = socket.create_server(place)

    def over_udp():
        while True:
            wire, peer = datagrams.recvfrom(4096)
            message = dns.message.from_wire(wire)
            heard.append(Heard(server, False, peer[1], message))

            def guess(wire, elsewhere=False):
                (other if elsewhere else datagrams).sendto(wire, peer)

            other = elsewhere
            reply = answer(server, False, message, guess)
            if reply is not None:
                datagrams.sendto(reply if isinstance(reply, bytes) else reply.to_wire(max_size=65535), peer)

    def over_tcp():
        while True:
            stream, peer = listener.accept()
            with stream:
                data = stream.recv(4096)
                if len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2], "big"):
                    continue
                message = dns.message.from_wire(data[2:])
                heard.append(Heard(server, True, peer[1], message))
                reply = answer(server, True, message, None)
                if reply is not None:
                    wire = reply if isinstance(reply, bytes) else reply.to_wire(max_size=65535)
                    stream.sendall(len(wire).to_bytes(2, "big") + wire)

    for serving in (over_udp, over_tcp):
        threading.Thread(target=serving, daemon=True).start()


def start(places):
    for server, place in enumerate(places):
        serve(server, place)
