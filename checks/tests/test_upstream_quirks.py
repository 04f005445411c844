"""No row is lost to unusual upstream responses or sequences of faults."""

import gzip
import json
import uuid
from pathlib import Path

import pytest
import requests
from answers import raw_rows
from fault_upstream import JSON_TYPE, Exchange, FaultyAgent, ListenerThread, named
from faults import body, cut_gzip, cut_with_a_length, reset_within_the_body, status
from programs import KEY, start_gateway
from rows import DAY, SECOND, now, recent_and_old_rows


def written(answer):
    """A fault that writes these bytes unchanged."""

    async def write(exchange: Exchange) -> None:
        await exchange.write(answer(exchange))

    return write


def honest(exchange: Exchange, **headers: str) -> bytes:
    page = exchange.page.body()
    return exchange.head("200 OK", JSON_TYPE | {"Content-Length": str(len(page))} | named(headers)) + page


def chunked(exchange: Exchange, packed: bytes = b"", size: int = 1_000, more: bytes = b"", **headers: str) -> bytes:
    left = packed or exchange.page.body()
    out = exchange.head("200 OK", JSON_TYPE | {"Transfer-Encoding": "chunked"} | named(headers))
    for at in range(0, len(left), size):
        piece = left[at : at + size]
        out += f"{len(piece):x};odd=1\r\n".encode() + piece + b"\r\n"
    return out + b"0\r\n" + more + b"\r\n"


def packed_and_cut(exchange: Exchange) -> bytes:
    # The chunks are complete, but the gzip stream in them is not.
    return chunked(exchange, gzip.compress(exchange.page.body())[:-20], Content_Encoding="gzip")


async def closed_when_asked(exchange: Exchange) -> None:
    exchange.close()


async def half_of_it(exchange: Exchange) -> None:
    page = exchange.page.body()
    half = page[: len(page) // 2]
    await exchange.send(half, "206 Partial Content", Content_Range=f"bytes 0-{len(half) - 1}/{len(page)}")


async def http_1_0(exchange: Exchange) -> None:
    await exchange.write(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + exchange.page.body())
    exchange.close()


def with_length(fields: bytes):
    return written(lambda e: honest(e).replace(b"Content-Length", fields + b"\r\nContent-Length", 1))


HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
ODD_DATES = ["Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "Wed, 25 Nov 2043 00:00:00 GMT", "soon"]

# The responses to the first requests for older pages, in this order. All others are correct.
SEQUENCES = {
    "429 then cut then whole": [status("429 Too Many", Retry_After="1"), cut_with_a_length],
    "cut gzip then 503 then reset": [body(cut_gzip, Content_Encoding="gzip"), status("503 X"), reset_within_the_body],
    "gzip cut within whole chunks": [written(packed_and_cut)],
    "gzip that is none": [body(lambda e: e.page.body(), Content_Encoding="gzip")],
    "gzip of another checksum": [
        body(lambda e: gzip.compress(e.page.body())[:-8] + bytes(8), Content_Encoding="gzip")
    ],
    "a coding nobody asked for": [body(lambda e: gzip.compress(e.page.body()), Content_Encoding="br")],
    "early hints": [written(lambda e: HINTS * 20 + honest(e))],
    "continue": [written(lambda e: b"HTTP/1.1 100 Continue\r\n\r\n" + honest(e))],
    "trailers": [written(lambda e: chunked(e, more=b"X-Trailer: 1\r\n"))],
    "byte by byte": [written(lambda e: chunked(e, size=1))],
    "two lengths": [with_length(b"Content-Length: 3")],
    "a negative length": [with_length(b"Content-Length: -1")],
    "a thousand header fields": [written(lambda e: honest(e, **{f"X{n}": "y" for n in range(1_000)}))],
    "a megabyte of header": [written(lambda e: honest(e, X="y" * (1 << 20)))],
    "closed when asked, three times": [closed_when_asked] * 3,
    "no content": [status("204 No Content")],
    "not modified": [status("304 Not Modified")],
    "a part of it": [half_of_it],
    "another protocol": [written(lambda e: b"SSH-2.0-OpenSSH_9.6\r\n\r\n")],
    "a status nobody knows": [status("799 Odd")],
    "HTTP/1.0 to the end of the connection": [http_1_0],
    "two documents": [body(lambda e: e.page.body() * 2)],
    "a byte order mark": [body(lambda e: b"\xef\xbb\xbf" + e.page.body())],
    "another page's number": [body(lambda e: e.page.body(page_number=b"7"))],
    "a total beyond all numbers": [body(lambda e: e.page.body(total=b"18446744073709551616"))],
    "a total of a billion": [body(lambda e: e.page.body(total=b"1000000000"))],
    "dates that nobody believes": [written(lambda e, date=date: honest(e, Date=date)) for date in ODD_DATES],
    **{f"503 with a pause of {pause!r}": [status("503 X", Retry_After=pause)] for pause in ["-5", "1.5", "1, 2", ""]},
}


class Sequenced(FaultyAgent):
    """An agent whose older pages get a sequence of faults."""

    def next_fault(self, start, number):
        return self.fault.pop(0) if self.fault and start < self.older_than else None


@pytest.fixture(scope="module")
def listener_and_gateway(tmp_path_factory):
    listeners = ListenerThread()
    listener = listeners.listener()
    directory: Path = tmp_path_factory.mktemp("odd")
    flags = ("--upstream-timeout", "3s", "--request-deadline", "20s", "--upstream-rate", "1000/s", "--live-ttl", "10m")
    program = start_gateway(directory, listener.url, *flags)
    yield listener, program
    assert program.stop() == 0
    assert "panicked at" not in program.output()
    listeners.stop()


@pytest.mark.parametrize("name", SEQUENCES)
def test_no_row_is_lost_to_odd_responses(listener_and_gateway, name):
    listener, gateway = listener_and_gateway
    end = now() - 4 * 3600 * SECOND
    rows = recent_and_old_rows(end)
    id, left = str(uuid.uuid4()), list(SEQUENCES[name])
    listener.agents[id] = Sequenced(rows, end - 7 * DAY, fault=left)
    url = f"{gateway.url}/agents/{id}/executions/all"
    answer = requests.get(url, headers={"Authorization": f"Bearer {KEY}"}, timeout=60)
    assert answer.status_code == 200, answer.text
    assert not left, "the faults never occurred"
    assert json.loads(answer.content)["complete"] is True
    assert raw_rows(answer.text) == [row.raw for row in rows]
