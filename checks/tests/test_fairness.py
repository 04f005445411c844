"""An export that has used up its share of the budget does not delay dashboards."""

import threading
import time
import uuid
from dataclasses import replace

import requests
from answers import NDJSON, assert_same
from polling import wait_until
from programs import KEY
from rows import make_rows

# A budget per second, to see in seconds what a budget per minute does in minutes.
RATE = 20
FAN_OUT = 8


def test_an_export_does_not_delay_a_refresh(agent_of, upstream):
    upstream.latency = 0.02
    long = agent_of(make_rows(15_000, 60), "--upstream-rate", f"{RATE}/s", "--fan-out", str(FAN_OUT), "--live-ttl", "200ms", days=61)
    rows = make_rows(60, 2, seed=2)
    short = replace(long, id=str(uuid.uuid4()))
    upstream.agent(short.id, rows, KEY, days=3)
    assert_same(short.rows(), rows)

    exported = []

    def export() -> None:
        answer = requests.get(long.url, headers=long.headers | {"Accept": NDJSON}, timeout=120)
        exported.append(answer.content.count(b"\n"))

    exporting = threading.Thread(target=export)
    exporting.start()
    wait_until(lambda: long.program.metric("fanfold_upstream_waiting") >= 2)
    time.sleep(1)
    ahead = []
    while len(ahead) < 12 and not exported:
        time.sleep(0.25)
        first = len(upstream.log)
        assert_same(short.rows(), rows)
        ahead += [place for place, seen in enumerate(upstream.log[first:]) if short.id in seen.path][:1]
    # Queued behind the export, each request would wait for a second or more.
    assert len(ahead) >= 6 and sorted(ahead)[len(ahead) // 2] < RATE * 0.8, ahead
    # Those in flight when a second begins may have been sent before it: of the export, the refresh and the check of a key.
    assert upstream.most_within(1) <= RATE + FAN_OUT + 2
    exporting.join(90)
    assert exported == [15_000]
