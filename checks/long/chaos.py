"""Random faults, live data and random requests: complete responses must match upstream's history.

`scripts/test-long chaos` checks 20,000 responses, and checks/tests/test_chaos.py as many as fit into half a minute. One page in
ten and one agent check in fifty get a fault. Every complete JSON response and every unbroken stream must match the history
(checks/lib/truth.py). A lenient response must match it except in the parts that it names, and a broken stream above its last row.
"""

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp
from aiohttp import web
from organization import Stretch, live
from programs import KEY, Program, start_gateway
from rows import make_rows, micros_of, text_of
from soak import DAYS, random_question, resident_and_handles
from truth import Asked, History, Promise, Verdicts, small
from upstream import Upstream

AGENTS = 3
ROWS = 400
STUCK = 3
CLIENTS = 12
FAULTS = 0.1
LATENCY = 0.005
NDJSON = "application/x-ndjson"
PROMISE = Promise(live=1, settling=2, settled=300, settle_after=120)
FLAGS = (
    *("--upstream-timeout", "1s", "--request-deadline", "6s", "--stale-if-error", "0s", "--upstream-rate", "0"),
    *("--settle-after", f"{PROMISE.settle_after}s"),
)
FORMS = ("json", "lenient", "ndjson", "end-record", "page")
DEADLINE_SECONDS = 6
# Slack for a busy machine.
SLACK_SECONDS = 6


class Chaos:
    """Responds to some pages with faults that depend on a seed."""

    def __init__(self, draw: random.Random, share: float):
        self.draw, self.share, self.counts = draw, share, Counter()

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        if self.draw.random() >= self.share:
            return None
        kinds = (self.status, self.reset, self.cut, self.hang, self.hang_within, self.nonsense, self.limited)
        kind = self.draw.choice(kinds)
        self.counts[kind.__name__] += 1
        return await kind(request)

    async def status(self, _) -> web.StreamResponse:
        return web.json_response({"message": "chaos"}, status=self.draw.choice((500, 502, 503, 504, 408)))

    async def limited(self, _) -> web.StreamResponse:
        more = self.draw.choice(({}, {"Retry-After": "1"}, {"Retry-After": "0"}))
        return web.json_response({"message": "chaos"}, status=429, headers=more)

    async def reset(self, request: web.Request) -> web.StreamResponse:
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    async def cut(self, request: web.Request) -> web.StreamResponse:
        """Sends the beginning of a page and closes the connection: with a length, in chunks, or with neither."""
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        match self.draw.randrange(3):
            case 0:
                answer.content_length = 5_000
            case 1:
                answer.enable_chunked_encoding()
            case _:
                answer.force_close()
        await answer.prepare(request)
        await answer.write(b'{"page_number":1,"page_size":50,"total":3,"has_more":false,"data":[{"id":"cut"},')
        request.transport.close()
        return answer

    async def hang(self, _) -> web.StreamResponse:
        await asyncio.sleep(3)
        return web.Response(status=500)

    async def hang_within(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "application/json"})
        await answer.prepare(request)
        await answer.write(b'{"page_number":1,"page_size":50,"total":0,"has_more":false,"data":[')
        await asyncio.sleep(3)
        return answer

    async def nonsense(self, _) -> web.StreamResponse:
        bodies = (
            b"",
            b"<html>just a moment",
            b'{"error":"try later"}',
            b'{"data":null,"has_more":true,"total":9}',
            b'{"data":[{"no":"id"}],"has_more":false}',
            b'{"data":[{"id":"\xff\xfe"}],"has_more":false}',
            b'{"data":{"rows":[]},"has_more":false}',
        )
        return web.Response(body=self.draw.choice(bodies), content_type="application/json")


@dataclass
class Tally:
    """The outcome of the requests."""

    verdicts: Verdicts = field(default_factory=Verdicts)
    outcomes: Counter = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    stretch: Stretch = field(default_factory=Stretch)
    answers: int = 0


# Other faults, which last until they are canceled.
Disturbance = Callable[[], Awaitable[None]]


@dataclass
class Gateways:
    """The gateways, and what else goes wrong."""

    programs: list[Program]
    disturb: Disturbance | None = None


Start = Callable[[Path, str], contextlib.AbstractContextManager[Gateways]]


