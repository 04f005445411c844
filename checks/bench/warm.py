"""The same body of some 30 MB again and again, from one core.

Each is measured twice: as an ordinary reader on the other core sees it, and by what the server computes when the reader
costs nothing.
"""

import gzip
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import requests

from bench.caches import Caches
from bench.machine import cpu_seconds
from bench.report import Report, megabytes
from bench.stage import Stage, credentials, read

SECONDS = 1.5


def warm(directory: Path, rounds: int) -> Report:
    heads = (
        "30 MB, as a reader on the other core sees it",
        "bodies a second",
        "of the body",
        "on the wire",
        "a second of the core, nothing read",
    )
    report = Report("warm", heads)
    with (
        Stage.of(directory, executions=8_000, span="60d", turns=1) as stage,
        # Room for the rows compressed and for the plain bytes beside them, and for the compressed ones alone.
        stage.gateway("--cache-bytes", "256MiB") as roomy,
        stage.gateway("--cache-bytes", "24MiB") as tight,
    ):
        url = stage.all(roomy)
        ndjson = requests.get(
            f"{url}?format=ndjson", headers=credentials(Accept_Encoding="identity"), timeout=90
        ).content
        coded = idle(f"{url}?format=ndjson")
        assert gzip.decompress(coded) == ndjson
        for query in ("", "?format=ndjson"):
            requests.get(stage.all(tight, query), headers=credentials(), timeout=90).raise_for_status()
        caches = Caches(directory, {"body": (ndjson, coded)})
        try:
            caches.fill()
            nginx, varnish = caches.nginx, caches.varnish
            plain, packed = {"Accept_Encoding": "identity"}, {"Accept_Encoding": "gzip"}
            ours = lambda program, query, coding: measured(  # noqa: E731
                program.process.pid, stage.all(program, query), **credentials(**coding)
            )
            contenders = {
                "fanfold, JSON": lambda: ours(roomy, "", plain),
                "fanfold, NDJSON": lambda: ours(roomy, "?format=ndjson", plain),
                "nginx, its cache": lambda: measured(nginx.process.pid, f"{nginx.url}/plain/body", **plain),
                "Varnish, its cache": lambda: measured(varnish.process.pid, f"{varnish.url}/plain/body", **plain),
                "fanfold, NDJSON, too large to be kept plain": lambda: ours(tight, "?format=ndjson", plain),
                "fanfold, NDJSON, gzip": lambda: ours(roomy, "?format=ndjson", packed),
                "fanfold, JSON, gzip": lambda: ours(roomy, "", packed),
                "nginx, compressed beforehand": lambda: measured(
                    nginx.process.pid, f"{nginx.url}/compressed/body", **packed
                ),
                "Varnish, kept compressed": lambda: measured(
                    varnish.process.pid, f"{varnish.url}/compressed/body", **packed
                ),
                "nginx, compressing on the fly": lambda: measured(
                    nginx.process.pid, f"{nginx.url}/compressing/body", **packed
                ),
            }
            found = alternate(contenders, rounds)
        finally:
            caches.stop()

    middle = {name: {key: median(run[key] for run in runs) for key in runs[0]} for name, runs in found.items()}
    for name, run in middle.items():
        report.row(
            name,
            f"{run['seen']:,.1f}",
            f"{megabytes(run['seen'] * len(ndjson))}/s",
            f"{megabytes(run['seen'] * run['wire'])}/s",
            f"{run['computed']:,.1f} ({megabytes(run['computed'] * run['wire'])}/s)",
        )
    best = gzip.compress(ndjson, 6)
    report.row(
        "the body",
        "–",
        megabytes(len(ndjson)),
        f"gzip {len(coded) / 1e6:.1f} MB; `gzip -6` of the whole {len(best) / 1e6:.1f} MB",
        "–",
    )
    judge(report, middle)
    return report


def idle(url: str) -> bytes:
    """The compressed body once fanfold has recompressed it in idle time."""
    until, before = time.monotonic() + 180, b""
    while True:
        coded = requests.get(url, headers=gzipped(), timeout=90, stream=True).raw.read()
        # Recompression begins after half a minute.
        if time.monotonic() > until or (len(coded) == len(before) and time.monotonic() > until - 140):
            return coded
        before = coded
        time.sleep(5)


def judge(report: Report, found: dict[str, dict[str, float]]) -> None:
    def at_least(ours: str, factor: float, theirs: str) -> None:
        seen, computed = (found[ours][key] / found[theirs][key] for key in ("seen", "computed"))
        report.target(
            f"{ours}: at least {factor:g} × {theirs}", f"{seen:.2f} × (of the core {computed:.2f} ×)", seen >= factor
        )

    for ours in ("fanfold, JSON", "fanfold, NDJSON"):
        at_least(ours, 1.5, "nginx, its cache")
        at_least(ours, 1.0, "Varnish, its cache")
    at_least("fanfold, NDJSON, too large to be kept plain", 0.75, "nginx, its cache")
    at_least("fanfold, NDJSON, too large to be kept plain", 0.5, "Varnish, its cache")
    for ours in ("fanfold, NDJSON, gzip", "fanfold, JSON, gzip"):
        at_least(ours, 50, "nginx, compressing on the fly")
        at_least(ours, 0.8, "nginx, compressed beforehand")


def measured(pid: int, url: str, **headers: str) -> dict[str, float]:
    """Bodies a second by the clock, read; and for each second that the server computed, dropped on arrival."""
    seen = read(url, "--read", "--seconds", str(SECONDS), **headers)
    before = cpu_seconds(pid)
    dropped = read(url, "--seconds", str(SECONDS), **headers)
    computed = max(cpu_seconds(pid) - before, 0.01)
    return {
        "seen": seen["answers"] / seen["seconds"],
        "computed": dropped["answers"] / computed,
        "wire": seen["bytes"] / seen["answers"],
    }


def alternate(contenders: dict[str, Callable], rounds: int) -> dict[str, list]:
    """Runs each in turn in every round, after a warm-up round."""
    found: dict[str, list] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, run in contenders.items():
            result = run()
            if turn > 0:
                found[name].append(result)
    return found


def gzipped() -> dict[str, str]:
    return credentials() | {"Accept-Encoding": "gzip"}
