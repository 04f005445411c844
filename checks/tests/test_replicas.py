"""Several gateways share rows through Redis. Whatever happens to it, responses stay correct and complete."""

import re
import signal
import time
import uuid
from pathlib import Path

import pytest
import requests
from answers import Agent, assert_same
from held import held_flags
from polling import wait_until
from programs import KEY, ROOT, Program, run, start_gateway
from redis_faults import damaged, demoted, evicting, flushed, frozen, full, mended, paused, restarted_empty, without_scripts
from redis_server import RedisServer
from rows import PHONE, TRANSCRIPT_WORD, make_rows

SECRET = "a" * 40
# Void marks are read twice a second.
SOON = 20
# So that a busy machine does not make a healthy server look slow.
PATIENT = ["--tier-timeout", "5s"]


class Tier:
    """A server, and gateways that share it."""

    def __init__(self, folder: Path):
        self.folder, self.server = folder, RedisServer(folder)
        self.url, self.secret = self.server.url, folder / "secret"
        self.secret.write_text(SECRET)
        self.started: list[Program] = []

    @property
    def flags(self) -> list[str]:
        return ["--tier-url", self.url, "--tier-secret-file", str(self.secret)]

    def start(self, upstream_url: str, *flags: str) -> Program:
        program = start_gateway(self.folder, upstream_url, *self.flags, *flags)
        self.started.append(program)
        wait_until(lambda: is_up(program), SOON, describe=program.output)
        return program


def is_up(program: Program) -> bool:
    return program.metric("fanfold_tier_state") == 0


def saves(program: Program) -> float:
    return program.metric('fanfold_tier_saves_total{outcome="saved"}')


def all_saved(program: Program) -> None:
    """Waits until the gateway has saved everything, which it checks every two seconds."""
    wait_until(lambda: saves(program) > 0, SOON, describe=program.output)
    seen = -1.0
    while seen != (seen := saves(program)):
        time.sleep(5)


@pytest.fixture
def tier(tmp_path):
    tier = Tier(tmp_path)
    yield tier
    tier.server.thaw()
    for program in tier.started:
        ended = program.process.poll()
        assert (program.stop() if ended is None else ended) in (0, -signal.SIGKILL), program.output()
        for secret in (KEY, PHONE, TRANSCRIPT_WORD, "panicked at", SECRET):
            assert secret not in program.output(), f"{secret} is in the log"
    tier.server.kill()


def test_a_gateway_serves_what_another_read(tier, upstream):
    rows, id = make_rows(1_500, 20), str(uuid.uuid4())
    upstream.agent(id, rows, KEY, days=21)
    first, second = (tier.start(upstream.url, *PATIENT) for _ in range(2))
    assert_same(Agent(first.url, id, KEY).rows(), rows)
    cost = len(upstream.log)
    all_saved(first)
    upstream.forget_log()
    assert_same(Agent(second.url, id, KEY).rows(), rows)
    assert len(upstream.log) <= cost / 4, [len(upstream.log), cost]
    held = tier.server.run("return table.concat(redis.call('KEYS', '*'), ' ')")
    assert id.encode() not in held and b"ff1:" in held
    assert not re.search(rb"[^ ]*" + KEY.encode(), held)


def test_the_server_has_no_plain_data(tier, upstream):
    rows, id = make_rows(100, 20), str(uuid.uuid4())
    upstream.agent(id, rows, KEY, days=21)
    program = tier.start(upstream.url, *PATIENT)
    assert_same(Agent(program.url, id, KEY).rows(), rows)
    all_saved(program)
    tier.server.tell("CONFIG", "SET", "rdbcompression", "no")
    assert tier.server.tell("SAVE").startswith(b"+OK")
    dump = (tier.folder / "dump.rdb").read_bytes()
    assert len(dump) > 1_000
    for secret in (KEY, PHONE, TRANSCRIPT_WORD, SECRET, id, uuid.UUID(id).bytes):
        assert (secret if isinstance(secret, bytes) else secret.encode()) not in dump, secret


FAULTS = [frozen, restarted_empty, flushed, without_scripts, paused, demoted, full, evicting, damaged]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_responses_are_correct_whatever_happens_to_the_server(tier, upstream, fault):
    rows, id = make_rows(400, 20), str(uuid.uuid4())
    upstream.agent(id, rows, KEY, days=21)
    first, second = (tier.start(upstream.url) for _ in range(2))
    assert_same(Agent(first.url, id, KEY).rows(), rows)
    wait_until(lambda: saves(first) > 0, SOON, describe=first.output)
    fault(tier.server)
    cold = str(uuid.uuid4())
    upstream.agent(cold, rows, KEY, days=21)
    for program in (first, second):
        assert_same(Agent(program.url, id, KEY).rows(), rows)
        assert_same(Agent(program.url, cold, KEY).rows(), rows)
    assert requests.get(f"{second.admin}/readyz", timeout=5).status_code == 200
    mended(tier.server)
    for program in (first, second):
        wait_until(lambda program=program: is_up(program), SOON, describe=program.output)
    for program in (first, second):
        assert_same(Agent(program.url, id, KEY).rows(), rows)


