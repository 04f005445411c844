"""Fixtures: gateways, simulators and a Python upstream on free ports."""

import re
import uuid

import pytest

pytest.register_assert_rewrite("answers")

from answers import Agent
from programs import BINARY, KEY, Program, start_gateway, start_simulator
from raw_upstream import RawUpstream
from rows import PHONE, TRANSCRIPT_WORD
from upstream import Upstream


def pytest_sessionstart(session):
    if not session.config.option.collectonly and not BINARY.exists():
        pytest.exit(f"{BINARY} does not exist: cargo build first", returncode=1)


@pytest.fixture
def upstream():
    upstream = Upstream()
    yield upstream
    upstream.stop()


@pytest.fixture
def raw():
    """Starts upstreams on bare sockets, see `RawUpstream`."""
    started: list[RawUpstream] = []

    def start(answer=None, tls=None) -> RawUpstream:
        started.append(RawUpstream(answer, tls))
        return started[-1]

    yield start
    for upstream in started:
        upstream.stop()


@pytest.fixture
def gateway(tmp_path):
    """Starts gateways. At the end, each must stop with success, and its log must have no secret or personal data."""
    started: list[Program] = []

    def start(upstream_url: str, *flags: str, **environment: str) -> Program:
        started.append(start_gateway(tmp_path, upstream_url, *flags, **environment))
        return started[-1]

    yield start
    for program in started:
        assert program.stop() == 0, program.output()
        output = program.output()
        for secret in (KEY, PHONE, PHONE.removeprefix("+"), TRANSCRIPT_WORD):
            assert secret not in output, f"{secret} is in the log"
        assert not re.search(r"\bpanicked at\b", output), output


@pytest.fixture
def simulator(tmp_path):
    started: list[Program] = []

    def start(*flags: str) -> Program:
        started.append(start_simulator(tmp_path, *flags))
        return started[-1]

    yield start
    for program in started:
        assert program.stop() == 0, program.output()


@pytest.fixture
def agent_of(gateway, upstream):
    """Makes an agent with these rows, behind a gateway with these flags."""

    def make(rows, *flags: str, days: float = 100, **environment: str) -> Agent:
        id = str(uuid.uuid4())
        upstream.agent(id, rows, KEY, days)
        program = gateway(upstream.url, *flags, **environment)
        return Agent(program.url, id, KEY, program)

    return make
