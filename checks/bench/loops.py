"""The hot loops, as last measured by `cargo bench`."""

import json
import subprocess
from pathlib import Path

from programs import ROOT, TARGET

from bench.machine import SERVER_CORE, pinned
from bench.report import Report


def loops(_directory: Path, _rounds: int) -> Report:
    command = ["cargo", "bench", "--locked", "--bench", "loops"]
    # Built on every core, measured on one.
    subprocess.run([*command, "--no-run"], cwd=ROOT, check=True)
    subprocess.run(pinned(SERVER_CORE, [*command, "--", "--noplot"]), cwd=ROOT, check=True)
    report = Report("loops", ("loop", "time", "bytes a second"))
    found = {}
    for file in sorted((TARGET / "criterion").glob("**/new/estimates.json")):
        about = json.loads((file.parent / "benchmark.json").read_text())
        seconds = json.loads(file.read_text())["median"]["point_estimate"] / 1e9
        size = (about["throughput"] or {}).get("Bytes")
        found[about["full_id"]] = seconds
        report.row(about["full_id"], microseconds(seconds), f"{size / seconds / 1e6:,.0f} MB/s" if size else "–")
    for name, seconds in found.items():
        if "10,000 segments" in name:
            report.target(f"{name}: under 1 ms", microseconds(seconds), seconds < 0.001)
    return report


def microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:,.1f} µs"
