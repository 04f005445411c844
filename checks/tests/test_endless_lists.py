"""Lists that are too long or endless have a bounded cost and do not affect other callers."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from aiohttp import web
from answers import assert_same, problem, whole
from programs import KEY, wait_until
from pulse import Pulse
from rows import SECOND, make_rows, micros_of, now, text_of
from soak import resident_and_handles

SILENCE = 10
# A contradiction may cost a few requests more than the pages of the agent, which has one week.
FEW = 60
# A list that makes up rows looks like a long history until a walk has its maximum of rows: 200 full pages.
LONGEST_WALK = 200
FILLING = "x" * 3_000


def page(rows: bytes, more: bool, number: int = 1, total: int | None = None) -> web.Response:
    head = {"page_number": number, "page_size": 50, "has_more": more} | ({} if total is None else {"total": total})
    body = json.dumps(head).encode()[:-1] + b',"data":[' + rows + b"]}"
    return web.Response(body=body, content_type="application/json")


def undated(count: int) -> bytes:
    return b",".join(b'{"id":"%d"}' % number for number in range(count))


def answers_beside(healthy, rows, faulty) -> list:
    """The responses about the faulty agents, while the healthy agent and the probes get theirs as usual."""
    with Pulse.of(healthy.program) as pulse, ThreadPoolExecutor(len(faulty)) as pool:
        asked = [pool.submit(agent.ask) for agent in faulty]
        assert_same(healthy.rows(), rows)
        wait_until(lambda: all(one.done() for one in asked), 90)
        assert pulse.longest < SILENCE, f"nothing was answered for {pulse.longest:.0f} s"
    return [one.result() for one in asked]


@pytest.mark.parametrize("count", [100_000, 400_000])
def test_refuses_a_page_with_too_many_undated_rows(agent_of, upstream, count):
    rows = make_rows(60, 3)
    healthy = agent_of(rows, days=4)
    body = undated(count)

    async def fault(request: web.Request) -> web.Response | None:
        return page(body, False, total=count) if request.match_info["agent"] != healthy.id else None

    upstream.fault = fault
    faulty = [replace(healthy, id=str(uuid.uuid4())) for _ in range(3)]
    for agent in faulty:
        upstream.agent(agent.id, (), KEY, days=4)
    for answer in answers_beside(healthy, rows, faulty):
        problem(answer, 502, "upstream_malformed")


def test_pages_of_undated_rows_within_the_bound_delay_no_caller(agent_of, upstream):
    rows = make_rows(60, 3)
    healthy = agent_of(rows, days=4)
    body = undated(10_000)

    async def fault(request: web.Request) -> web.Response | None:
        return page(body, False, total=10_000) if request.match_info["agent"] != healthy.id else None

    upstream.fault = fault
    faulty = [replace(healthy, id=str(uuid.uuid4())) for _ in range(3)]
    for agent in faulty:
        upstream.agent(agent.id, (), KEY, days=2)
    for answer in answers_beside(healthy, rows, faulty):
        assert len(whole(answer)) == 10_000


def row(at: int, filling: str = "") -> bytes:
    return json.dumps({"id": str(uuid.uuid4()), "created_at": text_of(at), "status": "completed", "t": filling}).encode()


class Endless:
    """Endless lists. Each response says that there is more."""

    def __init__(self):
        self.same = b",".join(row(now() - (4 * 3600 + n) * SECOND) for n in range(50))

    def repeats(self, query) -> web.Response:
        return page(self.same, True, int(query.get("page_number", 1)))

    def repeats_with_a_total(self, query) -> web.Response:
        return page(self.same, True, int(query.get("page_number", 1)), 50)

    def is_empty(self, query) -> web.Response:
        return page(b"", True, int(query.get("page_number", 1)))

    def is_empty_with_a_total(self, query) -> web.Response:
        return page(b"", True, int(query.get("page_number", 1)), 1_000_000)

    def makes_up_rows(self, query) -> web.Response:
        start, end = micros_of(query["from"]), micros_of(query["to"])
        number = int(query.get("page_number", 1))
        at = max(start, end - number * SECOND)
        return page(b",".join(row(at, FILLING) for _ in range(50)), True, number)

    def makes_up_rows_of_one_instant(self, query) -> web.Response:
        at = micros_of(query["from"])
        return page(b",".join(row(at, FILLING) for _ in range(50)), True, int(query.get("page_number", 1)))


WAYS = [name for name in vars(Endless) if not name.startswith("_")]


@pytest.mark.parametrize("way", WAYS)
def test_gives_up_on_an_endless_list(agent_of, upstream, way):
    rows = make_rows(60, 3)
    healthy = agent_of(rows, "--upstream-rate", "0", "--cache-bytes", "64MiB", "--request-deadline", "20s", days=4)
    endless = Endless()

    async def fault(request: web.Request) -> web.Response | None:
        if request.match_info["agent"] == healthy.id:
            return None
        return getattr(endless, way)(request.query)

    upstream.fault = fault
    assert_same(healthy.rows(), rows)
    before, _ = resident_and_handles(healthy.program)
    faulty = replace(healthy, id=str(uuid.uuid4()))
    upstream.agent(faulty.id, (), KEY, days=5)
    upstream.forget_log()
    answer = faulty.ask()
    asked = len(upstream.pages)
    memory, _ = resident_and_handles(healthy.program)
    assert_same(healthy.rows(), rows)
    bound = FEW + LONGEST_WALK if way.startswith("makes_up") else FEW
    assert asked <= bound, f"{asked} requests, then {answer.status_code}: {answer.text[:200]}"
    assert memory < before + 200, f"{memory:.0f} MiB after {before:.0f}"
    document = problem(answer, 502, "upstream_inconsistent")
    assert 1 <= int(answer.headers["Retry-After"]) <= 120, document
    # The refusal is remembered, even for `no-cache`.
    upstream.forget_log()
    for headers in ({}, {"Cache_Control": "no-cache"}):
        assert faulty.ask(**headers).status_code == 502
    assert len(upstream.pages) <= 4, len(upstream.pages)


@pytest.mark.parametrize("created", ["0001-01-01T00:00:00", "2015-06-01T00:00:00Z", None])
@pytest.mark.parametrize("query", ["", "from=0001-01-01T00:00:00Z"])
def test_the_cost_of_an_agent_without_a_creation_date_is_bounded(agent_of, upstream, created, query):
    rows = make_rows(60, 3)
    agent = agent_of(rows, "--upstream-rate", "0", "--request-deadline", "20s", days=4)
    upstream.facts = {"created_at": created}
    answer = agent.ask(query)
    asked = len(upstream.pages)
    # History ends in 2020, so the cost is a request for each week since, and for each page.
    weeks = (now() - micros_of("2020-01-01T00:00:00Z")) // (7 * 86_400 * SECOND) + 1
    assert asked <= weeks + 10, f"{asked} requests, then {answer.status_code}: {answer.text[:200]}"
    if answer.status_code == 200:
        assert_same(whole(answer), rows)
    else:
        assert answer.status_code in (400, 422, 502) and "from" in answer.json()["detail"], answer.text
