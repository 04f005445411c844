"""Measures the figures in docs/cost.md with the release binary. `scripts/measure` builds it and runs this.

Prints a Markdown table of figures and ratios. It has no limits, because those would judge the machine.
"""

import asyncio
import math
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import httpx
import requests
from answers import PATIENCE, Agent, assert_same, lines, raw_rows
from polling import wait_until
from programs import BINARY, KEY, Program, clean_environment, free_port, start_gateway, start_simulator
from rows import Row, make_rows, now
from upstream import Upstream


@dataclass
class Bench:
    """An upstream and a gateway in front of it, for one measurement."""

    directory: Path

    def __enter__(self):
        self.upstream = Upstream()
        self.programs: list[Program] = []
        return self

    def __exit__(self, *_):
        for program in self.programs:
            program.stop()
        self.upstream.stop()

    def agent(self, rows: list[Row], *flags: str, days: float) -> Agent:
        # Computed now, so that this is not measured.
        assert all(row.raw for row in rows)
        id = str(uuid.uuid4())
        self.upstream.agent(id, rows, KEY, days)
        program = start_gateway(self.directory, self.upstream.url, *flags)
        self.programs.append(program)
        return Agent(program.url, id, KEY, program)


def tell(what: str, figure: str, beside: str = "") -> None:
    print(f"| {what} | {figure} | {beside} |", flush=True)


def seconds_of(work) -> tuple[float, object]:
    began = time.perf_counter()
    result = work()
    return time.perf_counter() - began, result


def stream(agent: Agent, **headers: str) -> tuple[float, float, bytes]:
    """The seconds to the first and to the last row, and the body."""
    began, first, pieces = time.perf_counter(), None, []
    with httpx.stream(
        "GET", f"{agent.url}?format=ndjson", headers=agent.headers | headers, timeout=PATIENCE, trust_env=False
    ) as answer:
        assert answer.status_code == 200
        for piece in answer.iter_bytes():
            first = first or time.perf_counter() - began
            pieces.append(piece)
    return first or math.inf, time.perf_counter() - began, b"".join(pieces)


def long_history(directory: Path) -> None:
    rows = make_rows(5_000, 99)
    with Bench(directory) as bench:
        agent = bench.agent(rows, days=100)
        seconds, got = seconds_of(agent.rows)
        assert_same(got, rows)
        spans = len({(seen.query["from"], seen.query["to"]) for seen in bench.upstream.pages})
        floor = math.ceil(5_000 / 50)
        tell(
            "5,000 executions over 100 days, cold, JSON",
            f"{seconds:.2f} s",
            f"{len(bench.upstream.log)} requests in {spans} spans; {floor} pages is the least there could be",
        )
        bench.upstream.forget_log()
        seconds, got = seconds_of(agent.lines)
        assert_same(got, rows)
        tell("the same at once again, NDJSON", f"{seconds * 1000:.0f} ms", f"{len(bench.upstream.log)} requests")


def many_pages(directory: Path) -> None:
    rows, latency = make_rows(10_000, 6), 0.08
    with Bench(directory) as bench:
        bench.upstream.latency = latency
        agent = bench.agent(rows, "--fan-out", "8", days=6.5)
        first, last, body = stream(agent)
        assert_same(lines(body), rows)
        ideal = latency * (2 + 200 / 8)
        tell(
            "200 pages at 80 ms each, fan-out 8, NDJSON",
            f"{last:.2f} s",
            f"{last / ideal:.2f} × the {ideal:.2f} s of 2 + 200/8 round trips; "
            f"at most {bench.upstream.most_in_flight} in flight",
        )
        tell("its first row", f"{first * 1000:.0f} ms", f"{first / latency:.1f} round trips")
        bench.upstream.latency = 0
        bench.upstream.forget_log()
        for coding in ("identity", "gzip"):
            took = [stream(agent, **{"Accept-Encoding": coding})[1] for _ in range(5)]
            tell(
                f"its 10,000 rows ({len(body) / 1e6:.0f} MB) again, {coding}",
                f"{statistics.median(took) * 1000:.0f} ms",
                "median of 5, read by httpx",
            )
        tell("memory of the gateway after that", f"{rss(agent.program) / 1e6:.0f} MB", "resident")


def full_budget(directory: Path) -> None:
    rows = make_rows(10_000, 6)
    with Bench(directory) as bench:
        agent = bench.agent(rows, "--upstream-rate", "450/min", days=6.5)
        seconds, got = seconds_of(agent.rows)
        assert_same(got, rows)
        tell("10,000 rows within 450 requests a minute", f"{seconds:.2f} s", f"{len(bench.upstream.log)} requests")


def small_budget(directory: Path) -> None:
    rows = make_rows(5_000, 20)
    with Bench(directory) as bench:
        agent = bench.agent(rows, "--upstream-rate", "20/s", days=21)
        seconds, got = seconds_of(agent.rows)
        assert_same(got, rows)
        upstream = bench.upstream
        tell(
            "a budget of 20/s, 5,000 rows",
            f"{seconds:.2f} s",
            f"{len(upstream.log)} requests, at most {upstream.most_within(1)} in any second",
        )


