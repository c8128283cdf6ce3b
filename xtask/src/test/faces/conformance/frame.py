"""What cases are made of. `@case("what it shows")` makes a case of a function; it fails by an assertion."""

import json
import re
import socket
import subprocess
import urllib.request
from collections import namedtuple

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.query
import dns.rcode
import dns.rdataclass
import dns.rdatatype

# Seconds in which everything answers.
PATIENCE = 20

Case = namedtuple("Case", "name function host_only")
cases = []

# The command line: udp, tcp, http (each a host and a port), upstream (where the node expects the servers that it asks), and whether it is the real node.
server = None


def case(name, host_only=False):
    """Makes a case. `host_only` if it needs several source addresses,
    knows how long pretended domains take, or is about a node that forwards nothing."""

    def add(function):
        assert all(name != other.name for other in cases), name
        cases.append(Case(name, function, host_only))
        return function

    return add


def equal(found, expected, what=""):
    assert found == expected, f"{what} is {found!r}, not {expected!r}".strip()


def question(name, kind="A", rdclass="IN", **options):
    """A question as dnspython makes it; without EDNS, if nothing else is said."""
    return dns.message.make_query(name, kind, rdclass, **options)


def ask(name, kind="A", tcp=False, source=None, **options):
    """The reply to a question, or to a message that is one already."""
    message = name if isinstance(name, dns.message.Message) else question(name, kind, **options)
    host, port = server.tcp if tcp else server.udp
    send = dns.query.tcp if tcp else dns.query.udp
    # The node is reached through QEMU alone, which has one address.
    return send(message, host, PATIENCE, port, source=None if server.node else source)


def raw(message, tcp=False):
    """The reply to some bytes, as bytes."""
    if tcp:
        with socket.create_connection(server.tcp, PATIENCE) as stream:
            stream.sendall(len(message).to_bytes(2, "big") + message)
            return receive(stream)
    with socket.socket(socket.AF_INET6 if ":" in server.udp[0] else socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.settimeout(PATIENCE)
        datagrams.connect(server.udp)
        datagrams.send(message)
        return datagrams.recv(65535)


def receive(stream):
    """A message from a connection."""
    length = int.from_bytes(exactly(stream, 2), "big")
    return exactly(stream, length)


def exactly(stream, count):
    data = b""
    while len(data) < count:
        piece = stream.recv(count - len(data))
        assert piece, "the connection was closed"
        data += piece
    return data


def silence(message):
    """Asserts that these bytes get no answer: a good question that is sent after them is the first to be answered."""
    good = question("node.jitsu.test")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.settimeout(PATIENCE)
        datagrams.connect(server.udp)
        datagrams.send(message)
        datagrams.send(good.to_wire())
        equal(int.from_bytes(datagrams.recv(65535)[:2], "big"), good.id, "the ID of the first answer")


def rcode(reply):
    return dns.rcode.to_text(reply.rcode())


def data(reply, kind="A"):
    """What the records of a type in the answer say, sorted."""
    kind = dns.rdatatype.from_text(kind)
    return sorted(record.to_text() for rrset in reply.answer if rrset.rdtype == kind for record in rrset)


def extended_error(reply):
    """Code and text of RFC 8914."""
    for option in reply.options:
        if option.otype == dns.edns.OptionType.EDE:
            return int(option.code), option.text or ""
    return None


def is_absent(reply, code, zone="jitsu.test."):
    """Asserts that something is not there, in a way that may be cached (RFC 2308)."""
    equal(rcode(reply), code, "the code")
    equal(reply.answer, [], "the answer")
    assert reply.flags & dns.flags.AA, "it is not authoritative"
    (soa,) = reply.authority
    equal((soa.name.to_text(), soa.rdtype), (zone, dns.rdatatype.SOA), "the authority")
    equal(soa.ttl, min(soa.ttl, soa[0].minimum), "the negative TTL")


def status():
    """The node's status document."""
    host, port = server.http
    with urllib.request.urlopen(f"http://{host}:{port}/status", timeout=PATIENCE) as reply:
        return json.load(reply)


def service(name):
    """A service in the status document."""
    return next(service for service in status()["services"] if service["name"] == name)


def requests(*names):
    """How often these services have been asked for."""
    services = {service["name"]: service for service in status()["services"]}
    return sum(services[name]["requests"] for name in names)


def wakes(services, name, kind="A", **options):
    """The reply to a question, and how many of the services it asks for."""
    before = requests(*services)
    reply = ask(name, kind, **options)
    return reply, requests(*services) - before


def dig(*arguments, program="dig"):
    """What dig says. It is told the server, by the port that `+tcp` needs."""
    host, port = server.tcp if "+tcp" in arguments else server.udp
    fixed = [program, f"@{host}", "-p", str(port)]
    fixed += ["+time=20", "+tries=1"] if program == "dig" else ["+time=20", "+retry=0"]
    fixed += arguments
    done = subprocess.run(fixed, capture_output=True, text=True, timeout=2 * PATIENCE)
    assert done.returncode == 0, f"{' '.join(fixed)}: {done.stdout}{done.stderr}"
    return done.stdout


def kdig(*arguments):
    """What kdig says."""
    return dig(*arguments, program="kdig")


def matches(pattern, text):
    """Asserts that dig or kdig has said that."""
    assert re.search(pattern, text, re.MULTILINE), f"{pattern!r} is not in:\n{text}"
