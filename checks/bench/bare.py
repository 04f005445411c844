"""Pages 1 to N with so many requests in flight, thrown away: the least that any client of upstream takes.

`python -m bench.bare URL PAGES IN_FLIGHT KEY`, the URL with its dates; `page_number` is added.
"""

import sys
import time

from bench.wire import Client, request


def main() -> None:
    url, pages, in_flight, key = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    headers = {"Authorization": f"Bearer {key}"}
    began = time.perf_counter()
    client = Client(url, in_flight)
    left = [request(f"{url}&page_number={number}", headers, "keep-alive") for number in range(pages, 0, -1)]
    for connection in client.connections:
        connection.ask(left.pop())
    done = 0
    while done < pages:
        for connection in client.ready(60):
            if connection.take():
                done += 1
                if left:
                    connection.ask(left.pop())
    print(time.perf_counter() - began)


if __name__ == "__main__":
    main()
