"""Work that nobody waits for any more is canceled and frees its resources."""

import asyncio
import time
import uuid
from dataclasses import replace

import pytest
from answers import Agent, assert_same
from leaving import Ask, leave_http1, leave_http2
from polling import wait_until
from programs import Program
from rows import make_rows

CROWD = 100
LEAVE = {"HTTP/1.1": leave_http1, "HTTP/2": leave_http2}
# How long a busy machine may take to notice that callers left.
SOON = 15


def strangers(count: int, query: str = "?format=ndjson") -> list[Ask]:
    """Requests with unknown keys for agents that do not exist."""
    return [Ask(f"/agents/{uuid.uuid4()}/executions/all{query}", f"bn-nobody-{number}") for number in range(count)]


def waiting(program: Program) -> float:
    return program.metric("fanfold_upstream_waiting") + program.metric("fanfold_upstream_in_flight")


def come_and_go(program: Program, asks: list[Ask], how: str = "HTTP/1.1") -> None:
    """Sends all requests, and closes them once work has begun."""
    asyncio.run(LEAVE[how](program.url, asks, lambda: wait_until(lambda: waiting(program) >= 3)))


def ends(program: Program, tasks: float) -> None:
    """Checks that no work is left over."""

    def is_idle() -> bool:
        return (
            not program.metric("fanfold_questions")
            and not waiting(program)
            and program.metric("fanfold_tasks") <= tasks
        )

    try:
        wait_until(is_idle, SOON)
    except AssertionError:
        left = {name: program.metric(f"fanfold_{name}") for name in ("questions", "tasks", "upstream_waiting")}
        pytest.fail(f"{SOON} s after all had left, {left} (idle, {tasks:.0f} tasks)")


@pytest.fixture
def served(agent_of, upstream):
    """An agent whose caller is known, and its rows."""
    rows = make_rows(60, 3)
    agent = agent_of(rows, days=4)
    assert_same(agent.rows(), rows)
    upstream.latency = 0.3
    return agent, rows, agent.program.metric("fanfold_tasks")


def newcomer_is_served(agent: Agent, upstream) -> None:
    """Checks that a new key gets a response at once."""
    rows = make_rows(60, 3, seed=2)
    new = replace(agent, id=str(uuid.uuid4()), key="bn-newcomer")
    upstream.agent(new.id, rows, new.key, days=4)
    assert_same(new.rows(Prefer=f"wait={SOON}"), rows)


@pytest.mark.parametrize("how", LEAVE)
@pytest.mark.parametrize("query", ["?format=ndjson", ""])
def test_unknown_callers_that_hang_up_leave_nothing_behind(served, upstream, how, query):
    agent, _, tasks = served
    come_and_go(agent.program, strangers(CROWD, query), how)
    ends(agent.program, tasks)
    newcomer_is_served(agent, upstream)


def test_a_known_key_with_made_up_agents_leaves_nothing_behind(served, upstream):
    agent, rows, tasks = served
    made_up = [replace(one, key=agent.key) for one in strangers(3 * CROWD)]
    # So slow that few requests are sent while the callers are still there.
    upstream.latency = 5
    come_and_go(agent.program, made_up, "HTTP/2")
    ends(agent.program, tasks)
    upstream.latency = 0.3
    # Requests in flight when they left, and few more.
    assert len([seen for seen in upstream.log if agent.id not in seen.path]) < CROWD
    other = replace(agent, id=str(uuid.uuid4()))
    upstream.agent(other.id, rows, other.key, days=4)
    assert_same(other.rows(Prefer=f"wait={SOON}"), rows)


def test_callers_of_a_page_that_hang_up_leave_nothing_behind(served, upstream):
    agent, _, tasks = served
    upstream.latency = 5
    query = "from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z"
    pages = [Ask(f"/v2/agent/{agent.id}/executions?{query}&batch_id={n}", agent.key) for n in range(CROWD)]
    come_and_go(agent.program, pages)
    ends(agent.program, tasks)


def test_a_stop_does_not_wait_for_callers_that_left(served):
    agent, _, _ = served
    come_and_go(agent.program, strangers(CROWD))
    began = time.monotonic()
    assert agent.program.stop(seconds=SOON) == 0
    assert time.monotonic() - began < SOON
    assert "The drain timeout is over" not in agent.program.output()
