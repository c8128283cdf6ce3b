"""How messages move: many questions on a connection, in any order and in pieces; connections that do nothing; from which
address a reply comes; and that a running service is answered for without asking the node's core."""

import socket
import time

import dns.message
import dns.query

from frame import PATIENCE, ask, case, data, equal, question, rcode, receive, requests, service, status

import frame


def framed(message):
    wire = message if isinstance(message, bytes) else message.to_wire()
    return len(wire).to_bytes(2, "big") + wire


def connect(source=None):
    return socket.create_connection(frame.server.tcp, PATIENCE, source and (source, 0))


def is_closed(stream, within=PATIENCE):
    """Asserts that the other end closes the connection."""
    stream.settimeout(within)
    try:
        equal(stream.recv(1), b"", "what comes before the end")
    except ConnectionResetError:
        pass


@case("TCP: 500 questions at once on one connection are all answered")
def pipelining():
    asked = {}
    with connect() as stream:
        for number in range(500):
            message = question(("www", "node", "nope")[number % 3] + ".jitsu.test")
            message.id = number
            asked[number] = message
        stream.sendall(b"".join(framed(message) for message in asked.values()))
        for _ in range(500):
            reply = dns.message.from_wire(receive(stream))
            assert asked.pop(reply.id).is_response(reply)
    equal(asked, {})


@case("TCP: who asks for what takes long gets the answers to his later questions first (RFC 7766, section 6.2.1.1)")
def out_of_order():
    slow, quick = question("slow.jitsu.test"), question("node.jitsu.test")
    slow.id, quick.id = 1, 2
    with connect() as stream:
        stream.sendall(framed(slow) + framed(quick))
        replies = [dns.message.from_wire(receive(stream)) for _ in range(2)]
        equal([(reply.id, rcode(reply)) for reply in replies], [(2, "NOERROR"), (1, "SERVFAIL")])


@case("TCP: more questions that wait than one connection may have are answered, too")
def many_wait():
    with connect() as stream:
        # Each waits for the same start, or for the end of its back-off.
        for number in range(200):
            message = question("slower.jitsu.test")
            message.id = number
            stream.sendall(framed(message))
        ids = sorted(dns.message.from_wire(receive(stream)).id for _ in range(200))
        equal(ids, list(range(200)))


@case("TCP: a question that comes byte by byte is answered")
def byte_by_byte():
    message = question("www.jitsu.test")
    with connect() as stream:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in framed(message):
            stream.sendall(bytes([byte]))
        assert message.is_response(dns.message.from_wire(receive(stream)))


@case("TCP: who has said that he asks nothing more still gets his answers")
def half_closed():
    with connect() as stream:
        stream.sendall(framed(question("slowest.jitsu.test")) + framed(question("node.jitsu.test")))
        stream.shutdown(socket.SHUT_WR)
        equal([rcode(dns.message.from_wire(receive(stream))) for _ in range(2)], ["NOERROR", "SERVFAIL"])
        is_closed(stream)


@case("TCP: a connection is closed on which nothing happens for tcp_idle, and not before")
def idle():
    with connect() as silent, connect() as busy:
        begin = time.monotonic()
        for _ in range(6):
            message = question("node.jitsu.test")
            busy.sendall(framed(message))
            assert message.is_response(dns.message.from_wire(receive(busy)))
            time.sleep(0.3)
        silent.settimeout(0)
        equal(silent.recv(1), b"", "what the silent one got after 1.8 s")
        is_closed(busy)
        assert time.monotonic() - begin > 1.8 + 0.6


@case("TCP: a connection is not idle while a question waits, for longer than tcp_idle")
def waiting_is_not_idle():
    with connect() as stream:
        begin = time.monotonic()
        stream.sendall(framed(question("patient.jitsu.test")))
        equal(rcode(dns.message.from_wire(receive(stream))), "SERVFAIL")
        assert time.monotonic() - begin > 1.5, "the service was not waited for"
        stream.sendall(framed(question("node.jitsu.test")))
        equal(rcode(dns.message.from_wire(receive(stream))), "NOERROR")


@case("TCP: who sends a question too slowly is not waited for")
def trickle():
    with connect() as stream:
        begin = time.monotonic()
        try:
            for byte in framed(question("www.jitsu.test")):
                stream.sendall(bytes([byte]))
                time.sleep(0.2)
                assert time.monotonic() - begin < 5, "it is still waited for"
            raise AssertionError("all of it was taken")
        except (BrokenPipeError, ConnectionResetError):
            pass


