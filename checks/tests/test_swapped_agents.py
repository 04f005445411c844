"""Rows of another agent are never served, whatever parameters a caller passes to upstream."""

import json
import uuid
from collections import Counter

import pytest
import requests
from aiohttp import web
from answers import problem
from held import held_flags
from programs import KEY
from rows import make_rows, now, text_of

WINDOW = "from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z"
# Parameters that an API could read as an agent.
NAMES = ["agent_id", "agentId", "agent", "id", "AGENT_ID", "agent_id[]", "%61gent_id", "page_number=1&agent_id"]
SECRET = "told-to-nobody-else"


def page_about(request: web.Request, agent: str, word: str = "own") -> web.Response:
    """A page for the requested dates, whose row names its agent."""
    row = {"id": str(uuid.uuid4()), "agent_id": agent, "created_at": request.query["from"], "transcript": word}
    page = {"page_number": 1, "page_size": 50, "total": 1, "has_more": False, "data": [row]}
    return web.Response(text=json.dumps(page), content_type="application/json")


@pytest.fixture
def two(upstream):
    """Two agents of one account, behind an upstream where a parameter selects the agent."""
    one, other = str(uuid.uuid4()), str(uuid.uuid4())
    for agent in (one, other):
        upstream.agent(agent, (), KEY, days=400)

    async def honor(request: web.Request) -> web.Response | None:
        asked = request.match_info["agent"]
        named = {value for name, value in request.query.items() if name.lower().startswith(("agent", "id"))}
        about = other if other in named else asked
        return page_about(request, about, SECRET if about == other else "own")

    upstream.fault = honor
    return one, other


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("name", NAMES)
def test_parameters_give_a_token_no_access_to_other_agents(gateway, upstream, tmp_path, two, name):
    one, other = two
    flags, tokens = held_flags(tmp_path, one=one, other=other)
    base = gateway(upstream.url, *flags).url
    url = f"{base}/v2/agent/{one}/executions?{WINDOW}&{name}={other}"
    for _ in range(4):
        answer = requests.get(url, headers=bearer(tokens["one"]), timeout=30)
        assert SECRET not in answer.text
        problem(answer, 400, "invalid_request")
    assert not upstream.pages, [seen.query for seen in upstream.pages]
    # It can still read its own agent.
    answer = requests.get(f"{base}/v2/agent/{one}/executions?{WINDOW}", headers=bearer(tokens["one"]), timeout=30)
    assert answer.status_code == 200 and answer.json()["data"][0]["agent_id"] == one


ODD = ["page_number=0", "agent_id=", "page_number=999999", "page_size=0", "agent_id=x"]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("is_held", [True, False], ids=["held", "pass-through"])
def test_odd_parameters_of_one_caller_expose_nothing_to_others(gateway, upstream, tmp_path, two, odd, is_held):
    one, other = two
    flags, tokens = held_flags(tmp_path, one=one, other=other) if is_held else ([], {"one": KEY, "other": KEY})
    base = gateway(upstream.url, *flags).url
    for number in range(3):
        url = f"{base}/v2/agent/{one}/executions?{WINDOW}&{odd}&batch_id={number:032x}"
        requests.get(url, headers=bearer(tokens["one"]), timeout=30)

    async def swap(request: web.Request) -> web.Response:
        return page_about(request, other if request.match_info["agent"] == one else one, SECRET)

    upstream.fault = swap
    counts = Counter()
    for number in range(4):
        start, end = now() - 86_400_000_000, now()
        query = f"from={text_of(start)}&to={text_of(end)}&provider=p{number}"
        for path in (f"/v2/agent/{other}/executions?{query}", f"/agents/{other}/executions/all?provider=q{number}"):
            answer = requests.get(base + path, headers=bearer(tokens["other"]) | {"Prefer": "wait=5"}, timeout=30)
            assert SECRET not in answer.text, (path, answer.text)
            counts[answer.status_code] += 1
    assert set(counts) <= {502, 504}, counts


def test_refuses_a_page_with_rows_of_two_agents(gateway, upstream, two):
    one, other = two

    async def mix(request: web.Request) -> web.Response:
        pages = [json.loads(page_about(request, agent, SECRET).text) for agent in (one, other)]
        pages[0]["data"] += pages[1]["data"]
        return web.Response(text=json.dumps(pages[0]), content_type="application/json")

    upstream.fault = mix
    base = gateway(upstream.url).url
    for attempt in range(3):
        for path in (f"/agents/{one}/executions/all?provider=p{attempt}", f"/v2/agent/{one}/executions?{WINDOW}"):
            answer = requests.get(base + path, headers=bearer(KEY) | {"Prefer": "wait=5"}, timeout=30)
            assert SECRET not in answer.text and answer.status_code in (502, 504), (path, answer.text)


def test_serves_the_same_window_without_the_parameter(gateway, upstream, two):
    upstream.fault = None
    one, _ = two
    rows = make_rows(60, 3)
    upstream.agents[one].add(rows)
    answer = requests.get(f"{gateway(upstream.url).url}/agents/{one}/executions/all", headers=bearer(KEY), timeout=30)
    assert answer.json()["total"] == 60
