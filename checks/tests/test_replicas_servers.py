"""Gateways that share a server: TLS, a slow server, a change of the secret, turns, and the shared budget."""

import asyncio
import signal
import socket
import uuid
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
import requests
from aiohttp import web
from answers import PATIENCE, Agent, assert_same, problem, whole
from certificates import Certificates
from polling import wait_until
from programs import KEY, Program, run, start_gateway
from redis_server import RedisServer, SlowRelay
from rows import DAY, make_rows, micros_of, now
from test_replicas import PATIENT, SECRET, SOON, all_saved, is_up, tier  # noqa: F401
from upstream import Upstream

# The newest rows, a check of the key, and a spare request.
WHAT_IS_DUE = 4
# So that a busy machine does not make rows due again.
LONG_LIVED = ["--live-ttl", "1h", "--settling-ttl", "1h"]


def agent_of(upstream: Upstream, rows, key: str = KEY) -> str:
    id = str(uuid.uuid4())
    upstream.agent(id, rows, key, days=21)
    return id


def reads(program: Program, id: str, rows) -> None:
    assert_same(Agent(program.url, id, KEY).rows(), rows)


def purge(program: Program, id: str) -> int:
    return requests.delete(f"{program.admin}/agents/{id}", timeout=PATIENCE).status_code


def waits(program: Program, asked: Future) -> None:
    """Waits until a request waits for its turn. On a busy machine, its turn may come before that is noticed."""
    theirs = 'fanfold_tier_claims_total{outcome="theirs"}'
    wait_until(lambda: program.metric(theirs) > 0 or asked.done(), SOON, describe=program.output)


# TLS


@pytest.fixture
def certificates(tmp_path):
    (tmp_path / "tls").mkdir()
    return Certificates.make(tmp_path / "tls")


@pytest.fixture
def over_tls(tier, certificates):
    """A tier with a TLS server."""
    tier.server.kill()
    tier.server = RedisServer(tier.folder, certificates.authority.with_name("fit.pem"))
    tier.url = tier.server.url
    return tier


def test_gateways_share_a_server_over_tls(over_tls, upstream, certificates):
    rows = make_rows(1_000, 20)
    id = agent_of(upstream, rows)
    trusting = ["--tier-ca-file", str(certificates.authority), *PATIENT]
    checked = run("tier", "check", *over_tls.flags, *trusting)
    assert checked.returncode == 0 and "rediss://" in checked.stdout, checked.stdout + checked.stderr
    first = over_tls.start(upstream.url, *trusting)
    reads(first, id, rows)
    all_saved(first)
    second = over_tls.start(upstream.url, *trusting)
    upstream.forget_log()
    reads(second, id, rows)
    assert len(upstream.log) <= WHAT_IS_DUE, [(seen.path, seen.query) for seen in upstream.log]


def test_refuses_a_server_with_an_untrusted_certificate(over_tls, upstream, certificates, tmp_path):
    (tmp_path / "others").mkdir()
    others = ["--tier-ca-file", str(Certificates.make(tmp_path / "others").authority)]
    trusting = ["--tier-ca-file", str(certificates.authority)]
    elsewhere = RedisServer(tmp_path / "others", certificates.authority.with_name("unfit.pem"))
    secret = over_tls.flags[2:]
    wrong = {
        "another authority": [*over_tls.flags, *PATIENT, *others],
        "the system's authorities": [*over_tls.flags, *PATIENT],
        "another host's certificate": ["--tier-url", elsewhere.url, *secret, *PATIENT, *trusting],
        "no TLS": ["--tier-url", f"rediss://127.0.0.1:{over_tls.server.port}", *secret, *trusting],
    }
    try:
        with ThreadPoolExecutor() as pool:
            for why, checked in zip(wrong, pool.map(lambda flags: run("tier", "check", *flags), wrong.values()), strict=True):
                assert checked.returncode == 1 and "can't be used" in checked.stdout, f"{why}: {checked.stdout}"
                assert why == "no TLS" or "certificate" in checked.stdout, f"{why}: {checked.stdout}"
    finally:
        elsewhere.kill()
    program = start_gateway(over_tls.folder, upstream.url, *over_tls.flags, *others)
    over_tls.started.append(program)
    wait_until(lambda: "The tier is away: " in program.output(), SOON, describe=program.output)
    assert "certificate" in program.output().split("The tier is away: ")[1], program.output()
    rows = make_rows(200, 20)
    reads(program, agent_of(upstream, rows), rows)
    assert not is_up(program) and requests.get(f"{program.admin}/readyz", timeout=PATIENCE).status_code == 200


