"""Two thousand slow readers and writers and ten thousand idle connections do not slow an ordinary caller down.

`scripts/test-long crowd` runs it. It needs some 25,000 file handles here and in the gateway (`ulimit -n`); with fewer, the crowd
is smaller, and it prints that. Readers read a kilobyte at a time of several megabytes, writers send a byte a second of a request's
head, and idle connections send nothing. Members that are cut off connect again. The ordinary caller requests cached rows before
and during the crowd.
"""

import argparse
import asyncio
import contextlib
import resource
import socket
import sys
import tempfile
import time
from pathlib import Path

import aiohttp
from process_memory import peak_bytes
from polling import wait_until
from programs import KEY, Program, start_gateway
from rows import make_rows
from soak import resident_and_handles
from upstream import Upstream

ID, SMALL = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
MOST_MIB = 512
SPARE_HANDLES = 600
ASKED_SECONDS = 20


class Crowd:
    def __init__(self, program: Program, readers: int, writers: int, idle: int):
        self.program, self.sizes = program, {"reader": readers, "writer": writers, "idle": idle}
        self.address = ("127.0.0.1", int(program.url.rsplit(":", 1)[1]))
        self.is_over, self.again = False, dict.fromkeys(self.sizes, 0)
        self.refused = 0

    async def connect(self, loop: asyncio.AbstractEventLoop) -> socket.socket:
        made = socket.socket()
        made.setblocking(False)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
        await loop.sock_connect(made, self.address)
        return made

    async def member(self, kind: str, number: int) -> None:
        """One member of the crowd, which comes again and again."""
        loop, behave = asyncio.get_running_loop(), getattr(self, kind)
        await asyncio.sleep(number % 500 / 100)
        while not self.is_over:
            with contextlib.suppress(OSError, asyncio.TimeoutError):
                made = await self.connect(loop)
                with made:
                    await behave(loop, made)
            self.again[kind] += 1
            await asyncio.sleep(0.5)

    async def reader(self, loop, made: socket.socket) -> None:
        request = (
            f"GET /agents/{ID}/executions/all?format=ndjson HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n"
        )
        await loop.sock_sendall(made, request.encode())
        while not self.is_over:
            piece = await loop.sock_recv(made, 1024)
            if not piece:
                return
            self.refused += piece.startswith(b"HTTP/1.1 503")
            await asyncio.sleep(2)

    async def writer(self, loop, made: socket.socket) -> None:
        while not self.is_over:
            await loop.sock_sendall(made, b"x")
            await asyncio.sleep(1)

    async def idle(self, loop, made: socket.socket) -> None:
        await loop.sock_recv(made, 1)


async def latencies(program: Program, seconds: float) -> list[float]:
    took, until = [], time.monotonic() + seconds
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as http:
        while time.monotonic() < until:
            began = time.perf_counter()
            async with http.get(f"{program.url}/agents/{SMALL}/executions/all") as answer:
                await answer.read()
                assert answer.status == 200, answer.status
            took.append(time.perf_counter() - began)
            await asyncio.sleep(0.02)
    return sorted(took)


def tell(name: str, took: list[float]) -> float:
    p99 = took[int(len(took) * 0.99)]
    print(f"{name}: {len(took)} answers, p50 {took[len(took) // 2] * 1000:.1f} ms, p99 {p99 * 1000:.1f} ms", flush=True)
    return p99


async def wave(program: Program, crowd: Crowd, seconds: float) -> tuple[float, tuple[float, int], tuple[float, int]]:
    """Lets all of them come, stay and go; returns the p99 during that, and memory and handles during and after it."""
    crowd.is_over = False
    before = resident_and_handles(program)
    members = [
        asyncio.create_task(crowd.member(kind, number)) for kind, size in crowd.sizes.items() for number in range(size)
    ]
    await asyncio.sleep(15)
    # On another event loop, because this one is busy with the crowd.
    p99 = tell("in the crowd", await asyncio.to_thread(lambda: asyncio.run(latencies(program, seconds))))
    within = resident_and_handles(program)
    crowd.is_over = True
    for member in members:
        member.cancel()
    await asyncio.gather(*members, return_exceptions=True)
    # If they stay open, the figures below show it.
    with contextlib.suppress(AssertionError):
        await asyncio.to_thread(wait_until, lambda: resident_and_handles(program)[1] <= before[1] + 20, 30, 0.5)
    await asyncio.sleep(5)
    gone = resident_and_handles(program)
    # The allocator frees memory at its next use.
    await asyncio.to_thread(lambda: asyncio.run(latencies(program, 5)))
    after = resident_and_handles(program)
    print(
        f"{before[0]:.0f} MiB, {before[1]} handles before; {within[0]:.0f}, {within[1]} within; "
        f"{gone[0]:.0f} when they are gone; {after[0]:.0f}, {after[1]} after"
    )
    return p99, within, after


async def drive(program: Program, crowd: Crowd) -> dict[str, bool]:
    await latencies(program, 3)
    quiet = tell("alone", await asyncio.to_thread(lambda: asyncio.run(latencies(program, ASKED_SECONDS))))
    before = resident_and_handles(program)
    during, within, first = await wave(program, crowd, ASKED_SECONDS)
    _, _, second = await wave(program, crowd, 3)
    most = peak_bytes(program.process.pid) / (1 << 20)
    questions = await asyncio.to_thread(program.metric, "fanfold_questions")
    print(f"came again: {crowd.again}; readers refused: {crowd.refused}")
    return {
        f"p99 within twice ({during / quiet:.1f} times)": during <= 2 * quiet,
        f"memory under {MOST_MIB} MiB (at most {most:.0f})": most < MOST_MIB,
        # The next wave uses memory that the allocator kept.
        f"a second wave adds nothing ({first[0]:.0f} → {second[0]:.0f} MiB)": second[0] < first[0] * 1.1 + 8,
        f"handles back ({before[1]} → {second[1]})": second[1] <= before[1] + 20,
        f"no question left ({questions:.0f})": questions == 0,
        f"all of them were there ({within[1]} handles)": within[1] > sum(crowd.sizes.values()) * 0.8,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--readers", type=int, default=1_000)
    parser.add_argument("--writers", type=int, default=1_000)
    parser.add_argument("--idle", type=int, default=10_000)
    arguments = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    room = hard - SPARE_HANDLES - arguments.readers - arguments.writers
    if arguments.idle > room:
        print(f"only {room} idle ones: {hard} file handles are allowed")
        arguments.idle = room
    upstream = Upstream()
    upstream.agent(ID, make_rows(1_500, 30), KEY, 31)
    upstream.agent(SMALL, make_rows(100, 6, seed=2), KEY, 7)
    with tempfile.TemporaryDirectory() as directory:
        flags = ("--cache-bytes", "128MiB", "--live-ttl", "10m", "--max-questions", "2048", "--log", "warn")
        program = start_gateway(Path(directory), upstream.url, *flags)
        crowd = Crowd(program, arguments.readers, arguments.writers, arguments.idle)
        try:
            holds = asyncio.run(drive(program, crowd))
        finally:
            program.stop()
    upstream.stop()
    for what, is_so in holds.items():
        print("holds:" if is_so else "FAILS:", what)
    return 0 if all(holds.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
