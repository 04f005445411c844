"""A cold history: 200 pages at 80 ms each."""

from pathlib import Path
from statistics import median

from programs import KEY

from bench.callers import REQUESTS
from bench.machine import SERVER_CORE, python
from bench.report import Report
from bench.stage import Stage, credentials, output_of, read

PAGES, LATENCY = 200, 0.08
HISTORY = {"executions": PAGES * 50, "span": "6d", "latency": "80ms", "turns": 1}

# Each takes some 15 s.
SLOW, SLOW_ROUNDS = ("dlt's RESTClient", "the guide's serial loop"), 3
BARE, OURS = "a bare client, 16 in flight", "fanfold, fan-out 16, NDJSON"


def cold(directory: Path, rounds: int) -> Report:
    heads = ("200 pages at 80 ms each", "first row", "last row", "round trips", "requests", "runs")
    report = Report("cold", heads)
    # First row, last row, requests.
    found: dict[str, list[tuple[float, float, float]]] = {}
    with Stage.of(directory, **HISTORY) as stage, Stage.of(directory, **HISTORY, ties="unstable") as moving:
        url = stage.week()

        def rival(module: str, *arguments) -> tuple[float, float, float]:
            seconds = float(output_of(python(module, *arguments, core=SERVER_CORE)).split()[0])
            return seconds, seconds, PAGES

        contenders = {
            BARE: lambda: rival("bare", url, PAGES, 16, KEY),
            OURS: lambda: fanfold(stage, 16, "?format=ndjson"),
            "fanfold, fan-out 16, JSON": lambda: fanfold(stage, 16, ""),
            "fanfold, fan-out 16, NDJSON, ties in another order each time": lambda: fanfold(
                moving, 16, "?format=ndjson"
            ),
            "a bare client, 8 in flight": lambda: rival("bare", url, PAGES, 8, KEY),
            "fanfold, fan-out 8, NDJSON": lambda: fanfold(stage, 8, "?format=ndjson"),
            "aiohttp, a semaphore of 16": lambda: rival("gather", url, KEY, 16),
            "dlt's RESTClient": lambda: rival("dlt_client", url, KEY),
            "the guide's serial loop": lambda: rival("serial", url, KEY),
        }
        for turn in range(rounds):
            for name, run in contenders.items():
                if name not in SLOW or turn < SLOW_ROUNDS:
                    found.setdefault(name, []).append(run())

    last = {name: median(run[1] for run in runs) for name, runs in found.items()}
    for name, runs in found.items():
        first = median(run[0] for run in runs)
        told_first = f"{first * 1000:.0f} ms ({first / LATENCY:.1f})" if name.startswith("fanfold, fan") else "–"
        requests = f"{median(run[2] for run in runs):.0f}"
        report.row(name, told_first, f"{last[name]:.2f} s", f"{last[name] / LATENCY:.1f}", requests, str(len(runs)))
    report.row("at least, with 16 in flight", "–", f"{LATENCY * 13:.2f} s", "13.0", str(PAGES), "–")
    ratio = last[OURS] / last[BARE]
    report.target("at most 1.10 × the bare client", f"{ratio:.2f} ×", ratio <= 1.10)
    ratio = last[OURS] / last["the guide's serial loop"]
    report.target("at most 0.10 × the serial loop", f"{ratio:.3f} ×", ratio <= 0.10)
    return report


def fanfold(stage: Stage, fan_out: int, query: str) -> tuple[float, float, float]:
    with stage.gateway("--fan-out", str(fan_out)) as gateway:
        answer = read(stage.all(gateway, query), "--once", "--connections", "1", **credentials())
        return answer["first"], answer["slowest"], gateway.metric(REQUESTS)
