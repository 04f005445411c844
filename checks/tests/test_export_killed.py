"""`fanfold export` is killed at any moment and run again: FILE is complete or unchanged, and no row is read twice."""

import json
import random
import time
import uuid
from pathlib import Path

from exports import Export
from polling import wait_until
from programs import KEY
from rows import make_rows
from truth import small

KILLS = 20
ROWS = 6_000
PAGE = 50
OLD = b"old\n"


def test_an_export_killed_twenty_times_is_correct_and_reads_no_row_twice(gateway, upstream, tmp_path):
    rows = [small(row) for row in make_rows(ROWS, 60)]
    agent = upstream.agent(str(uuid.uuid4()), rows, KEY, days=70)
    truth = b"".join(row.raw + b"\n" for row in agent.rows)
    served = served_ids(upstream)
    upstream.latency = 0.4
    program = gateway(upstream.url, "--upstream-rate", "0", "--fan-out", "4", "--live-ttl", "10m")
    (tmp_path / "key").write_text(KEY)
    export = Export(tmp_path, agent.id, "--gateway", program.url, "--token-file", str(tmp_path / "key"))
    export.file.write_bytes(OLD)
    draw = random.Random(17)
    came: set[str] = set()
    again, caught = 0, 0
    for turn in range(KILLS):
        before = len(served)
        process = export.start()
        is_patient = turn % 2 == 0
        if is_patient:
            wait_until(lambda process=process: process.poll() is not None or is_begun(export.part))
        time.sleep(draw.uniform(0, 0.3 if is_patient else 1.2))
        process.kill()
        _, said = process.communicate()
        # The lock ended with the previous run.
        assert b"is being written" not in said
        file, part = export.file.read_bytes(), export.part.read_bytes() if export.part.exists() else b""
        assert file in (OLD, truth), "FILE is neither as it was nor whole"
        assert truth.startswith(part), "what is in FILE.part are not the newest rows"
        again += len(came.intersection(served[before:]))
        came |= {json.loads(line)["id"] for line in part.splitlines(keepends=True) if line.endswith(b"\n")}
        caught += 0 < len(part) < len(truth)
        export.file.write_bytes(OLD)
    assert caught > KILLS / 3, f"only {caught} of {KILLS} were killed while they wrote"
    upstream.latency = 0
    before = len(served)
    assert export.whole() == truth
    again += len(came.intersection(served[before:]))
    # A partly read span continues at its last row, which is read once more. The very first page is, if the first run is
    # killed before the next one.
    assert again <= PAGE + 2 * KILLS, f"{again} rows were read again of {len(came)} that had come"


def is_begun(part: Path) -> bool:
    return part.exists() and part.stat().st_size > 0


def served_ids(upstream) -> list[str]:
    """Records the ids of all rows that upstream sends from now on."""
    ids: list[str] = []
    page = upstream._page

    def served(agent, query):
        response = page(agent, query)
        ids.extend(row["id"] for row in json.loads(response.body)["data"])
        return response

    upstream._page = served
    return ids