# Slow


def test_a_slow_server_causes_no_wrong_responses_and_is_not_needed_for_cached_ones(tier, upstream):
    relay = SlowRelay(tier.server.port)
    tier.url = relay.url
    try:
        rows = make_rows(200, 20)
        id = agent_of(upstream, rows)
        # Without the server, a new gateway gets a tenth of its share.
        flags = [*LONG_LIVED, "--tier-timeout", "100ms", "--upstream-rate", "6000/min"]
        programs = [tier.start(upstream.url, *flags) for _ in range(2)]
        for program in programs:
            reads(program, id, rows)
        upstream.forget_log()

        def asks_the_server_nothing() -> bool:
            before = relay.keys_of_rows()
            for program in programs * 10:
                reads(program, id, rows)
            return relay.keys_of_rows() == before

        for relay.delay in (0.0, 0.3):
            # The first rows may still be being saved.
            wait_until(asks_the_server_nothing, SOON)
        assert relay.keys_of_rows() > 0 and not upstream.pages
        # An agent that is not cached, and one that is purged.
        cold = agent_of(upstream, rows)
        for program in programs:
            reads(program, cold, rows)
        upstream.agents[id].remove(rows.pop().id)
        # On a busy machine, a reply may arrive within the timeout.
        assert purge(programs[0], id) in (204, 503)
        reads(programs[0], id, rows)
        relay.delay = 0.0
        wait_until(lambda: purge(programs[0], id) == 204, SOON, describe=programs[0].output)
        wait_until(lambda: len(Agent(programs[1].url, id, KEY).rows()) == len(rows), SOON)
        for program in programs:
            wait_until(lambda program=program: is_up(program), SOON, describe=program.output)
            reads(program, id, rows)
    finally:
        relay.stop()


# Turns


class HeldPages:
    """Holds back pages of rows older than a week until they are released."""

    def __init__(self, upstream: Upstream):
        self.held, self.is_over = 0, False
        upstream.fault = self

    async def __call__(self, request: web.Request) -> None:
        if micros_of(request.query["to"]) < now() - 7 * DAY:
            self.held += 1
            while not self.is_over:
                await asyncio.sleep(0.02)

    def release(self) -> None:
        self.is_over = True


@pytest.fixture
def upstream_of_its_own():
    """A second upstream with the same agents, to affect the requests of one gateway only."""
    upstream = Upstream()
    yield upstream
    upstream.stop()


@pytest.fixture
def pool():
    """Threads for slow requests."""
    with ThreadPoolExecutor() as pool:
        yield pool


def one_held_back(tier, upstream, upstream_of_its_own):
    """The rows of an agent, its id, a gateway whose older pages are held back, another gateway, and what holds them back."""
    rows = make_rows(600, 20)
    id = agent_of(upstream, rows)
    upstream_of_its_own.agents = upstream.agents
    first, second = (tier.start(at.url, *PATIENT) for at in (upstream_of_its_own, upstream))
    return rows, id, first, second, HeldPages(upstream_of_its_own)


def test_a_frozen_replica_delays_no_other_and_restores_no_purged_rows(tier, upstream, upstream_of_its_own, pool):
    rows, id, first, second, pages = one_held_back(tier, upstream, upstream_of_its_own)
    asked = pool.submit(Agent(first.url, id, KEY).ask)
    wait_until(lambda: pages.held > 0, SOON, describe=first.output)
    waiting = pool.submit(Agent(second.url, id, KEY).rows)
    waits(second, waiting)
    first.process.send_signal(signal.SIGSTOP)
    try:
        pages.release()
        assert_same(waiting.result(PATIENCE), rows)
        # The pages that the first gateway has received are older than the purge.
        oldest = min(rows, key=lambda row: row.created)
        rest = [row for row in rows if row is not oldest]
        upstream.agents[id].remove(oldest.id)
        assert purge(second, id) == 204
        reads(second, id, rest)
    finally:
        first.process.send_signal(signal.SIGCONT)
    woken = asked.result(PATIENCE)
    if woken.status_code == 200:
        got = whole(woken)
        assert_same(got, rows if len(got) == len(rows) else rest)
    else:
        assert woken.status_code in (429, 502, 503, 504), woken.text
        problem(woken, woken.status_code, woken.json()["code"])
    wait_until(lambda: len(Agent(first.url, id, KEY).rows()) == len(rest), SOON, describe=first.output)
    third = tier.start(upstream.url)
    for program in (first, second, third):
        reads(program, id, rest)


