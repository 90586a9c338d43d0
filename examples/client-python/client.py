#!/usr/bin/env python3
"""A client of taskhost in nothing but Python's standard library.

The host speaks JSON-RPC 2.0 over plain TCP: requests go out as JSON values one after the other, answers come back one to
a line, in whatever order they are ready. Subscribed events come between them.
"""

import argparse
import base64
import collections
import json
import pathlib
import socket
import sys


class RpcError(Exception):
    """What the host answered instead of a result."""

    def __init__(self, error):
        super().__init__(error["message"])
        self.code = error["code"]
        self.hint = (error.get("data") or {}).get("hint")


class Client:
    """One connection to a host."""

    def __init__(self, host, port):
        self._socket = socket.create_connection((host, port))
        self._answers = self._socket.makefile("r", encoding="utf-8", newline="\n")
        self._last_id = 0
        self._events = collections.deque()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._answers.close()
        self._socket.close()

    def call(self, method, params=None):
        """Calls a method and returns its result; events that come meanwhile are kept for `events`."""
        self._last_id += 1
        request = {"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params or {}}
        self._socket.sendall(json.dumps(request).encode() + b"\n")
        while True:
            message = self._receive()
            if "method" in message:
                self._events.append(message["params"]["result"])
            elif message["id"] in (self._last_id, None):
                # An id of null answers a request that the host could not read.
                if "error" in message:
                    raise RpcError(message["error"])
                return message["result"]

    def events(self):
        """Yields the events of what was subscribed to, for ever."""
        while True:
            yield self._events.popleft() if self._events else self._receive()["params"]["result"]

    def _receive(self):
        line = self._answers.readline()
        if not line:
            raise ConnectionError("the host closed the connection")
        return json.loads(line)


def add(client, options):
    request = {"name": options.name, "args": options.arg}
    if options.every:
        request["schedules"] = [{"every": options.every}]
    if options.wasm:
        # Small plugins travel with the request; large ones go by Plugin.Put first.
        request["plugin"] = {"wasm": base64.b64encode(options.wasm.read_bytes()).decode()}
    task = client.call("TaskUnit.Add", request)
    print(f"added {task['spec']['name']}, next due {task['next_due']}")


def list_tasks(client, _):
    page = {}
    while True:
        answer = client.call("TaskUnit.List", page)
        for task in answer["tasks"]:
            counts = ", ".join(f"{count} {outcome}" for outcome, count in task["counts"].items())
            print(f"{task['spec']['name']}: {task['state']}, {counts or 'no runs yet'}")
        if not answer.get("next_cursor"):
            return
        page = {"cursor": answer["next_cursor"]}


def watch(client, options):
    request = {"kinds": ["log", "lagged"]}
    if options.name:
        request["name"] = options.name
    client.call("TaskUnit.Watch", request)
    lines = 0
    for event in client.events():
        if event["kind"] == "lagged":
            print(f"read too slowly: {event['lost']} events are lost", file=sys.stderr)
            continue
        # A guest may print anything; a terminal should not obey it.
        text = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in event["line"]["text"])
        print(f"{event['task']}: {text}", flush=True)
        lines += 1
        if lines == options.lines:
            return


def delete(client, options):
    client.call("TaskUnit.Delete", {"name": options.name})
    print(f"deleted {options.name}")


def main():
    parser = argparse.ArgumentParser(description="A small client of taskhost.")
    parser.add_argument("--host", default="127.0.0.1:3333", help="where the host listens (default: %(default)s)")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    verb = verbs.add_parser("add", help="add a task")
    verb.add_argument("name")
    verb.add_argument("--every", help="how often it runs: 10s, 5m, 1h30m")
    verb.add_argument("--wasm", type=pathlib.Path, help="the plugin; the host's built-in ticker by default")
    verb.add_argument("--arg", action="append", default=[], help="an argument for the plugin; repeat it for more")
    verb.set_defaults(do=add)

    verb = verbs.add_parser("list", help="list the tasks")
    verb.set_defaults(do=list_tasks)

    verb = verbs.add_parser("watch", help="print log lines as they come")
    verb.add_argument("name", nargs="?", help="only of this task")
    verb.add_argument("-n", "--lines", type=int, help="stop after so many")
    verb.set_defaults(do=watch)

    verb = verbs.add_parser("delete", help="delete a task")
    verb.add_argument("name")
    verb.set_defaults(do=delete)

    options = parser.parse_args()
    host, _, port = options.host.rpartition(":")
    try:
        with Client(host.strip("[]"), int(port)) as client:
            options.do(client, options)
    except RpcError as error:
        hint = f"\nhint: {error.hint}" if error.hint else ""
        sys.exit(f"error {error.code}: {error}{hint}")
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
