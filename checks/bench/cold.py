"""A history that nobody read yet: 200 pages at 80 ms each."""

from pathlib import Path
from statistics import median

from programs import KEY

from bench.machine import SERVER_CORE, python
from bench.report import Report
from bench.stage import Stage, credentials, read, told

PAGES, LATENCY = 200, 0.08
SLOW_ROUNDS = 3


def cold(directory: Path, rounds: int) -> Report:
    report = Report("cold", ("200 pages at 80 ms each", "first row", "last row", "round trips", "runs"))
    found: dict[str, list[tuple[float, float]]] = {}
    with Stage.of(directory, executions=PAGES * 50, span="6d", latency="80ms", turns=2) as stage:
        url = stage.week()

        def rival(module: str, *arguments) -> tuple[float, float]:
            seconds = float(told(python(module, *arguments, core=SERVER_CORE)).split()[0])
            return seconds, seconds

        def fanfold(fan_out: int, query: str) -> tuple[float, float]:
            with stage.gateway("--fan-out", str(fan_out)) as gateway:
                answer = read(stage.all(gateway, query), "--once", "--connections", "1", **credentials())
                return answer["first"], answer["slowest"]

        contenders = {
            "a bare client, 16 in flight, thrown away": lambda: rival("bare", url, PAGES, 16, KEY),
            "fanfold, fan-out 16, NDJSON": lambda: fanfold(16, "?format=ndjson"),
            "fanfold, fan-out 16, JSON": lambda: fanfold(16, ""),
            "a bare client, 8 in flight, thrown away": lambda: rival("bare", url, PAGES, 8, KEY),
            "fanfold, fan-out 8, NDJSON": lambda: fanfold(8, "?format=ndjson"),
            "aiohttp, a semaphore of 16": lambda: rival("gather", url, KEY, 16),
            "dlt's RESTClient": lambda: rival("dlt_client", url, KEY),
            "the guide's serial loop": lambda: rival("serial", url, KEY),
        }
        slow = ("dlt's RESTClient", "the guide's serial loop")
        for turn in range(rounds):
            for name, run in contenders.items():
                if name not in slow or turn < SLOW_ROUNDS:
                    found.setdefault(name, []).append(run())

    last = {name: median(seconds for _, seconds in times) for name, times in found.items()}
    for name, times in found.items():
        first = median(seconds for seconds, _ in times)
        told_first = f"{first * 1000:.0f} ms ({first / LATENCY:.1f})" if name.startswith("fanfold") else "–"
        report.row(name, told_first, f"{last[name]:.2f} s", f"{last[name] / LATENCY:.1f}", str(len(times)))
    bare, ours = last["a bare client, 16 in flight, thrown away"], last["fanfold, fan-out 16, NDJSON"]
    report.target("at most 1.10 × the bare client", f"{ours / bare:.2f} ×", ours <= 1.10 * bare)
    serial = last["the guide's serial loop"]
    report.target("at most 0.10 × the serial loop", f"{ours / serial:.3f} ×", ours <= 0.10 * serial)
    return report
