"""Every filter returns exactly upstream's rows, and equivalent spellings share one cache entry."""

import pytest
from answers import assert_same, raw_rows
from rows import DAY, make_rows, text_of

BATCH = "0123456789abcdef0123456789abcdef"
FILTERS = {
    "status=completed": lambda row: row.status == "completed",
    "status=no-answer": lambda row: row.status == "no-answer",
    "status=never-heard-of": lambda row: False,
    "call_type=inbound": lambda row: row.call_type == "inbound",
    "provider=exotel": lambda row: row.provider == "exotel",
    "answered_by_voice_mail=true": lambda row: row.voice_mail,
    "answered_by_voice_mail=false": lambda row: not row.voice_mail,
    f"batch_id={BATCH}": lambda row: row.batch == BATCH,
    "status=failed&provider=twilio&call_type=outbound": lambda row: (
        (row.status, row.provider, row.call_type) == ("failed", "twilio", "outbound")
    ),
}


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_every_filter_gives_exactly_its_rows(agent_of, warm):
    rows = make_rows(600, 40)
    agent = agent_of(rows)
    if warm:
        agent.rows()
    for query, is_wanted in FILTERS.items():
        truth = [row for row in rows if is_wanted(row)]
        assert_same(agent.rows(query), truth)
        assert_same(agent.lines(query), truth)


def test_equivalent_spellings_share_cached_rows(agent_of, upstream):
    rows = make_rows(400, 90)
    agent = agent_of(rows, "--live-ttl", "10m", "--settling-ttl", "10m")
    first, last = sorted(row.created for row in rows)[50], sorted(row.created for row in rows)[300]
    first, last = first // DAY * DAY, last // DAY * DAY
    start, end = text_of(first)[:10], text_of(last)[:10]
    canonical = f"answered_by_voice_mail=true&batch_id={BATCH}&from={start}T00:00:00Z&to={end}T00:00:00Z"
    truth = [r for r in rows if r.voice_mail and r.batch == BATCH and first <= r.created <= last]
    assert_same(agent.rows(canonical), truth)

    upstream.forget_log()
    for spelling in (
        f"to={end}T05:30:00%2B05:30&from={start}T05:30:00.000000%2B05:30&batch_id={BATCH}&answered_by_voice_mail=true",
        f"to={end}T05:30:00+05:30&from={start}T05:30:00+05:30&batch_id={BATCH}&answered_by_voice_mail=true",
        f"batch_id={BATCH.upper()}&answered_by_voice_mail=TRUE&from={start}T00:00:00&to={end}T00:00:00.000Z",
    ):
        assert_same(agent.rows(spelling), truth)
    upper = type(agent)(agent.base, agent.id.upper(), agent.key)
    assert_same(upper.rows(canonical), truth)
    assert upstream.pages == []


def test_ranges_share_cached_rows(agent_of, upstream):
    rows = make_rows(2_000, 60)
    agent = agent_of(rows, "--live-ttl", "10m", "--settling-ttl", "10m")
    agent.rows()
    upstream.forget_log()
    newest = max(row.created for row in rows)
    for days in (7, 30):
        since = newest - days * DAY
        assert_same(agent.rows(f"from={text_of(since)}"), [row for row in rows if row.created >= since])
    assert len(upstream.pages) <= 4


def test_the_last_moment_of_the_calendar_is_accepted_as_an_end(agent_of):
    agent = agent_of(make_rows(60, 10))
    for end in ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59.9999999", "9999-12-31T23:59:59-12:00"):
        answer = agent.ask(f"to={end}")
        assert answer.status_code == 200 and len(raw_rows(answer.text)) == 60, answer.text[:300]
