"""The same by IPv6."""

import socket

import dns.message

from frame import PATIENCE, ask, case, data, dig, equal, matches, question, receive

import frame


def link_local():
    """The addresses of this host on its links, with their interfaces."""
    with open("/proc/net/if_inet6") as table:
        rows = [line.split() for line in table]
    return [(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(row[0])), row[5]) for row in rows if row[3] == "20"]


@case("IPv6: UDP and TCP are answered, to dig as well")
def both_transports():
    assert ":" in frame.server.udp[0]
    for tcp in (False, True):
        equal(data(ask("www.jitsu.test", tcp=tcp)), ["10.0.2.20"])
    for transport in ("+notcp", "+tcp"):
        matches(r"^www\.jitsu\.test\.\s+60\s+IN\s+A\s+10\.0\.2\.20$", dig("www.jitsu.test", "A", transport))


def from_the_address(host, interface=None):
    scope = socket.if_nametoindex(interface) if interface else 0
    port = frame.server.udp[1]
    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
        with socket.socket(socket.AF_INET6, kind) as client:
            client.settimeout(PATIENCE)
            message = question("www.jitsu.test")
            wire = message.to_wire()
            if kind == socket.SOCK_DGRAM:
                client.sendto(wire, (host, port, 0, scope))
                wire, (source, _, _, came_by) = client.recvfrom(4096)
                equal((source.partition("%")[0], came_by), (host, scope), "the reply's source")
            else:
                client.connect((host, port, 0, scope))
                client.sendall(len(wire).to_bytes(2, "big") + wire)
                wire = receive(client)
            assert message.is_response(dns.message.from_wire(wire))


@case("IPv6: a reply comes from the address that was asked")
def loopback():
    from_the_address("::1")


found = link_local()


@case("IPv6: link-local addresses are answered from, on each interface" + ("" if found else " (this host has none)"))
def on_the_link():
    for host, interface in found:
        from_the_address(host, interface)
