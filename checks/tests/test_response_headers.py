"""Headers of responses: validators, freshness, lengths and what they vary by."""

import time

import requests
from aiohttp import web
from answers import NDJSON
from programs import KEY
from rows import DAY, make_rows, now, text_of

PATIENCE = 60


async def is_down(request: web.Request) -> web.Response:
    """A fault: upstream's load balancer responds, but its servers are down."""
    return web.Response(status=503, text="no healthy upstream")


def test_a_stream_has_a_validator(agent_of):
    agent = agent_of(make_rows(200, 20), "--live-ttl", "0s")
    etag = agent.ask().headers["ETag"]
    began = time.monotonic()
    streamed = agent.ask(Accept=NDJSON)
    assert streamed.headers["ETag"] == etag, streamed.headers
    assert int(streamed.headers["Age"]) <= time.monotonic() - began, streamed.headers
    assert "requests=1" in streamed.headers["Cache-Status"], streamed.headers
    assert agent.ask(Accept=NDJSON, If_None_Match=etag).status_code == 304


def test_a_stale_stream_is_marked_as_stale(agent_of, upstream):
    agent = agent_of(make_rows(200, 20), "--live-ttl", "1s", "--settling-ttl", "1s")
    agent.rows()
    upstream.fault = is_down
    time.sleep(1.5)
    streamed = agent.ask(Accept=NDJSON)
    assert "fwd=stale" in streamed.headers["Cache-Status"] and int(streamed.headers["Age"]) >= 1, streamed.headers


def test_a_lenient_stream_is_no_store(agent_of):
    agent = agent_of(make_rows(200, 20))
    streamed = agent.ask("end_record=true", Accept=NDJSON, Prefer="handling=lenient")
    assert streamed.headers["Cache-Control"] == "no-store", streamed.headers


def test_head_has_the_length_in_either_coding(agent_of):
    agent = agent_of(make_rows(200, 20))
    for coding in ("identity", "gzip"):
        head = agent.ask(method="HEAD", Accept_Encoding=coding)
        got = agent.ask(Accept_Encoding=coding)
        assert head.headers.get("Content-Encoding") == got.headers.get("Content-Encoding")
        assert int(head.headers["Content-Length"]) > 10_000, head.headers


def test_a_page_up_to_the_present_shows_new_rows(agent_of, upstream):
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


def test_vary_is_one_line_with_cors(agent_of):
    agent = agent_of(make_rows(20, 3), "--cors-origin", "https://desk.example")
    lines = requests.get(agent.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=PATIENCE).raw.headers.getlist(
        "Vary"
    )
    assert len(lines) == 1 and "Authorization" in lines[0] and "origin" in lines[0].lower(), lines
