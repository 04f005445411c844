"""No number from a caller or from upstream causes a panic, and every request gets a response."""

import itertools
import time
import uuid

import pytest
import requests
from answers import Agent, assert_same
from rows import make_rows

NUMBERS = [
    *(str((1 << bits) - 1) for bits in (64, 63, 53, 32, 31, 128)),
    *("0", "1", "-1", "59", "60", "61", "3600", "86400", "31536000"),
    *(str(1 << bits) for bits in (31, 32, 53, 62, 63, 64, 65, 128)),
    *("9" * 400, "1e9", "0x10", "1.5", "+1", " 1", "", '"1"', "١٢", "NaN", "inf"),
]
DIRECTIVES = ("max-age", "min-fresh", "max-stale", "s-maxage", "stale-while-revalidate", "stale-if-error", "no-cache")
ANSWERED = {200, 304, 400, 404, 406, 422, 429, 502, 504}
DATES = (
    *("0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "1582-10-15T00:00:00Z", "1969-12-31T23:59:59.999999Z"),
    *("1970-01-01T00:00:00Z", "2038-01-19T03:14:08Z", "2262-04-11T23:47:16.854775807Z", "9999-12-31T23:59:59.999999Z"),
    *("9999-12-31T23:59:60Z", "2026-02-29T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:00:00+23:59"),
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-01-01T00:00:00-99:99"),
    *("+292278-01-01T00:00:00Z", "-0001-01-01T00:00:00Z", "2026-01-01T00:00:00." + "9" * 300 + "Z"),
)


@pytest.fixture
def session():
    with requests.Session() as session:
        yield session


def page_of(agent: Agent) -> str:
    return f"{agent.base}/v2/agent/{agent.id}/executions"


@pytest.fixture
def warm(agent_of):
    """An agent whose rows and newest page are cached."""
    agent = agent_of(make_rows(60, 3), "--upstream-rate", "0", "--request-deadline", "20s", days=4)
    assert len(agent.rows()) == 60
    return agent


@pytest.mark.parametrize("directive", DIRECTIVES)
def test_responds_to_any_number_in_cache_control(warm, session, directive):
    window = "?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z"
    urls = [warm.url, f"{warm.url}?format=ndjson", page_of(warm), page_of(warm) + window]
    for url in urls:
        session.get(url, headers=warm.headers, timeout=30)
    # With an age of a second or more, a sum can overflow.
    time.sleep(1.1)
    for number, url, more in itertools.product(NUMBERS, urls, ("", ", only-if-cached", ", no-store")):
        headers = warm.headers | {"Cache-Control": f"{directive}={number}{more}".encode()}
        answer = session.get(url, headers=headers, timeout=30)
        assert answer.status_code in {200, 504}, (url, directive, number, answer.text)


@pytest.mark.parametrize("name", ["Prefer", "Range", "Max-Forwards", "Priority", "Age"])
def test_responds_to_any_number_in_other_headers(warm, session, name):
    before = {"Prefer": "wait=", "Range": "bytes=", "Priority": "u="}.get(name, "")
    for number in NUMBERS:
        answer = session.get(warm.url, headers=warm.headers | {name: (before + number.strip()).encode()}, timeout=30)
        assert answer.status_code in {200, 400, 413, 504}, (name, number, answer.text)
    assert len(warm.rows()) == 60


def test_responds_to_any_page_number(warm, session):
    for number, size in itertools.product(NUMBERS, ("1", "50", *NUMBERS[-20:])):
        query = {"page_number": number, "page_size": size}
        answer = session.get(page_of(warm), params=query, headers=warm.headers, timeout=30)
        assert answer.status_code in {200, 400, 404, 422}, (query, answer.text)


def test_responds_to_any_date(warm, session):
    for start, end in itertools.product((None, *DATES), repeat=2):
        query = {name: value for name, value in (("from", start), ("to", end)) if value}
        for url in (warm.url, page_of(warm)):
            answer = session.get(url, params=query, headers=warm.headers, timeout=30)
            assert answer.status_code in ANSWERED, (url, query, answer.status_code, answer.text)
            assert answer.status_code < 502 or "/v2/" in url, (url, query, answer.text)


@pytest.mark.parametrize("name", ["Retry-After", "Age", "Date", "X-RateLimit-Reset"])
def test_responds_whatever_numbers_upstreams_headers_have(agent_of, upstream, name):
    rows = make_rows(60, 3)
    agent = agent_of(rows, "--upstream-rate", "0", "--request-deadline", "1s", "--stale-if-error", "0s", days=4)
    for at, number in enumerate(NUMBERS):
        if not number.isascii():
            continue
        status = 429 if name == "Retry-After" else 200
        body = b'{"page_number":1,"page_size":50,"total":0,"has_more":false,"data":[]}'
        upstream.script.extend([(status, {name: number, "Content-Type": "application/json"}, body)] * 2)
        answer = agent.ask(f"batch_id={at:032x}", Prefer="wait=1")
        assert answer.status_code in ANSWERED, (number, answer.text)
        if answer.status_code == 429:
            assert 0 < int(answer.headers["Retry-After"]) <= 86_400, (number, answer.headers["Retry-After"])
        upstream.script.clear()


@pytest.mark.parametrize("field", ["page_number", "page_size", "total"])
def test_responds_whatever_numbers_upstreams_envelope_has(agent_of, upstream, field):
    agent = agent_of(make_rows(60, 3), "--upstream-rate", "0", "--request-deadline", "3s", days=4)
    for at, number in enumerate(NUMBERS):
        if not number.isascii():
            continue
        head = {"page_number": "1", "page_size": "50", "total": "1", "has_more": "false"} | {field: number or "null"}
        envelope = ",".join(f'"{name}":{value}' for name, value in head.items())
        row = b'{"id":"x","created_at":"2026-01-01T00:00:00Z"}'
        body = b"{" + envelope.encode() + b',"data":[' + row + b"]}"
        upstream.script.extend([(200, {"Content-Type": "application/json"}, body)] * 40)
        answer = agent.ask(f"batch_id={at:032x}", Prefer="wait=2")
        assert answer.status_code in ANSWERED, (field, number, answer.text)
        upstream.script.clear()
    agent.program.metric("fanfold_tasks")


def test_later_callers_get_their_rows(warm, upstream):
    rows = make_rows(60, 3, seed=2)
    other = str(uuid.uuid4())
    upstream.agent(other, rows, warm.key, days=4)
    assert_same(Agent(warm.base, other, warm.key).rows(Cache_Control="min-fresh=18446744073709551615"), rows)
