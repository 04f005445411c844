"""A gateway on the server's core in front of a simulator on the other core."""

import contextlib
import json
import os
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import programs
import requests
from programs import KEY, Program, start_gateway, start_simulator

from bench.machine import LOAD_CORE, SERVER_CORE, environment, python

# No row is due during a measurement, and upstream has no delays.
CALM = ("--live-ttl", "1d", "--settling-ttl", "1d", "--settled-ttl", "30d", "--upstream-rate", "0", "--log", "warn")


@contextlib.contextmanager
def on_core(core: int):
    """Runs programs that are started in this context on a core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass
class Stage:
    """A simulator with one agent."""

    directory: Path
    simulator: Program
    agent: str

    @classmethod
    @contextlib.contextmanager
    def of(
        cls, directory: Path, *, executions: int, span: str, latency: str = "0ms", turns: int = 56, ties: str = "stable"
    ):
        flags = {"executions": executions, "span": span, "latency": latency, "turns": turns, "rate": 0, "seed": 1}
        given = [str(part) for name, value in flags.items() for part in (f"--{name}", value)]
        with on_core(LOAD_CORE):
            simulator = start_simulator(
                directory, "--log", "warn", f"--stable-ties={str(ties == 'stable').lower()}", *given
            )
        try:
            agents = requests.get(f"{simulator.url}/v2/agent/all", headers=credentials(), timeout=30).json()
            yield cls(directory, simulator, agents[0]["id"])
        finally:
            simulator.stop()

    @contextlib.contextmanager
    def gateway(self, *flags: str):
        """A gateway with an empty cache."""
        with on_core(SERVER_CORE):
            program = start_gateway(self.directory, self.simulator.url, *CALM, *flags)
        try:
            yield program
        finally:
            program.stop()

    def all(self, gateway: Program, query: str = "") -> str:
        return f"{gateway.url}/agents/{self.agent}/executions/all{query}"

    def week(self) -> str:
        """Upstream's list of the last seven days, to which a page number is added."""
        to = datetime.now(UTC)
        since = to - timedelta(days=7) + timedelta(seconds=1)
        dates = f"from={since:%Y-%m-%dT%H:%M:%S.%fZ}&to={to:%Y-%m-%dT%H:%M:%S.%fZ}"
        return f"{self.simulator.url}/v2/agent/{self.agent}/executions?page_size=50&{dates}"


def credentials(**more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEY}"} | more


def output_of(command: list[str]) -> str:
    """The output of a program of this package."""
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=900)
    if done.returncode != 0:
        raise RuntimeError(f"{command} failed:\n{done.stderr[-2000:]}")
    return done.stdout


def read(url: str, *flags: str, **headers: str) -> dict:
    """Reads a response once or repeatedly, see `bench.reader`."""
    sent = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return json.loads(output_of(python("reader", url, *sent, *flags)))


def binary() -> Path:
    return programs.BINARY
