"""A held key and tokens are in files that change like a mounted Kubernetes Secret."""

import threading
import time
import uuid
from pathlib import Path

import pytest
from answers import Agent, problem
from held import new_token
from polling import wait_until
from rows import make_rows, now

# The gateway checks its files once a second.
SOON = 15


class Mount:
    """A folder like a mounted Secret: files are links into `..data`, a link that is replaced by renaming."""

    def __init__(self, folder: Path, **files: str):
        self.folder = folder
        folder.mkdir()
        self.put(**files)
        for name in files:
            (folder / name).symlink_to(Path("..data") / name)

    def put(self, **files: str) -> None:
        version = self.folder / f"..{time.monotonic_ns()}"
        version.mkdir()
        for name, text in files.items():
            (version / name).write_text(text)
        replaced = self.folder / "..data_tmp"
        replaced.symlink_to(version.name)
        replaced.rename(self.folder / "..data")

    @property
    def flags(self) -> list[str]:
        return ["--upstream-key-file", str(self.folder / "key"), "--client-tokens-file", str(self.folder / "tokens")]


class Held:
    """An agent with 300 rows behind a gateway that holds the key."""

    def __init__(self, upstream, gateway, folder: Path, *flags: str):
        self.id, self.upstream = str(uuid.uuid4()), upstream
        upstream.agent(self.id, make_rows(300, 20), key="bn-first")
        token, self.line = new_token("desk")
        self.mount = Mount(folder / "secret", key="bn-first\n", tokens=self.line)
        self.base = gateway(upstream.url, *self.mount.flags, *flags).url
        self.agent = self.with_token(token)

    def with_token(self, token: str) -> Agent:
        return Agent(self.base, self.id, token)


def wait_for_status(agent: Agent, status: int) -> None:
    wait_until(lambda: agent.ask().status_code == status, SOON)


def stays_available(agent: Agent, seconds: float = 3) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert agent.ask().status_code == 200
        time.sleep(0.2)


@pytest.fixture
def make_held(upstream, gateway, tmp_path):
    return lambda *flags: Held(upstream, gateway, tmp_path, *flags)


@pytest.fixture
def held(make_held):
    """Rows stay fresh for the whole test."""
    return make_held("--live-ttl", "10m")


def test_a_new_key_reads_only_due_rows(make_held, upstream):
    held = make_held("--live-ttl", "1s", "--settling-ttl", "1s")
    assert held.agent.ask().json()["total"] == 300
    upstream.agents[held.id].key = "bn-second"
    held.mount.put(key="bn-second\n", tokens=held.line)
    # Long enough to reload the file and for rows to become due.
    time.sleep(2.5)
    upstream.forget_log()
    upstream.agents[held.id].add(make_rows(1, 1e-6, seed=9, until=now()))
    assert held.agent.ask(Cache_Control="no-cache").json()["total"] == 301
    assert upstream.log and all(seen.headers["authorization"] == "Bearer bn-second" for seen in upstream.log)
    # The newest page is read again, the history is not.
    assert len(upstream.pages) <= 2, [seen.query for seen in upstream.pages]


def test_a_new_key_serves_what_the_old_one_read(held, upstream):
    known = held.agent.rows()
    upstream.forget_log()
    held.mount.put(key="bn-second\n", tokens=held.line)
    # Cached rows are served, whichever key upstream accepts.
    stays_available(held.agent)
    upstream.agents[held.id].key = "bn-second"
    # Not cached, so this needs upstream.
    assert held.agent.ask("provider=plivo").status_code == 200
    assert held.agent.rows() == known
    assert [seen for seen in upstream.pages if "provider" not in seen.query] == [], "cached rows were read again"


def test_reloads_tokens_without_dropping_the_cache(held, upstream):
    known = held.agent.rows()
    upstream.forget_log()
    token, line = new_token("sync")
    other = held.with_token(token)
    problem(other.ask(), 401, "unauthenticated")
    held.mount.put(key="bn-first\n", tokens=held.line + line)
    wait_for_status(other, 200)
    held.mount.put(key="bn-first\n", tokens=line)
    wait_for_status(held.agent, 401)
    problem(held.agent.ask(), 401, "unauthenticated")
    assert other.rows() == known
    assert upstream.pages == []


def test_a_revoked_token_is_refused_to_many_callers_at_once(held):
    _, line = new_token("sync")
    assert held.agent.ask().status_code == 200
    stop, seen = threading.Event(), []

    def keep_asking():
        while not stop.is_set():
            began = time.monotonic()
            status = held.agent.ask().status_code
            seen.append((began, time.monotonic(), status))

    threads = [threading.Thread(target=keep_asking) for _ in range(8)]
    [thread.start() for thread in threads]
    wait_until(lambda: len(seen) >= len(threads))
    revoked = time.monotonic()
    held.mount.put(key="bn-first\n", tokens=line)
    try:
        wait_until(lambda: any(status == 401 for _, _, status in list(seen)), SOON)
        time.sleep(2)
    finally:
        stop.set()
    [thread.join() for thread in threads]
    assert {status for _, ended, status in seen if ended < revoked} == {200}
    # Once one caller is refused, all are.
    refused = min(ended for _, ended, status in seen if status == 401)
    assert {status for began, _, status in seen if began > refused} == {401}


def test_keeps_the_last_valid_files(held):
    held.agent.rows()
    held.mount.put(key="two words\n", tokens="this is no line of a tokens file\n")
    stays_available(held.agent)
