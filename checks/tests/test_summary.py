"""Totals equal exact fractions computed in Python from the same rows, in every zone, cold and warm."""

import csv
import io
import json
import random
import re
import uuid
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from fractions import Fraction
from functools import cached_property
from zoneinfo import ZoneInfo

import pytest
import requests
from answers import problem
from programs import KEY
from rows import EPOCH, Row, make_rows, micros_of, text_of

LONG = ("--live-ttl", "10m", "--settling-ttl", "10m")
ODD = ["1e100000000", '"12.5 "', "0x10", "1" * 40, "true", "null", '"0.30"', "-0.0", "1e-12", "1e-13", '"abc"']


@dataclass(frozen=True)
class Priced(Row):
    """An execution with a price as a JSON literal."""

    cost: str = "0"

    @cached_property
    def raw(self) -> bytes:
        cost = self.cost if self.cost != "0x10" else '"0x10"'
        return (
            f'{{"id":"{self.id}","created_at":"{text_of(self.created)}","updated_at":"{text_of(self.updated)}",'
            f'"status":"{self.status}","total_cost":{cost},"conversation_duration":{self.filling % 600},'
            f'"telephony_data":{{"duration":"{self.filling % 60}"}}}}'
        ).encode()


@dataclass(frozen=True)
class Wide(Priced):
    """An execution that can't be compressed, so that few rows fill a cache."""

    @cached_property
    def raw(self) -> bytes:
        noise = random.Random(self.id).randbytes(6_400).hex()
        return Priced.raw.func(self)[:-1] + f',"noise":"{noise}"}}'.encode()


def priced(rows: list[Row], costs) -> list[Priced]:
    known = {name: [getattr(row, name) for row in rows] for name in Row.__dataclass_fields__}
    return [
        Priced(**{name: values[at] for name, values in known.items()}, cost=costs(at, row)) for at, row in enumerate(rows)
    ]


def cents(at: int, row: Row) -> str:
    return ODD[at % len(ODD)] if at % 10 == 0 else f"{row.filling % 700}.{row.filling % 100:02}"


def number(literal: str) -> Fraction | None:
    """The value of a cost; None if it is skipped."""
    text = literal.strip('"') if literal.startswith('"') and literal.endswith('"') else literal
    if not re.fullmatch(r"[-+0-9.eE]+", text):
        return None
    try:
        value = json.loads(text, parse_float=str, parse_int=str)
    except ValueError:
        return None
    if not isinstance(value, str) or text.startswith('"'):
        return None
    mantissa, _, exponent = value.lower().partition("e")
    if abs(int(exponent or 0)) > 100:
        return None
    exact = Fraction(mantissa) * Fraction(10) ** int(exponent or 0)
    if abs(exact) >= 10**18 or (exact * 10**12).denominator != 1:
        return None
    return exact


def stats(rows: list[Priced]) -> dict:
    """The expected statistics of `total_cost` of these rows."""
    present = [row for row in rows if row.cost != "null"]
    values = [value for row in present if (value := number(row.cost)) is not None]
    totals = {"count": len(values), "sum": sum(values, Fraction(0))}
    totals |= {"min": min(values, default=None), "max": max(values, default=None)}
    return totals | ({"skipped": len(present) - len(values)} if len(present) > len(values) else {})


def exact(totals: dict) -> dict:
    return {key: Fraction(str(value)) if key in ("sum", "min", "max") and value is not None else value for key, value in totals.items()}


def url(agent, query: str = "") -> str:
    return f"{agent.base}/agents/{agent.id}/executions/summary?{query}"


def ask(agent, query: str = "", method: str = "GET", **headers: str) -> requests.Response:
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.request(method, url(agent, query), headers=agent.headers | more, timeout=60)


def summary(agent, query: str = "") -> dict:
    answer = ask(agent, query)
    assert answer.status_code == 200, answer.text
    document = json.loads(answer.content, parse_float=str)
    assert document["complete"] is True and answer.headers["X-Total-Count"] == str(document["total"])
    return document


def day(row: Row, zone: str) -> str:
    return (EPOCH + timedelta(microseconds=row.created)).astimezone(ZoneInfo(zone)).date().isoformat()


def test_sums_are_exact_and_odd_values_are_counted_as_skipped(agent_of):
    rows = priced(make_rows(400, 30), cents)
    agent = agent_of(rows, *LONG)
    for _ in ("cold", "warm"):
        totals = summary(agent)
        assert totals["total"] == len(rows) and totals["time_zone"] == "UTC"
        assert exact(totals["stats"]["total_cost"]) == stats(rows)
        assert totals["stats"]["conversation_duration"]["sum"] == sum(row.filling % 600 for row in rows)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Eucla", "America/New_York"])
