"""Upstream's page path without dates, or with dates far apart, reads only the pages up to the requested one."""

import uuid

import pytest
import requests
from answers import Agent, assert_same, problem, raw_rows
from poller import poll
from programs import KEY
from rows import DAY, make_rows, now, text_of

# What a page may cost beside the rows that it needs: the page that confirms the last of them, and, before upstream's clock is known,
# the one sent ahead with the check of the key.
CONFIRMED = 2


def page(agent: Agent, patience: float = 10, **query) -> requests.Response:
    url = f"{agent.base}/v2/agent/{agent.id}/executions"
    names = {"from_": "from"}
    params = {names.get(name, name): value for name, value in query.items()}
    return requests.get(url, params=params, headers=agent.headers, timeout=patience)


@pytest.mark.parametrize("number", [1, 3])
def test_reads_only_the_pages_up_to_the_requested_one(agent_of, upstream, number):
    rows = make_rows(30_000, 60)
    upstream.latency = 0.08
    agent = agent_of(rows, days=61)
    answer = page(agent, page_number=number, page_size=50)
    assert answer.status_code == 200, answer.text
    newest = sorted(rows, key=lambda row: (-row.created, row.id))
    assert raw_rows(answer.text) == [row.raw for row in newest[(number - 1) * 50 : number * 50]]
    envelope = answer.json()
    assert envelope["has_more"] is True and "total" not in envelope
    assert len(upstream.pages) <= number + CONFIRMED


def test_never_refuses_a_page_of_twelve_kilobyte_rows(agent_of, upstream):
    agent = agent_of(make_rows(2_000, 30), "--max-json-bytes", "64KiB", days=31)
    last = page(agent, page_number=40, page_size=50)
    assert last.status_code == 200, last.text
    assert (last.json()["has_more"], last.json()["total"]) == (False, 2_000)
    assert page(agent, page_number=41, page_size=50).json()["data"] == []


def test_a_poller_of_three_agents_gets_every_row(gateway, upstream):
    upstream.latency = 0.08
    truth = {}
    for count in (900, 120, 30):
        id = str(uuid.uuid4())
        truth[id] = make_rows(count, 40, seed=count)
        upstream.agent(id, truth[id], KEY, days=41)
    upstream.rate = (500, 60)
    program = gateway(upstream.url)
    walks = poll(program.url, KEY)
    assert list(walks) == list(truth)
    for id, walk in walks.items():
        assert_same(walk.rows, truth[id])
        assert walk.slowest < 10
    assert next(iter(walks.values())).first_page < 5
    # Some five rows of each page are read again with the next, and the newest rows of an agent every ten seconds.
    took = sum(walk.took for walk in walks.values())
    assert len(upstream.pages) < 1.3 * (1_050 / 50) + 3 * 6 + 3 * (took // 10)


def test_refuses_a_page_without_room_before_its_client_gives_up(agent_of, upstream):
    agent = agent_of(make_rows(1_000, 6), "--upstream-rate", "8/min", "--live-ttl", "10m", days=7)
    number = 1
    while (answer := page(agent, page_number=number, page_size=50)).status_code == 200:
        number += 1
    assert number > 3
    problem(answer, 429, "rate_limited")
    assert 8 < int(answer.headers["Retry-After"]) <= 60
    # Cached pages are still served.
    assert page(agent, page_number=1, page_size=50).status_code == 200


def test_accepts_dates_far_apart_and_a_single_date(agent_of, upstream):
    rows = make_rows(400, 30)
    agent = agent_of(rows, days=31)
    start, end = now() - 25 * DAY, now() - 6 * DAY
    within = [row for row in rows if start <= row.created <= end]
    got, number = [], 1
    while True:
        answer = page(agent, from_=text_of(start), to=text_of(end), page_number=number, page_size=50)
        got += raw_rows(answer.text)
        if not answer.json()["has_more"]:
            break
        number += 1
    assert_same(got, within)
    assert answer.json()["total"] == len(within)
    newest = sorted(rows, key=lambda row: -row.created)
    since = page(agent, from_=text_of(start), page_size=50)
    assert raw_rows(since.text) == [row.raw for row in newest[:50]]
    until = page(agent, to=text_of(end), page_size=20)
    assert raw_rows(until.text) == [row.raw for row in newest if row.created <= end][:20]
    assert problem(page(agent, from_="yesterday"), 400, "invalid_request")["message"]
    problem(page(agent, from_=text_of(start), sort="asc"), 400, "invalid_request")


def test_repeating_a_page_costs_nothing(agent_of, upstream):
    agent = agent_of(make_rows(500, 20), "--live-ttl", "10m", days=21)
    first = page(agent, page_number=2)
    upstream.forget_log()
    again = page(agent, page_number=2)
    assert (again.content, again.headers["ETag"]) == (first.content, first.headers["ETag"])
    url = f"{agent.base}/v2/agent/{agent.id}/executions?page_number=2"
    headers = agent.headers | {"If-None-Match": first.headers["ETag"]}
    assert requests.get(url, headers=headers, timeout=10).status_code == 304
    head = requests.head(url, headers=agent.headers | {"Accept-Encoding": "identity"}, timeout=10)
    assert head.headers["Content-Length"] == str(len(first.content))
    cached = requests.get(url, headers=agent.headers | {"Cache-Control": "only-if-cached"}, timeout=10)
    assert cached.content == first.content
    assert upstream.pages == []
