"""A tier in a directory: one process writes, and problems with the directory do not affect callers."""

import random
import resource
import signal
import subprocess
import time
import uuid
from pathlib import Path

import pytest
import requests
from answers import Agent, assert_same
from held import held_flags
from polling import wait_until
from programs import KEY, Program, run, start_gateway
from rows import PHONE, TRANSCRIPT_WORD, make_rows

# The lock and the secret are checked once a second.
SOON = 15
# Requests are counted when they arrive, which may be late on a busy machine.
JITTER = 5


class Tier:
    """A directory and its secret, and gateways that use them."""

    def __init__(self, folder: Path):
        self.folder, self.path, self.secret = folder, folder / "tier", folder / "secret"
        self.started: list[Program] = []
        self.set_secret("a" * 40)

    def set_secret(self, *lines: str) -> None:
        self.secret.write_text("\n".join(lines))

    @property
    def flags(self) -> list[str]:
        return ["--tier-url", f"file://{self.path}", "--tier-secret-file", str(self.secret)]

    def start(self, upstream_url: str, *flags: str) -> Program:
        self.started.append(start_gateway(self.folder, upstream_url, *self.flags, *flags))
        return self.started[-1]

    def files(self, ending: str = "") -> list[Path]:
        return [path for path in self.path.rglob("*" + ending) if path.is_file()]


@pytest.fixture
def tier(tmp_path):
    tier = Tier(tmp_path)
    yield tier
    for program in tier.started:
        ended = program.process.poll()
        assert (program.stop() if ended is None else ended) in (0, -signal.SIGKILL), program.output()
        output = program.output()
        for secret in (KEY, PHONE, TRANSCRIPT_WORD, "panicked at", "a" * 40):
            assert secret not in output, f"{secret} is in the log"


def state(program: Program) -> float:
    return program.metric("fanfold_tier_state")


def wait_for_the_lock(program: Program) -> None:
    wait_until(lambda: state(program) == 0, SOON, describe=program.output)


