"""Every invalid request and every upstream failure has a status, a code and a helpful message."""

import json
import time
import uuid
from dataclasses import replace

import pytest
import requests
from aiohttp import web
from answers import NDJSON, Agent, assert_same, lines, problem, raw_rows, whole
from polling import wait_until
from programs import KEY, free_port, start_gateway
from rows import DAY, make_rows, micros_of, now
from upstream import Upstream

# A query, and what its error must mention.
REFUSED = {
    "page_number=2": ["page_number"],
    "page_size=50": ["page_size"],
    "colour=red": ["colour"],
    "provider=twilio&provider=plivo": ["provider", "twice"],
    "status=": ["status"],
    "status=No%20Answer": ["status"],
    "status=" + "x" * 65: ["status"],
    "call_type=sideways": ["call_type", "inbound", "outbound"],
    "provider=Twi%2Flio": ["provider"],
    "answered_by_voice_mail=maybe": ["answered_by_voice_mail", "true", "false"],
    "batch_id=12345": ["batch_id"],
    "from=2026-11-31": ["from", "RFC 3339"],
    "from=2026-11-01&time_zone=Asia/Nowhere": ["time_zone", "Asia/Kolkata"],
    "status=busy,No%20Answer": ["status"],
    "from=yesterday": ["from", "RFC 3339"],
    "to=2026-13-01T00:00:00Z": ["to"],
    "from=2026-11-02T00:00:00Z&to=2026-11-01T00:00:00Z": ["from", "to"],
    "format=xml": ["format", "json", "ndjson"],
    "end_record=perhaps": ["end_record", "true"],
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One gateway for requests that fail without upstream."""
    upstream = Upstream()
    agent_id = str(uuid.uuid4())
    upstream.agent(agent_id, make_rows(60, 10))
    program = start_gateway(tmp_path_factory.mktemp("errors"), upstream.url)
    yield Agent(program.url, agent_id, KEY)
    assert program.stop() == 0
    upstream.stop()


@pytest.mark.parametrize("query", REFUSED, ids=lambda query: query[:40])
def test_names_an_invalid_parameter_and_what_it_accepts(shared, query):
    detail = problem(shared.ask(query), 400, "invalid_request")["detail"]
    missing = [word for word in REFUSED[query] if word not in detail]
    assert not missing, detail


@pytest.mark.parametrize("query", ["page_number=2", "from=2026-13-01"])
def test_an_invalid_parameter_of_a_stream_is_a_status(shared, query):
    problem(shared.ask(query, Accept=NDJSON), 400, "invalid_request")


@pytest.mark.parametrize("accept", ["text/html", "application/xml;q=0.9, image/png", "application/json;q=0"])
def test_an_unknown_format_is_not_acceptable(shared, accept):
    problem(shared.ask(Accept=accept), 406, "not_acceptable")


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("text/html, */*;q=0.1", "application/json"),
        ("application/jsonl", "application/jsonl"),
        ("application/ndjson", "application/ndjson"),
        ("application/json;q=0.5, application/x-ndjson", NDJSON),
    ],
)
def test_accept_chooses_the_format(shared, accept, media_type):
    assert shared.ask(Accept=accept).headers["Content-Type"].startswith(media_type)


def test_format_overrides_accept(shared):
    assert shared.ask("format=ndjson", Accept="application/json").headers["Content-Type"].startswith(NDJSON)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_other_methods_are_not_allowed(shared, method):
    answer = shared.ask(method=method)
    problem(answer, 405, "method_not_allowed")
    assert {name.strip() for name in answer.headers["Allow"].split(",")} >= {"GET", "HEAD"}


@pytest.mark.parametrize(
    "path", ["/agents", "{path}/", "{path}/x", "/agents//executions/all", "/v2/agent/{id}/executions/x", "/docs/x", "/status/x"]
)
def test_only_exact_paths_of_the_gateway_are_known(shared, path):
    url = shared.base + path.format(path=shared.path, id=shared.id)
    problem(requests.get(url, headers=shared.headers, timeout=10), 404, "not_found")


@pytest.mark.parametrize("id", ["1", "not-a-uuid", "{id}x", "%7B{id}%7D", "{id}%2F"])
def test_an_agent_is_a_uuid(shared, id):
    url = f"{shared.base}/agents/{id.format(id=shared.id)}/executions/all"
    answer = requests.get(url, headers=shared.headers, timeout=10)
    assert answer.status_code in (400, 404) and answer.json()["code"] in ("invalid_request", "not_found")


def test_distinguishes_failures_of_upstream(agent_of, upstream):
    agent = agent_of(make_rows(60, 3), "--request-deadline", "20s", "--upstream-timeout", "8s")
    upstream.script.extend([(500, {}, b'{"message":"database down"}')] * 1_000)
    failed = agent.ask()
    document = problem(failed, 502, "upstream_unavailable")
    # On a busy machine the deadline may pass before the first attempt ends; then there is no message of upstream.
    said = {"status": 500, "message": "database down"}
    assert document.get("upstream", said) == said
    assert int(failed.headers["Retry-After"]) >= 1


def test_reports_a_body_that_is_not_a_page(agent_of, upstream):
    agent = agent_of(make_rows(60, 3), "--request-deadline", "20s")
    upstream.script.extend([(200, {"Content-Type": "application/json"}, b'{"error":"try later"}')] * 1_000)
    problem(agent.ask(), 502, "upstream_malformed")


def test_reports_a_silent_upstream(agent_of, upstream):
    agent = agent_of(make_rows(60, 3), "--request-deadline", "2s", "--upstream-timeout", "500ms")
    upstream.latency = 3
    answer = agent.ask()
    assert answer.status_code == 504 and answer.json()["code"] in ("upstream_timeout", "not_ready"), answer.text


def test_a_refused_request_carries_upstreams_message(agent_of, upstream):
    agent = agent_of(make_rows(60, 3), "--request-deadline", "20s")
    upstream.script.extend([(422, {}, b'{"detail":[{"loc":["query","status"],"msg":"not a status"}]}')] * 100)
    document = problem(agent.ask("status=odd"), 400, "invalid_request")
    assert document["upstream"]["status"] == 422 and "not a status" in document["upstream"]["message"]


def test_reports_an_upstream_that_is_down(gateway):
    base = gateway(f"http://127.0.0.1:{free_port()}", "--request-deadline", "20s").url
    agent = Agent(base, "00000000-0000-4000-8000-000000000000", "bn-check")
    problem(agent.ask(), 502, "upstream_unavailable")


def test_keeps_proven_rows_after_the_deadline(agent_of, upstream):
    rows = make_rows(3_000, 60)
    upstream.latency = 0.3
    agent = agent_of(rows, "--request-deadline", "3s", "--fan-out", "2", "--live-ttl", "10m", days=61)
    seen = []
    for _ in range(40):
        answer = agent.ask()
        if answer.status_code == 200:
            break
        document = problem(answer, 504, "not_ready")
        assert document["pages_read"] < document["pages_planned"]
        assert int(answer.headers["Retry-After"]) >= 1
        seen.append(document["pages_read"])
    assert answer.status_code == 200 and seen
    assert_same(agent.rows(), rows)


def test_a_stream_that_fails_ends_with_a_verdict_and_a_break(agent_of, upstream):
    rows = make_rows(2_000, 60)
    agent = agent_of(rows, "--fan-out", "1", "--request-deadline", "6s", "--upstream-timeout", "5s", days=61)
    middle = now() - 30 * DAY

    def fail_what_is_old(upstream, query):
        if micros_of(query["from"]) < middle:
            raise RuntimeError("this part can't be had")

    upstream.before_page = fail_what_is_old
    answer = requests.get(f"{agent.url}?end_record=true&format=ndjson", headers=agent.headers, stream=True, timeout=60)
    assert answer.status_code == 200
    body = b""
    with pytest.raises((requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError)):
        for chunk in answer.iter_content(None):
            body += chunk
    got = lines(body)
    verdict = json.loads(got.pop())["@end"]
    assert verdict["complete"] is False and 0 < verdict["count"] == len(got) < 2_000
    # On a busy machine the deadline may cut off the last attempt before its 500 arrives.
    assert verdict["error"]["code"] in ("upstream_unavailable", "upstream_timeout")
    newest = sorted(rows, key=lambda row: -row.created)[: len(got)]
    assert_same(got, newest)


def test_a_lenient_response_names_the_missing_parts(agent_of, upstream):
    rows = make_rows(300, 13)
    agent = agent_of(rows, "--request-deadline", "8s", "--upstream-timeout", "5s", days=14)
    middle = now() - 7 * DAY - DAY // 2

    def fail_what_is_old(upstream, query):
        if micros_of(query["from"]) < middle:
            raise RuntimeError("this part can't be had")

    upstream.before_page = fail_what_is_old
    answer = agent.ask(Prefer="handling=lenient")
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert document["complete"] is False and document["missing"]
    newest = sorted(rows, key=lambda row: -row.created)[: document["total"]]
    assert document["total"] > 50
    assert_same(raw_rows(answer.text), newest)
    assert "handling=lenient" in answer.headers["Preference-Applied"]
    assert answer.headers["Cache-Control"] == "no-store"
    for part in document["missing"]:
        assert set(part) >= {"from", "to", "code", "detail"}

    upstream.before_page = lambda upstream, query: None
    # The circuit breaker may take a while to close.
    answer = wait_until(lambda: (answer := agent.ask()).status_code == 200 and answer, 90, every=0.2)
    assert_same(whole(answer), rows)


def test_a_response_that_is_too_large_is_refused_but_can_be_streamed(agent_of):
    rows = make_rows(300, 13)
    agent = agent_of(rows, "--max-json-bytes", "100KiB")
    assert "ndjson" in problem(agent.ask(), 422, "answer_too_large")["detail"].lower()
    assert_same(agent.lines(), rows)


def test_only_if_cached_reads_nothing(agent_of, upstream):
    agent = agent_of(make_rows(100, 13))
    problem(agent.ask(Cache_Control="only-if-cached"), 504, "not_cached")
    assert upstream.pages == []


def test_requests_fail_at_once_with_the_reason_while_upstream_is_down(agent_of, upstream):
    agent = agent_of(make_rows(200, 20))
    agent.rows()

    async def is_down(request: web.Request) -> web.Response:
        return web.Response(status=503, text="no healthy upstream")

    unread = replace(agent, id=str(uuid.uuid4()))
    upstream.agent(unread.id, make_rows(5, 5), agent.key)
    upstream.fault = is_down

    refused = None

    def fails_at_once() -> bool:
        nonlocal refused
        began = time.monotonic()
        refused = unread.ask()
        return time.monotonic() - began < 1.5

    wait_until(fails_at_once, 120)
    document = problem(refused, 502, "upstream_unavailable")
    assert int(refused.headers["Retry-After"]) >= 1
    assert "503" in document["detail"], document
