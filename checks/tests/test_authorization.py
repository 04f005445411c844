"""Cached data is served only to callers whom upstream would serve."""

import shutil
import subprocess
import uuid
from dataclasses import replace

import requests
from answers import assert_same, problem
from held import file_flags, new_token
from rows import make_rows


def test_a_warm_cache_serves_only_its_own_key(agent_of, upstream):
    rows = make_rows(200, 20)
    agent = agent_of(rows)
    assert_same(agent.rows(), rows)

    upstream.agent(str(uuid.uuid4()), key="bn-neighbor")
    problem(replace(agent, key="bn-neighbor").ask(), 404, "agent_not_found")

    refused = problem(replace(agent, key="bn-unknown").ask(), 403, "upstream_denied")
    assert refused["upstream"]["status"] == 403
    assert "Invalid API key" in refused["upstream"]["message"]

    nobody = requests.get(agent.url, timeout=10)
    problem(nobody, 401, "unauthenticated")
    assert nobody.headers["WWW-Authenticate"].startswith("Bearer")
    for malformed in ("Basic YTpi", "Bearer", "Bearer ", "bn-check"):
        problem(requests.get(agent.url, headers={"Authorization": malformed}, timeout=10), 401, "unauthenticated")
    assert_same(agent.rows(), rows)


def test_the_scheme_is_case_insensitive(agent_of):
    rows = make_rows(20, 3)
    agent = agent_of(rows)
    answer = requests.get(agent.url, headers={"Authorization": f"bearer {agent.key}"}, timeout=30)
    assert answer.status_code == 200


def test_a_revoked_key_gets_nothing_that_needs_upstream(agent_of, upstream):
    rows = make_rows(200, 20)
    agent = agent_of(rows, "--live-ttl", "0s", "--stale-if-error", "0s")
    agent.rows()
    upstream.denied_keys.add(agent.key)
    problem(agent.ask(), 403, "upstream_denied")
    problem(agent.ask(Cache_Control="max-stale"), 403, "upstream_denied")


def test_logs_no_key_and_no_row_at_the_trace_level(agent_of):
    rows = make_rows(100, 20)
    agent = agent_of(rows, "--log", "trace")
    agent.rows()
    replace(agent, key="bn-unknown").ask()
    if curl := shutil.which("curl"):
        # Another protocol uses another library, which could log.
        asked = [curl, "-sS", "--http2-prior-knowledge", "-H", f"Authorization: Bearer {agent.key}", agent.url]
        assert b'"complete":true' in subprocess.run(asked, capture_output=True, timeout=30, check=True).stdout
    # The gateway fixture checks the log at the end.


def held(tmp_path, agents: str, expiry: str = "") -> tuple[str, list[str]]:
    """A token for these agents, and the flags for a gateway with a held key."""
    token, line = new_token("dashboard", agents)
    return token, file_flags(tmp_path, f"# who may ask\n{line.rstrip()} {expiry}\n")


def test_only_tokens_can_use_a_held_key(agent_of, upstream, tmp_path, gateway):
    rows = make_rows(100, 20)
    agent_id = str(uuid.uuid4())
    token, flags = held(tmp_path, agent_id)
    upstream.agent(agent_id, rows)
    other_id = str(uuid.uuid4())
    upstream.agent(other_id, rows)
    base = gateway(upstream.url, *flags).url

    def ask(id: str, bearer: str) -> requests.Response:
        headers = {"Authorization": f"Bearer {bearer}"}
        return requests.get(f"{base}/agents/{id}/executions/all", headers=headers, timeout=30)

    assert ask(agent_id, token).json()["total"] == 100
    problem(ask(other_id, token), 403, "forbidden")
    problem(ask(agent_id, "bn-check"), 401, "unauthenticated")
    problem(ask(agent_id, token + "x"), 401, "unauthenticated")
    assert all(seen.headers["authorization"] == "Bearer bn-check" for seen in upstream.log)


def test_an_expired_token_is_refused(upstream, tmp_path, gateway):
    agent_id = str(uuid.uuid4())
    token, flags = held(tmp_path, "*", "2020-01-01T00:00:00Z")
    upstream.agent(agent_id, make_rows(5, 2))
    url = f"{gateway(upstream.url, *flags).url}/agents/{agent_id}/executions/all"
    problem(requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=30), 401, "unauthenticated")


def test_only_the_credential_and_the_trace_go_upstream(agent_of, upstream):
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    agent = agent_of(make_rows(30, 3))
    agent.ask(X_Private="secret", Cookie="a=b", traceparent=trace)
    for seen in upstream.log:
        assert not seen.headers.keys() & {"x-private", "cookie"}
    assert any(seen.headers.get("traceparent", "").startswith(trace[:35]) for seen in upstream.pages)
