"""One request returns every execution once, in order, with upstream's bytes."""

import json
import math

import pytest
from aiohttp import web
from answers import NDJSON, assert_same, raw_rows
from rows import DAY, SECOND, make_rows, micros_of, now, text_of


@pytest.fixture
def history():
    return make_rows(5_000, 99)


def test_both_formats_have_every_row_once_byte_for_byte(agent_of, upstream, history):
    agent = agent_of(history)
    asked_at = now()
    assert_same(agent.rows(), history)

    first = sum(1 for _ in upstream.log)
    starts = [asked_at - n * 7 * DAY for n in range(1, math.ceil(100 / 7) + 1)]
    in_span = [sum(start < row.created <= start + 7 * DAY for row in history) for start in starts]
    assert first <= sum(math.ceil(count / 50) + 2 for count in in_span) + 6

    upstream.forget_log()
    assert_same(agent.lines(), history)
    assert len(upstream.log) <= 2, "the second response was read again"
    assert all(micros_of(seen.query["from"]) > asked_at - DAY for seen in upstream.pages)


def test_sends_upstream_only_parameters_that_every_version_accepts(agent_of, upstream, history):
    agent = agent_of(history)
    upstream.latency = 0.01
    agent.rows()
    assert len(upstream.pages) >= 100
    for seen in upstream.pages:
        assert seen.query["page_size"] == "50"
        assert 0 <= micros_of(seen.query["to"]) - micros_of(seen.query["from"]) <= 7 * DAY
    assert upstream.most_in_flight <= 8


def test_the_fan_out_is_as_configured(agent_of, upstream):
    agent = agent_of(make_rows(1_000, 6), "--fan-out", "3")
    upstream.latency = 0.2
    agent.rows()
    assert 2 <= upstream.most_in_flight <= 3


def test_an_agent_without_executions_has_an_empty_complete_response(agent_of):
    agent = agent_of([])
    assert agent.rows() == []
    assert agent.lines() == []


def test_a_start_in_the_future_gives_an_empty_complete_response(agent_of, upstream):
    agent = agent_of(make_rows(10, 3))
    assert agent.rows("from=2100-01-01T00:00:00Z") == []


def test_both_ends_are_inclusive(agent_of):
    rows = sorted(make_rows(200, 20), key=lambda row: row.created)
    first, last = rows[40], rows[150]
    assert first.created % SECOND and last.created % SECOND
    got = agent_of(rows).rows(f"from={text_of(first.created)}&to={text_of(last.created)}")
    assert_same(got, rows[40:151])


def test_a_stream_ends_with_its_end_record(agent_of):
    rows = make_rows(300, 30)
    lines = agent_of(rows).lines("end_record=true")
    verdict = json.loads(lines.pop())["@end"]
    assert_same(lines, rows)
    assert verdict["complete"] is True and verdict["count"] == 300
    assert now() - micros_of(verdict["as_of"]) < 120 * SECOND


def test_head_has_the_headers_of_get(agent_of):
    agent = agent_of(make_rows(120, 10))
    got = agent.ask()
    head = agent.ask(method="HEAD")
    assert head.status_code == 200 and head.content == b""
    for name in ("Content-Type", "ETag", "X-Total-Count", "Vary"):
        assert head.headers[name] == got.headers[name]


def test_a_known_etag_gets_no_body(agent_of):
    agent = agent_of(make_rows(120, 10))
    etag = agent.ask().headers["ETag"]
    assert etag.startswith('W/"')
    again = agent.ask(If_None_Match=etag)
    assert again.status_code == 304 and again.content == b""
    assert agent.ask(If_None_Match='W/"other"').status_code == 200


def test_a_content_coding_changes_no_byte(agent_of):
    agent = agent_of(make_rows(500, 30))
    plain = agent.ask(Accept_Encoding="identity")
    packed = agent.ask(Accept_Encoding="gzip")
    assert "Content-Encoding" not in plain.headers
    assert packed.headers["Content-Encoding"] == "gzip"
    assert raw_rows(packed.text) == raw_rows(plain.text)
    streams = [agent.ask(Accept=NDJSON, Accept_Encoding=coding).content for coding in ("identity", "gzip")]
    assert streams[0] == streams[1]


def test_responses_say_how_they_may_be_cached(agent_of):
    answer = agent_of(make_rows(60, 10)).ask()
    assert answer.headers["Cache-Control"].startswith("private, max-age=")
    assert int(answer.headers["Age"]) >= 0
    assert "fanfold" in answer.headers["Cache-Status"]
    vary = {name.strip().lower() for name in answer.headers["Vary"].split(",")}
    assert {"accept", "accept-encoding", "authorization", "prefer"} <= vary
    for name in ("Server-Timing", "X-Request-Id"):
        assert answer.headers[name]


def test_undated_rows_keep_their_place_in_upstreams_list(agent_of, upstream):
    rows = sorted(make_rows(40, 5), key=lambda row: row.created, reverse=True)
    agent = agent_of(rows)
    undated = [row.raw.replace(b"created_at", b"made_at") if at % 3 == 1 else row.raw for at, row in enumerate(rows)]

    async def odd(request: web.Request) -> web.Response:
        return web.Response(body=b'{"has_more":false,"total":40,"data":[' + b",".join(undated) + b"]}")

    upstream.fault = odd
    answer = agent.ask(f"from={text_of(rows[-1].created)}&to={text_of(rows[0].created)}")
    assert raw_rows(answer.text) == undated
