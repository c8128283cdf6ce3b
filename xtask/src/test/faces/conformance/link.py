"""Two hosts on one link: link.py REHEARSAL CONFIG. One runs the rehearsal, the other the cases of the group "mdns".

It is to be started in a network namespace of its own, with `unshare --map-root-user --net`.
"""

import json
import os
import subprocess
import sys

NODE, PEER = "10.77.0.1", "10.77.0.2"


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)


def main():
    rehearsal, config = sys.argv[1:]
    # A process whose namespace is the other host.
    peer = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo && exec cat"], stdin=-1, stdout=-1)
    peer.stdout.readline()
    inside = ["nsenter", "--target", str(peer.pid), "--net"]
    ip("link", "add", "node0", "type", "veth", "peer", "name", "peer0", "netns", str(peer.pid))
    ip("address", "add", f"{NODE}/24", "dev", "node0")
    ip("link", "set", "node0", "up")
    for command in (f"address add {PEER}/24 dev peer0", "link set peer0 up", "route add default dev peer0"):
        subprocess.run([*inside, "ip", *command.split()], check=True)
    arguments = ["--config", config, "--dns", f"{NODE}:53", "--http", f"{NODE}:80", "--mdns", "node0"]
    with subprocess.Popen([rehearsal, *arguments], stdout=subprocess.PIPE) as node:
        at = json.loads(node.stdout.readline())
        script = os.path.join(os.path.dirname(__file__), "run.py")
        cases = [sys.executable, "-B", script, "mdns"]
        for option, address in (("--udp", at["dns"]), ("--tcp", at["dns"]), ("--http", at["http"])):
            cases += [option, address]
        done = subprocess.run([*inside, *cases], env={**os.environ, "REHEARSAL": str(node.pid)})
        node.terminate()
    peer.stdin.close()
    peer.wait()
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