class Client:
    """One client that checks its responses."""

    def __init__(self, http: aiohttp.ClientSession, bases: list[str], histories: list[History], tally: Tally, seed: int):
        self.http, self.bases, self.histories, self.tally = http, bases, histories, tally
        self.draw = random.Random(seed)

    async def ask(self) -> None:
        history, form = self.draw.choice(self.histories), self.draw.choice(FORMS)
        asked, began = random_question(self.draw), time.monotonic()
        query = {"from": text_of(asked.start, 1)} if asked.start else {}
        if asked.end < 1 << 62:
            query["to"] = text_of(asked.end, 1)
        if asked.status:
            query["status"] = asked.status
        name = f"{form} {json.dumps(query)}"
        path, headers = f"/agents/{history.agent.id}/executions/all", {}
        match form:
            case "lenient":
                headers["Prefer"] = "handling=lenient"
            case "ndjson" | "end-record":
                headers["Accept"] = NDJSON
                query |= {"end_record": "true"} if form == "end-record" else {}
            case "page":
                # The newest page of at most a week, which upstream takes.
                week = 7 * 86_400 * 1_000_000
                end = min(asked.end, int(time.time() * 1_000_000))
                asked = replace(asked, start=max(asked.start, end - week), end=end)
                query |= {"from": text_of(asked.start, 1), "to": text_of(asked.end, 1), "page_size": "50"}
                path = f"/v2/agent/{history.agent.id}/executions"
        try:
            async with self.http.get(self.draw.choice(self.bases) + path, params=query, headers=headers) as answer:
                outcome = await self._judge(form, answer, history, asked, name)
        except (aiohttp.ClientError, TimeoutError) as error:
            outcome = f"no answer: {type(error).__name__}"
            self.tally.faults.append(f"{name}: {error!r}")
        took = time.monotonic() - began
        self.tally.took.append(took)
        if took > DEADLINE_SECONDS + SLACK_SECONDS and form not in ("ndjson", "end-record"):
            self.tally.faults.append(f"{name}: took {took:.1f} s")
        self.tally.outcomes[f"{form}: {outcome}"] += 1
        self.tally.answers += 1

    async def _judge(self, form: str, answer, history: History, asked: Asked, name: str) -> str:
        if answer.status != 200:
            code = json.loads(await answer.read())["code"]
            return f"{answer.status} {code}"
        if form in ("ndjson", "end-record"):
            return await self._stream(form, answer, history, asked, name)
        document = json.loads(await answer.read())
        if form == "page":
            # One page, as old as the page path lets it be: only that it never was otherwise.
            if "page_number" not in document:
                return "200 passed on, no page"
            if any(row["id"] not in history.versions for row in document["data"]):
                self.tally.faults.append(f"{name}: a row that never was")
            return "200"
        missing = [(micros_of(part["from"]), micros_of(part["to"])) for part in document.get("missing", [])]
        if document["complete"] is not (not missing) or (missing and form != "lenient"):
            self.tally.faults.append(f"{name}: complete {document['complete']}, missing {missing}")
        self._check(history, asked, document["data"], missing, name)
        return "200 incomplete" if missing else "200 whole"

    async def _stream(self, form: str, answer, history: History, asked: Asked, name: str) -> str:
        body, is_broken = b"", False
        try:
            async for chunk in answer.content.iter_any():
                body += chunk
        except aiohttp.ClientError:
            is_broken = True
        rows = [json.loads(line) for line in body[: body.rfind(b"\n") + 1].split(b"\n") if line]
        if form == "end-record":
            verdict = rows.pop()["@end"] if rows else {}
            if verdict.get("complete") is not (not is_broken) or verdict.get("count") != len(rows):
                self.tally.faults.append(f"{name}: broken {is_broken}, but the verdict is {verdict}")
        missing = []
        if is_broken:
            # A limited response says nothing about older rows.
            last = micros_of(rows[-1]["created_at"]) if rows else asked.end
            missing, rows = [(asked.start, last)], [r for r in rows if micros_of(r["created_at"]) > last]
        self._check(history, asked, rows, missing, name)
        return "broken" if is_broken else "200 whole"

    def _check(self, history: History, asked: Asked, data: list[dict], missing, name: str) -> None:
        """Compares every part that is not missing with the history."""
        parts = [(asked.start, asked.end)]
        for start, end in missing:
            cut = [((a, min(b, start - 1)), (max(a, end + 1), b)) for a, b in parts]
            parts = [part for pair in cut for part in pair if part[0] <= part[1]]
        if not missing:
            self.tally.verdicts.check(history, self.tally.stretch.of(PROMISE), asked, data, name)
            return
        for start, end in parts:
            rows = [row for row in data if start <= micros_of(row["created_at"]) <= end]
            self.tally.verdicts.check(history, self.tally.stretch.of(PROMISE), replace(asked, start=start, end=end), rows, name)


