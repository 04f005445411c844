"""If upstream refuses one agent, the key still works for the others, and their rows stay cached."""

import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from aiohttp import web
from answers import Agent, assert_same, whole
from held import held_flags
from programs import KEY
from rows import make_rows

AGENTS = 20
FLAGS = ("--live-ttl", "1h", "--settling-ttl", "1h", "--upstream-rate", "0")


@pytest.fixture
def account(upstream):
    """Several healthy agents of one key, and one that upstream refuses."""
    rows = make_rows(40, 3)
    healthy = [str(uuid.uuid4()) for _ in range(AGENTS)]
    for agent in healthy:
        upstream.agent(agent, rows, KEY, days=4)
    refused = str(uuid.uuid4())
    upstream.agent(refused, (), KEY, days=4)
    return healthy, refused, rows


def refuse(upstream, refused: str, status: int) -> None:
    """Upstream responds with this status to every request for that agent."""
    honest = upstream._refusal

    def refusal(request: web.Request) -> web.Response | None:
        if request.match_info["agent"] == refused:
            return web.json_response({"detail": "Not authorized"}, status=status)
        return honest(request)

    upstream._refusal = refusal


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("is_held", [True, False], ids=["held", "pass-through"])
@pytest.mark.parametrize("path", ["/agents/{}/executions/all", "/v2/agent/{}/executions"])
def test_a_refused_agent_does_not_affect_the_others_of_its_key(gateway, upstream, tmp_path, account, status, is_held, path):
    healthy, refused, rows = account
    flags, tokens = held_flags(tmp_path, one=refused, all="*") if is_held else ([], {"one": KEY, "all": KEY})
    base = gateway(upstream.url, *FLAGS, *flags).url
    agents = [Agent(base, agent, tokens["all"]) for agent in healthy]
    for agent in agents:
        assert_same(agent.rows(), rows)
    # Accepted at first and then refused, as if the agent moved to another sub-account.
    Agent(base, refused, tokens["one"]).ask()
    refuse(upstream, refused, status)
    upstream.forget_log()

    def poll(_) -> requests.Response:
        headers = {"Authorization": f"Bearer {tokens['one']}", "Cache-Control": "no-cache", "Prefer": "wait=30"}
        return requests.get(base + path.format(refused), headers=headers, timeout=60)

    with ThreadPoolExecutor(4) as pool:
        polls = list(pool.map(poll, range(12)))
        answers = list(pool.map(lambda agent: agent.ask(), agents))
    assert {answer.status_code for answer in answers} == {200}, answers[0].text
    for answer in answers:
        assert_same(whole(answer), rows)
    # The rows of the others are still cached.
    assert not [seen for seen in upstream.pages if refused not in seen.path]
    assert {answer.status_code for answer in polls} <= {502 if is_held else status, 200, 429}, polls[-1].text


def test_a_refused_agent_does_not_break_a_stream_about_another(gateway, upstream, account):
    healthy, refused, _ = account
    rows = make_rows(2_000, 60)
    long = str(uuid.uuid4())
    upstream.agent(long, rows, KEY, days=61)
    upstream.latency = 0.1
    base = gateway(upstream.url, "--fan-out", "2", "--upstream-rate", "0").url
    one, other = Agent(base, refused, KEY), Agent(base, long, KEY)
    one.ask()
    refuse(upstream, refused, 403)
    with ThreadPoolExecutor(2) as pool:
        streamed = pool.submit(other.lines)
        for _ in range(10):
            one.ask(Cache_Control="no-cache", Prefer="wait=5")
        assert_same(streamed.result(90), rows)
