"""Slow, greedy, old and many clients: each is served, and none slows others down."""

import asyncio
import contextlib
import json
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import requests
from answers import NDJSON, PATIENCE, Agent, assert_same, lines
from polling import wait_until
from rows import make_rows

# The gateway's limit for the head of a request.
HEAD_SECONDS = 15
# Longer than a busy machine may suspend a client that reads slowly.
STALL_SECONDS = 5
CRLF = b"\r\n"


def connect(agent: Agent, receive_buffer: int | None = None) -> socket.socket:
    """A connection to the gateway, optionally with a small receive buffer."""
    client = socket.socket()
    if receive_buffer:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.settimeout(PATIENCE)
    client.connect(("127.0.0.1", int(agent.base.rsplit(":", 1)[1])))
    return client


def request(agent: Agent, version: str = "1.1", query: str = "", **headers: str) -> bytes:
    fields = {"Host": "x", "Authorization": f"Bearer {agent.key}"} | {
        k.replace("_", "-"): v for k, v in headers.items()
    }
    head = f"GET {agent.path}{query} HTTP/{version}\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items())
    return head.encode() + CRLF


def read_answer(client: socket.socket, rest: bytes = b"") -> tuple[bytes, bytes, bytes]:
    """The head and the body of a response with a length, and the bytes after it."""
    while b"\r\n\r\n" not in rest:
        piece = client.recv(1 << 16)
        assert piece, rest
        rest += piece
    head, _, rest = rest.partition(b"\r\n\r\n")
    length = int(re.search(rb"content-length: (\d+)", head.lower())[1])
    while len(rest) < length:
        piece = client.recv(1 << 16)
        assert piece, "cut off"
        rest += piece
    return head, rest[:length], rest[length:]


def read_to_end(client: socket.socket) -> bytes:
    body = b""
    try:
        while piece := client.recv(1 << 16):
            body += piece
    except ConnectionError:
        pass
    return body


def under_way(agent: Agent) -> int:
    return int(agent.program.metric("fanfold_questions"))


def test_pipelined_requests_are_answered_in_order(agent_of):
    rows = make_rows(60, 5)
    agent = agent_of(rows, days=6)
    with connect(agent) as client:
        client.sendall(request(agent) + request(agent, query="?format=xml") + request(agent))
        head, body, rest = read_answer(client)
        assert head.startswith(b"HTTP/1.1 200") and json.loads(body)["total"] == 60
        head, body, rest = read_answer(client, rest)
        assert head.startswith(b"HTTP/1.1 400") and json.loads(body)["code"] == "invalid_request"
        head, body, rest = read_answer(client, rest)
        assert head.startswith(b"HTTP/1.1 200") and json.loads(body)["total"] == 60 and not rest


@pytest.mark.parametrize("query", ["", "?format=ndjson", "?format=ndjson&end_record=true"])
def test_an_http_1_0_client_gets_a_length_and_never_chunks(agent_of, query):
    rows = make_rows(300, 20)
    agent = agent_of(rows, days=21)
    with connect(agent) as client:
        client.sendall(request(agent, "1.0", query))
        head, body, rest = read_answer(client)
        assert b"transfer-encoding" not in head.lower() and not rest
        # The connection ends unless the client asked to keep it.
        assert client.recv(1) == b""
    if query:
        got = lines(body)
        if "end_record" in query:
            assert json.loads(got.pop())["@end"]["complete"] is True
        assert_same(got, rows)
    else:
        assert json.loads(body)["total"] == 300


def test_an_http_1_0_client_gets_a_failure_as_a_status(agent_of, upstream):
    upstream.latency = 0.02
    agent = agent_of(make_rows(1_000, 60), "--request-deadline", "2s", "--fan-out", "1", days=61)

    def fail_in_the_middle(upstream, query):
        if len(upstream.pages) > 8:
            raise RuntimeError("no more")

    upstream.before_page = fail_in_the_middle
    with connect(agent) as client:
        client.sendall(request(agent, "1.0", "?format=ndjson"))
        head, body, _ = read_answer(client)
    assert head.startswith((b"HTTP/1.1 50", b"HTTP/1.0 50")) and json.loads(body)["status"] >= 500


def test_cuts_off_endless_and_oversized_heads(agent_of):
    rows = make_rows(20, 3)
    agent = agent_of(rows, days=4)

    def slow_head() -> float:
        began = time.monotonic()
        with connect(agent) as client:
            try:
                for byte in request(agent, Filler="x" * 1_000):
                    client.sendall(bytes([byte]))
                    time.sleep(0.25)
            except OSError:
                return time.monotonic() - began
        raise AssertionError("heard out")

    def large_head() -> bytes:
        with connect(agent) as client:
            try:
                client.sendall(request(agent, Filler="x" * (1 << 20)))
            except OSError:
                return b""
            return read_to_end(client)

    def many_heads() -> bytes:
        with connect(agent) as client:
            client.sendall(request(agent, **{f"Filler{n}": "x" for n in range(500)}))
            return read_to_end(client)

    with ThreadPoolExecutor(16) as threads:
        slow = [threads.submit(slow_head) for _ in range(12)]
        for refused in (large_head(), many_heads()):
            assert not refused or refused.startswith(b"HTTP/1.1 431"), refused[:100]
        assert agent.ask().status_code == 200
        assert all(HEAD_SECONDS / 2 < one.result() < HEAD_SECONDS * 2 for one in slow)
    assert_same(agent.rows(), rows)


