"""Secrets that change as the kubelet changes them: a link moves from one folder to the next."""

import os
import time
import uuid
from pathlib import Path

import pytest
from answers import Agent, problem
from programs import KEY, run
from rows import make_rows

NOTICED_WITHIN = 15


class Mount:
    """A folder as the kubelet fills it: `file` → `..data/file`, and `..data` → a folder of that version."""

    def __init__(self, folder: Path, name: str):
        folder.mkdir()
        self.folder, self.name, self.version = folder, name, 0
        (folder / name).symlink_to(f"..data/{name}")

    @property
    def file(self) -> Path:
        return self.folder / self.name

    def fill(self, content: str) -> None:
        """Another version, by one rename: whoever looks sees the old or the new one."""
        self.version += 1
        version = self.folder / f"..version_{self.version}"
        version.mkdir()
        (version / self.name).write_text(content)
        link = self.folder / "..data_tmp"
        link.symlink_to(version.name)
        os.rename(link, self.folder / "..data")


def token(agent: str) -> tuple[str, str]:
    """A new token, and its line for the file."""
    made = run("token", "new", "--name", "check", "--agents", agent)
    return made.stderr.strip().splitlines()[-1], made.stdout


@pytest.fixture
def held(tmp_path, gateway, upstream):
    """An agent behind a gateway that holds the key, the two mounts, and the token."""
    id = str(uuid.uuid4())
    upstream.agent(id, make_rows(200, 20), KEY, 30)
    key, tokens = Mount(tmp_path / "upstream", "key"), Mount(tmp_path / "clients", "tokens")
    secret, line = token(id)
    key.fill(KEY)
    tokens.fill(line)
    flags = ["--upstream-key-file", str(key.file), "--client-tokens-file", str(tokens.file), "--live-ttl", "10m"]
    program = gateway(upstream.url, *flags)
    return Agent(program.url, id, secret), key, tokens


def test_a_new_token_is_taken_and_the_old_one_refused_and_nothing_is_read_again(held, upstream):
    old, _, tokens = held
    known = old.rows()
    upstream.forget_log()
    secret, line = token(old.id)
    tokens.fill(line)
    new = Agent(old.base, old.id, secret)
    until = time.monotonic() + NOTICED_WITHIN
    while new.ask().status_code == 401 and time.monotonic() < until:
        time.sleep(0.1)
    assert new.rows() == known
    problem(old.ask(), 401, "unauthenticated")
    assert upstream.pages == []


def test_a_new_key_is_used_and_what_the_old_one_read_stays(held, upstream):
    agent, key, _ = held
    known = agent.rows()
    upstream.forget_log()
    key.fill("bn-second")
    # What is known is answered meanwhile, whichever key upstream would take.
    until = time.monotonic() + 3
    while time.monotonic() < until:
        assert agent.ask().status_code == 200
        time.sleep(0.2)
    upstream.agents[agent.id].key = "bn-second"
    # Not known yet, so upstream is asked.
    assert agent.ask("provider=plivo").status_code == 200
    assert agent.rows() == known
    asked = [seen for seen in upstream.pages if "provider" not in seen.query]
    assert asked == [], "what was known was read again"


def test_a_secret_that_became_unreadable_leaves_the_last_one_in_force(held):
    agent, _, tokens = held
    agent.rows()
    tokens.fill("this is no line of a tokens file\n")
    until = time.monotonic() + 3
    while time.monotonic() < until:
        assert agent.ask().status_code == 200
        time.sleep(0.2)
