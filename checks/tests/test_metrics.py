"""The metrics of a busy gateway, parsed with the parsers of Prometheus."""

import re
import subprocess
import threading
from dataclasses import replace

import pytest
import requests
from answers import Agent, problem
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain
from polling import wait_until
from rows import make_rows, micros_of
from tools import tool

OPEN_METRICS = "application/openmetrics-text;version=1.0.0"

# Dashboards and alerts depend on these names, so they must not change.
PROMISED = {
    "fanfold_build": "info",
    "fanfold_requests": "counter",
    "fanfold_request_duration_seconds": "histogram",
    "fanfold_time_to_first_row_seconds": "histogram",
    "fanfold_answered_rows": "counter",
    "fanfold_answered_bytes": "counter",
    "fanfold_rows": "counter",
    "fanfold_answer_endings": "counter",
    "fanfold_incomplete_answers": "counter",
    "fanfold_problems": "counter",
    "fanfold_questions": "gauge",
    "fanfold_tasks": "gauge",
    "fanfold_scopes": "gauge",
    "fanfold_cache_bytes": "gauge",
    "fanfold_cache_capacity_bytes": "gauge",
    "fanfold_cache_entries": "gauge",
    "fanfold_cache_index_bytes": "gauge",
    "fanfold_cache_evictions": "counter",
    "fanfold_cache_refusals": "counter",
    "fanfold_budget_left": "gauge",
    "fanfold_gate_rate": "gauge",
    "fanfold_gate_paused_seconds": "gauge",
    "fanfold_breaker_state": "gauge",
    "fanfold_upstream_in_flight": "gauge",
    "fanfold_upstream_waiting": "gauge",
    "fanfold_upstream_requests": "counter",
    "fanfold_upstream_request_duration_seconds": "histogram",
    "fanfold_upstream_wait_seconds": "histogram",
    "fanfold_upstream_retries": "counter",
    "fanfold_upstream_rejected": "counter",
    "fanfold_upstream_malformed": "counter",
    "fanfold_upstream_body_bytes": "counter",
    "fanfold_walk_repairs": "counter",
    "fanfold_connections": "gauge",
    "fanfold_connections_cut": "counter",
    "fanfold_engine_stalled": "gauge",
    "fanfold_log_lines_dropped": "counter",
    "process_start_time_seconds": "gauge",
    "process_cpu_seconds": "counter",
    "process_resident_memory_bytes": "gauge",
    "process_virtual_memory_bytes": "gauge",
    "process_open_fds": "gauge",
    "process_max_fds": "gauge",
}


def scrape(agent: Agent, accept: str) -> requests.Response:
    return requests.get(f"{agent.program.admin}/metrics", headers={"Accept": accept}, timeout=10)


@pytest.fixture
def busy(agent_of, upstream):
    """A gateway after all kinds of requests, some of which failed."""
    agent = agent_of(make_rows(300, 13), days=14)
    upstream.script.append((500, {}, b"boom"))
    upstream.script.append((200, {}, b"no page"))
    # Alone: in the crowd a request might take one of them that passes pages on unread, or that nobody waits for.
    agent.ask()

    def ask(number: int):
        kinds = [
            lambda: agent.ask(),
            lambda: agent.ask("status=completed"),
            lambda: agent.ask("format=ndjson&end_record=true"),
            lambda: agent.ask("sort=asc"),
            lambda: replace(agent, key="bn-bad").ask(),
            lambda: requests.get(f"{agent.base}/no/{number}", timeout=30),
            lambda: requests.get(
                f"{agent.base}/v2/agent/{agent.id}/executions?page_size=5", headers=agent.headers, timeout=30
            ),
        ]
        kinds[number % len(kinds)]()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(42)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    middle = sorted(row.created for row in upstream.agents[agent.id].rows)[150]

    def fail_what_is_old(upstream, query):
        if micros_of(query["from"]) < middle:
            raise RuntimeError("boom")

    requests.delete(f"{agent.program.admin}/agents/{agent.id}", timeout=10)
    upstream.before_page = fail_what_is_old
    agent.ask(Prefer="handling=lenient, wait=4")
    upstream.before_page = lambda upstream, query: None
    # A response is counted once its body is sent; the client may see its end a moment earlier.
    wait_until(lambda: agent.program.metric("fanfold_requests_total") >= len(threads) + 2)
    return agent