@pytest.mark.parametrize("connections", [1, 4])
def test_many_streams_share_a_connection(agent_of, connections):
    rows = make_rows(300, 20)
    agent = agent_of(rows, days=21)
    truth = agent.ask().json()["data"]

    async def ask(http: httpx.AsyncClient) -> None:
        answer = await http.get(agent.url, headers=agent.headers)
        assert answer.status_code == 200 and answer.http_version == "HTTP/2"
        assert answer.json()["data"] == truth

    async def ask_all() -> None:
        async with contextlib.AsyncExitStack() as stack:
            # Without HTTP/1, httpx uses HTTP/2 without negotiation.
            made = [httpx.AsyncClient(http1=False, http2=True, timeout=PATIENCE) for _ in range(connections)]
            clients = [await stack.enter_async_context(client) for client in made]
            await asyncio.gather(*(ask(clients[n % connections]) for n in range(100)))

    asyncio.run(ask_all())


def test_cuts_off_a_client_that_reads_nothing_but_not_a_slow_one(agent_of):
    rows = make_rows(2_000, 20)
    agent = agent_of(rows, "--stall-timeout", f"{STALL_SECONDS}s", days=21)
    with connect(agent, 32 << 10) as stalled, connect(agent, 32 << 10) as slow:
        for client in (stalled, slow):
            client.sendall(request(agent, query="?format=ndjson&end_record=true"))
        body, began = b"", time.monotonic()
        # The complete body takes longer than the timeout, but no part of it does.
        while time.monotonic() - began < STALL_SECONDS * 1.5 or under_way(agent) > 1:
            assert time.monotonic() - began < PATIENCE, "the client that reads nothing is still there"
            body += slow.recv(16 << 10)
            time.sleep(0.1)
        assert under_way(agent) == 1
        body += read_to_end_of_chunks(slow, body)
        assert b'"complete":true' in body[-300:]
        # Buffered bytes may still arrive, but not the end.
        assert b'"complete":true' not in read_to_end(stalled)
    wait_until(lambda: under_way(agent) == 0)


def read_to_end_of_chunks(client: socket.socket, before: bytes) -> bytes:
    body = b""
    while not (before[-10:] + body).endswith(b"\r\n0\r\n\r\n"):
        piece = client.recv(1 << 16)
        assert piece, "cut off"
        body += piece
    return body


def test_refuses_requests_above_the_limit(agent_of, upstream):
    rows = make_rows(200, 6)
    agent = agent_of(rows, "--max-questions", "4", days=7)
    assert_same(agent.rows(), rows)
    upstream.latency = 6
    # Rows read within the last second serve `no-cache`, too.
    time.sleep(1.2)
    with ThreadPoolExecutor(40) as threads:
        # All need the same slow page, and share it.
        asked = [threads.submit(agent.ask, Cache_Control="no-cache") for _ in range(40)]
        # One caller can't take all places.
        wait_until(lambda: under_way(agent) >= 3)
        for path in ("/livez", "/readyz", "/metrics"):
            assert requests.get(agent.program.admin + path, timeout=5).status_code == 200
        assert requests.get(f"{agent.base}/openapi.yaml", timeout=5).status_code == 200
        answers = [one.result() for one in asked]
    admitted = [answer for answer in answers if answer.status_code == 200]
    assert len(admitted) >= 3
    for answer in answers:
        if answer.status_code != 200:
            assert answer.json()["code"] in ("rate_limited", "overloaded"), answer.text
            assert int(answer.headers["Retry-After"]) >= 1
            # The refusal is immediate.
            assert answer.elapsed.total_seconds() < 5
    upstream.latency = 0
    wait_until(lambda: under_way(agent) == 0)
    assert_same(agent.rows(), rows)


def test_clients_that_leave_release_their_resources(agent_of, upstream):
    rows = make_rows(1_000, 60)
    agent = agent_of(rows, "--fan-out", "2", days=61)
    upstream.latency = 0.1

    def leave() -> None:
        with connect(agent) as client:
            client.sendall(request(agent, query="?format=ndjson", Accept=NDJSON))
            client.recv(1)

    threads = [threading.Thread(target=leave) for _ in range(30)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    wait_until(lambda: under_way(agent) == 0)
    # A read without callers stops at its next page.
    wait_until(lambda: agent.program.metric("fanfold_upstream_in_flight") == 0)
    upstream.latency = 0
    assert_same(agent.lines(), rows)
