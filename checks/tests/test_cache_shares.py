"""Made-up requests of one caller do not evict rows that others have read."""

import re
import socket
import uuid
from collections import Counter
from urllib.parse import urlsplit

import pytest
from answers import Agent, assert_same
from held import held_flags
from rows import make_rows

FLAGS = ("--live-ttl", "1h", "--settling-ttl", "1h", "--upstream-rate", "0")
MADE_UP = 4_500
# Few enough that the responses fit into socket buffers.
AT_ONCE = 500
VICTIMS = 3


def flood(base: str, token: str, paths: list[str]) -> Counter:
    """Sends only-if-cached requests for all of these, pipelined on one connection; returns the count of each status."""
    at = urlsplit(base)
    head = f"HTTP/1.1\r\nHost: {at.netloc}\r\nAuthorization: Bearer {token}\r\nCache-Control: only-if-cached\r\n\r\n"
    statuses = Counter()
    for first in range(0, len(paths), AT_ONCE):
        part = paths[first : first + AT_ONCE]
        with socket.create_connection((at.hostname, at.port), timeout=60) as client:
            client.sendall("".join(f"GET {path} {head}" for path in part).encode())
            body = b""
            while (came := re.findall(rb"HTTP/1\.1 (\d+) ", body)) != [] or not body:
                if len(came) == len(part):
                    break
                body += client.recv(1 << 20)
        statuses.update(int(status) for status in came)
    return statuses


def batches(agent: str) -> list[str]:
    return [f"/agents/{agent}/executions/all?batch_id={number:032x}" for number in range(MADE_UP)]


def providers(agent: str) -> list[str]:
    return [f"/agents/{agent}/executions/all?provider=p{number}&status=completed" for number in range(MADE_UP)]


def pages(agent: str) -> list[str]:
    return [f"/v2/agent/{agent}/executions?batch_id={number:032x}&page_size=7" for number in range(MADE_UP)]


@pytest.mark.parametrize("made_up", [batches, providers, pages])
@pytest.mark.parametrize("is_held", [True, False], ids=["held", "pass-through"])
def test_requests_that_read_nothing_evict_nothing(gateway, upstream, tmp_path, made_up, is_held):
    rows = make_rows(120, 6)
    victims = [str(uuid.uuid4()) for _ in range(VICTIMS)]
    own = str(uuid.uuid4())
    keys = {"victim": "bn-check", "odd": "bn-check"} if is_held else {"victim": "bn-victim", "odd": "bn-odd"}
    for agent in victims:
        upstream.agent(agent, rows, keys["victim"], days=7)
    upstream.agent(own, rows, keys["odd"], days=7)
    flags, tokens = held_flags(tmp_path, victim=",".join(victims), odd=own) if is_held else ([], keys)
    base = gateway(upstream.url, *FLAGS, *flags).url
    agents = [Agent(base, agent, tokens["victim"]) for agent in victims]
    for agent in [*agents, Agent(base, own, tokens["odd"])]:
        assert_same(agent.rows(), rows)
    upstream.forget_log()
    # A filter value that no row has is answered from the cache; others would need upstream.
    outcomes = flood(base, tokens["odd"], made_up(own))
    assert outcomes[504] + outcomes[200] > MADE_UP / 2, outcomes
    assert not upstream.pages
    for agent in agents:
        assert_same(agent.rows(), rows)
    # The key may be checked again in between.
    assert not upstream.pages, [seen.query for seen in upstream.pages]


def test_made_up_agents_evict_nothing(gateway, upstream):
    rows = make_rows(120, 6)
    victim = str(uuid.uuid4())
    upstream.agent(victim, rows, "bn-victim", days=7)
    agent = Agent(gateway(upstream.url, *FLAGS).url, victim, "bn-victim")
    assert_same(agent.rows(), rows)
    upstream.forget_log()
    paths = [f"/agents/{uuid.uuid4()}/executions/all" for _ in range(MADE_UP)]
    flood(agent.base, "bn-stranger", paths)
    assert_same(agent.rows(), rows)
    assert not upstream.pages
