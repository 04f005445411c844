"""What a second reader of the promises found: streams that know their verdict, an outage that is told of, odd requests."""

import time

import requests
from aiohttp import web
from answers import NDJSON, problem, raw_rows
from programs import KEY
from rows import DAY, make_rows, now, text_of

PATIENCE = 60


async def is_down(request: web.Request) -> web.Response:
    """A fault: upstream's own servers are gone, its front still answers."""
    return web.Response(status=503, text="no healthy upstream")


def test_a_stream_whose_head_is_read_has_a_validator(agent_of):
    agent = agent_of(make_rows(200, 20), "--live-ttl", "0s")
    etag = agent.ask().headers["ETag"]
    streamed = agent.ask(Accept=NDJSON)
    assert streamed.headers["ETag"] == etag and streamed.headers["Age"] == "0", streamed.headers
    assert "requests=1" in streamed.headers["Cache-Status"], streamed.headers
    assert agent.ask(Accept=NDJSON, If_None_Match=etag).status_code == 304


def test_a_stale_stream_says_that_it_is(agent_of, upstream):
    agent = agent_of(make_rows(200, 20), "--live-ttl", "1s", "--settling-ttl", "1s")
    agent.rows()
    upstream.fault = is_down
    time.sleep(1.5)
    streamed = agent.ask(Accept=NDJSON)
    assert "fwd=stale" in streamed.headers["Cache-Status"] and int(streamed.headers["Age"]) >= 1, streamed.headers


def test_a_stream_that_may_leave_parts_out_is_not_to_be_stored(agent_of):
    agent = agent_of(make_rows(200, 20))
    streamed = agent.ask("end_record=true", Accept=NDJSON, Prefer="handling=lenient")
    assert streamed.headers["Cache-Control"] == "no-store", streamed.headers


def test_while_upstream_is_down_everybody_is_told_at_once_and_why(agent_of, upstream):
    agent = agent_of(make_rows(200, 20))
    agent.rows()
    upstream.fault = is_down
    deadline, took, refused = time.monotonic() + PATIENCE, PATIENCE, None
    while took > 1.5 and time.monotonic() < deadline:
        began = time.monotonic()
        refused = agent.ask("status=completed&provider=plivo")
        took = time.monotonic() - began
    document = problem(refused, 502, "upstream_unavailable")
    assert took < 1.5 and int(refused.headers["Retry-After"]) >= 1, took
    assert "503" in document["detail"], document


def test_the_end_of_the_calendar_is_an_end(agent_of):
    agent = agent_of(make_rows(60, 10))
    for end in ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59.9999999", "9999-12-31T23:59:59-12:00"):
        answer = agent.ask(f"to={end}")
        assert answer.status_code == 200 and len(raw_rows(answer.text)) == 60, answer.text[:300]


def test_rows_without_a_date_stay_where_upstream_lists_them(agent_of, upstream):
    rows = sorted(make_rows(40, 5), key=lambda row: row.created, reverse=True)
    agent = agent_of(rows)
    undated = [row.raw.replace(b"created_at", b"made_at") if at % 3 == 1 else row.raw for at, row in enumerate(rows)]

    async def odd(request: web.Request) -> web.Response:
        return web.Response(body=b'{"has_more":false,"total":40,"data":[' + b",".join(undated) + b"]}")

    upstream.fault = odd
    answer = agent.ask(f"from={text_of(rows[-1].created)}&to={text_of(rows[0].created)}")
    assert raw_rows(answer.text) == undated


def test_head_says_how_long_the_answer_is_in_either_coding(agent_of):
    agent = agent_of(make_rows(200, 20))
    for coding in ("identity", "gzip"):
        head = agent.ask(method="HEAD", Accept_Encoding=coding)
        got = agent.ask(Accept_Encoding=coding)
        assert head.headers.get("Content-Encoding") == got.headers.get("Content-Encoding")
        assert int(head.headers["Content-Length"]) > 10_000, head.headers


def test_a_page_up_to_the_present_shows_what_is_new(agent_of, upstream):
    rows = make_rows(40, 5)
    agent = agent_of(rows, "--live-ttl", "1s")

    def page(days_ago: float) -> requests.Response:
        span = f"from={text_of(now() - 6 * DAY)[:11]}00:00:00Z&to={text_of(now() - int(days_ago * DAY))[:11]}23:59:59Z"
        url = f"{agent.base}/v2/agent/{agent.id}/executions?{span}&page_size=50"
        return requests.get(url, headers=agent.headers, timeout=PATIENCE)

    assert page(2).headers["Cache-Control"] == "private, max-age=86400"
    assert page(0).headers["Cache-Control"] == "private, max-age=1"
    upstream.agents[agent.id].add(make_rows(1, 0.001, seed=2, until=now()))
    time.sleep(1.5)
    assert page(0).json()["total"] == 41


def test_a_refusal_is_no_answer_that_was_left(agent_of):
    agent = agent_of(make_rows(20, 3))
    for _ in range(3):
        problem(agent.ask("colour=red"), 400, "invalid_request")
    text = requests.get(f"{agent.program.admin}/metrics", timeout=PATIENCE).text
    assert 'ending="left"' not in text or 'ending="left"} 0' in text
    assert '"ending":"left"' not in agent.program.output()


def test_with_cors_one_line_says_what_answers_vary_by(agent_of):
    agent = agent_of(make_rows(20, 3), "--cors-origin", "https://desk.example")
    lines = requests.get(agent.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=PATIENCE).raw.headers.getlist("Vary")
    assert len(lines) == 1 and "Authorization" in lines[0] and "origin" in lines[0].lower(), lines
