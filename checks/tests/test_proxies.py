"""Behind common proxies, rows stream, no truncated response looks complete, and caches keep callers apart."""

import json
import subprocess
import uuid
from dataclasses import dataclass, replace
from functools import partial

import pytest
import requests
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
FLAGS = ("--fan-out", "1", "--request-deadline", "3s", "--upstream-timeout", "1s", "--upstream-rate", "0")


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


def lines(body: bytes) -> list[bytes]:
    return [line for line in body.split(b"\n") if line]


@pytest.mark.parametrize("client", CLIENTS)
def test_rows_arrive_as_they_are_read(place, client):
    rows = make_rows(ROWS, 60)
    agent = place.agent(rows)
    place.upstream.latency, before = 0.04, len(place.upstream.pages)
    curl = place.ask(client, agent, "end_record=true")
    first = curl.stdout.read(1)
    at_first = len(place.upstream.pages) - before
    rest, error = curl.communicate(timeout=60)
    place.upstream.latency = 0
    assert curl.returncode == 0, error
    got = lines(first + rest)
    verdict = json.loads(got.pop())["@end"]
    assert verdict["complete"] is True and verdict["count"] == len(got)
    assert_same(got, rows)
    if place.name not in COLLECTING:
        assert at_first < (len(place.upstream.pages) - before) / 2


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
    place.upstream.latency = 0.04
    curl = place.ask(client, agent, "end_record=true")
    wait_for_pages(place, agent, 4)
    place.upstream.script.extend([(500, {}, b"{}")] * 1_000)
    body, _ = curl.communicate(timeout=60)
    place.upstream.script.clear()
    place.upstream.latency = 0
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
    place.upstream.latency, before = 0.04, len(place.upstream.pages)
    changes = partial(place.ask, client, agent, query, "-H", "Cache-Control: no-cache", form="changes")
    curl = changes()
    wait_until(lambda: len(place.upstream.pages) >= before + 4, 30, every=0.005)
    place.upstream.script.extend([(500, {}, b"{}")] * 1_000)
    body, _ = curl.communicate(timeout=60)
    place.upstream.script.clear()
    place.upstream.latency = 0
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


def wait_for_pages(place: Place, agent: Agent, count: int) -> None:
    wait_until(lambda: sum(agent.id in seen.path for seen in place.upstream.pages) >= count, 30, every=0.005)


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

    place.upstream.latency = 0.04
    asked = [
        place.ask(client, place.agent(make_rows(ROWS, 60)), query, form=form)
        for client in CLIENTS
        for form, query in (("all", "end_record=true"), ("changes", "format=ndjson"))
    ]
    before = len(place.upstream.pages)
    wait_until(lambda: len(place.upstream.pages) >= before + 16, 30, every=0.005)
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
