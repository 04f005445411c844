"""A few ordinary requests with shared reads and a short budget can't freeze the process."""

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count

import pytest
import requests
from answers import Agent, assert_same, lines, whole
from polling import wait_until
from programs import KEY
from pulse import Pulse
from rows import make_rows

# A budget per second, to see in seconds what a budget per minute does in minutes.
RATE = ("--upstream-rate", "20/s", "--request-deadline", "60s")
JOINERS = 4
# On a busy machine a gateway is slow, but a frozen one never responds.
SILENCE = 10
IDS = (f"00000000-0000-4000-8000-{number:012x}" for number in count(1))


class Stream:
    """A streamed response, read as fast as it arrives."""

    def __init__(self, agent: Agent, query: str = "", **headers: str):
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        self._answer = requests.get(
            f"{agent.url}?format=ndjson{query}", headers=agent.headers | more, stream=True, timeout=60
        )
        assert self._answer.status_code == 200, self._answer.text
        self.body = bytearray()
        self._is_left = False
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def _take(self) -> None:
        with contextlib.suppress(requests.RequestException), self._answer:
            for piece in self._answer.iter_content(None):
                self.body += piece
                if self._is_left:
                    break

    def rows(self) -> list[bytes]:
        """The complete body."""
        self._thread.join(60)
        return lines(bytes(self.body))

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_) -> None:
        self._is_left = True


@pytest.fixture
def crowded(agent_of, upstream):
    """A gateway whose budget an export uses up, and an agent that nobody has requested."""
    upstream.latency = 0.02
    exported = agent_of(make_rows(20_000, 60), *RATE, days=61)
    with Stream(exported):
        wait_until(lambda: exported.program.metric("fanfold_upstream_waiting") >= 2)
        yield replace(exported, id=next(IDS))


def begun(agent: Agent, query: str = "") -> Stream:
    """A no-store stream that has sent its first rows."""
    stream = Stream(agent, query, Cache_Control="no-store")
    wait_until(lambda: stream.body)
    return stream


def join(agent: Agent, ask) -> list[requests.Response]:
    """The responses to several callers that request the same while it is read."""
    with Pulse.of(agent.program) as pulse, ThreadPoolExecutor(JOINERS) as pool:
        asked = [pool.submit(ask) for _ in range(JOINERS)]
        wait_until(lambda: pulse.longest > SILENCE or all(one.done() for one in asked), 90)
        if pulse.longest > SILENCE:
            agent.program.process.kill()
            pytest.fail(f"nothing was answered for {pulse.longest:.0f} s")
        return [one.result() for one in asked]


@pytest.mark.parametrize("query", ["", "provider=plivo"])
def test_joining_a_no_store_read_does_not_freeze_the_gateway(crowded, upstream, query):
    rows = make_rows(1_500, 5, seed=2)
    upstream.agent(crowded.id, rows, KEY, days=6)
    wanted = [row for row in rows if not query or row.provider == "plivo"]
    unkept = begun(crowded, f"&{query}")
    for got in join(crowded, lambda: crowded.ask(query)):
        assert_same(whole(got), wanted)
    assert_same(unkept.rows(), wanted)


def test_cutting_pages_does_not_freeze_the_gateway(crowded, upstream):
    rows = make_rows(1_500, 5, seed=2)
    upstream.agent(crowded.id, rows, KEY, days=6)
    url = f"{crowded.base}/v2/agent/{crowded.id}/executions?page_size=50"
    unkept = begun(crowded)
    for got in join(crowded, lambda: requests.get(url, headers=crowded.headers, timeout=60)):
        assert got.status_code == 200 and len(got.json()["data"]) == 50, got.text
    assert_same(unkept.rows(), rows)
