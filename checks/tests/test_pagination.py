"""Lists that change during a walk: a response has every row that existed throughout, once."""

import random
import uuid

import pytest
from answers import assert_same
from rows import DAY, SECOND, Row, make_rows, now, text_of

ALWAYS_DUE = ("--live-ttl", "0s", "--settling-ttl", "0s", "--settled-ttl", "0s")
QUIRKS = {
    "no total": {"total": "absent"},
    "a total of everything": {"total": "everything"},
    "a total 7 too many": {"total": 7},
    "a total 60 too few": {"total": -60},
    "whole seconds": {"whole_seconds": True},
    "by updated_at": {"order": "updated"},
    "oldest first": {"order": "oldest"},
    "dates ignored": {"ignore_dates": True, "require_window": False},
    "no dates insisted on": {"require_window": False},
}


@pytest.mark.parametrize("quirk", QUIRKS, ids=lambda name: name.replace(" ", "-"))
def test_quirk_loses_no_row(agent_of, upstream, quirk):
    rows = make_rows(700, 30)
    for knob, value in QUIRKS[quirk].items():
        setattr(upstream, knob, value)
    window = ["--window", "none"] if upstream.ignore_dates else []
    agent = agent_of(rows, "--upstream-rate", "0", *window, days=31)
    assert_same(agent.rows(), rows)
    assert_same(agent.lines(), rows)
    since = sorted(row.created for row in rows)[300]
    newer = [row for row in rows if row.created >= since]
    assert_same(agent.rows(f"from={text_of(since)}"), newer)


def ties(count: int, at: int) -> list[Row]:
    return [Row(id=str(uuid.uuid4()), created=at, updated=at, filling=n) for n in range(count)]


def test_ties_of_130_rows_in_changing_order_lose_nothing(agent_of, upstream):
    upstream.shuffle_ties = True
    rows = make_rows(400, 12) + ties(130, now() - 3 * DAY) + ties(130, now() - 9 * DAY // SECOND * SECOND)
    agent = agent_of(rows, "--upstream-rate", "0", days=14)
    assert_same(agent.rows(), rows)
    assert_same(agent.lines(), rows)


@pytest.mark.parametrize("latency", [0, 0.02])
def test_rows_inserted_at_every_request_lose_nothing(agent_of, upstream, latency):
    rows = make_rows(600, 12)
    upstream.latency = latency
    agent = agent_of(rows, "--upstream-rate", "0", days=14)
    known = upstream.agents[agent.id]
    upstream.before_page = lambda upstream, query: known.add(make_rows(4, 12, seed=upstream.draw.getrandbits(30)))
    for ask in (agent.rows, agent.lines):
        got = ask()
        assert set(got) <= {row.raw for row in known.rows} and len(set(got)) == len(got)
        assert not {row.raw for row in rows} - set(got)


@pytest.mark.parametrize("latency", [0, 0.02])
@pytest.mark.parametrize("quirk", [{}, {"total": "absent"}, {"whole_seconds": True, "shuffle_ties": True}], ids=str)
def test_rows_committed_a_little_late_at_every_request_lose_nothing(agent_of, upstream, latency, quirk):
    rows = make_rows(300, 12)
    upstream.latency = latency
    for knob, value in quirk.items():
        setattr(upstream, knob, value)
    agent = agent_of(rows, "--upstream-rate", "0", days=14)
    known = upstream.agents[agent.id]

    def commit_late(upstream, query):
        known.add(row for _ in range(4) for row in ties(1, now() - upstream.draw.randrange(3 * SECOND)))

    upstream.before_page = commit_late
    for ask in (agent.rows, agent.lines, agent.rows):
        got = ask()
        assert set(got) <= {row.raw for row in known.rows} and len(set(got)) == len(got)
        assert not {row.raw for row in rows} - set(got)


def test_rows_deleted_at_every_request_lose_nothing_else(agent_of, upstream):
    rows = make_rows(600, 12)
    agent = agent_of(rows, "--upstream-rate", "0", days=14)
    known = upstream.agents[agent.id]

    def delete_one(upstream, query):
        if known.rows:
            known.remove(upstream.draw.choice(known.rows).id)

    upstream.before_page = delete_one
    got = agent.rows()
    assert not {row.raw for row in known.rows} - set(got)
    assert set(got) <= {row.raw for row in rows} and len(set(got)) == len(got)


def test_with_zero_ttls_every_response_is_current(agent_of, upstream):
    draw = random.Random(11)
    agent = agent_of(make_rows(300, 20), *ALWAYS_DUE, "--upstream-rate", "0", days=21)
    known = upstream.agents[agent.id]
    for step in range(30):
        match draw.randrange(4):
            case 0:
                count = draw.randrange(1, 20)
                known.add(ties(count, now() - draw.randrange(60 * SECOND)))
            case 1:
                row = draw.choice(known.rows)
                known.change(row.id, status=draw.choice(("completed", "failed", "in-progress")))
            case 2:
                known.remove(draw.choice(known.rows).id)
            case 3:
                known.add(make_rows(3, 20, seed=step + 100))
        wanted = draw.choice((None, "completed", "in-progress"))
        truth = [row for row in known.rows if wanted in (None, row.status)]
        assert_same(agent.rows(f"status={wanted}" if wanted else "", Cache_Control="no-cache"), truth)


def test_stops_walking_an_endless_list(agent_of, upstream):
    agent = agent_of(make_rows(60, 5), "--request-deadline", "10s", days=6)
    page = b'{"page_number":1,"page_size":50,"total":50,"has_more":true,"data":[]}'
    upstream.script.extend([(200, {"Content-Type": "application/json"}, page)] * 10_000)
    answer = agent.ask()
    assert answer.status_code in (502, 504) or answer.json()["complete"], answer.text
    assert len(upstream.pages) < 500
