"""Rolling stops under load: two gateways are stopped and replaced in turn, and clients follow readiness.

`scripts/test-long rolling` stops gateways a hundred times, and checks/tests/test_shutdown.py three times. No response of a gateway
that was ready may be wrong, or lost within the drain timeout. Streams that take longer end with `shutting_down` and a break.
"""

import argparse
import asyncio
import contextlib
import json
import random
import signal
import socket
import sys
import tempfile
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from programs import KEY, Program, start_gateway
from rows import DAY, Row, make_rows, now, text_of
from upstream import Upstream

NDJSON = "application/x-ndjson"
DELAY_SECONDS = 1.0
DRAIN_SECONDS = 6.0
FLAGS = (
    *("--drain-delay", f"{int(DELAY_SECONDS * 1000)}ms", "--drain-timeout", f"{int(DRAIN_SECONDS * 1000)}ms"),
    *("--live-ttl", "500ms", "--upstream-rate", "0"),
)
CLIENTS = 8
SLOW_CLIENTS = 2
# The slack of a stop on a busy machine: responses that are cut off have two seconds to reach their clients.
GRACE_SECONDS = 10


@dataclass
class Slot:
    """A place for a gateway, and whether requests are routed to it."""

    program: Program
    is_ready: bool = True
    # When the gateway was told to stop.
    stopped_at: float | None = None


@dataclass
class Tally:
    outcomes: Counter = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    stops: list[float] = field(default_factory=list)