def test_a_busy_gateways_metrics_are_openmetrics(busy):
    answer = scrape(busy, OPEN_METRICS)
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
    families = {family.name: family for family in open_metrics(answer.text)}
    assert PROMISED.items() <= {name: family.type for name, family in families.items()}.items()
    for name, family in families.items():
        assert family.documentation and re.fullmatch(r"(fanfold|process)_[a-z_]+", name), name
        if family.unit:
            assert name.endswith(family.unit)

    def value(name: str, **labels: str) -> float:
        samples = [sample for family in families.values() for sample in family.samples if sample.name == name]
        return sum(s.value for s in samples if labels.items() <= s.labels.items())

    assert value("fanfold_rows_total", by="hit") > 0 and value("fanfold_rows_total", by="miss") > 0
    assert value("fanfold_upstream_requests_total", outcome="server_error") >= 1
    assert value("fanfold_upstream_requests_total", outcome="denied") >= 1
    assert value("fanfold_upstream_retries_total") >= 1
    assert value("fanfold_upstream_malformed_total") >= 1
    assert value("fanfold_incomplete_answers_total", why="lenient") == 1
    assert value("fanfold_requests_total", route="other", status="4xx") == 6
    assert value("fanfold_time_to_first_row_seconds_count", format="ndjson") >= 6
    ended = sum(value("fanfold_upstream_requests_total", outcome=o) for o in ("ok", "denied", "server_error"))
    assert value("fanfold_upstream_request_duration_seconds_count") >= ended
    assert value("process_cpu_seconds_total") > 0


def test_the_older_text_format_has_the_same_metrics(busy):
    answer = scrape(busy, "text/plain")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {family.name: family for family in plain(answer.text)}
    older = {"info": "gauge"}
    promised = {name + ("_info" if kind == "info" else ""): older.get(kind, kind) for name, kind in PROMISED.items()}
    assert promised.items() <= {name: family.type for name, family in families.items()}.items()
    assert scrape(busy, "*/*").headers["Content-Type"] == answer.headers["Content-Type"]


def test_promtool_finds_no_problem(busy):
    text = scrape(busy, "text/plain").text
    checked = subprocess.run(
        [tool("promtool"), "check", "metrics"], input=text, capture_output=True, text=True, timeout=30
    )
    assert checked.returncode == 0 and not checked.stderr, checked.stderr


def test_labels_have_short_fixed_lists_of_values(busy, upstream):
    def series() -> set[str]:
        text = scrape(busy, "text/plain").text
        return {line.rsplit(" ", 1)[0] for line in text.splitlines() if not line.startswith("#")}

    before = series()
    for number in range(50):
        other = replace(busy, id=f"{number:08x}-0000-4000-8000-000000000000", key=f"bn-{number}")
        other.ask(f"status=s{number}")
    after = series()
    assert len(after) <= len(before) + 30 and len(after) < 400, after - before
    assert not any(busy.id in line or "-4000-8000-" in line or "bn-" in line for line in after)


def test_a_refused_request_does_not_count_as_abandoned(agent_of):
    agent = agent_of(make_rows(20, 3))
    for _ in range(3):
        problem(agent.ask("colour=red"), 400, "invalid_request")
    text = requests.get(f"{agent.program.admin}/metrics", timeout=10).text
    assert 'ending="left"' not in text or 'ending="left"} 0' in text
    assert '"ending":"left"' not in agent.program.output()
