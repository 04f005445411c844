"""A held key and its tokens lie in files, and change as Kubernetes changes them: a link swapped to a new folder."""

import threading
import time
import uuid
from pathlib import Path

import pytest
import requests
from answers import problem
from programs import run
from rows import make_rows, now

# A file is looked at once a second.
SOON = 10


class Mount:
    """A folder as the kubelet mounts a Secret: names are links into `..data`, and that is a link swapped whole."""

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
        swapped = self.folder / "..data_tmp"
        swapped.symlink_to(version.name)
        swapped.rename(self.folder / "..data")

    @property
    def flags(self) -> list[str]:
        return ["--upstream-key-file", str(self.folder / "key"), "--client-tokens-file", str(self.folder / "tokens")]


def token(name: str, agents: str = "*", *more: str) -> tuple[str, str]:
    """A new token: its line, and itself."""
    made = run("token", "new", "--name", name, "--agents", agents, *more)
    assert made.returncode == 0, made.stderr
    return made.stdout, made.stderr.split()[-1]


class Asking:
    """An agent behind a gateway that holds the key."""

    def __init__(self, base: str, agent: str):
        self.url = f"{base}/agents/{agent}/executions/all"

    def ask(self, bearer: str, **headers: str) -> requests.Response:
        return requests.get(self.url, headers={"Authorization": f"Bearer {bearer}"} | headers, timeout=30)

    def until(self, bearer: str, status: int, seconds: float = SOON) -> float:
        """How long it took until this is the status."""
        began = time.monotonic()
        while (answer := self.ask(bearer)).status_code != status:
            assert time.monotonic() - began < seconds, f"still {answer.status_code}: {answer.text[:300]}"
            time.sleep(0.05)
        return time.monotonic() - began


@pytest.fixture
def held(upstream, gateway, tmp_path):
    """An agent with 300 rows behind a held key, its mount, and a token that reaches it."""
    agent = str(uuid.uuid4())
    upstream.agent(agent, make_rows(300, 20), key="bn-first")
    line, bearer = token("desk")
    mount = Mount(tmp_path / "secret", key="bn-first\n", tokens=line)
    program = gateway(upstream.url, *mount.flags, "--live-ttl", "1s", "--settling-ttl", "1s")
    return Asking(program.url, agent), mount, line, bearer, agent


def test_a_rotated_key_is_used_and_what_was_read_stays(held, upstream):
    asking, mount, line, bearer, agent = held
    assert asking.ask(bearer).json()["total"] == 300
    upstream.agents[agent].key = "bn-second"
    mount.put(key="bn-second\n", tokens=line)
    # Long enough for what was read to be due again.
    time.sleep(2.5)
    upstream.forget_log()
    upstream.agents[agent].add(make_rows(1, 1e-6, seed=9, until=now()))
    answer = asking.ask(bearer, **{"Cache-Control": "no-cache"})
    assert answer.json()["total"] == 301
    assert upstream.log and all(seen.headers["authorization"] == "Bearer bn-second" for seen in upstream.log)
    # The history was not read anew: the head, and no more.
    assert len(upstream.pages) <= 2, [seen.query for seen in upstream.pages]


def test_a_token_comes_and_goes_with_its_line(held):
    asking, mount, line, bearer, _ = held
    other_line, other = token("sync")
    problem(asking.ask(other), 401, "unauthenticated")
    mount.put(key="bn-first\n", tokens=line + other_line)
    asking.until(other, 200)
    mount.put(key="bn-first\n", tokens=other_line)
    asking.until(bearer, 401)
    assert asking.ask(other).status_code == 200


def test_a_revoked_token_opens_nothing_to_many_at_once(held):
    asking, mount, _, bearer, _ = held
    other_line, other = token("sync")
    assert asking.ask(bearer).status_code == 200
    stop, seen = threading.Event(), []

    def keep_asking():
        while not stop.is_set():
            began = time.monotonic()
            status = asking.ask(bearer).status_code
            seen.append((began, time.monotonic(), status))

    threads = [threading.Thread(target=keep_asking) for _ in range(8)]
    [thread.start() for thread in threads]
    time.sleep(0.5)
    revoked = time.monotonic()
    mount.put(key="bn-first\n", tokens=other_line)
    time.sleep(4)
    stop.set()
    [thread.join() for thread in threads]
    assert {status for _, ended, status in seen if ended < revoked} == {200}
    late = [began - revoked for began, _, status in seen if status == 200]
    # Looked at once a second; three times that is allowed for a busy machine.
    assert max(late, default=0) < 3, late[-3:]
    assert any(status == 401 for _, _, status in seen)


def test_what_can_not_be_used_is_told_and_changes_nothing(held):
    asking, mount, line, bearer, _ = held
    assert asking.ask(bearer).status_code == 200
    mount.put(key="two words\n", tokens="nonsense\n")
    time.sleep(1.5)
    assert asking.ask(bearer).status_code == 200
