"""Commands and settings, and how processes start and stop."""

import json
import re
import shutil
import signal
import subprocess

import pytest
import requests
from answers import lines
from polling import wait_until
from programs import BINARY, clean_environment, free_port, run, start_demo
from rows import make_rows

BAD_SETTINGS = 64


def test_check_accepts_valid_settings_and_exits():
    assert run("serve", "--check").returncode == 0


def test_reports_all_invalid_settings_at_once():
    checked = run("serve", "--check", "--fan-out", "none", "--live-ttl", "10 parsecs", "--upstream-rate", "450")
    assert checked.returncode == BAD_SETTINGS
    for flag in ("--fan-out", "--live-ttl", "--upstream-rate"):
        assert flag in checked.stderr, checked.stderr


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"FANFOLD_LIVE_TTL": "soon"}, ["FANFOLD_LIVE_TTL"]),
        ({"FANFOLD_LIVE_TLL": "10s"}, ["FANFOLD_LIVE_TLL", "FANFOLD_LIVE_TTL"]),
    ],
)
def test_an_error_names_the_invalid_variable(variables, named):
    checked = run("serve", "--check", **variables)
    assert checked.returncode == BAD_SETTINGS
    for name in named:
        assert name in checked.stderr, checked.stderr


def test_ignores_variables_of_other_commands_and_of_kubernetes():
    variables = {"FANFOLD_SEED": "7", "FANFOLD_PORT": "tcp://10.0.0.1:80", "FANFOLD_SERVICE_HOST": "10.0.0.1"}
    assert run("serve", "--check", **variables).returncode == 0


@pytest.mark.parametrize(
    "flags",
    [
        ["--upstream-url", "http://api.example.com"],
        ["--upstream-key-file", "/nonexistent/key"],
        ["--unheard-of"],
        ["--cache-bytes", "12 parsecs"],
        ["--window", "8 weeks"],
    ],
    ids=lambda flags: flags[0],
)
def test_contradictory_settings_are_refused(flags):
    assert run("serve", "--check", *flags).returncode == BAD_SETTINGS


def test_refuses_to_make_an_expired_token():
    made = run("token", "new", "--name", "old", "--agents", "*", "--expires", "2020-01-01T00:00:00Z")
    assert (made.returncode, made.stdout) == (64, ""), made.stdout
    assert "--expires" in made.stderr


def test_a_held_key_needs_tokens(tmp_path):
    key = tmp_path / "key"
    key.write_text("bn-check")
    checked = run("serve", "--check", "--upstream-key-file", str(key))
    assert checked.returncode == BAD_SETTINGS
    assert "--client-tokens-file" in checked.stderr and "bn-check" not in checked.stderr


@pytest.mark.parametrize("command", ["serve", "simulate", "demo"])
def test_help_lists_defaults_and_variables(command):
    text = run(command, "--help").stdout
    assert "--listen" in text and "FANFOLD_LISTEN" in text
    assert "default" in text


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_gracefully(gateway, upstream, how):
    program = gateway(upstream.url)
    assert program.stop(how) == 0


def test_a_drain_finishes_what_is_in_flight(agent_of, upstream):
    rows = make_rows(1_000, 6)
    upstream.latency = 0.3
    agent = agent_of(rows, "--fan-out", "4", days=7)
    with requests.get(f"{agent.url}?format=ndjson&end_record=true", headers=agent.headers, stream=True) as answer:
        pieces = answer.iter_content(None)
        body = next(pieces)
        program = agent.program
        program.process.send_signal(signal.SIGTERM)
        body += b"".join(pieces)
    verdict = json.loads(lines(body)[-1])["@end"]
    assert verdict["complete"] is True and verdict["count"] == 1_000
    assert program.process.wait(20) == 0


def test_readiness_fails_before_the_listener_closes(gateway, upstream):
    program = gateway(upstream.url, "--drain-delay", "10s")
    assert requests.get(f"{program.admin}/livez", timeout=5).status_code == 200
    program.process.send_signal(signal.SIGTERM)
    wait_until(lambda: requests.get(f"{program.admin}/readyz", timeout=5).status_code != 200, every=0.02)
    assert requests.get(f"{program.url}/openapi.yaml", timeout=5).status_code == 200
    assert program.process.wait(40) == 0


def test_readiness_does_not_depend_on_upstream(gateway):
    program = gateway(f"http://127.0.0.1:{free_port()}")
    assert requests.get(f"{program.admin}/readyz", timeout=5).status_code == 200
    assert "fanfold_build_info" in requests.get(f"{program.admin}/metrics", timeout=5).text


def test_purges_an_agent(agent_of, upstream):
    agent = agent_of(make_rows(200, 20))
    agent.rows()
    forgotten = requests.delete(f"{agent.program.admin}/agents/{agent.id}", timeout=5)
    assert forgotten.status_code in (200, 204)
    upstream.forget_log()
    agent.rows()
    assert len(upstream.pages) >= 4


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not on this machine")
def test_the_commands_that_the_demo_prints_work(tmp_path):
    program = start_demo(tmp_path)
    try:
        printed = program.output()
        commands = re.findall(r"^\s*(?:\$ )?(curl\b(?:\\\n|.)*)", printed, re.M)
        assert commands, printed
        for command in commands:
            if "jq" in command and shutil.which("jq") is None:
                continue
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=tmp_path,
                env=clean_environment(),
                capture_output=True,
                timeout=120,
            )
            assert done.returncode == 0 and done.stdout, command
            assert b'"code":"' not in done.stdout[:2_000], done.stdout[:500]
    finally:
        assert program.stop(signal.SIGINT) == 0


def test_prints_help_without_a_command_and_the_version_on_request():
    assert "serve" in (run().stderr + run().stdout)
    version = subprocess.run([BINARY, "--version"], capture_output=True, text=True, check=True).stdout
    assert re.fullmatch(r"fanfold \d+\.\d+\.\d+.*\n", version)
