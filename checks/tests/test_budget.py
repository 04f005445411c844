"""No window has more requests than the budget, and unused budget can be spent at once."""

import time

from answers import assert_same
from rows import make_rows

RATE = 20
FAN_OUT = 4


def test_never_exceeds_the_rate_in_any_second(agent_of, upstream):
    rows = make_rows(3_000, 20)
    agent = agent_of(rows, "--upstream-rate", f"{RATE}/s", "--fan-out", str(FAN_OUT), days=21)
    assert_same(agent.rows(), rows)
    assert len(upstream.log) > 3 * RATE
    # Requests are counted when they arrive, which is late on a busy machine: those in flight when a second begins may have
    # been sent before it. A token bucket, which refills meanwhile, would let twice the rate through.
    assert upstream.most_within(1) <= RATE + FAN_OUT + 1


def test_uses_the_rest_of_the_budget_at_once(agent_of, upstream):
    rows = make_rows(10_000, 6)
    agent = agent_of(rows)
    began = time.monotonic()
    assert_same(agent.lines(), rows)
    assert len(upstream.log) <= 450
    # A rate of 450 a minute without bursts would take some 26 s for 200 pages. The limit is far from both.
    assert time.monotonic() - began < 20


def test_waits_for_an_upstream_that_responds_429(agent_of, upstream):
    rows = make_rows(600, 6)
    upstream.rate = (8, 1.0)
    agent = agent_of(rows, "--request-deadline", "60s")
    assert_same(agent.rows(), rows)


def test_survives_a_short_outage(agent_of, upstream):
    rows = make_rows(600, 6)
    agent = agent_of(rows)
    upstream.script.extend(
        [
            (500, {}, b"oops"),
            (429, {"Retry-After": "1"}, b'{"message":"slow down"}'),
            (503, {}, b"<html>"),
            (200, {"Content-Type": "text/html"}, b"<html>just a moment"),
        ]
    )
    assert_same(agent.rows(), rows)


def test_reports_that_the_budget_has_no_room_before_the_deadline(agent_of, upstream):
    agent = agent_of(make_rows(2_000, 6), "--upstream-rate", "5/min", "--request-deadline", "10s")
    answer = agent.ask()
    assert answer.status_code in (429, 504), answer.text
    assert answer.json()["code"] in ("rate_limited", "not_ready")
    assert int(answer.headers["Retry-After"]) >= 1
