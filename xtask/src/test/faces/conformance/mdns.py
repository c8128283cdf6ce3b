"""What the node announces on the link, as python-zeroconf sees it, which is somebody else's mDNS."""

import os
import queue
import signal
import socket
import struct

import dns.flags
import dns.message
import dns.rdataclass
from zeroconf import NonUniqueNameException, ServiceBrowser, ServiceInfo, ServiceListener, Zeroconf, ZeroconfServiceTypes

from frame import PATIENCE, case, data, equal, question, requests, service

GROUP = ("224.0.0.251", 5353)
HTTP = "_http._tcp.local."
OWN = "10.77.0.2"
# <bits/in.h>; Python has no name for it.
IP_RECVTTL = 12

zeroconf = Zeroconf(interfaces=[OWN])


class Events(ServiceListener):
    """What a browser is told, in a queue."""

    def __init__(self):
        self.added, self.removed = queue.Queue(), queue.Queue()

    def add_service(self, zeroconf, kind, name):
        self.added.put(name)

    def remove_service(self, zeroconf, kind, name):
        self.removed.put(name)

    def update_service(self, zeroconf, kind, name):
        pass


events = Events()
browser = ServiceBrowser(zeroconf, HTTP, events)


def wait_for(queue, names):
    seen = set()
    while not names <= seen:
        seen.add(queue.get(timeout=PATIENCE))
    equal(seen, names)


def ask(name, kind="A"):
    """The first answer to a question by a client that knows nothing of mDNS."""
    message = question(name, kind)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.settimeout(PATIENCE)
        datagrams.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(OWN))
        datagrams.bind((OWN, 0))
        datagrams.sendto(message.to_wire(), GROUP)
        reply = dns.message.from_wire(datagrams.recv(9000))
    equal((reply.id, reply.question), (message.id, message.question))
    assert reply.flags & dns.flags.QR and reply.flags & dns.flags.AA
    return reply


@case("a browser of services finds the node's page and the services that are announced")
def browse():
    wait_for(events.added, {name + "." + HTTP for name in ("node", "www", "cold")})


@case("a browser of kinds finds them")
def kinds():
    found = ZeroconfServiceTypes.find(zc=zeroconf, timeout=2)
    assert {HTTP, "_ipp._tcp.local."} <= set(found), found


@case("a service is resolved to its host, port and address, if packets start it")
def resolve():
    info = zeroconf.get_service_info(HTTP, "www." + HTTP, PATIENCE * 1000)
    equal((info.server, info.port, info.parsed_addresses()), ("www.local.", 80, ["10.77.0.20"]))
    info = zeroconf.get_service_info(HTTP, "node." + HTTP, PATIENCE * 1000)
    equal((info.server, info.port, info.parsed_addresses()), ("node.local.", 80, ["10.77.0.1"]))


@case("looking around has started nothing")
def nobody_woken():
    equal(requests("www", "cold", "silent"), 0)


@case("the node's own address")
def node():
    reply = ask("node.local")
    equal(data(reply), ["10.77.0.1"])
    assert reply.answer[0].ttl <= 10


@case("a question for a type that a service has not starts nothing")
def no_aaaa():
    ask("www.local", "AAAA")
    equal(requests("www"), 0)


@case("a question for a service's address starts it, whether packets do or not")
def summon():
    for name, address in (("www", "10.77.0.20"), ("cold", "10.77.0.21")):
        equal(data(ask(name + ".local")), [address])
        assert service(name)["state"] != "off"
        equal(requests(name), 1)


@case("who is not to start a service is told its address, and does not start it")
def quiet():
    equal(data(ask("silent.local")), ["10.77.0.22"])
    equal((service("silent")["state"], requests("silent")), ("off", 0))


@case("somebody else cannot take a name that a service has")
def taken():
    info = ServiceInfo(HTTP, "www." + HTTP, port=81, server="other.local.", addresses=[socket.inet_aton(OWN)])
    try:
        zeroconf.register_service(info)
    except NonUniqueNameException:
        return
    raise AssertionError("it was given away")


@case("what is sent goes no further than the link: its TTL is 255")
def ttl():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.settimeout(PATIENCE)
        datagrams.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        datagrams.bind((OWN, 0))
        datagrams.sendto(question("node.local").to_wire(), GROUP)
        _, ancillary, _, sender = datagrams.recvmsg(9000, 64)
    equal(sender, ("10.77.0.1", 5353))
    (level, kind, value) = ancillary[0]
    equal((level, kind, struct.unpack("i", value)[0]), (socket.IPPROTO_IP, socket.IP_TTL, 255))


@case("when the daemon ends, all of it is taken back")
def farewell():
    os.kill(int(os.environ["REHEARSAL"]), signal.SIGTERM)
    wait_for(events.removed, {name + "." + HTTP for name in ("node", "www", "cold")})
