"""An organization for ten minutes: 40 dashboards over 20 agents through one gateway, within upstream's limit.

Each agent has 1,500 executions over 60 days, 2 % of them stuck in a state that is not terminal. Three agents are live, with new
calls that progress. Each dashboard repeats one request for one agent every 5 seconds: all rows, the last 7 days,
`status=completed` or `status=failed`, in equal shares. Upstream refuses more than 500 requests a minute.
`scripts/soak organization` runs it.

After the cold start: at most 300 upstream requests in any minute, no 429 and no 504 for dashboards, a 95th percentile of their
latency under 300 ms, and every response as fresh as promised.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
import uuid
from bisect import bisect_left
from collections import Counter, deque
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp
from aiohttp import web
from process_memory import open_files, resident_bytes
from programs import KEY, Program, start_gateway
from rows import DAY, SECOND, TERMINAL, make_rows, micros_of, now, text_of
from truth import Asked, History, Promise, Verdicts, call, small
from upstream import Upstream

AGENTS = 20
LIVE_AGENTS = 3
ROWS = 1_500
DAYS = 60
STUCK_SHARE = 0.02
STUCK = ("in-progress", "queued", "call-disconnected")
DASHBOARDS = 40
ASKS_EVERY = 5.0
QUESTIONS = ("all", "7 days", "completed", "failed")
LATENCY = 0.06
SECONDS_BETWEEN_CALLS = 5.0
MOST_REQUESTS = 300
P95_SECONDS = 0.3
PROMISE = Promise(settled=300)


@dataclass(repr=False)
class Counting(Upstream):
    """An upstream that counts refusals."""

    refused: list[float] = field(default_factory=list)

    def _refusal(self, request: web.Request) -> web.Response | None:
        refusal = super()._refusal(request)
        if refusal is not None and refusal.status == 429:
            self.refused.append(time.monotonic())
        return refusal


@dataclass
class Dashboard:
    """A client that repeats a request."""

    history: History
    question: str
    # The time, the duration and the status of each response.
    asked: list[tuple[float, float, int]] = field(default_factory=list)

    def query(self) -> tuple[dict[str, str], Asked]:
        at = time.time()
        if self.question == "all":
            return {}, Asked(at)
        if self.question == "7 days":
            start = now() - 7 * DAY
            return {"from": text_of(start, 1)}, Asked(at, start)
        return {"status": self.question}, Asked(at, status=self.question)

    async def ask(self, http: aiohttp.ClientSession, base: str, verdicts: Verdicts, stretch: "Stretch") -> None:
        query, asked = self.query()
        url = f"{base}/agents/{self.history.agent.id}/executions/all"
        began = time.monotonic()
        async with http.get(url, params=query) as answer:
            body = await answer.read()
            self.asked.append((began, time.monotonic() - began, answer.status))
            if answer.status == 200:
                document = json.loads(body)
                assert document["complete"] and document["total"] == len(document["data"])
                # What may be given while upstream, or the budget, gives nothing.
                grace = 3600.0 if "fwd=stale" in answer.headers["Cache-Status"] else 0.0
                promise = stretch.of(PROMISE)
                verdicts.check(self.history, promise, asked, document["data"], self.question, grace)
            else:
                print(f"  {answer.status} to {self.question}: {body.decode()[:200]}", flush=True)

    async def watch(
        self, http: aiohttp.ClientSession, base: str, verdicts: Verdicts, stretch: "Stretch", until: float, draw
    ) -> None:
        due = time.monotonic() + draw.uniform(0, ASKS_EVERY)
        while due < until:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            await self.ask(http, base, verdicts, stretch)
            due = max(due + ASKS_EVERY, time.monotonic())

    @property
    def first_answer(self) -> float:
        return next((at + took for at, took, status in self.asked if status == 200), float("inf"))


@dataclass
class Stretch:
    """By how much the gateway stretches its times to live while what is due exceeds the budget, as its metrics say."""

    factors: deque = field(default_factory=lambda: deque([1.0], maxlen=90))
    most: float = 1.0

    def of(self, promise: Promise) -> Promise:
        """The promise as it may be stretched: what is given now may have been read by the factors of a while ago."""
        factor = max(self.factors)
        return replace(
            promise, live=promise.live * factor, settling=promise.settling * factor, settled=promise.settled * factor
        )

    async def follow(self, http: aiohttp.ClientSession, gateway: Program, until: float) -> None:
        while time.monotonic() < until:
            async with http.get(f"{gateway.admin}/metrics") as answer:
                text = await answer.text()
            factor = next(float(line.split()[1]) for line in text.splitlines() if line.startswith("fanfold_ttl_stretch "))
            self.factors.append(factor)
            self.most = max(self.most, factor)
            await asyncio.sleep(1)


def make_history(upstream: Upstream, number: int, stuck: tuple[str, ...]) -> History:
    draw = random.Random(number)
    rows = []
    for index, row in enumerate(make_rows(ROWS, DAYS, seed=number, until=now() - 60 * SECOND)):
        row = replace(row, updated=min(row.updated, now()))
        if index < ROWS * STUCK_SHARE:
            row = replace(row, status=draw.choice(stuck))
        rows.append(small(row))
    id = str(uuid.UUID(int=draw.getrandbits(128), version=4))
    return History(upstream.agent(id, rows, KEY, days=DAYS + 1))


async def live(history: History, until: float, draw: random.Random) -> None:
    async with asyncio.TaskGroup() as calls:
        while time.monotonic() < until:
            await asyncio.sleep(draw.expovariate(1 / SECONDS_BETWEEN_CALLS))
            if time.monotonic() < until:
                calls.create_task(call(history, asyncio.sleep, draw))


async def edit(histories: list[History], every: float, until: float, draw: random.Random) -> None:
    """Sometimes changes the price of an old execution, makes it live again, or deletes it."""
    while every and time.monotonic() + every < until:
        await asyncio.sleep(every)
        history = draw.choice(histories)
        settled = [row for row in history.agent.rows if row.status in TERMINAL and row.updated < now() - DAY // 4]
        row = draw.choice(settled)
        match draw.randrange(4):
            case 0:
                history.remove(row.id)
            case 1:
                history.change(row.id, status="failed" if row.status == "completed" else "completed")
            case _:
                history.change(row.id)


class Kind:
    """The purpose of a request to upstream, as far as its parameters show it."""

    @staticmethod
    def of(seen, walls: float) -> str:
        if not seen.is_page:
            return "key and agent"
        query = seen.query
        status = query.get("status")
        own = status if status in QUESTIONS else "none"
        page = "" if query.get("page_number", "1") == "1" else ", page 2 on"
        to, start = micros_of(query["to"]), micros_of(query["from"])
        if status and status not in QUESTIONS:
            return "probe"
        if to >= (seen.at + walls - 20) * SECOND:
            width = (to - start) / SECOND
            what = "head" if width < 120 else "head with rows below" if width < 3 * 3600 + 600 else "head to days below"
        else:
            age = (seen.at + walls) - to / SECOND
            zone = "last hours" if age < 3 * 3600 else "last week" if age < 7 * 86_400 else "older"
            what = ("few seconds, " if to - start < 5 * SECOND else "span, ") + zone
        return f"{what}; filter {own}{page}"

    @staticmethod
    def tell(upstream: Upstream, minutes: float) -> None:
        walls = time.time() - time.monotonic()
        kinds = Counter(Kind.of(seen, walls) for seen in list(upstream.log))
        print(f"requests by kind, a minute (over {minutes:.1f} minutes): {sum(kinds.values()) / minutes:.1f}")
        for kind, count in kinds.most_common():
            print(f"  {count / minutes:7.1f}  {kind}")


def tell_requests(upstream: Counting, warm: float, end: float) -> int:
    walls = time.time() - time.monotonic()
    times = sorted(seen.at for seen in upstream.log)
    began = times[0]
    print(f"\ncold start: {warm - began:.0f} s, {bisect_left(times, warm)} requests")
    kinds = Counter(Kind.of(seen, walls) for seen in upstream.log if seen.at < warm)
    for kind, count in kinds.most_common():
        print(f"    {count:5d}  {kind}")
    minute, at = 1, warm
    while at + 60 <= end:
        count = bisect_left(times, at + 60) - bisect_left(times, at)
        here = Counter(Kind.of(seen, walls) for seen in upstream.log if at <= seen.at < at + 60)
        most = "; ".join(f"{n} {kind}" for kind, n in here.most_common(8))
        print(f"minute {minute}: {count} requests: {most}")
        minute, at = minute + 1, at + 60
    minutes = max(1e-9, (end - warm) / 60)
    kinds = Counter(Kind.of(seen, walls) for seen in upstream.log if warm <= seen.at < end)
    print(f"by kind, a minute (over {minutes:.1f} minutes): {sum(kinds.values()) / minutes:.1f}")
    for kind, count in kinds.most_common():
        print(f"  {count / minutes:7.1f}  {kind}")
    most = max((bisect_left(times, at + 60) - i for i, at in enumerate(times) if warm <= at <= end - 60), default=0)
    ever = max(bisect_left(times, at + 60) - i for i, at in enumerate(times))
    print(f"most in any minute: {most} (with the cold start {ever}); refused with 429: {len(upstream.refused)}")
    return most


def tell_answers(dashboards: list[Dashboard], warm: float) -> tuple[float, Counter]:
    statuses: Counter = Counter()
    slowest = 0.0
    for label, chosen in [("cold start", lambda at: at < warm), ("after it", lambda at: at >= warm)]:
        print(f"\nanswers, {label}:")
        for question in (*QUESTIONS, None):
            asked = [
                (took, status)
                for dashboard in dashboards
                if question in (None, dashboard.question)
                for at, took, status in dashboard.asked
                if chosen(at)
            ]
            if not asked:
                continue
            took = sorted(seconds for seconds, _ in asked)
            p50, p95 = statistics.median(took), took[int(len(took) * 0.95)]
            counts = Counter(status for _, status in asked)
            print(
                f"  {question or 'together'}: {len(took)}; p50 {p50 * 1000:.0f} ms, p95 {p95 * 1000:.0f} ms, "
                f"most {took[-1] * 1000:.0f} ms; {dict(counts)}"
            )
            if question is None:
                statuses, slowest = counts, p95
    return slowest, statuses


async def drive(arguments, upstream: Counting, gateway: Program, histories: list[History]):
    draw = random.Random(arguments.seed)
    dashboards = []
    for number in range(DASHBOARDS):
        # Two for each agent, with different requests.
        question = QUESTIONS[(number + number // AGENTS) % len(QUESTIONS)]
        dashboards.append(Dashboard(histories[number % AGENTS], question))
    verdicts, stretch = Verdicts(), Stretch()
    began = time.monotonic()
    until = began + arguments.minutes * 60
    timeout = aiohttp.ClientTimeout(total=90)
    headers = {"Authorization": f"Bearer {KEY}"}
    async with (
        aiohttp.ClientSession(headers=headers, timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as http,
        asyncio.TaskGroup() as tasks,
    ):
        background = [tasks.create_task(live(history, until - 1, draw)) for history in histories[:LIVE_AGENTS]]
        background.append(tasks.create_task(edit(histories, arguments.edits_every, until - 1, draw)))
        background.append(tasks.create_task(progress(upstream, dashboards, verdicts, until)))
        background.append(tasks.create_task(stretch.follow(http, gateway, until)))
        watching = [
            asyncio.create_task(dashboard.watch(http, gateway.url, verdicts, stretch, until, draw)) for dashboard in dashboards
        ]
        await asyncio.gather(*watching)
        for task in background:
            task.cancel()
    print(f"times to live were stretched by at most {stretch.most:.1f}, at the end by {stretch.factors[-1]:.1f}")
    return dashboards, verdicts, began, until


async def progress(upstream: Counting, dashboards: list[Dashboard], verdicts: Verdicts, until: float) -> None:
    reported = 0
    while time.monotonic() < until:
        await asyncio.sleep(60)
        warm = sum(dashboard.first_answer < float("inf") for dashboard in dashboards)
        print(
            f"{time.strftime('%H:%M:%S')} {len(upstream.log) - reported} requests in this minute, {warm} dashboards warm, "
            f"{verdicts.answers} answers, {verdicts.stale} stale, {len(verdicts.wrong)} untrue",
            flush=True,
        )
        reported = len(upstream.log)


def organization(arguments) -> int:
    upstream = Counting()
    upstream.latency = LATENCY
    upstream.rate = None if arguments.no_limit else (500, 60.0)
    stuck = STUCK[: arguments.stuck_states]
    histories = [make_history(upstream, number, stuck) for number in range(AGENTS)]
    assert all(row.raw for history in histories for row in history.agent.rows)
    with tempfile.TemporaryDirectory() as directory:
        flags = ["--settled-ttl", "5m", *(["--upstream-rate", "0"] if arguments.no_limit else [])]
        gateway = start_gateway(Path(directory), upstream.url, *flags)
        try:
            dashboards, verdicts, _, until = asyncio.run(drive(arguments, upstream, gateway, histories))
            metrics = memory(gateway)
        finally:
            gateway.stop()
            if log := arguments.gateway_log:
                Path(log).write_text(gateway.output())
    upstream.stop()
    if arguments.requests_log:
        with Path(arguments.requests_log).open("w") as out:
            for seen in upstream.log:
                out.write(json.dumps([seen.at, seen.path, seen.query]) + "\n")
    warm = max(dashboard.first_answer for dashboard in dashboards)
    most = tell_requests(upstream, warm, until)
    p95, statuses = tell_answers(dashboards, warm)
    verdicts.tell()
    print(metrics)
    refused = sum(count for status, count in statuses.items() if status != 200)
    holds = {
        f"at most {MOST_REQUESTS} requests in any minute ({most})": most <= MOST_REQUESTS,
        f"no error to a dashboard ({refused})": not refused,
        f"no stale answer ({verdicts.stale})": not verdicts.stale,
        f"p95 under {P95_SECONDS * 1000:.0f} ms ({p95 * 1000:.0f} ms)": p95 < P95_SECONDS,
        f"every answer as true as promised ({len(verdicts.wrong)} untrue)": not verdicts.wrong,
    }
    print()
    for what, is_so in holds.items():
        print("holds:" if is_so else "FAILS:", what)
    return 0 if all(holds.values()) else 1


def memory(program: Program) -> str:
    pid = program.process.pid
    return f"the gateway: {resident_bytes(pid) / (1 << 20):.0f} MiB resident, {open_files(pid)} handles"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=12, help="the cold start included")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--stuck-states", type=int, default=len(STUCK), help="in how many states rows are stuck")
    parser.add_argument("--edits-every", type=float, default=30, help="seconds between changes of old rows; 0 for none")
    parser.add_argument("--no-limit", action="store_true", help="neither there nor here: what would be asked for")
    parser.add_argument("--gateway-log", help="where the gateway's log goes")
    parser.add_argument("--requests-log", help="where the requests go, one a line")
    return organization(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