def limit_files(program: Program, most: int | None) -> None:
    """Limits the size of a program's files, like a full disk."""
    resource.prlimit(program.process.pid, resource.RLIMIT_FSIZE, (most or resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def status(program: Program, token: str) -> dict:
    answer = requests.get(f"{program.url}/status", headers={"Authorization": f"Bearer {token}"}, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_an_error_names_the_missing_setting(tmp_path):
    tier = Tier(tmp_path)
    url, secret = tier.flags[:2], tier.flags[2:]
    assert run("serve", "--check", *tier.flags).returncode == 0
    assert not tier.path.exists(), "a check opens nothing"
    for flags, named in [
        (url, "--tier-secret-file"),
        (secret, "--tier-url"),
        (["--tier-url", "s3://bucket", *secret], "file:///"),
        (["--tier-url", "redis://10.0.0.1", *secret], "--tier-insecure"),
        ([*tier.flags, "--tier-user", "gateway"], "--tier-user"),
        ([*tier.flags, "--replicas", "1000"], "--replicas"),
        (["--tier-url", "/var/lib/fanfold", *secret], "file:///"),
        ([*url, "--tier-secret-file", str(tmp_path / "absent")], "--tier-secret-file"),
    ]:
        checked = run("serve", "--check", *flags)
        assert checked.returncode == 64 and named in checked.stderr, checked.stderr
    tier.set_secret("short-secret")
    checked = run("serve", "--check", *tier.flags)
    assert checked.returncode == 64 and "short-secret" not in checked.stderr, checked.stderr


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_second_process_is_ready_and_takes_over(tier, upstream, tmp_path, how):
    flags, tokens = held_flags(tmp_path, desk="*")
    token = tokens["desk"]
    tier.path.mkdir()
    (tier.path / "lock").write_bytes(b"1\nrubbish \0")
    first = tier.start(upstream.url, *flags)
    wait_for_the_lock(first)
    second = tier.start(upstream.url, *flags)
    assert requests.get(f"{second.admin}/readyz", timeout=5).status_code == 200
    wait_until(lambda: state(second) == 1)
    assert status(first, token)["tier"] == {"kind": "directory", "state": "ok"}
    assert status(second, token)["tier"] == {"kind": "directory", "state": "away"}
    # The log is written a moment later.
    wait_until(lambda: "Another process writes to the tier's directory" in second.output())
    assert second.output().count("Another process writes to the tier's directory") == 1
    first.stop(how)
    wait_for_the_lock(second)
    assert status(second, token)["tier"] == {"kind": "directory", "state": "ok"}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_requests_of_the_last_minute_count_after_a_restart(tier, upstream, tmp_path, how):
    flags, tokens = held_flags(tmp_path, desk="*")
    flags, token = [*flags, "--upstream-rate", "20/min"], tokens["desk"]
    id = str(uuid.uuid4())
    upstream.agent(id, make_rows(3_000, 20), KEY, days=21)
    first = tier.start(upstream.url, *flags)
    wait_until(lambda: Agent(first.url, id, token).ask(Prefer="wait=2") is not None and len(upstream.log) >= 10)
    assert len(upstream.log) <= 20
    first.stop(how)
    second = tier.start(upstream.url, *flags)
    # A request counts even if its caller left just before it was sent.
    assert len(upstream.log) <= 20 - status(second, token)["budget"]["left"]
    for _ in range(3):
        Agent(second.url, id, token).ask(Prefer="wait=1")
    assert len(upstream.log) <= 20, "two budgets were spent within a minute"
    assert len(upstream.log) <= 20 - status(second, token)["budget"]["left"]


def test_random_restarts_never_exceed_the_rate(tier, upstream, tmp_path):
    flags, tokens = held_flags(tmp_path, desk="*")
    flags, token = [*flags, "--upstream-rate", "200/min"], tokens["desk"]
    id = str(uuid.uuid4())
    upstream.agent(id, make_rows(10_000, 20), KEY, days=21)
    draw = random.Random(7)
    for _ in range(8):
        program = tier.start(upstream.url, *flags)
        asked = subprocess.Popen(
            ["curl", "-sS", "-o", "/dev/null", "-H", f"Authorization: Bearer {token}", Agent(program.url, id, token).url],
            stderr=subprocess.DEVNULL,
        )
        time.sleep(draw.uniform(0.05, 1.2))
        program.stop(signal.SIGKILL)
        asked.wait()
    assert len(upstream.log) > 60
    assert upstream.most_within(60 - JITTER) <= 200


def test_tier_check_reports_the_directory(tier, upstream, tmp_path):
    checked = run("tier", "check", *tier.flags)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "lock is free" in checked.stdout and "error:" not in checked.stdout
    program = tier.start(upstream.url)
    wait_for_the_lock(program)
    checked = run("tier", "check", *tier.flags)
    assert checked.returncode == 0 and "lock is held" in checked.stdout, checked.stdout
    small = run("tier", "check", *tier.flags, "--tier-bytes", "1048576GiB")
    assert small.returncode == 0 and "Lower --tier-bytes" in small.stdout, small.stdout
    (tmp_path / "file").write_text("")
    wrong = run("tier", "check", "--tier-url", f"file://{tmp_path}/file", *tier.flags[2:])
    assert wrong.returncode == 1 and "error:" in wrong.stdout, wrong.stdout
    assert run("tier", "check").returncode == 64
    assert "tier check" in run("tier", "--help").stdout or "check" in run("tier", "--help").stdout
    assert sorted(path.name for path in tier.files() if path.name.startswith("check")) == []


def test_serves_without_a_directory_that_can_not_be_created(tier, upstream, tmp_path):
    tier.path.write_text("in the way")
    rows = make_rows(120, 6)
    id = str(uuid.uuid4())
    upstream.agent(id, rows, KEY)
    program = tier.start(upstream.url)
    assert_same(Agent(program.url, id, KEY).rows(), rows)
    assert state(program) == 2
    wait_until(lambda: "can't be written" in program.output())
    assert program.output().count("can't be written") == 1
