"""One page of some 100 KB, and its 304."""

import json
import re
import subprocess
from pathlib import Path
from statistics import median

import requests

from bench.caches import Caches
from bench.machine import LOAD_CORE, cpu_seconds, pinned
from bench.report import Report
from bench.stage import Stage, credentials
from bench.warm import alternate, gzipped

BYTES = 100_000
SECONDS = 2


def small(directory: Path, rounds: int) -> Report:
    heads = ("one page of 100 KB, as wrk on the other core sees it", "requests a second", "bytes", "a second of the core")
    report = Report("small", heads)
    with Stage.of(directory, executions=1_000, span="6d", turns=1) as stage, stage.gateway() as gateway:
        rows = requests.get(stage.all(gateway), headers=credentials(), timeout=60).json()["data"]
        sizes = [len(json.dumps(row, ensure_ascii=False).encode()) for row in rows]
        # From a second that ends between two rows to the end of another.
        last = next(count for count in range(1, len(rows)) if sum(sizes[:count]) > BYTES)
        url = stage.all(gateway, f"?from={rows[last - 1]['created_at']}Z&to={rows[0]['created_at']}Z")
        answer = requests.get(url, headers=credentials() | {"Accept-Encoding": "identity"}, timeout=60)
        answer.raise_for_status()
        coded = requests.get(url, headers=gzipped(), timeout=60, stream=True).raw.read()
        caches = Caches(directory, {"page": (answer.content, coded)})
        try:
            caches.fill()
            nginx, varnish = caches.nginx, caches.varnish
            pid = {"fanfold": gateway.process.pid, "nginx": nginx.process.pid, "Varnish": varnish.process.pid}
            tags = {
                name: requests.get(at, headers=credentials(), timeout=60).headers["ETag"]
                for name, at in (("fanfold", url), ("nginx", f"{nginx.url}/plain/page"))
            }
            contenders = {
                "fanfold, JSON": lambda: asked(pid["fanfold"], url, credentials()),
                "nginx, its cache": lambda: asked(pid["nginx"], f"{nginx.url}/plain/page", {}),
                "Varnish, its cache": lambda: asked(pid["Varnish"], f"{varnish.url}/plain/page", {}),
                "fanfold, JSON, gzip": lambda: asked(pid["fanfold"], url, gzipped()),
                "nginx, compressed beforehand": lambda: asked(
                    pid["nginx"], f"{nginx.url}/compressed/page", {"Accept-Encoding": "gzip"}
                ),
                "fanfold, 304": lambda: asked(
                    pid["fanfold"], url, credentials() | {"If-None-Match": tags["fanfold"]}, status=304
                ),
                "nginx, 304": lambda: asked(
                    pid["nginx"], f"{nginx.url}/plain/page", {"If-None-Match": tags["nginx"]}, status=304
                ),
            }
            found = alternate(contenders, rounds)
        finally:
            caches.stop()

    middle = {name: {key: median(run[key] for run in runs) for key in runs[0]} for name, runs in found.items()}
    for name, run in middle.items():
        report.row(name, f"{run['seen']:,.0f}", f"{run['bytes']:,.0f}", f"{run['computed']:,.0f}")

    def at_least(what: str, ours: str, factor: float, theirs: str) -> None:
        seen, computed = (middle[ours][key] / middle[theirs][key] for key in ("seen", "computed"))
        report.target(what, f"{seen:.2f} × (of the core {computed:.2f} ×)", seen >= factor)

    at_least("one page: at least 1.2 × nginx, its cache", "fanfold, JSON", 1.2, "nginx, its cache")
    at_least("304: at least as many as pages", "fanfold, 304", 1, "fanfold, JSON")
    return report


def asked(pid: int, url: str, headers: dict[str, str], status: int = 200) -> dict[str, float]:
    """The result of wrk, and the CPU time of the server."""
    assert requests.get(url, headers={"Accept-Encoding": "identity"} | headers, timeout=60).status_code == status
    command = ["wrk", "-t1", "-c32", f"-d{SECONDS}s"]
    command += [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    before = cpu_seconds(pid)
    done = subprocess.run(pinned(LOAD_CORE, [*command, url]), capture_output=True, text=True, check=True)
    computed = cpu_seconds(pid) - before
    requests_read = re.search(r"(\d+) requests in ([\d.]+)s, ([\d.]+)(\w+) read", done.stdout)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", done.stdout)
    if refused or "Socket errors" in done.stdout:
        raise RuntimeError(done.stdout)
    count, seconds = int(requests_read[1]), float(requests_read[2])
    size = float(requests_read[3]) * {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}[requests_read[4]]
    return {"computed": count / computed, "seen": count / seconds, "bytes": size / count}
