"""Random abuse: every path, every header, every fault, and callers that leave at any time.

`scripts/soak abuse` runs for half an hour, with a new gateway and other settings every few minutes. checks/tests/test_abuse.py is
a short run with fixed seeds. The seed determines requests and faults, but not their timing.

It fails if the probes are silent for ten seconds, if a request never ends, if a valid request gets no response, if a caller gets
rows of another's agent, or if tasks, waiting requests or memory are not back to normal a minute after the last caller left.
"""

import argparse
import asyncio
import contextlib
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from abuse_upstream import Weather, make_upstream
from held import held_flags
from leaving import Ask, leave_http1, leave_http2
from programs import KEY, Program, run, start_gateway
from pulse import Pulse
from rows import DAY, now, text_of
from soak import resident_and_handles

CALLERS = 24
SILENCE_SECONDS = 10
DEADLINE_SECONDS = 4
# Slack after the deadline for a busy machine.
SLACK_SECONDS = 20
# Between two rows of a stream, which waits for as long as upstream asks for: a minute at most, and perhaps twice.
STREAM_SECONDS = 2 * 60 + SLACK_SECONDS
RECOVERY_SECONDS = 60
# Beyond what it held when it was idle: the cache, and what an allocator keeps.
CACHE_MEBIBYTES = 16
KEPT_MEBIBYTES = 150
ROUND_SECONDS = 240
ODD_NUMBERS = (
    *("0", "1", "-1", "59", "3600", "4294967295", "9223372036854775807", "18446744073709551615", "18446744073709551616"),
    *("9" * 200, "1e9", "", "x", '"1"', "0.5"),
)


@dataclass(frozen=True)
class Settings:
    """The settings of a round."""

    is_held: bool
    flags: tuple[str, ...]

    @classmethod
    def draw(cls, draw: random.Random) -> "Settings":
        rates = ("30/s", "300/min", "0")
        flags = {
            "--upstream-rate": draw.choice(rates),
            "--fan-out": draw.choice(("1", "2", "8")),
            "--upstream-concurrency": draw.choice(("4", "32")),
            "--request-deadline": f"{DEADLINE_SECONDS}s",
            "--upstream-timeout": "2s",
            "--cache-bytes": f"{CACHE_MEBIBYTES}MiB",
            "--max-questions": draw.choice(("32", "1024")),
            "--max-json-bytes": draw.choice(("256KiB", "256MiB")),
            "--stall-timeout": "3s",
            "--live-ttl": draw.choice(("0s", "1s", "10s")),
            "--settling-ttl": draw.choice(("1s", "2m")),
            "--settled-ttl": draw.choice(("10s", "24h")),
            "--settle-after": draw.choice(("1m", "3h")),
            "--stale-while-revalidate": draw.choice(("0s", "1m")),
            "--stale-if-error": draw.choice(("0s", "1h")),
            "--rate-scope": draw.choice(("shared", "credential")),
            "--window": draw.choice(("7d", "7d", "1d")),
            "--log-format": "json",
        }
        if "--budget-patience" in run("serve", "--help").stdout:
            flags["--budget-patience"] = "10s"
        return cls(draw.random() < 0.4, tuple(part for pair in flags.items() for part in pair))


@dataclass
class Doing:
    """A request in progress, and its outcome."""

    caller: int
    what: str
    began: float = field(default_factory=time.monotonic)
    ended: str = ""

    def __str__(self) -> str:
        took = time.monotonic() - self.began
        return f"{self.caller:>3} {self.what}: {self.ended or f'under way for {took:.1f} s'}"


@dataclass
class Tally:
    """The outcome of all requests."""

    outcomes: Counter = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    last: deque[Doing] = field(default_factory=lambda: deque(maxlen=60))
    under_way: set[int] = field(default_factory=set)
    doings: dict[int, Doing] = field(default_factory=dict)

    def begin(self, caller: int, what: str) -> Doing:
        doing = Doing(caller, what)
        self.last.append(doing)
        self.doings[id(doing)] = doing
        return doing

    def end(self, doing: Doing, outcome: str, kind: str) -> None:
        doing.ended = f"{outcome} after {time.monotonic() - doing.began:.1f} s"
        self.doings.pop(id(doing), None)
        self.outcomes[f"{kind}: {outcome}"] += 1

    def fault(self, doing: Doing, words: str) -> None:
        self.faults.append(f"{words}: {doing}")

    def tell(self) -> None:
        for outcome, count in sorted(self.outcomes.items()):
            print(f"  {outcome}: {count}")
        if self.faults:
            print("the last requests:")
            for doing in [*self.doings.values(), *self.last][-60:]:
                print("  ", doing)
        for fault in self.faults[:20]:
            print("  FAULT", fault)


