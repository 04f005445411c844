"""No caller gets another's rows: not under load, not from the cache, not after its key is revoked."""

import random
import re
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pytest
import requests
from programs import run
from rows import make_rows

PATIENCE = 60
# Of each thread of a crowd, however slow the machine is.
LEAST_REQUESTS = 25


@dataclass(frozen=True)
class Access:
    """A credential, an agent, and the expected outcome of a request with both."""

    bearer: str
    agent: str
    ids: frozenset[str] | None
    refusal: int = 200


def ways(base: str, access: Access, etag: str) -> list[tuple[str, dict[str, str]]]:
    """All kinds of requests for an agent, including those that a careless cache would get wrong."""
    everything = f"{base}/agents/{access.agent}/executions/all"
    page = f"{base}/v2/agent/{access.agent}/executions"
    return [
        (everything, {}),
        (everything, {"Accept": "application/x-ndjson"}),
        (everything, {"Accept-Encoding": "identity"}),
        (everything + "?status=completed", {}),
        (everything, {"If-None-Match": etag}),
        (everything, {"If-None-Match": "*"}),
        (everything, {"Cache-Control": "only-if-cached"}),
        (everything, {"Cache-Control": "max-stale"}),
        (page, {}),
        (page + "?page_size=50", {}),
        (page + "?from=2000-01-01T00:00:00Z&to=2000-01-02T00:00:00Z", {}),
    ]


def crowd(base: str, accesses: list[Access], etags: list[str], seconds: float) -> Counter:
    """Sends every kind of request for every access concurrently, for this long and until each thread has sent some.

    Returns the statuses by kind.
    """
    until = time.monotonic() + seconds

    def keep_asking(seed: int) -> Counter:
        draw, seen = random.Random(seed), Counter()
        with requests.Session() as session:
            while time.monotonic() < until or seen.total() < LEAST_REQUESTS:
                access = draw.choice(accesses)
                url, headers = draw.choice(ways(base, access, draw.choice(etags)))
                headers = headers | {"Authorization": f"Bearer {access.bearer}"}
                answer = session.get(url, headers=headers, timeout=PATIENCE)
                look(access, url, headers, answer)
                seen[access.ids is not None, answer.status_code] += 1
        return seen

    with ThreadPoolExecutor(16) as pool:
        return sum(pool.map(keep_asking, range(16)), Counter())


def look(access: Access, url: str, headers: dict[str, str], answer: requests.Response) -> None:
    about = (access, url, headers, answer.status_code, answer.text[:300])
    if access.ids is None:
        # Without upstream, nothing is known about a new key.
        unread = {504} if headers.get("Cache-Control") == "only-if-cached" else set()
        assert answer.status_code in {access.refusal} | unread, about
        assert "transcript" not in answer.text and "ETag" not in answer.headers, about
    elif answer.status_code == 200:
        ids = set(re.findall(r'"id":"([^"]+)"', answer.text))
        assert ids <= access.ids | {"decoy", "nested"}, about
    else:
        assert answer.status_code in (304, 504), about


@pytest.fixture
def two(upstream):
    """Two agents of two keys, and the ids of their rows."""
    known = []
    for seed, key in enumerate(("bn-one", "bn-two")):
        rows = make_rows(120, 6, seed=seed)
        agent = str(uuid.uuid4())
        upstream.agent(agent, rows, key=key, days=7)
        known.append((agent, key, frozenset(row.id for row in rows)))
    return known


def warm(base: str, accesses: list[Access]) -> list[str]:
    """Reads everything that is allowed; returns the validators."""
    etags = []
    for access in accesses:
        if access.ids is not None:
            url = f"{base}/agents/{access.agent}/executions/all"
            answer = requests.get(url, headers={"Authorization": f"Bearer {access.bearer}"}, timeout=PATIENCE)
            assert answer.json()["total"] == len(access.ids)
            etags.append(answer.headers["ETag"])
    return etags


def test_callers_with_their_own_keys_never_get_rows_of_others(gateway, upstream, two):
    base = gateway(upstream.url, "--upstream-rate", "0").url
    (one, first, ones), (other, second, others) = two
    accesses = [
        Access(first, one, ones),
        Access(second, other, others),
        Access(first, other, None, 404),
        Access(second, one, None, 404),
        Access("bn-nobody", one, None, 403),
        Access("bn-one-and-more", one, None, 403),
    ]
    seen = crowd(base, accesses, warm(base, accesses), 5)
    assert seen[True, 200] > 20 and seen[True, 304] > 3, seen
    assert seen[False, 404] > 20 and seen[False, 403] > 20, seen


def test_callers_with_tokens_get_only_rows_of_their_agents(gateway, upstream, two, tmp_path):
    (one, key, ones), (other, _, others) = two
    upstream.agents[other].key = key
    lines, bearers = [], []
    for name, agents, expiry in (
        ("first", one, ""),
        ("second", other, ""),
        ("both", f"{one},{other}", ""),
        ("late", "*", " 2026-01-01T00:00:00Z"),
    ):
        made = run("token", "new", "--name", name, "--agents", agents)
        lines.append(f"{made.stdout.rstrip()}{expiry}\n")
        bearers.append(made.stderr.split()[-1])
    first, second, both, late = bearers
    (tmp_path / "tokens").write_text("".join(lines))
    (tmp_path / "key").write_text(key)
    flags = ["--upstream-key-file", str(tmp_path / "key"), "--client-tokens-file", str(tmp_path / "tokens")]
    base = gateway(upstream.url, "--upstream-rate", "0", *flags).url
    accesses = [
        Access(first, one, ones),
        Access(second, other, others),
        Access(both, one, ones),
        Access(both, other, others),
        Access(first, other, None, 403),
        Access(second, one, None, 403),
        Access(late, one, None, 401),
        Access(key, one, None, 401),
        Access("ff_" + "0" * 64, other, None, 401),
    ]
    seen = crowd(base, accesses, warm(base, accesses), 5)
    assert seen[True, 200] > 20 and seen[False, 403] > 20 and seen[False, 401] > 20, seen
    assert {seen.headers["authorization"] for seen in upstream.log} == {f"Bearer {key}"}


