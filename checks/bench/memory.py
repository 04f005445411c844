"""How much of a history a small cache keeps."""

from pathlib import Path

from process_memory import peak_bytes

from bench.callers import REQUESTS
from bench.report import Report, megabytes
from bench.stage import Stage, credentials, read


def memory(directory: Path, _rounds: int) -> Report:
    report = Report(
        "memory", ("95 MB of rows, a cache of 32 MiB", "requests upstream", "bytes of the answer", "peak memory")
    )
    # 56 turns at most make 11 KB a row on average.
    with Stage.of(directory, executions=8_500, span="60d") as stage, stage.gateway("--cache-bytes", "32MiB") as gateway:
        counts = []
        for name in ("first time", "again", "once more"):
            before = gateway.metric(REQUESTS)
            answer = read(stage.all(gateway, "?format=ndjson"), "--once", "--connections", "1", **credentials())
            counts.append(gateway.metric(REQUESTS) - before)
            peak = peak_bytes(gateway.process.pid)
            report.row(name, f"{counts[-1]:.0f}", megabytes(answer["bytes"]), megabytes(peak))
    share = counts[1] / counts[0]
    report.target("the second question re-reads next to nothing", f"{share:.1%} of the first's requests", share <= 0.02)
    return report