@pytest.mark.parametrize("fault", [frozen, demoted, full], ids=lambda fault: fault.__name__)
def test_a_purge_reaches_all_gateways_or_fails(tier, upstream, fault):
    rows, id = make_rows(100, 20), str(uuid.uuid4())
    upstream.agent(id, rows, KEY, days=21)
    first, second = (tier.start(upstream.url) for _ in range(2))
    for program in (first, second):
        assert_same(Agent(program.url, id, KEY).rows(), rows)
    upstream.forget_log()
    wait_until(lambda: requests.delete(f"{first.admin}/agents/{id}", timeout=10).status_code == 204, SOON)
    # The other gateway reads again instead of serving purged rows.
    wait_until(lambda: Agent(second.url, id, KEY).rows() and len(upstream.log) >= 2, SOON)
    fault(tier.server)
    refused = requests.delete(f"{first.admin}/agents/{id}", timeout=10)
    assert refused.status_code == 503 and refused.json()["code"] == "tier_unavailable", refused.text
    mended(tier.server)
    wait_until(lambda: requests.delete(f"{first.admin}/agents/{id}", timeout=10).status_code == 204, SOON)
    assert_same(Agent(second.url, id, KEY).rows(), rows)


def test_starts_without_a_server_and_reports_it(tier, upstream, tmp_path):
    flags, tokens = held_flags(tmp_path, desk="*")
    program = tier.start(upstream.url, *flags)
    status = lambda: requests.get(f"{program.url}/status", headers={"Authorization": f"Bearer {tokens['desk']}"}, timeout=10).json()  # noqa: E731
    wait_until(lambda: status()["tier"] == {"kind": "redis", "state": "ok"}, SOON)
    tier.server.kill()
    wait_until(lambda: status()["tier"] == {"kind": "redis", "state": "away"}, SOON)
    began = time.monotonic()
    alone = start_gateway(tier.folder, upstream.url, *tier.flags)
    tier.started.append(alone)
    rows, id = make_rows(100, 20), str(uuid.uuid4())
    upstream.agent(id, rows, KEY, days=21)
    assert_same(Agent(alone.url, id, KEY).rows(), rows)
    assert time.monotonic() - began < SOON
    tier.server.process = tier.server.start()
    wait_until(lambda: is_up(alone) and is_up(program), SOON, describe=alone.output)


def acl() -> list[str]:
    """The ACL line in the operations guide."""
    text = (ROOT / "docs/operations.md").read_text()
    (line,) = re.findall(r"^ *(ACL SETUSER fanfold .*)$", text, re.M)
    return line.split()


def test_the_documented_user_has_exactly_the_needed_rights(tier, upstream):
    line = [word.replace("PASSWORD", "open-sesame") for word in acl()]
    (tier.folder / "password").write_text("open-sesame\n")
    as_user = [*tier.flags, "--tier-timeout", "1s", "--tier-user", "fanfold", "--tier-password-file", str(tier.folder / "password")]
    assert tier.server.tell(*line).startswith(b"+OK")
    checked = run("tier", "check", *as_user)
    assert checked.returncode == 0 and "all scripts work" in checked.stdout, checked.stdout + checked.stderr
    rows, id = make_rows(100, 20), str(uuid.uuid4())
    upstream.agent(id, rows, KEY, days=21)
    program = tier.start(upstream.url, *as_user[4:])
    assert_same(Agent(program.url, id, KEY).rows(), rows)
    wait_until(lambda: saves(program) > 0, SOON, describe=program.output)
    assert requests.delete(f"{program.admin}/agents/{id}", timeout=10).status_code == 204
    program.stop()
    for right in [word for word in line if word.startswith("+") and word != "+info"]:
        tier.server.tell(*line, f"-{right[1:]}")
        checked = run("tier", "check", *as_user)
        assert checked.returncode == 1, (right, checked.stdout)
        assert right in ("+eval", "+set", "+time") or right[1:].lower() in checked.stdout.lower(), (right, checked.stdout)
        tier.server.tell(*line)
    tier.server.tell("ACL", "SETUSER", "fanfold", "resetkeys", "~other:*")
    checked = run("tier", "check", *as_user)
    assert checked.returncode == 1 and "key" in checked.stdout, checked.stdout
    (tier.folder / "password").write_text("wrong\n")
    checked = run("tier", "check", *as_user)
    assert checked.returncode == 1 and "authentication failed" in checked.stdout, checked.stdout
    assert "open-sesame" not in checked.stdout + checked.stderr


def test_tier_check_reports_a_full_server(tier):
    for policy, word in [("noeviction", "503"), ("allkeys-lru", "void marks"), ("volatile-lru", "keeps void marks")]:
        tier.server.tell("CONFIG", "SET", "maxmemory", "100mb")
        tier.server.tell("CONFIG", "SET", "maxmemory-policy", policy)
        checked = run("tier", "check", *tier.flags, *PATIENT)
        assert checked.returncode == 0 and word in checked.stdout and "Redis 7" in checked.stdout, checked.stdout
    tier.server.kill()
    checked = run("tier", "check", *tier.flags)
    assert checked.returncode == 1 and "can't be used" in checked.stdout, checked.stdout
    tier.server.process = tier.server.start()
