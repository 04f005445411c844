"""The cost of a restart with a directory, and correct responses whatever its files contain."""

import random
import shutil
import signal
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from answers import Agent, assert_same, problem
from polling import wait_until
from programs import KEY
from rows import PHONE, TRANSCRIPT_WORD, make_rows, now
from test_tier import SOON, Tier, limit_files, state, tier, wait_for_the_lock  # noqa: F401

# A check of the key, rows that are due anyway, and a spare request.
AFTER_A_RESTART = 4


@pytest.fixture
def rows():
    return make_rows(1_000, 40)


@pytest.fixture
def agent(upstream, rows):
    id = str(uuid.uuid4())
    upstream.agent(id, rows, KEY, days=41)
    return id


def read(program, agent: str, rows) -> None:
    assert_same(Agent(program.url, agent, KEY).rows(), rows)


def wait_until_kept(program) -> None:
    """Waits until all rows are in the directory."""
    wait_until(lambda: program.metric("fanfold_tier_saves_total") > 0, 60)
    # The first save may be incomplete.
    seen = -1.0
    while seen != (seen := program.metric("fanfold_tier_bytes")):
        time.sleep(5)


def forget_after(tier, upstream, agent, rows, how=signal.SIGTERM):
    """Reads everything in one process and stops it."""
    program = tier.start(upstream.url)
    wait_for_the_lock(program)
    read(program, agent, rows)
    if how == signal.SIGKILL:
        wait_until_kept(program)
    program.stop(how)
    upstream.forget_log()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_restart_costs_a_few_requests(tier, upstream, agent, rows, how):
    forget_after(tier, upstream, agent, rows, how)
    program = tier.start(upstream.url)
    read(program, agent, rows)
    assert len(upstream.log) <= AFTER_A_RESTART, [seen.path for seen in upstream.log]


def test_changes_are_seen_after_a_restart(tier, upstream, agent, rows):
    forget_after(tier, upstream, agent, rows)
    fresh = make_rows(3, 0.00001, seed=9, until=now())
    upstream.agents[agent].add(fresh)
    program = tier.start(upstream.url)
    read(program, agent, upstream.agents[agent].rows)


def test_the_directory_contains_no_plain_data(tier, upstream, agent, rows):
    forget_after(tier, upstream, agent, rows)
    assert len(tier.files(".cell")) > 4 and len(tier.files(".rows")) > 10
    hidden = [KEY, agent, agent.replace("-", ""), PHONE, TRANSCRIPT_WORD, rows[0].id, "completed", "status"]
    hidden = [text.encode() for text in hidden] + [uuid.UUID(agent).bytes, uuid.UUID(rows[0].id).bytes]
    for path in tier.files():
        content = path.read_bytes()
        for text in hidden:
            assert text not in content and text not in str(path).encode(), path


def flip(content: bytes) -> bytes:
    at = random.Random(len(content)).randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


@pytest.mark.parametrize(
    "damage",
    [lambda content: b"", lambda content: bytes(len(content)), lambda content: content[: len(content) // 2], flip],
    ids=["empty", "zeros", "half", "flipped"],
)
@pytest.mark.parametrize("ending", [".cell", ".rows", "voids", "requests"])
def test_damaged_files_cost_requests_but_no_rows(tier, upstream, agent, rows, ending, damage):
    forget_after(tier, upstream, agent, rows)
    for path in tier.files(ending):
        path.write_bytes(damage(path.read_bytes()))
    program = tier.start(upstream.url)
    read(program, agent, rows)
    if ending in (".cell", ".rows"):
        assert program.metric('fanfold_tier_files_total{outcome="corrupt"}') > 0


def test_another_secret_opens_nothing(tier, upstream, agent, rows):
    forget_after(tier, upstream, agent, rows)
    tier.set_secret("b" * 40)
    program = tier.start(upstream.url)
    read(program, agent, rows)
    assert len(upstream.log) > len(rows) // 50


def test_a_copied_directory_serves_as_the_original_does(tier, upstream, agent, rows, tmp_path):
    forget_after(tier, upstream, agent, rows)
    shutil.copytree(tier.path, tmp_path / "copy")
    tier.path = tmp_path / "copy"
    program = tier.start(upstream.url)
    read(program, agent, rows)
    assert len(upstream.log) <= AFTER_A_RESTART


def test_a_purge_survives_a_kill(tier, upstream, agent, rows):
    program = tier.start(upstream.url)
    wait_for_the_lock(program)
    read(program, agent, rows)
    wait_until_kept(program)
    upstream.agents[agent].remove(rows[500].id)
    assert requests.delete(f"{program.admin}/agents/{agent}", timeout=10).status_code == 204
    program.stop(signal.SIGKILL)
    program = tier.start(upstream.url)
    read(program, agent, upstream.agents[agent].rows)


def test_a_purge_without_the_lock_fails(tier, upstream, agent, rows):
    first = tier.start(upstream.url)
    wait_for_the_lock(first)
    second = tier.start(upstream.url)
    wait_until(lambda: state(second) == 1)
    answer = requests.delete(f"{second.admin}/agents/{agent}", timeout=10)
    problem(answer, 503, "tier_unavailable")


def test_serves_callers_on_a_full_disk(tier, upstream, agent, rows):
    program = tier.start(upstream.url)
    wait_for_the_lock(program)
    limit_files(program, 4096)
    read(program, agent, rows)
    wait_until(lambda: state(program) == 2, 60)
    read(program, agent, rows)
    # One exists while a write is tried again.
    wait_until(lambda: not tier.files(".tmp"))
    limit_files(program, None)
    wait_until(lambda: state(program) == 0, 60)


def test_responses_stay_correct_over_random_kills(tier, upstream, agent, rows):
    draw = random.Random(11)
    for round in range(10):
        program = tier.start(upstream.url, "--live-ttl", "1s")
        moving = make_rows(2, 0.00001, seed=100 + round, until=now())
        upstream.agents[agent].add(moving)
        truth = {row.raw for row in upstream.agents[agent].rows}

        def ask() -> None:
            try:
                answer = Agent(program.url, agent, KEY).ask()
            except requests.RequestException:
                return
            if answer.status_code == 200 and answer.json()["complete"]:
                assert answer.json()["total"] == len(truth)

        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(ask) for _ in range(4)]
            time.sleep(draw.uniform(0.05, 2))
            program.stop(signal.SIGKILL)
            for done in asked:
                done.result()
    program = tier.start(upstream.url)
    read(program, agent, upstream.agents[agent].rows)