def test_groups_by_day_and_status_match_python(agent_of, zone):
    rows = priced(make_rows(400, 30), cents)
    agent = agent_of(rows, *LONG)
    # The kept values serve another zone, too.
    summary(agent, "group_by=@day,status")
    truth = defaultdict(list)
    for row in rows:
        truth[day(row, zone), row.status].append(row)
    groups = summary(agent, f"group_by=@day,status&time_zone={zone}")["groups"]
    assert [(g["key"]["@day"], g["key"]["status"]) for g in groups] == sorted(truth)
    for group in groups:
        members = truth[group["key"]["@day"], group["key"]["status"]]
        assert group["count"] == len(members)
        assert exact(group["stats"]["total_cost"]) == stats(members)


def test_the_span_of_a_group_selects_exactly_its_rows(agent_of):
    rows = priced(make_rows(300, 10), cents)
    agent = agent_of(rows, *LONG)
    since = text_of(sorted(row.created for row in rows)[40], 1)
    for group in summary(agent, f"group_by=@day&time_zone=Asia/Kolkata&from={since}")["groups"]:
        assert len(agent.rows(f"from={group['from']}&to={group['to']}")) == group["count"]


def test_a_repeated_hour_is_two_groups(agent_of):
    # New York put its clocks back on November 1, 2026, at 06:00 UTC.
    start = micros_of("2026-11-01T04:00:00Z")
    made = [
        Priced(id=str(uuid.UUID(int=at, version=4)), created=start + at * 600_000_000, updated=start + at * 600_000_000, cost="1")
        for at in range(24)
    ]
    groups = summary(agent_of(made, *LONG), "group_by=@hour&time_zone=America/New_York")["groups"]
    assert [(g["key"]["@hour"], g["count"]) for g in groups] == [
        ("2026-11-01T00:00-04:00", 6),
        ("2026-11-01T01:00-04:00", 6),
        ("2026-11-01T01:00-05:00", 6),
        ("2026-11-01T02:00-05:00", 6),
    ]


def test_a_histogram_counts_every_row_once(agent_of):
    rows = priced(make_rows(300, 20), cents)
    totals = summary(agent_of(rows, *LONG), "histogram=telephony_data.duration&bounds=0,10.5,30&stats=total_cost")
    counts = [0, 0, 0, 0]
    for row in rows:
        value = row.filling % 60
        counts[0 if value <= 0 else 1 if value <= 10.5 else 2 if value <= 30 else 3] += 1
    assert totals["histogram"]["counts"] == counts and list(totals["stats"]) == ["total_cost"]


def test_csv_has_the_same_totals_as_json(agent_of):
    rows = priced(make_rows(300, 20), cents)
    agent = agent_of(rows, *LONG)
    groups = summary(agent, "group_by=@month,status&stats=total_cost")["groups"]
    answer = ask(agent, "group_by=@month,status&stats=total_cost&format=csv")
    assert answer.headers["Content-Type"].startswith("text/csv") and "Content-Length" in answer.headers
    assert 'filename="summary-' in answer.headers["Content-Disposition"]
    header, *table = csv.reader(io.StringIO(answer.content.decode(), newline=""))
    assert header == ["@month", "status", "count", *(f"total_cost.{what}" for what in ("count", "sum", "min", "max"))]
    assert len(table) == len(groups)
    for line, group in zip(table, groups, strict=True):
        totals = group["stats"]["total_cost"]
        expected = [group["key"]["@month"], group["key"]["status"], group["count"], *(totals[w] for w in ("count", "sum", "min", "max"))]
        assert line == ["" if value is None else str(value) for value in expected]


def test_totals_cost_upstream_as_many_requests_as_rows(gateway, upstream):
    seen = {}
    for at, rest in enumerate(("all", "summary?group_by=@day,status&histogram=total_cost&bounds=1")):
        agent = f"00000000-0000-4000-8000-0000000000{at:02}"
        upstream.agent(agent, make_rows(700, 40), KEY)
        base = gateway(upstream.url, "--upstream-rate", "0", *LONG).url
        counts = []
        for _ in ("cold", "warm"):
            upstream.forget_log()
            answer = requests.get(
                f"{base}/agents/{agent}/executions/{rest}", headers={"Authorization": f"Bearer {KEY}"}, timeout=60
            )
            assert answer.status_code == 200, answer.text
            counts.append(len(upstream.log))
        seen[rest] = counts
    assert len({tuple(counts) for counts in seen.values()}) == 1 and counts[1] == 0, seen


