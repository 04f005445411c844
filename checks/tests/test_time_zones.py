"""Days, hours and date ranges of every time zone match Python's, with the same release of the database."""

import zoneinfo
from collections import Counter
from datetime import datetime, timedelta
from fractions import Fraction
from functools import cache

import pytest
import requests
import tzdata
from rows import EPOCH, SECOND, make_rows, micros_of
from test_summary import Priced, exact, summary

# The release in the gateway, which the list of requirements pins, too.
RELEASE = "2026f"
START, END = micros_of("2026-01-01T00:00:00Z"), micros_of("2026-12-31T00:00:00Z")


@pytest.fixture(scope="module", autouse=True)
def pinned_database():
    """Uses the database of the pinned package, not that of the machine."""
    assert tzdata.IANA_VERSION == RELEASE
    zoneinfo.reset_tzpath([])
    zoneinfo.ZoneInfo.clear_cache()
    yield
    zoneinfo.reset_tzpath()
    zoneinfo.ZoneInfo.clear_cache()


@cache
def edges(zone: str) -> list[int]:
    """The instants of the year at which the clocks of a zone change, by bisection."""
    offset = lambda micros: (EPOCH + timedelta(microseconds=micros)).astimezone(zoneinfo.ZoneInfo(zone)).utcoffset()  # noqa: E731
    step, found, at = 14 * 86_400 * SECOND, [], START
    while at < END:
        low, high = at, min(at + step, END)
        if offset(low) != offset(high):
            while high - low > SECOND:
                middle = (low + high) // 2
                low, high = (middle, high) if offset(middle) == offset(low) else (low, middle)
            found.append(high // SECOND * SECOND)
        at += step
    return found


def zones() -> list[str]:
    return sorted(zoneinfo.available_timezones() - {"Factory", "localtime", "posixrules"})


def rows_at_the_edges() -> list[Priced]:
    """Calls around every clock change of every zone, and around the nearest midnights."""
    instants = set()
    for edge in {edge for zone in zones() for edge in edges(zone)}:
        for hours in (-25, -13, -1, 0, 1, 13, 25):
            at = edge + hours * 3_600 * SECOND
            instants |= {at - 1, at, at + 1_801 * SECOND}
    made = make_rows(len(instants), 1)
    return [
        Priced(id=row.id, created=at, updated=at, cost=f"{n % 97}.{n % 100:02}", status="completed")
        for n, (row, at) in enumerate(zip(made, sorted(instants), strict=True))
    ]


def local(row: Priced, zone: str) -> datetime:
    return (EPOCH + timedelta(microseconds=row.created)).astimezone(zoneinfo.ZoneInfo(zone))


def test_days_and_hours_of_every_zone_match_python(agent_of):
    rows = rows_at_the_edges()
    assert len(rows) > 500 and len(zones()) > 500
    agent = agent_of(rows, "--live-ttl", "1h", "--settling-ttl", "1h", days=400)
    # Many zones have the same clocks that year.
    alike: dict[tuple, list[str]] = {}
    for zone in zones():
        offsets = [local(row, zone).utcoffset() for row in (rows[0], *rows[::40])]
        alike.setdefault((tuple(edges(zone)), *offsets), []).append(zone)
    for names in alike.values():
        at = {row.id: local(row, names[0]) for row in rows}
        days, hours = Counter(), Counter(instant.isoformat(timespec="minutes")[:13] for instant in at.values())
        for row in rows:
            days[at[row.id].date().isoformat()] += Fraction(row.cost)
        for zone in names:
            groups = summary(agent, f"group_by=@day&stats=total_cost&time_zone={zone}")["groups"]
            assert {g["key"]["@day"]: exact(g["stats"]["total_cost"])["sum"] for g in groups} == days, zone
        told = Counter()
        for group in summary(agent, f"group_by=@hour&stats=total_cost&time_zone={names[0]}")["groups"]:
            told[group["key"]["@hour"][:13]] += group["count"]
        assert told == hours, names[0]


def test_dates_at_clock_changes_select_the_same_rows_as_python(agent_of):
    rows = rows_at_the_edges()
    agent = agent_of(rows, "--live-ttl", "1h", "--settling-ttl", "1h", days=400)
    for zone in ("America/New_York", "Europe/Dublin", "Australia/Lord_Howe", "Africa/Casablanca", "Pacific/Easter", "Asia/Beirut"):
        for edge in edges(zone):
            date = (EPOCH + timedelta(microseconds=edge)).astimezone(zoneinfo.ZoneInfo(zone)).date()
            expected = {row.id for row in rows if local(row, zone).date() == date}
            query = f"from={date}&to={date}&time_zone={zone}&fields=id"
            answer = requests.get(f"{agent.base}{agent.path}?{query}", headers=agent.headers, timeout=60)
            assert {row["id"] for row in answer.json()["data"]} == expected, (zone, date)
