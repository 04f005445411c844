"""Shutdown: admitted requests end properly before the process does; a second signal ends it at once."""

import asyncio
import contextlib
import json
import signal
import socket
import threading
import time

import pytest
import requests
import rolling
from aiohttp import web
from answers import Agent, problem
from polling import wait_until
from programs import KEY, responds, start_gateway
from rows import make_rows

ID = "00000000-0000-4000-8000-000000000001"
SLOW = ("--fan-out", "1", "--drain-timeout", "2s")


def test_no_response_is_lost_or_wrong_over_rolling_stops(tmp_path):
    tally = rolling.run(tmp_path, stops=3)
    print(tally.outcomes, tally.stops)
    assert not tally.faults, tally.faults[:5]
    assert tally.outcomes["collected: whole"] > 5 and tally.outcomes["streamed: whole"] > 5


def test_a_stream_past_the_drain_ends_with_its_verdict_and_a_break(agent_of, upstream):
    upstream.latency = 0.25
    agent = agent_of(make_rows(2_000, 60), *SLOW, days=61)
    url = f"{agent.url}?format=ndjson&end_record=true"
    with requests.get(url, headers=agent.headers, stream=True, timeout=30) as answer:
        pieces, body = answer.iter_content(None), b""
        body += next(pieces)
        agent.program.process.send_signal(signal.SIGTERM)
        with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError)):
            for piece in pieces:
                body += piece
    verdict = json.loads([line for line in body.split(b"\n") if line][-1])["@end"]
    assert verdict["complete"] is False and verdict["error"]["code"] == "shutting_down"
    assert agent.program.process.wait(30) == 0


def test_a_slow_reader_gets_its_end_record_before_the_drain_is_over(agent_of):
    # Far more than the buffers of the sockets and the gateway.
    agent = agent_of(make_rows(8_000, 60), "--drain-timeout", "10s", "--upstream-rate", "0", days=61)
    agent.rows()
    request = (
        f"GET {agent.path}?format=ndjson&end_record=true HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {agent.key}\r\n\r\n"
    )
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 << 10)
        client.settimeout(30)
        client.connect(("127.0.0.1", int(agent.base.rsplit(":", 1)[1])))
        client.sendall(request.encode())
        got = client.recv(8 << 10)
        agent.program.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(ConnectionError):
            while piece := client.recv(8 << 10):
                got += piece
                time.sleep(len(piece) / (120 << 10))
    assert not got.endswith(b"0\r\n\r\n"), "whole"
    _, _, body = got.partition(b"\r\n\r\n")
    got_lines = [line for line in rolling.unchunked(body).split(b"\n") if line]
    assert got_lines[-1].startswith(b'{"@end"'), got_lines[-1][:100]
    verdict = json.loads(got_lines.pop())["@end"]
    assert verdict["complete"] is False and verdict["error"]["code"] == "shutting_down"
    assert verdict["count"] == len(got_lines)
    assert agent.program.process.wait(30) == 0


def test_a_collected_response_past_the_drain_gets_shutting_down(agent_of, upstream):
    upstream.latency = 0.25
    agent = agent_of(make_rows(2_000, 60), *SLOW, days=61)
    got = []
    asking = threading.Thread(target=lambda: got.append(agent.ask()))
    asking.start()
    wait_until(lambda: len(upstream.pages) >= 2, every=0.01)
    agent.program.process.send_signal(signal.SIGTERM)
    asking.join(20)
    problem(got[0], 503, "shutting_down")
    assert int(got[0].headers["Retry-After"]) >= 1
    assert agent.program.process.wait(30) == 0


def test_the_last_response_of_a_connection_says_close(agent_of, upstream):
    is_stopping = False

    async def wait_for_the_stop(_request: web.Request) -> None:
        while not is_stopping:
            await asyncio.sleep(0.02)

    upstream.fault = wait_for_the_stop
    agent = agent_of(make_rows(200, 6), "--fan-out", "1", "--drain-timeout", "20s", days=7)
    request = f"GET {agent.path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {agent.key}\r\n\r\n".encode()
    port = int(agent.base.rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.settimeout(20)
        client.sendall(request)
        wait_until(lambda: upstream.pages, every=0.01)
        agent.program.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not responds(f"{agent.program.admin}/readyz"))
        is_stopping = True
        answer = b""
        while piece := client.recv(1 << 16):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200") and b"connection: close" in head.lower()
    assert json.loads(body)["total"] == 200
    assert agent.program.process.wait(30) == 0


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT], ids=lambda first: first.name)
def test_a_second_signal_ends_it_at_once(tmp_path, upstream, first):
    upstream.latency = 0.25
    upstream.agent(ID, make_rows(2_000, 60), KEY, days=61)
    program = start_gateway(tmp_path, upstream.url, "--fan-out", "1", "--drain-delay", "10s", "--drain-timeout", "60s")
    agent = Agent(program.url, ID, KEY, program)
    url = f"{agent.url}?format=ndjson&end_record=true"
    with requests.get(url, headers=agent.headers, stream=True, timeout=30) as answer:
        next(answer.iter_content(None))
        program.process.send_signal(first)
        # Two equal signals count as one until the first is handled.
        wait_until(lambda: not responds(f"{program.admin}/readyz"))
        assert program.process.poll() is None
        began = time.monotonic()
        program.process.send_signal(signal.SIGTERM)
        assert program.process.wait(10) == 143
        assert time.monotonic() - began < 5
