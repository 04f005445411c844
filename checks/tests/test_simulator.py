"""The gateway in front of the simulator, read by common clients."""

import asyncio
import gzip
import json
import shutil
import subprocess

import aiohttp
import httpx
import pytest
import requests
from answers import NDJSON, PATIENCE, Agent, lines, raw_rows
from programs import clean_environment
from rows import DAY, micros_of, now, text_of

KEY = "bn-simulated"


def walk(base: str, agent_id: str, created: int, **filters: str) -> list[bytes]:
    """Every row of an agent, read from the simulator in spans so narrow that each is a single page.

    A walk over several pages may lose rows, because rows of one instant change places between requests.
    """
    rows, spans = [], [(created, now())]
    headers = {"Authorization": f"Bearer {KEY}"}
    with requests.Session() as session:
        while spans:
            start, end = spans.pop()
            query = {"page_number": 1, "page_size": 50, "from": text_of(start), "to": text_of(end), **filters}
            too_wide = end - start > 7 * DAY
            if not too_wide:
                url = f"{base}/v2/agent/{agent_id}/executions"
                page = session.get(url, params=query, headers=headers, timeout=30)
                assert page.status_code == 200, page.text
                too_wide = page.json()["has_more"]
            if too_wide:
                middle = (start + end) // 2
                assert start < end, "more rows of one instant than a page holds"
                spans += [(start, middle), (middle + 1, end)]
            else:
                rows += raw_rows(page.text)
    return rows


@pytest.fixture
def simulated(simulator, gateway):
    """An agent of the simulator behind a gateway, its rows, and the simulator."""

    def make(*flags: str):
        program = simulator("--rate", "0", "--latency", "0s", *flags)
        headers = {"Authorization": f"Bearer {KEY}"}
        agents = requests.get(f"{program.url}/v2/agent/all", headers=headers, timeout=10).json()
        facts = agents[0]
        truth = walk(program.url, facts["id"], micros_of(facts["created_at"]))
        return Agent(gateway(program.url).url, facts["id"], KEY), truth, program

    return make


SMALL = ("--agents", "2", "--executions", "400", "--seed", "7", "--span", "40d")


def test_the_gateway_returns_the_rows_of_a_walk(simulated):
    agent, truth, _ = simulated(*SMALL)
    assert len(truth) == 400
    rows = agent.rows()
    assert sorted(rows) == sorted(truth)
    assert agent.lines() == rows
    instants = [micros_of(json.loads(row)["created_at"]) for row in rows]
    assert instants == sorted(instants, reverse=True)


@pytest.mark.parametrize(
    "query", ["status=completed", "call_type=inbound", "provider=plivo", "answered_by_voice_mail=true"]
)
def test_every_filter_gives_the_simulators_rows(simulated, query):
    agent, _, program = simulated(*SMALL)
    truth = walk(program.url, agent.id, now() - 41 * DAY, **dict([query.split("=")]))
    assert truth
    assert sorted(agent.rows(query)) == sorted(truth)


def test_the_same_seed_gives_the_same_rows(simulator):
    def first_agent(seed: str):
        program = simulator("--rate", "0", "--agents", "1", "--executions", "60", "--seed", seed, "--span", "10d")
        headers = {"Authorization": f"Bearer {KEY}"}
        return requests.get(f"{program.url}/v2/agent/all", headers=headers, timeout=10).json()[0]["id"]

    assert first_agent("7") == first_agent("7") != first_agent("8")


def test_every_client_reads_gzip(simulated):
    agent, truth, _ = simulated(*SMALL)
    truth = sorted(truth)
    headers = agent.headers | {"Accept-Encoding": "gzip", "Accept": NDJSON}

    with_requests = requests.get(agent.url, headers=headers, timeout=PATIENCE)
    assert with_requests.headers["Content-Encoding"] == "gzip"
    assert sorted(lines(with_requests.content)) == truth

    with httpx.stream("GET", agent.url, headers=headers, timeout=PATIENCE, trust_env=False) as answer:
        assert sorted(lines(b"".join(answer.iter_bytes()))) == truth

    async def with_aiohttp() -> list[bytes]:
        async with aiohttp.ClientSession(headers=headers) as session, session.get(agent.url) as answer:
            return [line.rstrip(b"\n") async for line in answer.content]

    assert sorted(asyncio.run(with_aiohttp())) == truth

    if shutil.which("curl") is None:
        pytest.skip("curl is not on this machine")
    command = ["curl", "-sS", "--fail", "--compressed", "-H", f"Authorization: Bearer {KEY}", agent.url]
    with_curl = subprocess.run(command, env=clean_environment(), capture_output=True, check=True).stdout
    assert sorted(raw_rows(with_curl.decode())) == truth

    raw = subprocess.run([*command[:3], *command[4:], "-H", "Accept-Encoding: gzip"], capture_output=True, check=True)
    assert sorted(raw_rows(gzip.decompress(raw.stdout).decode())) == truth


def test_faults_cost_no_row(simulated, simulator, gateway):
    agent, truth, _ = simulated(*SMALL)
    faulty = simulator("--rate", "0", *SMALL, "--fault", "429:0.1", "--fault", "500:0.1")
    over_faults = Agent(gateway(faulty.url).url, agent.id, KEY)
    assert [json.loads(row)["id"] for row in over_faults.rows()] == [json.loads(row)["id"] for row in agent.rows()]
    assert len(truth) == 400


def test_refuses_invalid_keys_and_windows_like_upstream(simulator):
    program = simulator(*SMALL)
    url = f"{program.url}/v2/agent/all"
    assert requests.get(url, timeout=10).status_code in (401, 403)
    headers = {"Authorization": f"Bearer {KEY}"}
    agent = requests.get(url, headers=headers, timeout=10).json()[0]["id"]
    executions = f"{program.url}/v2/agent/{agent}/executions"
    assert requests.get(executions, headers=headers, timeout=10).status_code == 400
    wide = {"from": text_of(now() - 8 * DAY), "to": text_of(now())}
    assert requests.get(executions, params=wide, headers=headers, timeout=10).status_code == 400
