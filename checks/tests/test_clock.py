"""The system clock is wrong at the start or changes later: responses stay complete, and `as_of` is upstream's time."""

import json
import re
import time
from pathlib import Path

import pytest
from answers import whole
from polling import wait_until
from rows import SECOND, Row, make_rows, micros_of, now

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
FLAGS = ("--live-ttl", "1s", "--settling-ttl", "1s", "--commit-lag", "1s", "--upstream-rate", "0")
HOUR = 3_600
# The error of the clock at the start and afterwards, in seconds.
CASES = {
    "an hour behind, then set right": (-HOUR, 0),
    "an hour ahead, then set right": (HOUR, 0),
    "two days ahead": (2 * 86_400, 2 * 86_400),
    "right, then an hour back": (0, -HOUR),
    "right, then two days ahead": (0, 2 * 86_400),
}

pytestmark = pytest.mark.skipif(LIBRARY is None, reason="faketime is not installed")


def fresh(count: int, over: int) -> list[Row]:
    """Executions of the last `over` seconds. The newest is a few seconds old."""
    at = [now() - (5 + number * (over - 5) // count) * SECOND for number in range(count)]
    return [Row(f"fresh-{over}-{number}", created, created) for number, created in enumerate(at)]


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_clock_and_a_changed_clock_lose_no_row(agent_of, upstream, tmp_path, case):
    before, after = CASES[case]
    offset = tmp_path / "offset"
    offset.write_text(f"{before:+d}")
    faked = {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    agent = agent_of(make_rows(240, 20) + fresh(60, HOUR), *FLAGS, days=21, **faked)
    known = upstream.agents[agent.id]

    def has_all() -> bool:
        asked = now()
        answer = agent.ask()
        rows = whole(answer)
        as_of = micros_of(json.loads(answer.content)["as_of"])
        assert asked - 30 * SECOND <= as_of <= now(), f"as_of is {(as_of - now()) / SECOND:.0f} s from upstream's time"
        assert len(rows) >= sum(row.created <= as_of for row in known.rows)
        return as_of >= max(row.created for row in known.rows) and len(rows) == len(known.rows)

    def assert_all() -> None:
        # What is learned of upstream's clock from a slow response may be some seconds wrong.
        wait_until(has_all, every=0.5)
        assert len(agent.lines()) == len(known.rows)

    assert_all()
    offset.write_text(f"{after:+d}")
    for number in range(3):
        known.add([Row(f"later-{number}", now(), now())])
        time.sleep(2.5)
        assert_all()
    logged = re.findall(r"Upstream's clock is (-?\d+) s ahead", agent.program.output())
    assert [round(int(seconds) / HOUR) for seconds in logged] == ([-before // HOUR] if before else []), logged


def test_without_upstreams_date_as_of_is_a_minute_ago(agent_of, upstream):
    upstream.without_date = True
    rows = make_rows(60, 3) + fresh(10, 50)
    agent = agent_of(rows, *FLAGS, days=4)
    asked = now()
    answer = agent.ask()
    as_of = micros_of(json.loads(answer.content)["as_of"])
    assert asked - 75 * SECOND <= as_of <= now() - 59 * SECOND
    assert len(whole(answer)) >= sum(row.created <= as_of for row in rows) >= 60
