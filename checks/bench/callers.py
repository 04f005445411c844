"""A hundred concurrent callers of a cold history."""

from pathlib import Path
from statistics import median

from bench.report import Report
from bench.stage import Stage, credentials, read

CALLERS = 100


def callers(directory: Path, rounds: int) -> Report:
    report = Report("callers", ("1,000 executions over 30 days, 80 ms, JSON", "slowest caller", "requests upstream"))
    found: dict[str, list[tuple[float, float]]] = {"one, cold": [], "100, cold": [], "100, warm": []}
    with Stage.of(directory, executions=1_000, span="30d", latency="80ms", turns=2) as stage:
        for _ in range(rounds):
            for count in (1, CALLERS):
                with stage.gateway() as gateway:

                    def ask(name: str) -> None:
                        before = gateway.metric(REQUESTS)
                        answer = read(stage.all(gateway), "--once", "--connections", str(count), **credentials())
                        found[name].append((answer["slowest"], gateway.metric(REQUESTS) - before))

                    ask("one, cold" if count == 1 else "100, cold")
                    if count > 1:
                        ask("100, warm")
    slowest = {name: median(seconds for seconds, _ in runs) for name, runs in found.items()}
    for name, runs in found.items():
        report.row(name, f"{slowest[name] * 1000:.0f} ms", f"{median(count for _, count in runs):.0f}")
    over = slowest["100, cold"] - slowest["100, warm"]
    ratio = over / slowest["one, cold"]
    report.target("100 cold, less what 100 warm take: at most 1.25 × one cold", f"{ratio:.2f} ×", ratio <= 1.25)
    return report


REQUESTS = "fanfold_upstream_requests_total"
