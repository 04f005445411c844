"""Behind common proxies, rows stream, no truncated response looks complete, and caches keep callers apart."""

import asyncio
import json
import subprocess
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

import pytest
import requests
from aiohttp import web
from answers import NDJSON, Agent, assert_same, whole
from hops import HOPS, Hop, program_of
from polling import wait_until
from programs import KEY, Program, clean_environment, start_gateway
from rows import Row, make_rows
from upstream import Upstream

CLIENTS = ["http1", "http2"]
# Proxies that buffer a response before they pass it on.
COLLECTING = {"nginx", "nginx-http-1.1", "nginx-cache"}
ROWS = 600
TABLE_ROWS = 6_000
FLAGS = ("--fan-out", "1", "--request-deadline", "3s", "--upstream-rate", "0")


@dataclass
class Place:
    """A proxy in front of a gateway in front of an upstream."""

    name: str
    upstream: Upstream
    gateway: Program
    hop: Hop

    def agent(self, rows: list[Row], key: str = KEY) -> Agent:
        id = str(uuid.uuid4())
        self.upstream.agent(id, rows, key, days=61)
        return Agent(self.gateway.url, id, key, self.gateway)

    def ask(
        self, client: str, agent: Agent, query: str, *more: str, accept: str = NDJSON, form: str = "all"
    ) -> subprocess.Popen:
        """Runs curl, whose exit code says whether the body was complete."""
        base, version = (
            (self.hop.http1, "--http1.1") if client == "http1" else (self.hop.http2, "--http2-prior-knowledge")
        )
        command = ["curl", "-sS", "--fail-with-body", "--no-buffer", "--max-time", "60", version]
        command += ["-H", f"Authorization: Bearer {agent.key}", "-H", f"Accept: {accept}", *more]
        command.append(f"{base}/agents/{agent.id}/executions/{form}?{query}")
        return subprocess.Popen(
            command, env=clean_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )


@pytest.fixture(scope="module", params=HOPS)
def place(request, tmp_path_factory):
    if program_of(request.param) is None:
        pytest.skip(f"the program of {request.param} is not on this machine")
    directory = tmp_path_factory.mktemp(request.param)
    # nginx and Varnish run as other users.
    directory.chmod(0o777)
    upstream = Upstream()
    gateway = start_gateway(directory, upstream.url, *FLAGS)
    hop = HOPS[request.param](directory, gateway.url.removeprefix("http://"))
    yield Place(request.param, upstream, gateway, hop)
    hop.stop()
    if gateway.process.poll() is None:
        assert gateway.stop() == 0, gateway.output()
    upstream.stop()


def after_pages(place: Place, agent: Agent, count: int, answer: Callable[[], Awaitable]) -> None:
    """Responds like this to requests for pages of an agent after so many of them."""
    asked = 0

    async def fault(request: web.Request) -> web.Response | None:
        nonlocal asked
        asked += request.match_info["agent"] == agent.id
        return await answer() if asked > count and request.match_info["agent"] == agent.id else None

    place.upstream.fault = fault


async def fails() -> web.Response:
    return web.Response(status=500, text="{}")


def lines(body: bytes) -> list[bytes]:
    return [line for line in body.split(b"\n") if line]


@pytest.mark.parametrize("client", CLIENTS)
def test_rows_arrive_as_they_are_read(place, client):
    rows = make_rows(ROWS, 60)
    agent = place.agent(rows)
    is_begun = place.name in COLLECTING

    async def waits_for_the_first_row() -> None:
        while not is_begun:
            await asyncio.sleep(0.01)

    after_pages(place, agent, 6, waits_for_the_first_row)
    curl = place.ask(client, agent, "end_record=true")
    first = curl.stdout.read(1)
    is_begun = True
    rest, error = curl.communicate(timeout=60)
    place.upstream.fault = None
    assert curl.returncode == 0, error
    got = lines(first + rest)
    verdict = json.loads(got.pop())["@end"]
    assert verdict["complete"] is True and verdict["count"] == len(got)
    assert_same(got, rows)
    assert sum(agent.id in seen.path for seen in place.upstream.pages) > 2 * 6