def test_totals_of_a_history_larger_than_the_cache_are_read_once(agent_of, upstream):
    rows = [Wide(**vars_of(row)) for row in priced(make_rows(3_000, 60), cents)]
    agent = agent_of(rows, *LONG, "--cache-bytes", "16MiB", "--upstream-rate", "0")
    by_day = "group_by=@day,status&stats=total_cost"
    first = summary(agent, by_day)
    problem(agent.ask(Cache_Control="only-if-cached"), 504, "not_cached")

    def pages(query: str, **headers: str) -> int:
        upstream.forget_log()
        assert ask(agent, query, **headers).status_code == 200
        return len(upstream.pages)

    upstream.forget_log()
    assert summary(agent, by_day)["groups"] == first["groups"]
    assert exact(summary(agent, by_day)["stats"]["total_cost"]) == stats(rows)
    zone = "Asia/Kolkata"
    truth = defaultdict(list)
    for row in rows:
        truth[day(row, zone)].append(row)
    for group in summary(agent, f"group_by=@day&stats=total_cost&time_zone={zone}")["groups"]:
        assert exact(group["stats"]["total_cost"]) == stats(truth[group["key"]["@day"]])
    some = [row for row in rows if row.status in ("busy", "failed") and row.created >= sorted(r.created for r in rows)[777]]
    since = text_of(min(row.created for row in some), 1)
    assert exact(summary(agent, f"stats=total_cost&status=busy,failed&from={since}")["stats"]["total_cost"]) == stats(some)
    known = ask(agent, by_day)
    assert known.headers["Content-Length"] == ask(agent, by_day, "HEAD").headers["Content-Length"]
    assert ask(agent, by_day, If_None_Match=known.headers["ETag"]).status_code == 304
    assert ask(agent, by_day, Cache_Control="only-if-cached").status_code == 200
    assert upstream.pages == []
    # Values of another path are read once and evict nothing.
    others = "group_by=status&stats=conversation_duration"
    assert pages(others) > 20 and pages(others) == 0 and pages(by_day) == 0
    # A response with rows evicts rows, but no values.
    upstream.forget_log()
    assert len(agent.rows()) == len(rows) and upstream.pages
    assert pages(by_day) == 0 and pages(others) == 0


def vars_of(row: Row) -> dict:
    return {name: getattr(row, name) for name in type(row).__dataclass_fields__}


def test_filters_statuses_and_dates_select_the_rows(agent_of):
    rows = priced(make_rows(300, 20), cents)
    agent = agent_of(rows, *LONG)
    some = [row for row in rows if row.status in ("busy", "failed")]
    assert exact(summary(agent, "status=failed,busy")["stats"]["total_cost"]) == stats(some)
    date = day(rows[0], "Asia/Kolkata")
    of_day = [row for row in rows if day(row, "Asia/Kolkata") == date]
    totals = summary(agent, f"from={date}&to={date}&time_zone=Asia/Calcutta")
    assert (totals["total"], totals["time_zone"]) == (len(of_day), "Asia/Kolkata")


def test_totals_have_validators_and_support_only_if_cached(agent_of, upstream):
    agent = agent_of(priced(make_rows(120, 10), cents), *LONG)
    problem(ask(agent, Cache_Control="only-if-cached"), 504, "not_cached")
    queries = ("", "group_by=status", "group_by=status&time_zone=Asia/Kolkata", "stats=total_cost", "format=csv")
    etags = {query: ask(agent, query).headers["ETag"] for query in queries}
    assert len(set(etags.values())) == len(queries)
    assert ask(agent, "group_by=status&time_zone=Asia/Calcutta").headers["ETag"] == etags[queries[2]]
    upstream.forget_log()
    for query, etag in etags.items():
        same = ask(agent, query, If_None_Match=etag)
        assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", etag)
        head, got = ask(agent, query, "HEAD"), ask(agent, query)
        assert head.content == b"" and head.headers["Content-Length"] == got.headers["Content-Length"]
        assert all(name in got.headers for name in ("Age", "Cache-Control", "Cache-Status", "Vary"))
    assert upstream.pages == []


def test_allows_ten_thousand_groups(agent_of):
    rows = make_rows(10_001, 60)
    agent = agent_of(rows[:10_000], *LONG)
    assert len(summary(agent, "group_by=id")["groups"]) == 10_000
    more = agent_of(rows, *LONG)
    document = problem(ask(more, "group_by=id"), 422, "answer_too_large")
    assert "group_by" in document["detail"] and "shorter" in document["detail"]


def test_a_missing_part_is_named_or_fails_the_response(agent_of, upstream):
    agent = agent_of(priced(make_rows(100, 10), cents), "--request-deadline", "4s")
    upstream.script = [(500, {}, b"{}")] * 400
    assert ask(agent).status_code in (502, 504)
    lenient = ask(agent, Prefer="handling=lenient")
    assert lenient.status_code == 200, lenient.text
    document = lenient.json()
    assert document["complete"] is False and document["missing"] and lenient.headers["Cache-Control"] == "no-store"
    assert ask(agent, "format=csv", Prefer="handling=lenient").status_code in (502, 504)


def test_totals_are_never_logged(agent_of):
    agent = agent_of(priced(make_rows(50, 5), cents))
    for query in ("group_by=telephony_data.duration", "group_by=secret_path..x", "stats=secret_path:y"):
        ask(agent, query)
    assert "secret_path" not in agent.program.output()


def test_the_last_group_reaches_the_present(agent_of):
    instant = datetime.now(timezone.utc) - timedelta(seconds=2)
    created = (instant - EPOCH) // timedelta(microseconds=1)
    row = Priced(id=str(uuid.uuid4()), created=created, updated=created, cost="1.10", status="queued")
    agent = agent_of([row], "--live-ttl", "10m", days=1)
    (group,) = summary(agent, "group_by=@day")["groups"]
    assert micros_of(group["to"]) >= created and len(agent.rows(f"from={group['from']}&to={group['to']}")) == 1
