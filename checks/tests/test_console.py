"""The console in a browser, in every state.

checks/console/scenarios.mjs drives Debian's Chromium, and these tests start the gateways behind the page. Each scenario also
checks that its pages never violate the content security policy and send nothing elsewhere.
"""

import json
import re
import subprocess
import uuid
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property

import pytest
import requests
from browser import SECONDS, browser, drive  # noqa: F401
from held import held_flags
from hops import nginx_below, program_of
from programs import KEY, ROOT, clean_environment, first_agent, start_demo
from rows import Row, make_rows
from tools import tool


@pytest.fixture
def place(simulator, gateway):
    """A gateway in front of a simulator, and its first agent."""

    def make(*simulated: str, flags: tuple[str, ...] = ()):
        upstream = simulator("--latency", "0ms", "--executions", "600", "--stable-ties", *simulated)
        program = gateway(upstream.url, *flags)
        return program, first_agent(upstream)

    return make


@pytest.mark.parametrize("zone", ["UTC", "Europe/Paris", "America/New_York", "Asia/Kolkata"])
def test_unit_tests_pass_in_zone(zone):
    command = [tool("node"), "--test", str(ROOT / "checks/console/units.test.mjs")]
    done = subprocess.run(command, env=clean_environment(TZ=zone), capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout[-4_000:]


def test_the_types_of_the_console_check():
    compiler = ROOT / "target/console/node_modules/.bin/tsc"
    done = subprocess.run([compiler, "-p", ROOT / "console"], capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout[-4_000:]


def test_vendored_files_match_their_packages():
    done = subprocess.run([ROOT / "scripts/vendor-console", "--check"], capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "scenario", ["everything", "unchanged", "phone", "cutOff", "cutOffFile", "oldZoneName", "million"]
)
def test_scenario_of_one_agent(place, scenario):
    program, agent = place()
    drive(scenario, program.url, agent=agent)


def test_works_with_the_keyboard_alone(place):
    program, _ = place()
    drive("keyboard", program.url)


def test_a_key_in_the_query_is_neither_used_nor_logged(place):
    program, _ = place(flags=("--log", "debug"))
    drive("queryKey", program.url, key="bn-in-the-query")
    assert "bn-in-the-query" not in program.output()


def test_a_key_in_the_fragment_is_never_logged(place):
    program, agent = place(flags=("--log", "debug"))
    drive("state", program.url, agent=agent, kind="complete", words=["600 calls|calls"])
    assert KEY not in program.output()


def test_works_below_a_path_prefix(place, tmp_path):
    if program_of("nginx") is None:
        pytest.skip("nginx is not on this machine")
    program, agent = place()
    # nginx runs as another user.
    tmp_path.chmod(0o777)
    hop = nginx_below(tmp_path, program.url.removeprefix("http://"), "/tools/fanfold/")
    try:
        drive("subPath", f"{hop.http1}/tools/fanfold", agent=agent)
    finally:
        hop.stop()


def test_shows_that_a_range_is_empty(place):
    program, agent = place("--span", "30d", "--epoch", "2026-01-01T00:00:00Z")
    drive("state", program.url, agent=agent, kind="empty", words=["0 calls", "no calls in this range"])


def test_counts_rows_while_they_load(simulator, gateway):
    upstream = simulator("--latency", "400ms", "--executions", "1000", "--stable-ties")
    program = gateway(upstream.url, "--fan-out", "1")
    drive("loading", program.url, agent=first_agent(upstream))


def test_names_a_missing_part(place, tmp_path):
    day = date.today() - timedelta(days=15)
    # Windows that begin on one of ten days can't be read. At least one window does, and others don't.
    prefix = f"{day.replace(day=min(day.day, 29))}"[:9]
    script = tmp_path / "faults"
    # A refusal of single pages is final at once. A 500 would be retried for up to half a minute before the part counts as missing.
    script.write_text(f"403 query=from={prefix}\n")
    program, agent = place("--fault-script", str(script))
    drive("state", program.url, agent=agent, range="30d", kind="partial", words=["Incomplete", " to ", "upstream_unavailable"])


def test_shows_an_upstream_failure_with_a_request_id(place, tmp_path):
    script = tmp_path / "faults"
    script.write_text("503 path=/v2/agent/\n")
    program, agent = place("--fault-script", str(script))
    drive("state", program.url, agent=agent, kind="error", words=["Failed", "Request id: [0-9a-f]", "again"])


def test_marks_totals_as_out_of_date_while_upstream_fails(simulator, gateway):
    upstream = simulator("--latency", "0ms", "--executions", "200", "--stable-ties")
    program = gateway(upstream.url, "--live-ttl", "1s", "--settling-ttl", "1s")
    agent = first_agent(upstream)
    drive("stale", program.url, agent=agent, pid=upstream.process.pid)


def test_counts_down_while_it_waits_for_the_budget(place):
    program, agent = place(flags=("--upstream-rate", "1/min", "--request-deadline", "2s"))
    # This uses the only request. Otherwise the page would show the rows of one request and report the rest as missing.
    assert requests.get(f"{program.url}/status", headers={"Authorization": f"Bearer {KEY}"}, timeout=10).ok
    drive("state", program.url, agent=agent, range="30d", kind="limited", words=["rate limit", r"in \d+ (s|min)"])


def test_shows_that_a_key_is_not_allowed(upstream, gateway):
    program = gateway(upstream.url)
    agent = str(uuid.uuid4())
    upstream.agent(agent, make_rows(5, 5), KEY)
    upstream.denied_keys.add("bn-denied")
    drive("state", program.url, key="bn-denied", agent=agent, kind="forbidden", words=["Not allowed"])


def test_forgets_a_token_that_the_gateway_refuses(simulator, gateway, tmp_path):
    upstream = simulator("--executions", "50")
    flags, tokens = held_flags(tmp_path, all="*")
    program = gateway(upstream.url, *flags)
    drive("refused", program.url, key="ff-not-a-token")
    drive("keyboard", program.url, key=tokens["all"])
    assert tokens["all"] not in program.output()


def test_accepts_an_agents_id_without_the_list_of_agents(place):
    program, agent = place(flags=("--forward", "none"))
    drive("pastedAgent", program.url, agent=agent)


def test_shows_several_agents_together(simulator, gateway):
    upstream = simulator("--latency", "0ms", "--agents", "3", "--executions", "200", "--span", "20d", "--stable-ties")
    program = gateway(upstream.url)
    agents = re.findall(r"Agent ([0-9a-f-]{36}) has", upstream.output())
    drive("severalAgents", program.url, agents=agents, calls=600)


@dataclass(frozen=True)
class HostileRow(Row):
    """A row whose texts would run as code if a page did not escape them."""

    @cached_property
    def raw(self) -> bytes:
        row = json.loads(super().raw)
        row["conversation_duration"] = 5
        row["error_message"] = row["summary"] = "<img src=x onerror=alert(1)>"
        row["transcript"] = "assistant: <script>alert(1)</script>\nuser: <img src=x onerror=alert(2)>"
        row["telephony_data"] |= {
            "hangup_reason": "<b>reason</b>",
            "recording_url": "javascript:alert(3)",
            "to_number": "<iframe src=https://example.invalid>",
        }
        return json.dumps(row).encode()


def test_never_runs_upstreams_texts_as_code(upstream, gateway):
    rows = [HostileRow(row.id, row.created, row.updated) for row in make_rows(20, 5)]
    agent = str(uuid.uuid4())
    upstream.agent(agent, rows, KEY)
    program = gateway(upstream.url)
    drive("untrusted", program.url, agent=agent)


def test_the_console_can_be_switched_off(gateway, upstream):
    program = gateway(upstream.url, "--console=false")
    for path in ("/console", "/console/", "/console/main.mjs"):
        assert requests.get(program.url + path, timeout=10, allow_redirects=False).status_code == 404


def test_the_demo_prints_the_consoles_address_first(tmp_path):
    program = start_demo(tmp_path)
    try:
        first = program.output().splitlines()[0]
        address = first.split()[-1]
        assert address == f"{program.url}/console/#key=bn-demo"
        url, key = address.split("/console/#key=")
        drive("state", url, key=key, agent=first_agent(program), kind="complete", words=["calls"])
    finally:
        assert program.stop() == 0
