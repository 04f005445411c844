"""A million executions, streamed to readers that are slower than upstream."""

import subprocess
import time
from pathlib import Path

from process_memory import peak_bytes

from bench.machine import environment, python
from bench.report import Report, megabytes
from bench.stage import Stage, credentials

EXECUTIONS, TURNS = 1_000_000, 1
READERS, READ_FOR = 50, 120


def long(directory: Path, _rounds: int) -> Report:
    heads = ("1,000,000 executions as NDJSON, cache 64 MiB, fan-out 16", "read", "rows", "time", "peak memory")
    report = Report("long", heads)
    flags = ("--cache-bytes", "64MiB", "--fan-out", "16")
    with Stage.of(directory, executions=EXECUTIONS, span="700d", latency="5ms", turns=TURNS) as stage:
        with stage.gateway(*flags) as gateway:
            began = time.monotonic()
            size, rows = follow([reader(stage.all(gateway, QUERY), 20e6, None)])
            peak = peak_bytes(gateway.process.pid)
            report.row(
                "one reader of 20 MB/s",
                megabytes(size),
                f"{rows:,}",
                f"{time.monotonic() - began:.0f} s",
                megabytes(peak),
            )
            whole = rows == EXECUTIONS
            report.target(
                "all rows, the peak under 200 MiB",
                f"{rows:,} rows, {peak / (1 << 20):.0f} MiB",
                whole and peak < 200 << 20,
            )
        with stage.gateway(*flags) as gateway:
            began = time.monotonic()
            # None as fast as another, and each begins a little later: no two stay at one place.
            speeds = [0.3e6 + 0.05e6 * number for number in range(READERS)]
            readers = [reader(stage.all(gateway, QUERY), speed, READ_FOR) for speed in speeds]
            size, rows = follow(readers)
            peak = peak_bytes(gateway.process.pid)
            report.row(
                f"{READERS} readers of 0.3 to 2.8 MB/s for {READ_FOR} s",
                megabytes(size),
                f"{rows:,}",
                f"{time.monotonic() - began:.0f} s",
                megabytes(peak),
            )
            report.target(
                f"{READERS} slow readers: the peak under 400 MiB", f"{peak / (1 << 20):.0f} MiB", peak < 400 << 20
            )
    return report


QUERY = "?format=ndjson&end_record=true"


def reader(url: str, speed: float, seconds: float | None) -> subprocess.Popen:
    rest = [] if seconds is None else [seconds]
    command = python("slow", url, credentials()["Authorization"], speed, *rest)
    return subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True)


def follow(readers: list[subprocess.Popen]) -> tuple[int, int]:
    """Waits for all of them; the bytes and rows that they read together."""
    found = [tuple(map(int, process.communicate()[0].split())) for process in readers]
    assert all(process.returncode == 0 for process in readers), "a reader failed"
    return sum(size for size, _ in found), sum(rows for _, rows in found)