@case("TCP: what is no question ends its connection, and no other")
def nonsense():
    with connect() as good:
        for wire in (b"\0\0", b"\0\1x", b"\xff\xff" + bytes(100), framed(question("x.test").to_wire()[:11])):
            with connect() as stream:
                stream.sendall(wire)
                is_closed(stream)
        reply = framed(b"\x12\x34\x80" + bytes(9))
        with connect() as stream:
            stream.sendall(reply)
            is_closed(stream)
        message = question("node.jitsu.test")
        good.sendall(framed(message))
        assert message.is_response(dns.message.from_wire(receive(good)))


@case("TCP: who opens 300 connections takes no place from others", host_only=True)
def crowd():
    with connect("127.0.0.2") as other:
        mine = [connect() for _ in range(300)]
        try:
            message = question("node.jitsu.test")
            for stream in (other, mine[-1]):
                stream.sendall(framed(message))
                assert message.is_response(dns.message.from_wire(receive(stream)))
            is_closed(mine[0])
            assert status()["dns"]["open_connections"] <= 65
        finally:
            for stream in mine:
                stream.close()


@case("TCP: who takes no replies is not read from for ever, and costs others nothing")
def takes_nothing():
    with connect() as greedy:
        greedy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        greedy.settimeout(0.5)
        questions = framed(question("www.jitsu.test")) * 100
        sent = 0
        try:
            while sent < 64 << 20:
                sent += greedy.send(questions)
        except (TimeoutError, BrokenPipeError, ConnectionResetError):
            pass
        assert sent < 64 << 20, "64 MiB of questions were taken"
        equal(rcode(ask("node.jitsu.test")), "NOERROR")


@case("UDP: a reply comes from the address that was asked", host_only=True)
def source_address():
    port = frame.server.udp[1]
    for host in ("127.0.0.1", "127.0.0.2", "127.9.8.7"):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
            datagrams.bind(("127.0.0.1", 0))
            datagrams.settimeout(PATIENCE)
            message = question("node.jitsu.test")
            datagrams.sendto(message.to_wire(), (host, port))
            wire, (source, _) = datagrams.recvfrom(4096)
            assert message.is_response(dns.message.from_wire(wire))
            equal(source, host, "the reply's source")


@case("UDP: 200 questions at once, for what is known and what has to be started, are all answered")
def burst():
    names = ["www", "node", "nope", "monitored"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        datagrams.connect(frame.server.udp)
        datagrams.settimeout(PATIENCE)
        asked = {}
        for number in range(200):
            message = question(names[number % 4] + ".jitsu.test")
            message.id = number
            asked[number] = message
            datagrams.send(message.to_wire())
        for _ in range(200):
            reply = dns.message.from_wire(datagrams.recv(4096))
            assert asked.pop(reply.id).is_response(reply)


@case("a service that runs: the same answer in the spelling of each question, and each is counted")
def warm():
    ask("www.jitsu.test")
    while service("www")["state"] != "ready":
        time.sleep(0.01)
    before = requests("www")
    for number in range(100):
        name = "".join(c.upper() if number >> index % 7 & 1 else c for index, c in enumerate("www.jitsu.test"))
        message = question(name, use_edns=0 if number % 2 else None)
        reply = ask(message)
        equal((data(reply), reply.answer[0].ttl), (["10.0.2.20"], 60))
        equal(reply.question[0].name.to_text(), name + ".")
        equal(reply.edns >= 0, number % 2 == 1, "that it has EDNS")
    equal(requests("www") - before, 100)


@case("a service that runs is not told in another way to those who do not start it", host_only=True)
def warm_and_quiet():
    ask("monitored.jitsu.test")
    while service("monitored")["state"] != "ready":
        time.sleep(0.01)
    for _ in range(3):
        equal(ask("monitored.jitsu.test").answer[0].ttl, 60)
        equal(ask("monitored.jitsu.test", source="127.0.0.9").answer[0].ttl, 0)


@case("a service is kept running by questions that are answered at once, and goes when they end")
def kept_by_questions():
    ask("stopping.jitsu.test")
    while service("stopping")["state"] != "ready":
        time.sleep(0.01)
    starts, begin = service("stopping")["starts"], time.monotonic()
    while time.monotonic() - begin < 3:
        equal(data(ask("stopping.jitsu.test")), ["10.0.2.25"])
        time.sleep(0.05)
    equal((service("stopping")["state"], service("stopping")["starts"]), ("ready", starts))
    begin = time.monotonic()
    while service("stopping")["state"] != "off":
        assert time.monotonic() - begin < PATIENCE
        time.sleep(0.05)
    equal(data(ask("stopping.jitsu.test")), ["10.0.2.25"])
    equal(service("stopping")["starts"], starts + 1)
