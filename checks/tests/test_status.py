"""`GET /status`: its content, its cost, and who may request it."""

import json
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

import pytest
import requests
from answers import problem
from held import held_flags, new_token
from polling import wait_until
from programs import KEY
from rows import make_rows


def ask(program, key: str | None = KEY, method: str = "GET") -> requests.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return requests.request(method, f"{program.url}/status", headers=headers, timeout=30)


def status(program, key: str = KEY) -> dict:
    answer = ask(program, key)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.json()


def seconds_until(text: str) -> float:
    return (datetime.fromisoformat(text.replace("Z", "+00:00")) - datetime.now(timezone.utc)).total_seconds()


@pytest.fixture
def rows(upstream):
    id = str(uuid.uuid4())
    upstream.agent(id, make_rows(700, 40), KEY, days=41)
    return id


def read(program, agent: str, key: str = KEY) -> requests.Response:
    url = f"{program.url}/agents/{agent}/executions/all"
    return requests.get(url, headers={"Authorization": f"Bearer {key}"}, timeout=90)


def test_reports_the_budget_and_the_rest_of_it(rows, upstream, gateway):
    program = gateway(upstream.url, "--upstream-rate", "100/min")
    before = status(program)
    assert before["upstream"] == "ok" and before["tier"] == {"kind": "none", "state": "ok"}
    # Only the key was checked, with one request.
    assert [seen.path for seen in upstream.log] == ["/user/me"]
    assert before["budget"] == {"limit": 100, "period": "60s", "left": 99, "paused_until": None}
    assert -60 < seconds_until(before["started_at"]) <= 0
    assert read(program, rows).status_code == 200
    sent = len(upstream.log)
    assert status(program)["budget"]["left"] == 100 - sent
    assert len(upstream.log) == sent, "a key that has just read something is asked about again"


def test_reports_limited_while_the_budget_is_used_up(rows, upstream, gateway):
    program = gateway(upstream.url, "--upstream-rate", "6/min", "--refresh-reserve", "0%")
    url = f"{program.url}/agents/{rows}/executions/all?format=ndjson&end_record=true"
    headers = {"Authorization": f"Bearer {KEY}"}
    with requests.get(url, headers=headers, stream=True, timeout=60):
        limited = wait_until(lambda: (told := status(program))["upstream"] == "limited" and told, 20)
    assert 0 < seconds_until(limited["budget"]["paused_until"]) < 70


def test_reports_down_while_upstream_fails_and_refuses_no_known_key(rows, upstream, gateway):
    program = gateway(upstream.url)
    assert status(program)["upstream"] == "ok"

    upstream.stop()

    def is_down() -> bool:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: read(program, rows), range(8)))
        return status(program)["upstream"] == "down"

    wait_until(is_down, 40)


def test_status_needs_a_valid_credential(rows, upstream, gateway):
    program = gateway(upstream.url)
    problem(ask(program, None), 401, "unauthenticated")
    began = time.monotonic()
    for _ in range(10):
        problem(ask(program, "bn-wrong"), 403, "upstream_denied")
    # A refusal is remembered for three seconds.
    took = time.monotonic() - began
    assert len(upstream.log) <= 2 * (1 + took // 3), "a refused key is asked about again and again"
    problem(ask(program, method="POST"), 405, "method_not_allowed")
    assert ask(program, method="HEAD").content == b""
    query = requests.get(f"{program.url}/status?key={KEY}", timeout=10)
    problem(query, 401, "unauthenticated")


def test_a_token_gets_the_status_without_an_upstream_request(rows, upstream, gateway, tmp_path):
    flags, tokens = held_flags(tmp_path, one=rows, all="*")
    program = gateway(upstream.url, *flags)
    for token in tokens.values():
        assert status(program, token)["questions"] == 0
    assert upstream.log == []
    expired, _ = new_token("old")
    problem(ask(program, expired), 401, "unauthenticated")
    problem(ask(program, KEY), 401, "unauthenticated")


def test_each_credential_sees_its_own_budget(upstream, gateway):
    agents = {}
    for key in ("bn-one", "bn-two"):
        agents[key] = str(uuid.uuid4())
        upstream.agent(agents[key], make_rows(120, 20), key, days=21)
    program = gateway(upstream.url, "--upstream-rate", "100/min", "--rate-scope", "credential")
    assert read(program, agents["bn-one"], "bn-one").status_code == 200
    left = {key: status(program, key)["budget"]["left"] for key in agents}
    assert left["bn-one"] < 99 and left["bn-two"] == 99, json.dumps(left)