@pytest.mark.parametrize("client", CLIENTS)
def test_a_caching_hop_never_serves_another_callers_rows(place, client):
    rows = make_rows(60, 10)
    agent = place.agent(rows)
    stranger = replace(agent, key="bn-stranger")
    place.upstream.agent(str(uuid.uuid4()), key=stranger.key)
    base = place.hop.http1
    page = f"/v2/agent/{agent.id}/executions?from=2026-11-20T00:00:00Z&to=2026-11-21T00:00:00Z"
    for path in (agent.path, page):
        for _ in range(2):
            mine = requests.get(base + path, headers=agent.headers, timeout=60)
            assert mine.status_code == 200, mine.text
        theirs = requests.get(base + path, headers=stranger.headers, timeout=60)
        assert theirs.status_code in (403, 404), theirs.text
        assert requests.get(base + path, timeout=60).status_code == 401
    curl = place.ask(client, stranger, "end_record=true")
    body, _ = curl.communicate(timeout=60)
    assert curl.returncode != 0 and json.loads(body)["status"] in (403, 404)
    # The proxy does not delay new rows.
    assert_same(whole(requests.get(base + agent.path, headers=agent.headers, timeout=60)), rows)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_failed_response_never_looks_complete(place, client):
    agent = place.agent(make_rows(ROWS, 60))
    after_pages(place, agent, 4, fails)
    curl = place.ask(client, agent, "end_record=true")
    body, _ = curl.communicate(timeout=60)
    place.upstream.fault = None
    assert_not_whole(place, curl, body)
    # The hop has kept nothing of it.

    def whole_body() -> bytes | None:
        curl = place.ask(client, agent, "end_record=true")
        body, _ = curl.communicate(timeout=60)
        return body if curl.returncode == 0 and b'"complete":true' in body else None

    assert len(lines(wait_until(whole_body, 30, every=0.3))) == ROWS + 1


@pytest.mark.parametrize("client", CLIENTS)
def test_cut_changes_never_look_complete(place, client):
    rows = make_rows(ROWS, 60)
    agent = place.agent(rows)
    query = "format=ndjson"
    changes = partial(place.ask, client, agent, query, "-H", "Cache-Control: no-cache", form="changes")
    after_pages(place, agent, 4, fails)
    curl = changes()
    body, _ = curl.communicate(timeout=60)
    place.upstream.fault = None
    assert_not_whole(place, curl, body)
    assert b'"cursor"' not in body
    # The hop has kept nothing of it.

    def whole_body() -> bytes | None:
        curl = changes()
        body, _ = curl.communicate(timeout=60)
        return body if curl.returncode == 0 and b'"complete":true' in body else None

    *got, end = lines(wait_until(whole_body, 30, every=0.3))
    assert_same(got, rows)
    assert json.loads(end)["@end"]["count"] == ROWS and json.loads(end)["@end"]["cursor"]


def assert_not_whole(place: Place, curl: subprocess.Popen, body: bytes) -> None:
    """A stream may end without an error; then its last line says that it is incomplete."""
    got = lines(body)
    print(f"{place.name}: curl ended with {curl.returncode} after {len(got)} lines, the last {got[-1:]}"[:300])
    assert len(got) <= ROWS
    assert b'"complete":true' not in body
    if curl.returncode == 0 and got and got[-1].startswith(b'{"@end"'):
        assert json.loads(got[-1])["@end"]["complete"] is False


# Last in this file, because it kills the gateway.
def test_a_killed_gateway_leaves_no_response_that_looks_complete(place):
    # More than the buffers between the gateway and a slow reader hold.
    wide = place.agent(make_rows(TABLE_ROWS, 60))
    query = "fields=id,transcript,raw,link,escaped,telephony_data"
    tables = [place.ask(client, wide, query, "--limit-rate", "4M", accept="text/csv") for client in CLIENTS]
    begun = [curl.stdout.read(1) for curl in tables]

    # All of them are in the middle of their responses.
    agents = [place.agent(make_rows(ROWS, 60)) for _ in range(4)]
    counts = dict.fromkeys((agent.id for agent in agents), 0)

    async def waits(request: web.Request) -> None:
        if (id := request.match_info["agent"]) in counts:
            counts[id] += 1
            while counts[id] > 4 and place.gateway.process.poll() is None:
                await asyncio.sleep(0.02)

    place.upstream.fault = waits
    forms = [
        (client, form, query)
        for client in CLIENTS
        for form, query in (("all", "end_record=true"), ("changes", "format=ndjson"))
    ]
    asked = [place.ask(client, agent, query, form=form) for agent, (client, form, query) in zip(agents, forms, strict=True)]
    wait_until(lambda: min(counts.values()) > 4, 30, every=0.005)
    place.gateway.process.kill()
    for curl in asked:
        body, _ = curl.communicate(timeout=60)
        assert_not_whole(place, curl, body)
    for curl, first in zip(tables, begun, strict=True):
        rest, _ = curl.communicate(timeout=60)
        count = len((first + rest).split(b"\r\n")) - 2
        print(f"{place.name}: curl ended with {curl.returncode} after {count} rows of a table")
        # The proxy may already have had the complete response. Otherwise the client notices.
        assert curl.returncode != 0 or count == TABLE_ROWS
