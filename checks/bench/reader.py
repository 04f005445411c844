"""Reads one response repeatedly and prints how much arrived: `python -m bench.reader URL [HEADER: VALUE]… --seconds 2`.

Each answer has a connection of its own that the server closes, so that answers without a length are measured like those
with one.
"""

import argparse
import json
import time

from bench.wire import DROP, READ, Client, request


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("header", nargs="*")
    parser.add_argument("--connections", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=2.0, help="for how long new answers are asked for")
    parser.add_argument("--read", action="store_true", help="bodies are read into a buffer, and not dropped in the kernel")
    parser.add_argument("--once", action="store_true", help="one answer on each connection")
    options = parser.parse_args()
    headers = dict(header.split(": ", 1) for header in options.header)
    text = request(options.url, headers, "close")

    began = time.perf_counter()
    client = Client(options.url, options.connections, READ if options.read else DROP)
    for connection in client.connections:
        connection.ask(text)
    answers, total, firsts, lasts, open_answers = 0, 0, [], [], options.connections
    while open_answers:
        for connection in client.ready(120):
            before = connection.received
            is_over = connection.take()
            total += max(connection.received, 0) - max(before, 0)
            if not is_over:
                continue
            answers += 1
            firsts.append(connection.first_at - began)
            lasts.append(time.perf_counter() - began)
            client.reopen(connection)
            if options.once or lasts[-1] > options.seconds:
                client.selector.unregister(connection.socket)
                open_answers -= 1
            else:
                connection.ask(text)
    seconds = time.perf_counter() - began
    times = {"first": min(firsts), "fastest": min(lasts), "slowest": max(lasts)}
    print(json.dumps({"answers": answers, "bytes": total, "seconds": seconds} | times))


if __name__ == "__main__":
    main()
