"""Half an hour of random requests with TTLs of a second or two: responses must be correct, and resources must not grow.

`scripts/soak endless` runs it: two live agents behind one gateway, and six clients that request random ranges, with and without
a status. Memory and handles must stay flat, every response must match upstream's history, and the number of upstream requests
must be close to a forecast.

Rows are read again when they are requested after their TTL. So a part with a TTL of `T` seconds that is requested `q` times a
second costs its pages every `T + 1/q` seconds. For each of the two agents:

- the head of each of three scopes (no filter, completed, failed), T = 1 s, one page, which has room for all live rows,
  those of the last two minutes (`--settle-after 2m`), and the few that settle with them;
- the last week under a status, T = 2 s: all rows of that status, 50 a page (where fanfold finds it cheaper, those of
  every status, and one head less);
- the stuck rows without a filter, T = 2 s: a request for each, because hardly two are within seven days of each other;
- the settled rest of each scope, T = 5 min: a page for every 40 rows;
- and one `GET /v2/agent/{id}` at the start, which no longer counts after the first minute.

`expected` below is this list as a formula.
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
from dataclasses import replace
from pathlib import Path

import aiohttp
from organization import SECONDS_BETWEEN_CALLS, Kind, live
from process_memory import open_files, resident_bytes
from programs import KEY, Program, start_gateway
from rows import DAY, SECOND, make_rows, now, text_of
from truth import Asked, History, Promise, Verdicts, small
from upstream import Upstream

AGENTS = 2
ROWS = 1_500
DAYS = 60
STUCK = 4
CLIENTS = 6
PAUSE_SECONDS = 0.5
LATENCY = 0.02
STATUSES = (None, None, "completed", "failed")
# The share of each status among all rows.
SHARES = {None: 1.0, "completed": 0.6, "failed": 0.1}
PROMISE = Promise(live=1, settling=2, settled=300, settle_after=120)
PAGE = 50
# After this time, everything has been requested and is cached.
COLD_SECONDS = 60
ROWS_RENEWED_A_PAGE = 40


def random_question(draw: random.Random) -> Asked:
    at, status = time.time(), draw.choice(STATUSES)
    match draw.randrange(4):
        case 0:
            return Asked(at, status=status)
        case 1:
            return Asked(at, now() - 7 * DAY, status=status)
        case 2:
            return Asked(at, now() - draw.randrange(1, 24 * 60) * 60 * SECOND, status=status)
        case _:
            start = now() - draw.randrange(8 * DAY, DAYS * DAY)
            return Asked(at, start, start + draw.randrange(DAY, 20 * DAY), status)


def expected(questions_a_second: float, minutes: float) -> dict[str, float]:
    """Expected upstream requests a second, by purpose."""
    # Of those that arrive, half are there in the middle of the time.
    week_rows = ROWS / DAYS * 7 + minutes * 60 / SECONDS_BETWEEN_CALLS / 2
    parts = dict.fromkeys(("heads", "last week under a status", "stuck", "settled"), 0.0)

    def every(ttl: float, share: float, asked: float) -> float:
        return 1 / (ttl + 1 / (asked * share))

    for status in set(STATUSES):
        asked = questions_a_second / AGENTS * STATUSES.count(status) / len(STATUSES)
        rows = ROWS * SHARES[status]
        # Three in four kinds of questions go up to the present.
        parts["heads"] += AGENTS * every(PROMISE.live, 3 / 4, asked)
        # Six in ten of the days that are asked about are in `settled`; all of it within a few minutes.
        parts["settled"] += AGENTS * (rows / ROWS_RENEWED_A_PAGE) / PROMISE.settled
        if status is None:
            # Nearly each lies in a window of its own.
            parts["stuck"] += AGENTS * STUCK * every(PROMISE.settling, 1 / 2, asked)
        else:
            pages = max(1.0, week_rows * SHARES[status] / PAGE)
            parts["last week under a status"] += AGENTS * pages * every(PROMISE.settling, 1 / 2, asked)
    return parts


async def client(http: aiohttp.ClientSession, base: str, histories, verdicts: Verdicts, tally, until: float, seed: int):
    draw = random.Random(seed)
    while time.monotonic() < until:
        history, asked = draw.choice(histories), random_question(draw)
        query = {"from": text_of(asked.start, 1)} if asked.start else {}
        if asked.end < 1 << 62:
            query["to"] = text_of(asked.end, 1)
        if asked.status:
            query["status"] = asked.status
        began = time.monotonic()
        async with http.get(f"{base}/agents/{history.agent.id}/executions/all", params=query) as answer:
            body = await answer.read()
            tally.append((time.monotonic() - began, answer.status))
            if answer.status == 200:
                verdicts.check(history, PROMISE, asked, json.loads(body)["data"], json.dumps(query))
            else:
                print(f"  {answer.status}: {body.decode()[:200]}", flush=True)
        await asyncio.sleep(PAUSE_SECONDS * draw.uniform(0.5, 1.5))


def resident_and_handles(program: Program) -> tuple[float, int]:
    """The resident memory in mebibytes, and the number of open files."""
    pid = program.process.pid
    return resident_bytes(pid) / (1 << 20), open_files(pid)


def cache(program: Program) -> tuple[float, int]:
    """The size of the cache in mebibytes, and the number of its entries."""
    return program.metric("fanfold_cache_bytes") / (1 << 20), int(program.metric("fanfold_cache_entries"))


async def observe(program: Program, upstream: Upstream, verdicts: Verdicts, samples: list, until: float) -> None:
    reported = 0
    while time.monotonic() < until:
        await asyncio.sleep(min(60, max(0.1, until - time.monotonic())))
        memory, handles = resident_and_handles(program)
        count = len(upstream.log)
        samples.append((memory, handles, count - reported))
        kept, entries = await asyncio.to_thread(cache, program)
        print(
            f"{time.strftime('%H:%M:%S')} {memory:.1f} MiB, of it {kept:.1f} in {entries} entries of the cache, "
            f"{handles} handles, {count - reported} requests, "
            f"{verdicts.answers} answers, {len(verdicts.wrong)} untrue",
            flush=True,
        )
        reported = count


async def drive(program: Program, upstream: Upstream, histories: list[History], until: float):
    verdicts, tally, samples = Verdicts(), [], []
    headers = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=90)) as http:
        calls = [asyncio.create_task(live(history, until, random.Random(9))) for history in histories]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(observe(program, upstream, verdicts, samples, until))
            for number in range(CLIENTS):
                tasks.create_task(client(http, program.url, histories, verdicts, tally, until, number))
        for task in calls:
            task.cancel()
    return verdicts, tally, samples


def make_history(upstream: Upstream, number: int) -> History:
    made = make_rows(ROWS, DAYS, seed=100 + number)
    # The stuck ones lie where they lie: among the first, which are in no order.
    rows = [small(replace(row, status="in-progress") if i < STUCK else row) for i, row in enumerate(made)]
    id = str(uuid.UUID(int=random.Random(number).getrandbits(128), version=4))
    return History(upstream.agent(id, rows, KEY, days=DAYS + 1))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30)
    arguments = parser.parse_args()
    upstream = Upstream()
    upstream.latency = LATENCY
    histories = [make_history(upstream, number) for number in range(AGENTS)]
    flags = [*PROMISE.flags(), "--settle-after", f"{PROMISE.settle_after}s", "--upstream-rate", "0"]
    with tempfile.TemporaryDirectory() as directory:
        program = start_gateway(Path(directory), upstream.url, *flags)
        try:
            until = time.monotonic() + arguments.minutes * 60
            verdicts, tally, samples = asyncio.run(drive(program, upstream, histories, until))
        finally:
            program.stop()
    upstream.stop()
    return judge(upstream, verdicts, tally, samples, arguments.minutes)


def judge(upstream: Upstream, verdicts: Verdicts, tally, samples, minutes: float) -> int:
    asked = len(tally) / (minutes * 60)
    parts = expected(asked, minutes)
    first = upstream.log[0].at + COLD_SECONDS
    counted = sum(seen.at >= first for seen in upstream.log) / max(minutes - COLD_SECONDS / 60, 0.1)
    computed = sum(parts.values()) * 60
    print(f"\n{asked:.1f} questions a second; computed, a minute:", {k: round(v * 60) for k, v in parts.items()})
    Kind.tell(upstream, minutes)
    took = sorted(seconds for seconds, _ in tally)
    print(f"waiting: p50 {statistics.median(took) * 1000:.0f} ms, p95 {took[int(len(took) * 0.95)] * 1000:.0f} ms")
    verdicts.tell()
    third = max(1, len(samples) // 3)
    early, late = samples[third : 2 * third] or samples, samples[-third:]
    memories = [statistics.median(sample[0] for sample in part) for part in (early, late)]
    handles = [max(sample[1] for sample in part) for part in (early, late)]
    errors = sum(status != 200 for _, status in tally)
    holds = {
        f"memory flat (median of the second third {memories[0]:.1f} MiB, of the last {memories[1]:.1f})": memories[1]
        <= memories[0] * 1.1 + 2,
        f"handles flat (most in the second third {handles[0]}, in the last {handles[1]})": handles[1] <= handles[0] + 8,
        f"requests about as computed ({counted:.0f} a minute, computed {computed:.0f})": computed / 2
        <= counted
        <= computed * 1.5,
        f"no error ({errors})": not errors,
        f"no untrue answer ({len(verdicts.wrong)})": not verdicts.wrong,
    }
    print()
    for what, is_so in holds.items():
        print("holds:" if is_so else "FAILS:", what)
    return 0 if all(holds.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
