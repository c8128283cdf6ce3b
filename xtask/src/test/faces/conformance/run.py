"""Tries a server: run.py GROUP --udp ADDRESS:PORT --tcp ADDRESS:PORT --http ADDRESS:PORT [--upstream ADDRESS:PORT]... [--node]

Prints a line of JSON for each case of the group, {"case": NAME} or {"case": NAME, "fault": TEXT}, and as the last one
how many there were, {"cases": COUNT}. One case that goes wrong does not keep the others from being tried.
"""

import argparse
import importlib
import json
import sys
import traceback

import frame


def endpoint(text):
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("group")
    for name in ("udp", "tcp", "http"):
        parser.add_argument("--" + name, type=endpoint, required=True)
    parser.add_argument("--upstream", type=endpoint, action="append", help="where the node expects a server to ask")
    parser.add_argument("--node", action="store_true", help="the real node, behind QEMU")
    frame.server = server = parser.parse_args()
    importlib.import_module(server.group)

    cases = [case for case in frame.cases if not (server.node and case.host_only)]
    for case in cases:
        line = {"case": case.name}
        try:
            case.function()
        except AssertionError as fault:
            place = traceback.extract_tb(fault.__traceback__)[-1]
            line["fault"] = f"{fault or place.line} ({place.filename.rpartition('/')[2]}:{place.lineno})"
        except Exception:
            line["fault"] = traceback.format_exc(limit=-3)
        print(json.dumps(line), flush=True)
    print(json.dumps({"cases": len(cases)}))


if __name__ == "__main__":
    sys.exit(main())
