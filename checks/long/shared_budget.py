"""Three busy gateways share one budget while the server has faults, and upstream counts their requests.

`scripts/test-long shared-budget` runs for ten minutes. In any minute, upstream gets at most the configured rate without faults, and at
most its own limit with faults: after the server is stopped, killed, flushed, demoted or disconnected from some gateways, and after
gateways are killed and replaced.
"""

import argparse
import random
import socket
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

import redis_faults
import requests
from programs import KEY, Program, start_gateway
from redis_server import RedisServer
from rows import make_rows
from upstream import Upstream

REPLICAS = 3
CALLERS = 18
AGENTS = 30
RATE, LIMIT = 450, 500
CALM_SECONDS = 75
FLAGS = ("--upstream-rate", f"{RATE}/min", "--replicas", str(REPLICAS), "--drain-timeout", "1s", "--drain-delay", "0s")


class Wire:
    """A relay to the server that can be cut: then nothing passes, without an error."""

    def __init__(self, port: int):
        self.port, self.is_open = port, threading.Event()
        self.is_open.set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.listener.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            here, _ = self.listener.accept()
            threading.Thread(target=self._connect, args=(here,), daemon=True).start()

    def _connect(self, here: socket.socket) -> None:
        self.is_open.wait()
        try:
            there = socket.create_connection(("127.0.0.1", self.port), timeout=5)
        except OSError:
            here.close()
            return
        there.settimeout(None)
        for ends in ((here, there), (there, here)):
            threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                self.is_open.wait()
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            end.close()


class Replicas:
    """The gateways, each with its own relay to the server."""

    def __init__(self, directory: Path, upstream_url: str, server: RedisServer):
        self.directory, self.upstream_url = directory, upstream_url
        (directory / "secret").write_text("a" * 40)
        self.wires = [Wire(server.port) for _ in range(REPLICAS)]
        self.programs = [self.start(wire) for wire in self.wires]

    def start(self, wire: Wire) -> Program:
        tier = ("--tier-url", wire.url, "--tier-secret-file", str(self.directory / "secret"))
        return start_gateway(self.directory, self.upstream_url, *FLAGS, *tier)

    def replace(self, number: int, *, is_killed: bool) -> None:
        if is_killed:
            self.programs[number].process.kill()
            self.programs[number].process.wait()
        else:
            self.programs[number].stop()
        self.programs[number] = self.start(self.wires[number])


def most_in_a_minute(upstream: Upstream) -> int:
    times, first, most = sorted(seen.at for seen in upstream.log), 0, 0
    for last, at in enumerate(times):
        while times[first] < at - 60:
            first += 1
        most = max(most, last - first + 1)
    return most


def ask(replicas: Replicas, number: int, agents: list[str], is_over: threading.Event) -> None:
    draw = random.Random(number)
    headers = {"Authorization": f"Bearer {KEY}", "Cache-Control": "no-cache", "Prefer": "wait=5"}
    while not is_over.is_set():
        program = replicas.programs[number % REPLICAS]
        try:
            requests.get(f"{program.url}/agents/{draw.choice(agents)}/executions/all", headers=headers, timeout=10)
        except requests.RequestException:
            time.sleep(0.05)


def disturb(draw: random.Random, server: RedisServer, replicas: Replicas) -> str:
    """Applies one fault and ends it."""
    cut = draw.sample(replicas.wires, draw.randint(1, REPLICAS))
    match kind := draw.choice(("frozen", "killed", "flushed", "demoted", "cut", "replaced")):
        case "frozen":
            server.freeze()
            time.sleep(draw.uniform(2, 25))
            server.thaw()
        case "killed":
            server.kill()
            time.sleep(draw.uniform(0.5, 15))
            server.process = server.start()
        case "flushed":
            redis_faults.flushed(server)
        case "demoted":
            redis_faults.demoted(server)
            time.sleep(draw.uniform(1, 10))
            redis_faults.mended(server)
        case "cut":
            [wire.is_open.clear() for wire in cut]
            time.sleep(draw.uniform(2, 25))
            [wire.is_open.set() for wire in cut]
        case "replaced":
            replicas.replace(draw.randrange(REPLICAS), is_killed=draw.random() < 0.5)
    return kind


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    draw, is_over, upstream = random.Random(arguments.seed), threading.Event(), Upstream()
    agents = [str(uuid.UUID(int=number)) for number in range(AGENTS)]
    for agent in agents:
        upstream.agent(agent, make_rows(120, 5), KEY, days=6)
    with tempfile.TemporaryDirectory() as directory:
        server = RedisServer(Path(directory))
        replicas = Replicas(Path(directory), upstream.url, server)
        try:
            asking = [(replicas, number, agents, is_over) for number in range(CALLERS)]
            [threading.Thread(target=ask, args=one, daemon=True).start() for one in asking]
            time.sleep(CALM_SECONDS)
            calm = most_in_a_minute(upstream)
            print(f"{CALM_SECONDS} s without faults: {len(upstream.log)} requests, at most {calm} in any minute", flush=True)
            until, done = time.monotonic() + arguments.minutes * 60, []
            while time.monotonic() < until:
                done.append(disturb(draw, server, replicas))
                time.sleep(draw.uniform(2, 20))
            is_over.set()
            most = most_in_a_minute(upstream)
            print(f"{len(done)} faults ({', '.join(done)}): {len(upstream.log)} requests, at most {most} in any minute")
        finally:
            is_over.set()
            server.thaw()
            [program.process.kill() for program in replicas.programs]
            server.kill()
            upstream.stop()
    is_good = calm <= RATE and most <= LIMIT
    print("holds" if is_good else "FAILS")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