def test_a_token_is_refused_once_it_expires(gateway, upstream, two, tmp_path):
    agent, key, _ = two[0]
    # Starting the gateway takes a while on a busy machine.
    expires = time.time() + 10
    text = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires))
    made = run("token", "new", "--name", "short", "--agents", "*", "--expires", text)
    (tmp_path / "tokens").write_text(made.stdout)
    (tmp_path / "key").write_text(key)
    flags = ["--upstream-key-file", str(tmp_path / "key"), "--client-tokens-file", str(tmp_path / "tokens")]
    url = f"{gateway(upstream.url, *flags).url}/agents/{agent}/executions/all"
    headers = {"Authorization": f"Bearer {made.stderr.split()[-1]}"}

    def keep_asking(_):
        seen = []
        while not seen or seen[-1][0] < expires + 1:
            began = time.time()
            seen.append((began, requests.get(url, headers=headers, timeout=PATIENCE).status_code))
        return seen

    with ThreadPoolExecutor(8) as pool:
        seen = [one for many in pool.map(keep_asking, range(8)) for one in many]
    assert any(status == 200 for _, status in seen)
    assert {status for began, status in seen if began >= expires} == {401}


@pytest.mark.long
def test_a_revoked_key_reads_nothing_after_a_minute(agent_of, upstream):
    # No row is ever due, so only the key is checked upstream.
    never = [part for name in ("live", "settling", "settled") for part in (f"--{name}-ttl", "24h")]
    agent = agent_of(make_rows(200, 20), *never, "--commit-lag", "0s")
    agent.rows()
    stop, seen = threading.Event(), []

    def keep_asking():
        while not stop.is_set():
            began = time.monotonic()
            answer = agent.ask(Cache_Control="max-stale")
            seen.append((began, answer.status_code))
            time.sleep(0.05)

    threads = [threading.Thread(target=keep_asking) for _ in range(8)]
    [thread.start() for thread in threads]
    time.sleep(2)
    upstream.denied_keys.add(agent.key)
    revoked = time.monotonic()
    time.sleep(70)
    stop.set()
    [thread.join() for thread in threads]
    served = [began - revoked for began, status in seen if status == 200]
    assert max(served) < 61, max(served)
    assert {status for began, status in seen if began - revoked > 61} == {403}
    print(f"the last answer for a revoked key began {max(served):.1f} s after it was revoked")


def test_a_storm_of_one_bad_key_does_not_reach_upstream(agent_of, upstream):
    agent = agent_of(make_rows(60, 3), days=4)
    agent.rows()
    upstream.forget_log()
    bad = replace(agent, key="bn-bad")
    with ThreadPoolExecutor(32) as pool:
        began = time.monotonic()
        answers = list(pool.map(lambda _: bad.ask(), range(400)))
        took = time.monotonic() - began
        assert len(agent.rows()) == 60
    assert {answer.status_code for answer in answers} == {403}
    asked = [seen for seen in upstream.log if seen.headers["authorization"] == "Bearer bn-bad"]
    # A refusal is remembered for three seconds. Each check requests the agent and the account.
    assert len(asked) <= 2 * (1 + took / 3 + 1), (len(asked), took)


def test_a_storm_of_one_bad_key_over_many_agents_does_not_reach_upstream(agent_of, upstream):
    agent = agent_of(make_rows(60, 3), days=4)
    agent.rows()
    upstream.forget_log()
    with ThreadPoolExecutor(32) as pool:
        began = time.monotonic()
        bad = [replace(agent, key="bn-bad", id=str(uuid.uuid4())) for _ in range(400)]
        answers = list(pool.map(lambda one: one.ask(), bad))
        took = time.monotonic() - began
    statuses = Counter(answer.status_code for answer in answers)
    assert set(statuses) <= {403, 429}, statuses
    asked = [seen for seen in upstream.log if seen.headers["authorization"] == "Bearer bn-bad"]
    # Those that come before the first refusal can't know of it, and it is remembered for three seconds. Each check
    # requests the agent, and the first ones the account as well.
    assert len(asked) <= 2 * 32 * (1 + took // 3), (len(asked), took)


def test_a_storm_of_many_bad_keys_leaves_the_budget_to_good_ones(agent_of, upstream):
    agent = agent_of(make_rows(60, 3), "--upstream-rate", "200/min", days=4)
    agent.rows()
    upstream.forget_log()
    bad = [replace(agent, key=f"bn-bad-{number}") for number in range(300)]
    with ThreadPoolExecutor(32) as pool:
        asked = pool.map(lambda one: one.ask(Prefer="wait=1").status_code, bad)
        assert len(agent.rows(Cache_Control="no-cache")) == 60
        statuses = Counter(asked)
    assert set(statuses) <= {403, 429, 504}, statuses
    strangers = [seen for seen in upstream.log if "bad" in seen.headers["authorization"]]
    # A tenth of the budget is always theirs, and half of it at most while nobody else wants it.
    assert len(strangers) <= 100, (len(strangers), statuses)
