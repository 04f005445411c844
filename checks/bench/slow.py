"""Reads NDJSON at a limited rate: `python -m bench.slow URL AUTHORIZATION BYTES_A_SECOND [SECONDS]`.

Prints the bytes and the rows it read. Without a number of seconds it reads to the end, which must say "complete".
"""

import http.client
import sys
import time
from urllib.parse import urlsplit

PIECE = 64 << 10


def main() -> None:
    url, authorization, speed = sys.argv[1], sys.argv[2], float(sys.argv[3])
    most = float(sys.argv[4]) if len(sys.argv) > 4 else None
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=120)
    connection.request("GET", f"{parts.path}?{parts.query}", headers={"Authorization": authorization})
    answer = connection.getresponse()
    assert answer.status == 200, answer.read(1000)
    began, size, rows, tail = time.monotonic(), 0, 0, b""
    while most is None or time.monotonic() - began < most:
        piece = answer.read1(PIECE)
        if not piece:
            break
        size += len(piece)
        rows += piece.count(b"\n") - piece.count(b"\n\n")
        tail = (tail + piece)[-400:]
        ahead = size / speed - (time.monotonic() - began)
        if ahead > 0:
            time.sleep(ahead)
    if most is None:
        assert b'{"@end":{"complete":true' in tail, tail
        # The verdict is a line, and no row.
        rows -= 1
    print(size, rows)


if __name__ == "__main__":
    main()
