"""Concurrent callers share one read, and any of them may leave."""

import asyncio

import httpx
import pytest
from answers import PATIENCE, assert_same, raw_rows
from polling import wait_until
from rows import make_rows

CALLERS = 100
# Rows that stay fresh until the last of many callers has its response.
FRESH = ("--live-ttl", "10m", "--settling-ttl", "10m")


async def ask_many(agent, count: int) -> list[str]:
    limits = httpx.Limits(max_connections=count)
    async with httpx.AsyncClient(timeout=PATIENCE, limits=limits, trust_env=False) as client:
        answers = await asyncio.gather(*(client.get(agent.url, headers=agent.headers) for _ in range(count)))
    assert [answer.status_code for answer in answers] == [200] * count
    return [answer.text for answer in answers]


@pytest.mark.parametrize("latency", [0.02, 0.1])
def test_a_hundred_callers_cost_upstream_what_one_costs(agent_of, upstream, latency):
    rows = make_rows(500, 30)
    upstream.latency = latency
    alone = agent_of(rows, *FRESH, days=31)
    asyncio.run(ask_many(alone, 1))
    cost = len(upstream.log)

    upstream.forget_log()
    together = agent_of(rows, *FRESH, days=31)
    texts = asyncio.run(ask_many(together, CALLERS))
    # The page that is prefetched with the check of the key may be of no use once upstream's clock is known.
    assert len(upstream.log) <= cost + 1
    for text in set(text.partition('"data":')[2] for text in texts):
        assert_same(raw_rows('"data":' + text), rows)


def test_the_first_caller_leaving_changes_nothing_for_the_others(agent_of, upstream):
    rows = make_rows(500, 30)
    upstream.latency = 0.3
    alone = agent_of(rows, *FRESH, days=31)
    asyncio.run(ask_many(alone, 1))
    cost = len(upstream.log)

    upstream.forget_log()
    together = agent_of(rows, *FRESH, days=31)

    async def scene() -> list[str]:
        async with httpx.AsyncClient(timeout=PATIENCE, trust_env=False) as client:
            first = asyncio.create_task(client.get(together.url, headers=together.headers))
            # The first page is asked for together with the check of the key: there is no reading to share before that.
            await asyncio.to_thread(wait_until, lambda: len(upstream.pages) >= 3, every=0.005)
            others = asyncio.create_task(ask_many(together, 20))
            # If the first caller leaves before others join, its read rightly stops.
            await asyncio.to_thread(
                wait_until, lambda: first.done() or together.program.metric("fanfold_questions") >= 21, every=0.01
            )
            first.cancel()
            return await others

    for text in asyncio.run(scene()):
        assert_same(raw_rows(text), rows)
    assert len(upstream.log) <= cost + 1


def test_a_caller_who_leaves_alone_stops_the_read(agent_of, upstream):
    # Eight pages a second: it takes seconds until more than two dozen are read for nobody.
    upstream.latency = 1
    agent = agent_of(make_rows(5_000, 6), days=7)

    async def scene() -> tuple[int, int]:
        async with httpx.AsyncClient(timeout=PATIENCE, trust_env=False) as client:
            only = asyncio.create_task(client.get(agent.url, headers=agent.headers))
            await asyncio.to_thread(wait_until, lambda: len(upstream.pages) >= 10, every=0.005)
            only.cancel()
        left_at = len(upstream.pages)
        await asyncio.sleep(6)
        return left_at, len(upstream.pages)

    left_at, ended_at = asyncio.run(scene())
    assert ended_at - left_at <= 24, "the read goes on for nobody"