class Rolling:
    """The gateways, the clients, and their observations."""

    def __init__(self, directory: Path):
        self.directory, self.tally, self.draw = directory, Tally(), random.Random(3)
        self.upstream = Upstream()
        self.upstream.latency = 0.02
        self.small, self.big = self._agent(120, 20), self._agent(2_000, 60)
        self.slots: list[Slot] = []
        self.is_over = False

    def _agent(self, count: int, days: float) -> tuple[str, list[Row]]:
        id, rows = str(uuid.uuid4()), sorted(make_rows(count, days, seed=count), key=lambda row: -row.created)
        self.upstream.agent(id, rows, KEY, days + 1)
        return id, rows

    def start(self) -> Slot:
        return Slot(start_gateway(self.directory, self.upstream.url, *FLAGS))

    def ready(self) -> Slot:
        return self.draw.choice([slot for slot in self.slots if slot.is_ready])

    async def watch(self, http: aiohttp.ClientSession) -> None:
        """Polls the readiness of each gateway, like a load balancer."""
        while not self.is_over:
            for slot in list(self.slots):
                try:
                    async with http.get(
                        f"{slot.program.admin}/readyz", timeout=aiohttp.ClientTimeout(total=2)
                    ) as answer:
                        slot.is_ready = answer.status == 200
                except (aiohttp.ClientError, TimeoutError):
                    slot.is_ready = False
            await asyncio.sleep(0.05)

    async def client(self, http: aiohttp.ClientSession, number: int) -> None:
        forms = (self.collected, self.page, self.streamed, self.cold)
        while not self.is_over:
            await self.one(forms[number % len(forms)], http)
            await asyncio.sleep(self.draw.uniform(0, 0.05))

    async def one(self, form, http: aiohttp.ClientSession) -> None:
        slot = self.ready()
        name = form.__name__
        try:
            outcome = await form(http, slot)
        except (aiohttp.ClientError, OSError, ValueError, LookupError) as error:
            since = time.monotonic() - slot.stopped_at if slot.stopped_at else 0
            if isinstance(error, ConnectionRefusedError | aiohttp.ClientConnectorError) and since > DELAY_SECONDS:
                # Nobody admitted it: on a busy machine who looks at readiness may look too late.
                outcome = "sent to a gateway that had left"
            else:
                outcome = "lost"
                self.tally.faults.append(f"{name}: {error!r}, of a gateway asked to stop {since:.1f} s ago")
        self.tally.outcomes[f"{name}: {outcome}"] += 1

    async def collected(self, http: aiohttp.ClientSession, slot: Slot) -> str:
        return await self.whole(http, slot, self.draw.choice((self.small, self.big)))

    async def cold(self, http: aiohttp.ClientSession, slot: Slot) -> str:
        """A time range that is rarely requested."""
        id, rows = self.big
        start = now() - self.draw.randrange(int(50 * DAY))
        wanted = [row for row in rows if row.created >= start]
        return await self.whole(http, slot, (id, wanted), {"from": text_of(start)})

    async def whole(self, http, slot: Slot, agent: tuple[str, list[Row]], query: dict | None = None) -> str:
        id, rows = agent
        async with http.get(f"{slot.program.url}/agents/{id}/executions/all", params=query or {}) as answer:
            body = await answer.read()
        if answer.status != 200:
            return self.refused(answer.status, body)
        if not body.endswith(b'"data":[' + b",".join(row.raw for row in rows) + b"]}"):
            self.tally.faults.append(f"a wrong answer of {len(body)} bytes: {body[:300]!r}")
        return "whole"

    async def page(self, http: aiohttp.ClientSession, slot: Slot) -> str:
        id, rows = self.small
        query = {"from": text_of(rows[30].created), "to": text_of(rows[0].created), "page_size": "50"}
        if rows[0].created - rows[30].created > 7 * DAY:
            query["from"] = text_of(rows[0].created - 6 * DAY)
        async with http.get(f"{slot.program.url}/v2/agent/{id}/executions", params=query) as answer:
            body = await answer.read()
        if answer.status != 200:
            return self.refused(answer.status, body)
        if rows[0].raw not in body:
            self.tally.faults.append(f"a wrong page: {body[:300]!r}")
        return "whole"

    async def streamed(self, http: aiohttp.ClientSession, slot: Slot) -> str:
        url, headers = f"{slot.program.url}/agents/{self.big[0]}/executions/all?end_record=true", {"Accept": NDJSON}
        body, is_broken = bytearray(), False
        async with http.get(url, headers=headers) as answer:
            if answer.status != 200:
                return self.refused(answer.status, await answer.read())
            try:
                async for chunk in answer.content.iter_any():
                    body += chunk
            except aiohttp.ClientError:
                is_broken = True
        return self.judge(slot, bytes(body), is_broken)

    def judge(self, slot: Slot, body: bytes, is_broken: bool) -> str:
        """Checks the end of a stream."""
        got = [line for line in body.split(b"\n") if line]
        truth = [row.raw for row in self.big[1]]
        verdict = json.loads(got.pop())["@end"] if got and got[-1].startswith(b'{"@end"') else None
        if not is_broken:
            if verdict is None or verdict["complete"] is not True or got != truth:
                self.tally.faults.append(f"looks whole with {len(got)} rows and {verdict}")
            return "whole"
        # Slow readers are asked to end in the second half of the drain.
        drained = slot.stopped_at is not None and time.monotonic() - slot.stopped_at >= DELAY_SECONDS + DRAIN_SECONDS / 2
        if not drained:
            self.tally.faults.append(f"broken before the drain was over: {verdict}")
        if verdict is None:
            # A reader that is far behind does not get as far as the verdict within the grace.
            return "broken after the drain, without a verdict"
        if verdict["error"]["code"] != "shutting_down" or got != truth[: len(got)]:
            self.tally.faults.append(f"broken with {verdict}")
        return "broken after the drain, shutting_down"

    async def slow(self, _: aiohttp.ClientSession, slot: Slot) -> str:
        """Reads a stream that takes longer than a drain from a socket, because aiohttp drops its buffer when a stream breaks."""
        made, pause = narrow_socket(), self.draw.uniform(0.02, 0.1)
        loop, request = asyncio.get_running_loop(), f"GET /agents/{self.big[0]}/executions/all?end_record=true HTTP/1.1"
        fields = {"Host": "x", "Authorization": f"Bearer {KEY}", "Accept": NDJSON, "Connection": "close"}
        lines = [request, *(f"{name}: {value}" for name, value in fields.items())]
        got = bytearray()
        with made:
            await loop.sock_connect(made, ("127.0.0.1", int(slot.program.url.rsplit(":", 1)[1])))
            await loop.sock_sendall(made, "\r\n".join([*lines, "", ""]).encode())
            with contextlib.suppress(ConnectionError):
                while piece := await loop.sock_recv(made, 32 << 10):
                    got += piece
                    await asyncio.sleep(pause)
        head, _, body = bytes(got).partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        if status != 200:
            return self.refused(status, body)
        return self.judge(slot, unchunked(body), not body.endswith(b"0\r\n\r\n"))

    async def slow_client(self, http: aiohttp.ClientSession) -> None:
        while not self.is_over:
            await self.one(self.slow, http)

    def refused(self, status: int, body: bytes) -> str:
        code = json.loads(body)["code"]
        if (status, code) != (503, "shutting_down"):
            self.tally.faults.append(f"{status}: {body[:300]!r}")
        self.tally.faults.append(f"a gateway that was ready refused: {code}")
        return f"{status} {code}"

    async def stop(self, slot: Slot) -> None:
        slot.stopped_at = time.monotonic()
        slot.program.process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(slot.program.process.wait, DELAY_SECONDS + DRAIN_SECONDS + 30)
        took = time.monotonic() - slot.stopped_at
        self.tally.stops.append(took)
        if code != 0:
            self.tally.faults.append(f"it ended with {code}")
        if took > DELAY_SECONDS + DRAIN_SECONDS + GRACE_SECONDS:
            self.tally.faults.append(f"it took {took:.1f} s to stop")
        if "panicked at" in slot.program.output():
            self.tally.faults.append("it panicked")
        self.slots.remove(slot)

    async def roll(self, stops: int) -> None:
        self.slots = [await asyncio.to_thread(self.start) for _ in range(2)]
        timeout, connector = aiohttp.ClientTimeout(total=120), aiohttp.TCPConnector(limit=0)
        headers = {"Authorization": f"Bearer {KEY}"}
        async with aiohttp.ClientSession(headers=headers, timeout=timeout, connector=connector) as http:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.watch(http))
                for number in range(CLIENTS):
                    tasks.create_task(self.client(http, number))
                for _ in range(SLOW_CLIENTS):
                    tasks.create_task(self.slow_client(http))
                await asyncio.sleep(1)
                for number in range(stops):
                    oldest = self.slots[0]
                    self.slots.append(await asyncio.to_thread(self.start))
                    await self.stop(oldest)
                    if number % 10 == 9:
                        print(f"{time.strftime('%H:%M:%S')} {number + 1} stops, {self.tally.outcomes}", flush=True)
                self.is_over = True
        for slot in self.slots:
            slot.program.stop()
        self.upstream.stop()


def unchunked(body: bytes) -> bytes:
    """The content of a chunked body, which may be incomplete."""
    out = b""
    while b"\r\n" in body:
        size, _, body = body.partition(b"\r\n")
        out += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]
    return out


def narrow_socket() -> socket.socket:
    """A socket with a small receive buffer, so that the system does not read ahead of a slow reader."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
    made.setblocking(False)
    return made


def run(directory: Path, stops: int) -> Tally:
    rolling = Rolling(directory)
    asyncio.run(rolling.roll(stops))
    return rolling.tally


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--stops", type=int, default=100)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        tally = run(Path(directory), arguments.stops)
    for outcome, count in sorted(tally.outcomes.items()):
        print(f"  {outcome}: {count}")
    stops = sorted(tally.stops)
    print(
        f"{len(stops)} stops, p50 {stops[len(stops) // 2]:.1f} s, at most {stops[-1]:.1f} s; {len(tally.faults)} faults"
    )
    for fault in tally.faults[:20]:
        print("  FAULT", fault)
    return 1 if tally.faults else 0


if __name__ == "__main__":
    sys.exit(main())
