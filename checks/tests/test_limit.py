"""`limit=N`: the newest N rows in every form, with no more upstream requests than they need."""

import json

import pytest
import requests
from answers import NDJSON, assert_same, lines, problem, raw_rows
from rows import DAY, make_rows, now, text_of


# 100 rows take two pages and one that confirms the last row. A prefetched page may be of no use.
A_HUNDRED = 4


@pytest.fixture
def newest():
    return sorted(make_rows(2_000, 40), key=lambda row: (-row.created, row.id))


@pytest.fixture
def agent(agent_of, newest):
    return agent_of(newest, "--live-ttl", "10m", days=41)


def test_json_reports_older_rows(agent, upstream, newest):
    answer = agent.ask("limit=100")
    assert raw_rows(answer.text) == [row.raw for row in newest[:100]]
    envelope = answer.json()
    assert (envelope["complete"], envelope["has_more"], envelope["page_size"]) == (True, True, 100)
    assert "total" not in envelope and "X-Total-Count" not in answer.headers
    plain = agent.ask("limit=100", Accept_Encoding="identity")
    assert int(plain.headers["Content-Length"]) == len(plain.content)
    assert len(upstream.pages) <= A_HUNDRED


def test_the_end_record_reports_older_rows(agent, upstream, newest):
    answer = agent.ask("limit=100&end_record=true", Accept=NDJSON)
    *rows, end = lines(answer.content)
    assert rows == [row.raw for row in newest[:100]]
    end = json.loads(end)["@end"]
    assert (end["complete"], end["count"], end["has_more"]) == (True, 100, True)
    assert len(upstream.pages) <= A_HUNDRED
    assert lines(agent.ask("limit=100", Accept=NDJSON).content) == rows


def test_a_limit_that_is_not_reached_changes_nothing(agent, newest):
    whole = agent.ask()
    for limit in (2_000, 1_000_000):
        answer = agent.ask(f"limit={limit}")
        assert_same(raw_rows(answer.text), newest)
        assert (answer.json()["total"], answer.json()["has_more"]) == (2_000, False)
        assert answer.headers["X-Total-Count"] == "2000"
        assert answer.headers["ETag"] == whole.headers["ETag"]
    end = json.loads(lines(agent.ask("limit=2000&end_record=true", Accept=NDJSON).content)[-1])["@end"]
    assert end["count"] == 2_000 and "has_more" not in end


def test_a_limit_has_a_validator_of_its_own(agent):
    part, other = agent.ask("limit=50"), agent.ask("limit=51")
    assert len({part.headers["ETag"], other.headers["ETag"], agent.ask().headers["ETag"]}) == 3
    assert agent.ask("limit=50", If_None_Match=part.headers["ETag"]).status_code == 304
    assert agent.ask("limit=50&format=ndjson", If_None_Match=part.headers["ETag"]).status_code == 304
    assert agent.ask("limit=51", If_None_Match=part.headers["ETag"]).status_code == 200
    head = agent.ask("limit=50", method="HEAD", Accept_Encoding="identity")
    assert (head.headers["ETag"], head.headers["Content-Length"]) == (part.headers["ETag"], str(len(part.content)))


def test_a_limit_works_with_filters_statuses_and_dates(agent, newest):
    def newest_of(count, keep):
        return [row.raw for row in newest if keep(row)][:count]

    end = now() - 12 * DAY
    for query, keep in {
        "status=failed": lambda row: row.status == "failed",
        "status=failed,busy": lambda row: row.status in ("failed", "busy"),
        "call_type=inbound": lambda row: row.call_type == "inbound",
        f"to={text_of(end)}": lambda row: row.created <= end,
        f"status=busy&to={text_of(end)}": lambda row: row.status == "busy" and row.created <= end,
    }.items():
        answer = agent.ask(f"limit=60&{query}")
        assert raw_rows(answer.text) == newest_of(60, keep), query


def test_only_if_cached_needs_only_the_newest_rows(agent, upstream):
    problem(agent.ask("limit=50", Cache_Control="only-if-cached"), 504, "not_cached")
    first = agent.ask("limit=50")
    upstream.forget_log()
    assert agent.ask("limit=50", Cache_Control="only-if-cached").content == first.content
    problem(agent.ask("limit=500", Cache_Control="only-if-cached"), 504, "not_cached")
    assert upstream.pages == []


def test_refuses_an_invalid_limit_with_the_accepted_range(agent):
    for limit in ("0", "-1", "x", "", "1000001", "1.5", "%2B5"):
        detail = problem(agent.ask(f"limit={limit}"), 400, "invalid_request")["detail"]
        assert "`limit`" in detail and "1000000" in detail, detail
    problem(agent.ask("limit=5&limit=5"), 400, "invalid_request")


def test_the_page_path_has_no_limit(agent):
    answer = requests.get(f"{agent.base}/v2/agent/{agent.id}/executions?limit=5", headers=agent.headers, timeout=10)
    assert "`limit`" in problem(answer, 400, "invalid_request")["detail"]