@dataclass(frozen=True)
class World:
    """Which credentials may read which agents."""

    agents: dict[str, frozenset[str]]
    known: tuple[str, ...]

    def reach(self, bearer: str) -> frozenset[str]:
        return self.agents.get(bearer, frozenset())


class Caller:
    """Sends random requests."""

    def __init__(self, number: int, seed: int, program: Program, world: World, tally: Tally):
        self.number, self.program, self.world, self.tally = number, program, world, tally
        self.draw = random.Random(f"{seed}/{number}")

    async def ask(self, http: aiohttp.ClientSession) -> None:
        kinds = (self.patient, self.patient, self.patient, self.leave, self.leave, self.flood, self.garbage, self.admin)
        await self.draw.choice(kinds)(http)

    def bearer(self) -> str:
        draw = self.draw.random()
        if draw < 0.8:
            return self.draw.choice(list(self.world.agents))
        return "bn-stranger" if draw < 0.85 else f"bn-made-up-{self.draw.randrange(1 << 30)}"

    def agent(self, bearer: str) -> str:
        draw = self.draw.random()
        own = sorted(self.world.reach(bearer))
        if draw < 0.75 and own:
            return self.draw.choice(own)
        made_up = f"{self.draw.getrandbits(128):032x}"
        dashed = "-".join((made_up[:8], made_up[8:12], made_up[12:16], made_up[16:20], made_up[20:]))
        return self.draw.choice((*self.world.known, dashed)) if draw < 0.97 else "none"

    def path(self, agent: str) -> str:
        draw = self.draw
        back = now() - draw.randrange(1, 60 * 24 * 60) * 60_000_000
        dates = draw.choice(
            ("", "", f"from={text_of(back)}", f"to={text_of(back)}", f"from={text_of(back)}&to={text_of(back + 5 * DAY)}")
        )
        more = draw.choice(
            (
                *("", "", "", "status=completed", "status=in-progress", "provider=plivo", "answered_by_voice_mail=true"),
                f"batch_id={draw.getrandbits(128):032x}",
                f"provider=p{draw.randrange(1000)}",
                f"from={draw.choice(ODD_NUMBERS)}",
                "call_type=sideways",
                f"unknown={draw.randrange(9)}",
            )
        )
        numbers = f"page_number={draw.choice(('1', '2', '7', *ODD_NUMBERS))}&page_size={draw.choice(('1', '50', *ODD_NUMBERS))}"
        everything = f"/agents/{agent}/executions/all?"
        page = f"/v2/agent/{agent}/executions?"
        return draw.choice(
            (
                *(everything + f"{dates}&{more}",) * 4,
                *(everything + f"format=ndjson&{dates}&{more}",) * 3,
                everything + f"format=ndjson&end_record=true&{dates}&{more}",
                *(page + f"{dates}&{more}",) * 2,
                page + f"{dates}&{numbers}",
                page + f"from={text_of(back)}&to={text_of(back + 5 * DAY)}&agent_id={draw.choice(self.world.known)}",
                *("/openapi.yaml", "/docs", "/", "//", "/v2/agent/all", f"/v2/agent/{agent}", f"/executions/{agent}"),
                *("/user/me", "/batches/x/executions", "/agents/", f"/agents/{agent}", "/status", "/console/", "/%00%ff"),
            )
        )

    def headers(self, bearer: str) -> dict[str, str]:
        draw, headers = self.draw, {}
        if draw.random() < 0.97:
            headers["Authorization"] = draw.choice(("Bearer ", "bearer ", "Bearer  ")) + bearer
        odd = draw.choice(ODD_NUMBERS)
        control = ("no-cache", "no-store", "max-stale", "only-if-cached", f"max-age={odd}", f"min-fresh={odd}", f"max-stale={odd}")
        choices = (
            {"Cache-Control": ", ".join(draw.sample(control, draw.randrange(1, 3)))},
            {"Prefer": draw.choice(("handling=lenient", f"wait={odd}", "wait=1", "wait=0, handling=lenient"))},
            {"Accept": draw.choice(("application/x-ndjson", "application/json;q=0", "*/*", "text/csv", "," * 200))},
            {"Range": draw.choice(("bytes=0-1", f"bytes={odd}-", "rows=0-10"))},
            {"If-None-Match": draw.choice(("*", '"x"', 'W/"0-0"', ", ".join(['"a"'] * 500)))},
            {"Accept-Encoding": draw.choice(("identity", "gzip;q=0", "br", "*;q=0", "gzip"))},
            {"X-Request-Id": "x" * draw.choice((1, 200, 5_000))},
            {"X-Odd": "y" * draw.choice((10, 4_000, 12_000))},
            {"traceparent": draw.choice(("00-0-0-01", "ff-" + "a" * 32 + "-" + "b" * 16 + "-01"))},
            {"Origin": "https://desk.example"},
            {"Expect": "100-continue"},
        )
        for more in draw.sample(choices, draw.choice((0, 0, 1, 1, 2, 4))):
            headers |= more
        return headers

    def request(self) -> tuple[str, str, dict[str, str], str]:
        bearer = self.bearer()
        method = self.draw.choice(("GET",) * 20 + ("HEAD", "HEAD", "POST", "DELETE", "OPTIONS", "PUT"))
        return method, self.path(self.agent(bearer)), self.headers(bearer), bearer

    async def patient(self, http: aiohttp.ClientSession) -> None:
        """Waits for the end of a response."""
        method, path, headers, bearer = self.request()
        doing = self.tally.begin(self.number, f"{method} {path[:160]} {brief(headers)}")
        is_stream = "ndjson" in path or "ndjson" in headers.get("Accept", "")
        longest = STREAM_SECONDS if is_stream else DEADLINE_SECONDS + SLACK_SECONDS
        try:
            async with asyncio.timeout(longest) as limit:
                # A stream that waits for the budget may take long, but not between two rows.
                progress = lambda: limit.reschedule(asyncio.get_running_loop().time() + longest) if is_stream else None
                outcome = await self._whole(http, method, path, headers, bearer, doing, progress)
        except TimeoutError:
            outcome = "no end"
            self.tally.fault(doing, f"no end within {longest} s")
        except aiohttp.ClientPayloadError:
            outcome = "broken body"
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientConnectionError) as error:
            outcome = f"dropped: {type(error).__name__}"
            self.tally.fault(doing, f"dropped without an answer ({error!r})")
        except aiohttp.ClientError as error:
            outcome = f"{type(error).__name__}"
        self.tally.end(doing, outcome, "patient")

    async def _whole(self, http, method, path, headers, bearer, doing, progress) -> str:
        async with http.request(method, self.program.url + path, headers=headers, allow_redirects=False) as answer:
            outcome, body = f"{answer.status}", bytearray()
            try:
                async for piece in answer.content.iter_any():
                    body += piece
                    if piece.strip():
                        progress()
            except aiohttp.ClientPayloadError:
                outcome = f"{answer.status} broken"
            named = {name.decode() for name in re.findall(rb'"agent_id":"([0-9a-f-]{36})"', bytes(body))}
            asked = re.search(r"/agents?/([0-9a-f-]{36})", path)
            # The description has agents of its own in its examples.
            is_description = path.startswith(("/openapi.yaml", "/docs"))
            if answer.status == 200 and not is_description and not named <= {asked and asked[1]}:
                self.tally.fault(doing, f"rows of {named}")
            if answer.status == 200 and named and not is_description and not named <= self.world.reach(bearer):
                self.tally.fault(doing, f"shown to one who may not: {named}")
            # Upstream's own path passes on every status, even 500.
            if answer.status == 500 and b"internal_error" in body:
                self.tally.fault(doing, f"500: {bytes(body[:200])!r}")
            return outcome

    async def leave(self, http: aiohttp.ClientSession) -> None:
        """Leaves at a random time: before the head, after the first piece, or after reading slowly."""
        method, path, headers, _ = self.request()
        doing = self.tally.begin(self.number, f"leaves {method} {path[:160]} {brief(headers)}")
        stay, slow = self.draw.choice((0, 0.01, 0.1, 0.5, 2)), self.draw.random() < 0.3
        outcome = "left"
        try:
            async with asyncio.timeout(stay):
                async with http.request(method, self.program.url + path, headers=headers, allow_redirects=False) as answer:
                    while await answer.content.read(1 << 10):
                        await asyncio.sleep(0.05 if slow else 0)
                    outcome = "stayed"
        except TimeoutError:
            pass
        except aiohttp.ClientError as error:
            outcome = type(error).__name__
        self.tally.end(doing, outcome, "leaving")

    async def flood(self, _) -> None:
        """Sends many requests on one or many connections and leaves at once."""
        count, how = self.draw.choice((1, 10, 60)), self.draw.choice((leave_http1, leave_http2))
        stay = self.draw.choice((0, 0.02, 0.15, 1))
        asks = []
        for _ in range(count):
            method, path, headers, bearer = self.request()
            more = tuple((n.lower(), v) for n, v in headers.items() if n not in ("Authorization", "Expect"))
            asks.append(Ask(path, bearer, method, more))
        doing = self.tally.begin(self.number, f"{how.__name__} × {count} for {stay} s, the last {asks[-1]}"[:400])
        outcome = "left"
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                await how(self.program.url, asks, lambda: time.sleep(stay))
        except (OSError, TimeoutError) as error:
            outcome = type(error).__name__
        self.tally.end(doing, outcome, "flood")

    async def garbage(self, _) -> None:
        """Sends garbage, or an incomplete request."""
        agent = self.agent(KEY)
        head = f"GET /agents/{agent}/executions/all HTTP/1.1\r\nHost: x\r\n"
        data = self.draw.choice(
            (
                b"",
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + self.draw.randbytes(200),
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self.draw.randbytes(100),
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00" * 20,
                head.encode(),
                (head + "X: " + "z" * 200_000 + "\r\n\r\n").encode(),
                (head + "\r\n").encode() * 50,
                (head + f"Content-Length: {self.draw.choice(ODD_NUMBERS)}\r\n\r\n").encode(),
                (head + "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n").encode(),
                (head + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n").encode(),
                self.draw.randbytes(3_000),
            )
        )
        doing = self.tally.begin(self.number, f"garbage {data[:60]!r}")
        host, port = self.program.url.removeprefix("http://").split(":")
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_connection(host, int(port))
                try:
                    writer.write(data)
                    await reader.read(self.draw.choice((1, 1 << 16)))
                finally:
                    writer.transport.abort()
        self.tally.end(doing, "sent", "garbage")

    async def admin(self, http: aiohttp.ClientSession) -> None:
        """Requests probes and metrics, and sometimes a purge."""
        draw = self.draw.random()
        method, path = ("GET", self.draw.choice(("/livez", "/readyz", "/metrics", "/wrong", "/livez?x=1")))
        if draw < 0.2:
            method, path = "DELETE", f"/agents/{self.agent(KEY)}"
        doing = self.tally.begin(self.number, f"{method} {path} of the admin listener")
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                async with http.request(method, self.program.admin + path) as answer:
                    await answer.read()
                    outcome = f"{answer.status}"
        except (TimeoutError, aiohttp.ClientError) as error:
            outcome = type(error).__name__
            self.tally.fault(doing, f"no answer ({error!r})")
        self.tally.end(doing, outcome, "admin")


def brief(headers: dict[str, str]) -> str:
    return ", ".join(f"{name}: {value[:40]}" for name, value in headers.items())


async def drive(program: Program, world: World, weather: Weather, seed: int, seconds: float, tally: Tally) -> None:
    """Runs all callers until the time is over and they have left. A fault of the process ends it at once."""
    until = time.monotonic() + seconds
    timeout, connector = aiohttp.ClientTimeout(total=None), aiohttp.TCPConnector(limit=0, force_close=False)

    async def calling(http: aiohttp.ClientSession, number: int) -> None:
        caller = Caller(number, seed, program, world, tally)
        while time.monotonic() < until and not tally.faults:
            await caller.ask(http)

    with Pulse(f"{program.admin}/livez") as pulse:

        async def listen() -> None:
            while time.monotonic() < until:
                await asyncio.sleep(0.5)
                if pulse.longest > SILENCE_SECONDS:
                    tally.faults.append(f"/livez was silent for {pulse.longest:.1f} s")
                if program.process.poll() is not None:
                    tally.faults.append(f"it ended by itself with {program.process.returncode}")
                if tally.faults:
                    return

        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as http:
            changing = asyncio.create_task(weather.change(until))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(listen())
                callers = [tasks.create_task(calling(http, number)) for number in range(CALLERS)]
                while not all(caller.done() for caller in callers):
                    await asyncio.wait(callers, timeout=1)
                    if tally.faults:
                        [caller.cancel() for caller in callers]
            changing.cancel()


def recover(program: Program, idle: dict[str, float], tally: Tally) -> float:
    """Waits until all resources are released; returns how long that took."""
    began, left = time.monotonic(), {}
    with Pulse(f"{program.admin}/livez") as pulse:
        while (took := time.monotonic() - began) < RECOVERY_SECONDS and not tally.faults:
            left = {name: value for name, value in figures(program).items() if value > idle[name]}
            if not left:
                return took
            if pulse.longest > SILENCE_SECONDS:
                tally.faults.append(f"/livez was silent for {pulse.longest:.1f} s after all had left")
            time.sleep(0.5)
    if left:
        tally.faults.append(f"{RECOVERY_SECONDS} s after the last caller left: {left}, idle {idle}")
    return took


def figures(program: Program) -> dict[str, float]:
    names = ("tasks", "questions", "upstream_waiting", "upstream_in_flight", "waiting_bytes")
    memory, handles = resident_and_handles(program)
    return {name: program.metric(f"fanfold_{name}") for name in names} | {"MiB": memory, "handles": handles}


def abuse(directory: Path, seed: int, seconds: float) -> Tally:
    """Abuses one gateway for this long."""
    draw, tally = random.Random(seed), Tally()
    settings = Settings.draw(draw)
    upstream, weather, reach = make_upstream(draw)
    flags, bearers = [], {key: key for key in reach}
    if settings.is_held:
        # One account, whose agents are divided among the tokens.
        for agent in upstream.agents.values():
            agent.key = KEY
        flags, bearers = held_flags(directory, **{key.replace("bn-", ""): ",".join(ids) for key, ids in reach.items()})
        bearers = {f"bn-{name}": token for name, token in bearers.items()}
    world = World({bearers[key]: frozenset(ids) for key, ids in reach.items()}, tuple(sorted(upstream.agents)))
    program = start_gateway(directory, upstream.url, *settings.flags, *flags)
    try:
        idle = figures(program)
        idle |= {"MiB": idle["MiB"] + CACHE_MEBIBYTES + KEPT_MEBIBYTES, "tasks": idle["tasks"] + 1}
        idle |= {"handles": idle["handles"] + 64}
        asyncio.run(drive(program, world, weather, seed, seconds, tally))
        weather.clear()
        took = recover(program, idle, tally) if not tally.faults else 0
        print(f"seed {seed}: {sum(tally.outcomes.values())} requests, {dict(weather.counts)}; calm after {took:.1f} s")
        print(f"  {figures(program) if not tally.faults else ''} {settings}")
    finally:
        stop(program, tally)
        upstream.stop()
    tally.tell()
    return tally


def stop(program: Program, tally: Tally) -> None:
    try:
        code = program.stop(seconds=20 if not tally.faults else 3)
    except Exception as error:
        code = type(error).__name__
    if code != 0:
        tally.faults.append(f"it ended with {code}")
    if "panicked at" in program.output():
        tally.faults.append("it panicked: " + program.output().split("panicked at")[1][:300])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--round-seconds", type=float, default=ROUND_SECONDS)
    arguments = parser.parse_args()
    until, seed, faults = time.monotonic() + arguments.minutes * 60, arguments.seed, 0
    while time.monotonic() < until:
        with tempfile.TemporaryDirectory() as directory:
            left = until - time.monotonic()
            tally = abuse(Path(directory), seed, min(arguments.round_seconds, max(left, 5)))
        faults += len(tally.faults)
        if tally.faults:
            print(f"FAILS with seed {seed}: scripts/soak abuse --seed {seed} --minutes {arguments.round_seconds / 60:.1f}")
        sys.stdout.flush()
        seed += 1
    print("holds" if not faults else f"FAILS: {faults} faults")
    return 0 if not faults else 1


if __name__ == "__main__":
    sys.exit(main())
