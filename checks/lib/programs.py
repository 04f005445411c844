"""Starts and stops the program under test."""

import contextlib
import itertools
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import requests
from polling import wait_until

ROOT = Path(__file__).resolve().parents[2]
# Cargo takes a relative one from where it is run, as scripts/test does: from the root.
TARGET = ROOT / os.environ.get("CARGO_TARGET_DIR", "target")
BINARY = Path(os.environ.get("CHECKED_BINARY", TARGET / "debug/fanfold"))
# Read once: pytest changes a variable with every step, also while a thread of a check iterates over them.
ENVIRONMENT = dict(os.environ)
# requests iterates over it with every request, to look for proxies. All servers of the checks are on this machine.
requests.sessions.get_environ_proxies = requests.utils.get_environ_proxies = lambda url, no_proxy=None: {}
KEY = "bn-check"
START_SECONDS = 60


def clean_environment(**more: str) -> dict[str, str]:
    """The environment without anything that would change what the program does."""
    proxies = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}
    ours = ("FANFOLD_", "OTEL_")
    kept = {k: v for k, v in ENVIRONMENT.items() if not k.startswith(ours) and k.lower() not in proxies}
    return kept | more


def own_ports() -> list[int]:
    """Ports that no other process of a test run gives to its programs, below those that the kernel gives to connections.

    Processes that run checks at once would otherwise hand out a port twice: it is free until its program listens.
    For the same reason the list is long: a port comes around again only when the program that got it last has long
    been listening. Processes of two test runs on one machine begin at different places.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    number = int(worker.removeprefix("gw")) % 8 if worker.startswith("gw") else 8
    ports = list(range(10_000 + number * 2_500, 12_500 + number * 2_500))
    first = os.getpid() * 100 % len(ports)
    return ports[first:] + ports[:first]


PORTS = itertools.cycle(own_ports())


def free_port() -> int:
    while True:
        port = next(PORTS)
        with socket.socket() as listener, contextlib.suppress(OSError):
            # A process that another thread has just forked may still have this socket when the program binds the port.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", port))
            return port


def responds(url: str) -> bool:
    """Whether something answers there, with any status below 500."""
    try:
        return requests.get(url, timeout=5).status_code < 500
    except requests.RequestException:
        return False


def wait_until_it_serves(process: subprocess.Popen, serves: Callable[[], object], output: Callable[[], str]) -> None:
    """Returns once a new program serves; if it ends first or takes too long, kills it and fails with its output."""
    try:
        wait_until(
            lambda: process.poll() is not None or serves(),
            START_SECONDS,
            describe=lambda: f"{process.args} does not serve:\n{output()}",
        )
        assert process.poll() is None, f"{process.args} ended with {process.returncode}:\n{output()}"
    except BaseException:
        process.kill()
        process.wait()
        raise


def run(*arguments: str, **more: str) -> subprocess.CompletedProcess:
    """Runs a command of the program to its end."""
    return subprocess.run(
        [BINARY, *arguments], env=clean_environment(**more), capture_output=True, text=True, timeout=START_SECONDS
    )


@dataclass
class Program:
    """A running command of the program, and where its output goes."""

    process: subprocess.Popen
    log: Path
    url: str
    admin: str = ""

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def stop(self, how: signal.Signals = signal.SIGTERM, seconds: float = 20) -> int:
        """Asks it to stop; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def metric(self, name: str) -> float:
        """The sum of a metric's samples."""
        text = requests.get(f"{self.admin}/metrics", timeout=10).text
        samples = re.findall(rf"^{name}(?:\{{.*\}})? (\S+)", text, re.M)
        return sum(float(sample) for sample in samples)


def start(directory: Path, arguments: list[str], ready: str, url: str, admin: str = "", **more: str) -> Program:
    """Starts a command and returns once `ready` answers; of the simulator only the listener matters."""
    log = directory / f"{arguments[0]}-{time.monotonic_ns()}.log"
    with log.open("wb") as output:
        # A check may limit the size of files, which must fail a write and not kill the program.
        process = subprocess.Popen(
            [BINARY, *arguments],
            env=clean_environment(**more),
            stdout=output,
            stderr=subprocess.STDOUT,
            restore_signals=False,
        )
    program = Program(process, log, url, admin)
    wait_until_it_serves(process, lambda: responds(ready), program.output)
    return program


def start_gateway(directory: Path, upstream_url: str, *flags: str, **more: str) -> Program:
    url, admin = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    listen = ["--listen", url.removeprefix("http://"), "--admin-listen", admin.removeprefix("http://")]
    # Nobody routes to this listener, so there is nothing to wait for before it closes.
    rest = ["--upstream-url", upstream_url, *([] if "--drain-delay" in flags else ["--drain-delay", "0s"]), *flags]
    return start(directory, ["serve", *listen, *rest], f"{admin}/readyz", url, admin, **more)


def start_simulator(directory: Path, *flags: str) -> Program:
    url = f"http://127.0.0.1:{free_port()}"
    return start(directory, ["simulate", "--listen", url.removeprefix("http://"), *flags], f"{url}/user/me", url)


def start_demo(directory: Path) -> Program:
    url, simulator, admin = (f"http://127.0.0.1:{free_port()}" for _ in range(3))
    flags = {"--listen": url, "--simulator-listen": simulator, "--admin-listen": admin}
    arguments = [part for flag, at in flags.items() for part in (flag, at.removeprefix("http://"))]
    return start(directory, ["demo", *arguments], f"{admin}/readyz", url, admin)


def first_agent(program: Program) -> str:
    """The first agent that a simulator, or the demo, says it has."""
    found = re.search(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", program.output())
    assert found, program.output()
    return found[0]