def many_callers(directory: Path) -> None:
    rows = make_rows(1_000, 30)

    async def ask(agent: Agent, count: int) -> list[float]:
        async with httpx.AsyncClient(
            timeout=PATIENCE, limits=httpx.Limits(max_connections=count), trust_env=False
        ) as client:

            async def one() -> float:
                began = time.perf_counter()
                answer = await client.get(agent.url, headers=agent.headers)
                assert answer.status_code == 200, answer.text
                return time.perf_counter() - began

            return await asyncio.gather(*(one() for _ in range(count)))

    with Bench(directory) as bench:
        bench.upstream.latency = 0.05
        counts, medians = [], []
        for callers in (1, 100):
            agent = bench.agent(rows, days=31)
            bench.upstream.forget_log()
            medians.append(statistics.median(asyncio.run(ask(agent, callers))))
            counts.append(len(bench.upstream.log))
        tell(
            "100 callers at once, cold",
            f"{medians[1]:.2f} s median",
            f"{counts[1]} requests; one caller alone: {medians[0]:.2f} s and {counts[0]}",
        )


def refreshes(directory: Path) -> None:
    rows = make_rows(6_000, 61.5)
    with Bench(directory) as bench:
        agent = bench.agent(rows, "--live-ttl", "1s", "--settling-ttl", "2s", days=62)
        known = bench.upstream.agents[agent.id]
        agent.rows()
        tell(
            "6,000 executions over 62 days, first time",
            f"{len(bench.upstream.log)} requests",
            "live-ttl 1s, settling-ttl 2s",
        )

        def refresh(what: str) -> None:
            bench.upstream.forget_log()
            assert_same(agent.rows(), known.rows)
            tell(what, f"{len(bench.upstream.log)} requests", "")

        refresh("asked again at once")
        fresh = make_rows(30, 10 / 86_400, seed=2, until=now())
        fresh = [row.changed(status="in-progress") for row in fresh]
        known.add(fresh)
        time.sleep(2.5)
        refresh("after 30 new executions")
        for row in fresh:
            known.change(row.id, status="completed")
        time.sleep(2.5)
        refresh("after they finished")
        known.add(make_rows(120, 2 / 86_400, seed=3, until=now()))
        time.sleep(2.5)
        refresh("after 120 new executions")


def over_the_simulator(directory: Path) -> None:
    flags = (
        "--agents",
        "1",
        "--executions",
        "5000",
        "--span",
        "100d",
        "--seed",
        "1",
        "--rate",
        "0",
        "--latency",
        "80ms",
    )
    simulator = start_simulator(directory, *flags)
    gateway = start_gateway(directory, simulator.url)
    try:
        headers = {"Authorization": f"Bearer {KEY}"}
        facts = requests.get(f"{simulator.url}/v2/agent/all", headers=headers, timeout=30).json()[0]
        agent = Agent(gateway.url, facts["id"], KEY)
        seconds, got = seconds_of(lambda: raw_rows(agent.ask().text))
        size = sum(map(len, got))
        tell(
            "5,000 executions of the simulator at 80 ms, cold, JSON", f"{seconds:.2f} s", f"{size / 1e6:.0f} MB of rows"
        )
        assert len(got) == 5_000
    finally:
        gateway.stop()
        simulator.stop()


def start_to_ready(directory: Path) -> None:
    took = []
    for _ in range(20):
        admin = free_port()
        listen = ["--listen", f"127.0.0.1:{free_port()}", "--admin-listen", f"127.0.0.1:{admin}", "--drain-delay", "0s"]
        with (directory / "start.log").open("wb") as log:
            began = time.perf_counter()
            process = subprocess.Popen([BINARY, "serve", *listen], env=clean_environment(), stdout=log, stderr=log)
            wait_until(lambda: is_ready(admin), every=0.0005)
            took.append(time.perf_counter() - began)
        process.terminate()
        assert process.wait(10) == 0
    tell("from the start to `/readyz` saying yes", f"{statistics.median(took) * 1000:.0f} ms", "median of 20")


def is_ready(admin: int) -> bool:
    """Uses a socket, because an HTTP client would take longer than what is measured."""
    try:
        with socket.create_connection(("127.0.0.1", admin), 1) as connection:
            connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: ready\r\nConnection: close\r\n\r\n")
            return b" 200 " in connection.recv(64)
    except OSError:
        return False


def rss(program: Program) -> int:
    status = Path(f"/proc/{program.process.pid}/statm").read_text()
    return int(status.split()[1]) * os.sysconf("SC_PAGE_SIZE")


MEASUREMENTS = (
    start_to_ready,
    long_history,
    many_pages,
    full_budget,
    small_budget,
    many_callers,
    refreshes,
    over_the_simulator,
)


def main() -> None:
    wanted = sys.argv[1:]
    print("| measured | | |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as directory:
        for measure in MEASUREMENTS:
            if not wanted or measure.__name__ in wanted:
                measure(Path(directory))


if __name__ == "__main__":
    main()