def test_a_client_that_leaves_releases_its_turn(tier, upstream, upstream_of_its_own, pool):
    rows, id, first, second, pages = one_held_back(tier, upstream, upstream_of_its_own)
    agent = Agent(first.url, id, KEY)
    with socket.create_connection(("127.0.0.1", int(first.url.rsplit(":", 1)[1]))) as client:
        client.sendall(f"GET {agent.path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode())
        wait_until(lambda: pages.held > 0, SOON, describe=first.output)
        waiting = pool.submit(Agent(second.url, id, KEY).rows)
        waits(second, waiting)
    # The pages are still held back.
    assert_same(waiting.result(PATIENCE), rows)
    pages.release()
    reads(first, id, rows)


def test_other_replicas_do_not_wait_for_a_no_store_read(tier, upstream, upstream_of_its_own, pool):
    rows, id, first, second, pages = one_held_back(tier, upstream, upstream_of_its_own)
    asked = pool.submit(Agent(first.url, id, KEY).rows, Cache_Control="no-store")
    wait_until(lambda: pages.held > 0, SOON, describe=first.output)
    reads(second, id, rows)
    pages.release()
    assert_same(asked.result(PATIENCE), rows)


# Secrets


def test_rolls_out_a_new_secret_while_running(tier, upstream):
    new, old = "b" * 40, SECRET
    both = tier.folder / "both"
    both.write_text(f"{new}\n{old}")
    first = tier.start(upstream.url, *LONG_LIVED, *PATIENT)
    tier.secret = both
    second = tier.start(upstream.url, *LONG_LIVED, *PATIENT)
    rows = {}
    for program in (first, second):
        truth = make_rows(200, 20)
        rows[agent_of(upstream, truth)] = truth
        reads(program, list(rows)[-1], truth)
    for program in (first, second):
        all_saved(program)
    by_first, by_second = rows
    upstream.forget_log()
    reads(second, by_first, rows[by_first])
    assert len(upstream.log) <= WHAT_IS_DUE, [(seen.path, seen.query) for seen in upstream.log]
    reads(first, by_second, rows[by_second])
    # Each is purged at the gateway that did not save it.
    for purged, at, other in ((by_first, second, first), (by_second, first, second)):
        upstream.agents[purged].remove(rows[purged].pop().id)
        assert purge(at, purged) == 204
        agent, truth = Agent(other.url, purged, KEY), len(rows[purged])
        wait_until(lambda agent=agent, truth=truth: len(agent.rows()) == truth, SOON)
    third = tier.start(upstream.url)
    for program in (first, second, third):
        for id, truth in rows.items():
            reads(program, id, truth)


# Budget

RATE = 30
# As in test_budget.py: requests are counted when they arrive.
JITTER = 0.3


def sent_with(upstream: Upstream, key: str) -> list[float]:
    return sorted(seen.at for seen in list(upstream.log) if seen.headers.get("authorization") == f"Bearer {key}")


def test_replicas_share_one_budget_for_each_key(tier, upstream, pool):
    keys = [KEY, "bn-other"]
    agents = {key: agent_of(upstream, make_rows(3_000, 20), key) for key in keys}
    flags = ["--rate-scope", "credential", "--upstream-rate", f"{RATE}/min", "--replicas", "2", "--refresh-reserve", "0%"]
    programs = [tier.start(upstream.url, *flags, *PATIENT) for _ in range(2)]

    def ask_all(seconds: int) -> None:
        asks = [(Agent(program.url, id, key), seconds) for program in programs for key, id in agents.items()]
        for answer in pool.map(lambda ask: ask[0].ask(Prefer=f"wait={ask[1]}"), asks):
            assert answer.status_code in (429, 504), answer.status_code

    # More than the share of one replica.
    wait_until(lambda: ask_all(3) or min(len(sent_with(upstream, key)) for key in keys) > RATE * 2 / 3, 60)
    ask_all(1)
    for key in keys:
        times = sent_with(upstream, key)
        most = max(sum(at <= other < at + 60 - JITTER for other in times) for at in times)
        assert most <= RATE, f"{most} requests with {key}"
    assert all("bn-other" not in program.output() for program in programs)
