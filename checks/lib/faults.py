"""Every tested upstream fault, and its expected outcome for each form of response.

checks/tests/test_upstream_faults.py tries each fault in `LIST`. `python checks/lib/faults.py` prints the table in
docs/reliability.md, and a test compares the two.
"""

import asyncio
import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from fault_upstream import JSON_TYPE, Exchange, Fault
from rows import Row, text_of

MEGABYTE = 1 << 20
# Seconds after which all callers have given up.
FOREVER = 3600


async def hang(exchange: Exchange) -> None:
    exchange.is_kept = False
    await asyncio.sleep(FOREVER)


async def reset_before_the_headers(exchange: Exchange) -> None:
    exchange.reset()


async def closed_before_the_headers(exchange: Exchange) -> None:
    exchange.close()


async def reset_within_the_headers(exchange: Exchange) -> None:
    await exchange.write(b"HTTP/1.1 200 OK\r\nContent-Ty")
    # A reset right after a write would destroy what was written.
    await asyncio.sleep(0.05)
    exchange.reset()


async def begin_a_body(exchange: Exchange) -> None:
    body = exchange.page.body()
    await exchange.write(exchange.head("200 OK", JSON_TYPE | {"Content-Length": str(len(body))}))
    await exchange.write(body[: len(body) // 2])
    await asyncio.sleep(0.05)


async def reset_within_the_body(exchange: Exchange) -> None:
    await begin_a_body(exchange)
    exchange.reset()


async def cut_with_a_length(exchange: Exchange) -> None:
    await begin_a_body(exchange)
    exchange.close()


async def cut_without_a_length(exchange: Exchange) -> None:
    body = exchange.page.body()
    await exchange.write(exchange.head("200 OK", JSON_TYPE | {"Connection": "close"}))
    await exchange.write(body[: len(body) // 2])
    exchange.close()


async def cut_between_chunks(exchange: Exchange) -> None:
    body = exchange.page.body()
    await exchange.write(exchange.head("200 OK", JSON_TYPE | {"Transfer-Encoding": "chunked"}))
    half = body[: len(body) // 2]
    await exchange.write(f"{len(half):x}\r\n".encode() + half + b"\r\n")
    exchange.close()


async def hang_within_the_body(exchange: Exchange) -> None:
    await begin_a_body(exchange)
    await hang(exchange)


async def drip(exchange: Exchange) -> None:
    body = exchange.page.body()
    await exchange.write(exchange.head("200 OK", JSON_TYPE | {"Content-Length": str(len(body))}))
    for at in range(len(body)):
        await exchange.write(body[at : at + 1])
        await asyncio.sleep(0.1)


def status(line: str, **headers: str) -> Fault:
    async def answer(exchange: Exchange) -> None:
        await exchange.send(b'{"message":"a fault of the checks"}', line, **headers)

    return answer


def body(text: bytes | Callable[[Exchange], bytes], **headers: str) -> Fault:
    async def answer(exchange: Exchange) -> None:
        await exchange.send(text(exchange) if callable(text) else text, **headers)

    return answer


def fields(**changed: bytes | None) -> Fault:
    return body(lambda exchange: exchange.page.body(**changed))


def rows(change: Callable[[bytes], bytes]) -> Fault:
    """Changes every fifth row."""

    def changed(exchange: Exchange) -> bytes:
        raws = [change(row.raw) if i % 5 == 0 else row.raw for i, row in enumerate(exchange.page.rows)]
        return exchange.page.body(data=b"[" + b",".join(raws) + b"]")

    return body(changed)


def without_id(raw: bytes) -> bytes:
    return raw.replace(b'"id":"', b'"no_id":"', 2)


async def page_twice(exchange: Exchange) -> None:
    # Two responses to one request in one write: the second must not become the response to the next request.
    body = exchange.page.body()
    exchange.listener.sent.add(body)
    answer = exchange.head("200 OK", JSON_TYPE | {"Content-Length": str(len(body))}) + body
    empty = b'{"page_number":1,"page_size":50,"total":0,"has_more":false,"data":[]}'
    second = exchange.head("200 OK", JSON_TYPE | {"Content-Length": str(len(empty))}) + empty
    await exchange.write(answer + second)


async def page_twice_and_late(exchange: Exchange) -> None:
    # The second response arrives after the next request, as if it were the response to that.
    body = exchange.page.body()
    answer = exchange.head("200 OK", JSON_TYPE | {"Content-Length": str(len(body))}) + body
    exchange.listener.late[exchange.writer] = exchange.agent, answer
    await exchange.send(body)


def repeats_the_one_before(exchange: Exchange) -> bytes:
    page = exchange.page
    rows = exchange.before.rows if exchange.before else page.rows
    return replace(page, rows=rows).body()


async def endless_body(exchange: Exchange) -> None:
    piece = b" " * MEGABYTE
    await exchange.write(exchange.head("200 OK", JSON_TYPE | {"Transfer-Encoding": "chunked"}))
    for _ in range(200):
        await exchange.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
    await exchange.write(b"0\r\n\r\n")


async def body_of_200_mb(exchange: Exchange) -> None:
    piece = b" " * MEGABYTE
    await exchange.write(exchange.head("200 OK", JSON_TYPE | {"Content-Length": str(200 * MEGABYTE)}))
    for _ in range(200):
        await exchange.write(piece)


@cache
def bomb(coding: str) -> bytes:
    """200 MB of blanks, compressed to a fifth of a megabyte."""
    wbits = 31 if coding == "gzip" else 15
    packer = zlib.compressobj(9, wbits=wbits)
    piece = b" " * MEGABYTE
    return b"".join(packer.compress(piece) for _ in range(200)) + packer.flush()


def invalid_utf_8(exchange: Exchange) -> bytes:
    return exchange.page.body().replace("नमस्ते".encode(), b"\xff\xfe\xc0\x80")


def cut_gzip(exchange: Exchange) -> bytes:
    return gzip.compress(exchange.page.body())[:-100]


async def refuse(exchange: Exchange) -> None:
    """Closes the listener. If the fault is temporary, opens it again after half a second."""
    exchange.is_kept = False
    listener = exchange.listener
    await listener.shut()
    if all(agent.left is not None for agent in listener.agents.values()):
        # The first request at this listener meets the fault.
        for agent in listener.agents.values():
            agent.left = 0
        listener.open_soon(0.5)


def undated(row: Row) -> bytes:
    return row.raw.replace(f'"created_at":"{text_of(row.created, row.form)}",'.encode(), b"", 1)


def large(row: Row) -> bytes:
    return row.raw[:-1] + b',"large":"' + b"x" * (5 * MEGABYTE) + b'"}'


# The outcomes besides error codes. Whole: every row, once. Passed on: on upstream's own path, the bytes that upstream sent.
WHOLE = "whole"
PASSED_ON = "passed on"

UNAVAILABLE = ("upstream_unavailable",)
MALFORMED = ("upstream_malformed",)
# The timeout of an attempt, the breaker after several timeouts, or the deadline.
SLOW = ("upstream_timeout", "upstream_unavailable", "not_ready")
# Too large, or too slow before that.
ENDLESS = ("upstream_malformed", *SLOW)
LIMITED = ("rate_limited", "not_ready")

STATUS = {
    "invalid_request": 400,
    "agent_not_found": 404,
    "rate_limited": 429,
    "upstream_unavailable": 502,
    "upstream_malformed": 502,
    "upstream_inconsistent": 502,
    "upstream_timeout": 504,
    "not_ready": 504,
}


@dataclass(frozen=True)
class Case:
    """A fault, and its permitted outcomes."""

    name: str
    fault: Fault | None
    # The outcome of `/executions/all` while the fault lasts: whole, or one of these codes.
    lasting: str | tuple[str, ...]
    # The outcome if the fault happens to one page once.
    once: str | tuple[str, ...] = WHOLE
    # The same for upstream's own path, if it differs.
    page_lasting: str | tuple[str, ...] | None = None
    page_once: str | tuple[str, ...] | None = None
    # The status on upstream's own path, if it is passed on.
    page_status: int | None = None
    # Only pages from this number on can have it.
    least_number: int = 1
    # In place of a fault: an odd row, with which a response is still whole.
    odd_row: Callable[[Row], bytes] | None = None
    # Whether the fault affects all connections, so that not even the agent can be read.
    is_of_tls: bool = False
    # The number of older rows, in pages of 50. Large faults get fewer pages.
    old_rows: int = 130
    # How long after its deadline a stream may report the fault, because waits for upstream's limit do not count.
    more_seconds: float = 0

    @property
    def is_of_connections(self) -> bool:
        """Whether the fault affects requests other than the one that it happens to."""
        return self.is_of_tls or self.fault is refuse

    @property
    def slug(self) -> str:
        return "-".join("".join(c if c.isalnum() else " " for c in self.name.lower()).split())


def refusal(code: int, words: str, lasting: tuple[str, ...], **more) -> Case:
    line = f"{code} {words}"
    return Case(line, status(line), lasting, page_status=code, **more)


def survived(name: str, fault: Fault | None, **more) -> Case:
    """A fault that costs only more requests. Upstream's own path passes it on."""
    return Case(name, fault, WHOLE, page_lasting=PASSED_ON, page_once=PASSED_ON, **more)


def unreadable(name: str, fault: Fault, lasting: tuple[str, ...] = MALFORMED) -> Case:
    """JSON that is not a page. Upstream's own path passes it on."""
    return Case(name, fault, lasting, page_lasting=PASSED_ON, page_once=PASSED_ON)


LIST = [
    Case("connection refused", refuse, UNAVAILABLE),
    Case("reset before the headers", reset_before_the_headers, UNAVAILABLE),
    Case("closed before the headers", closed_before_the_headers, UNAVAILABLE),
    Case("reset within the headers", reset_within_the_headers, UNAVAILABLE),
    Case("reset within the body", reset_within_the_body, UNAVAILABLE),
    Case("cut with Content-Length", cut_with_a_length, UNAVAILABLE),
    Case("cut without Content-Length", cut_without_a_length, MALFORMED),
    Case("cut between chunks", cut_between_chunks, UNAVAILABLE),
    Case("cut within gzip", body(cut_gzip, Content_Encoding="gzip"), UNAVAILABLE),
    Case("hung before the headers", hang, SLOW),
    Case("hung within the body", hang_within_the_body, SLOW),
    Case("slow drip", drip, SLOW),
    # A refusal of the request is final.
    refusal(400, "Bad Request", ("invalid_request",), once=("invalid_request",)),
    # A key or an agent is refused only if upstream refuses it again when it is checked.
    refusal(401, "Unauthorized", UNAVAILABLE, page_lasting=("upstream_denied",), page_once=("upstream_denied",)),
    refusal(403, "Forbidden", UNAVAILABLE, page_lasting=("upstream_denied",), page_once=("upstream_denied",)),
    refusal(404, "Not Found", UNAVAILABLE, page_lasting=("agent_not_found",), page_once=("agent_not_found",)),
    refusal(408, "Request Timeout", UNAVAILABLE),
    refusal(422, "Unprocessable Entity", ("invalid_request",), once=("invalid_request",)),
    refusal(429, "Too Many Requests", LIMITED, more_seconds=30),
    refusal(500, "Internal Server Error", UNAVAILABLE),
    refusal(502, "Bad Gateway", UNAVAILABLE),
    refusal(503, "Service Unavailable", UNAVAILABLE),
    refusal(504, "Gateway Timeout", UNAVAILABLE),
    Case("HTML with 200", body(b"<html>just a moment", Content_Type="text/html"), MALFORMED),
    Case("empty with 200", body(b""), MALFORMED),
    unreadable("an error with 200", body(b'{"error":"try later"}')),
    survived("a bare array", body(lambda e: e.page.body()[e.page.body().index(b'"data":') + 7 : -1])),
    unreadable("data: null", fields(data=b"null")),
    unreadable("no data", fields(data=None)),
    survived("no has_more", fields(has_more=None)),
    survived("no total", fields(total=None)),
    survived("neither has_more nor total", fields(has_more=None, total=None)),
    unreadable("data of another type", fields(data=b'{"rows":[]}')),
    unreadable("has_more of another type", fields(has_more=b'"yes"')),
    survived("total of another type", fields(total=b'"many"')),
    unreadable("a row of another type", rows(lambda raw: b'"a row"')),
    unreadable("a row without id", rows(without_id)),
    survived("a row without created_at", None, odd_row=undated),
    survived("a row of 5 MB", None, odd_row=large),
    Case("a page answered twice", page_twice, WHOLE),
    Case("a page answered twice, the second time late", page_twice_and_late, WHOLE),
    survived("a page that repeats the one before", body(repeats_the_one_before), least_number=2),
    survived("has_more for ever", fields(has_more=b"true")),
    survived("an empty page in the middle", fields(data=b"[]", has_more=b"true"), least_number=2),
    survived("an empty page at the end", fields(data=b"[]", has_more=b"false"), least_number=2),
    Case("a body of 200 MB", body_of_200_mb, ENDLESS, old_rows=30),
    Case("200 MB in chunks", endless_body, ENDLESS, old_rows=30),
    Case("a gzip bomb", body(lambda _: bomb("gzip"), Content_Encoding="gzip"), ENDLESS, old_rows=30),
    Case("a deflate bomb", body(lambda _: bomb("deflate"), Content_Encoding="deflate"), ENDLESS, old_rows=30),
    Case("invalid UTF-8", body(invalid_utf_8), MALFORMED),
    Case("a redirect", status("302 Found", Location="/elsewhere"), UNAVAILABLE),
    Case("a certificate that does not fit", None, UNAVAILABLE, is_of_tls=True),
]


def codes_of(expected: str | tuple[str, ...], status: int | None = None) -> str:
    """An outcome as written in the table."""
    if isinstance(expected, str):
        return expected
    return f"{status or STATUS[expected[0]]} {words_of(expected)}"


def words_of(expected: tuple[str, ...]) -> str:
    """The usual code. The notes below the table name the others."""
    return f"`{expected[0]}`" + ("¹" if len(expected) > 1 else "")


def cells(case: Case) -> list[str]:
    page_lasting = case.page_lasting if case.page_lasting is not None else case.lasting
    page_once = case.page_once if case.page_once is not None else case.once
    lasting = case.lasting
    once = codes_of(case.once)
    if page_once != case.once:
        once += f"; page path {codes_of(page_once, case.page_status)}"
    page = codes_of(page_lasting, case.page_status)
    if lasting == WHOLE:
        forms = [WHOLE] * 4
    elif case.is_of_tls:
        # Not even the agent can be read, so no response has begun.
        forms = [codes_of(lasting)] * 4
    else:
        words = words_of(lasting)
        forms = [codes_of(lasting), f"200, `missing`: {words}", "break", f"{words}, break"]
    return [case.name, once, *forms, page, f"`test_fault[{case.slug}-…]`"]


def table() -> str:
    heads = [
        "fault",
        "of one page, once",
        "lasting: JSON",
        "lenient JSON",
        "NDJSON",
        "with `end_record`",
        "page path",
        "test",
    ]
    rows = [heads, ["---"] * len(heads), *(cells(case) for case in LIST)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


if __name__ == "__main__":
    print(table())