async def drive(
    programs: list[Program], histories: list[History], answers: int, seconds: float, disturb: Disturbance | None = None
) -> tuple[Tally, list]:
    tally, samples = Tally(), []
    until = time.monotonic() + seconds
    timeout = aiohttp.ClientTimeout(total=120)
    headers = {"Authorization": f"Bearer {KEY}"}

    async def client(http: aiohttp.ClientSession, seed: int) -> None:
        asking = Client(http, [program.url for program in programs], histories, tally, seed)
        while tally.answers < answers and time.monotonic() < until:
            await asking.ask()

    async def observe() -> None:
        while tally.answers < answers and time.monotonic() < until:
            await asyncio.sleep(1)
            samples.append(max(resident_and_handles(program) for program in programs))
            if len(samples) % 30 == 0:
                print(f"{time.strftime('%H:%M:%S')} {tally.answers} answers, {samples[-1]}", flush=True)

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout, connector=connector) as http:
        calls = [asyncio.create_task(live(history, until, random.Random(9))) for history in histories]
        # What 429s and time-outs teach the gate leaves less room than the questions need.
        calls += [asyncio.create_task(tally.stretch.follow(http, program, until)) for program in programs]
        if disturb:
            calls.append(asyncio.create_task(disturb()))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(observe())
            for number in range(CLIENTS):
                tasks.create_task(client(http, number))
        for call in calls:
            call.cancel()
    return tally, samples


def make_history(upstream: Upstream, number: int) -> History:
    made = make_rows(ROWS, DAYS, seed=300 + number)
    rows = [small(replace(row, status="in-progress") if i < STUCK else row) for i, row in enumerate(made)]
    id = f"00000000-0000-4000-8000-{number:012x}"
    return History(upstream.agent(id, rows, KEY, days=DAYS + 1))


@contextlib.contextmanager
def one_gateway(directory: Path, upstream_url: str) -> Iterator[Gateways]:
    yield Gateways([start_gateway(directory, upstream_url, *PROMISE.flags(), *FLAGS)])


def run(
    directory: Path, answers: int, seconds: float, seed: int = 1, gateways: Start = one_gateway
) -> tuple[Tally, Chaos, list]:
    """Runs until this many responses arrived or the time is over."""
    upstream = Upstream()
    upstream.latency = LATENCY
    histories = [make_history(upstream, number) for number in range(AGENTS)]
    upstream.fault = chaos = Chaos(random.Random(seed), FAULTS)
    with gateways(directory, upstream.url) as started:
        try:
            tally, samples = asyncio.run(drive(started.programs, histories, answers, seconds, started.disturb))
        finally:
            codes = [program.stop() for program in started.programs]
    upstream.stop()
    if any(codes):
        tally.faults.append(f"they ended with {codes}")
    if any("panicked at" in program.output() for program in started.programs):
        tally.faults.append("one panicked")
    return tally, chaos, samples


def main(gateways: Start = one_gateway) -> int:
    parser = argparse.ArgumentParser(description=(sys.modules["__main__"].__doc__ or "").partition("\n")[0])
    parser.add_argument("--answers", type=int, default=20_000)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        tally, chaos, samples = run(
            Path(directory), arguments.answers, arguments.minutes * 60, arguments.seed, gateways
        )
    print(f"\n{tally.answers} answers, faults of upstream: {dict(chaos.counts)}")
    for outcome, count in sorted(tally.outcomes.items()):
        print(f"  {outcome}: {count}")
    took = sorted(tally.took)
    print(
        f"waiting: p50 {took[len(took) // 2]:.2f} s, p99 {took[int(len(took) * 0.99)]:.2f} s, at most {took[-1]:.2f} s"
    )
    print(f"times to live stretched by at most {tally.stretch.most:.1f}")
    print(f"resident: at most {max(m for m, _ in samples):.0f} MiB, handles: at most {max(h for _, h in samples)}")
    tally.verdicts.tell()
    for fault in tally.faults[:20]:
        print("  FAULT", fault)
    is_good = not tally.faults and not tally.verdicts.wrong and tally.answers >= arguments.answers
    print("holds" if is_good else "FAILS")
    return 0 if is_good else 1


if __name__ == "__main__":
    sys.exit(main())
