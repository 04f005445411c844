"""`fanfold export --cursor-file`: rows applied in order give the current rows, and a cursor is never ahead of its rows."""

import json
import os
import signal
import subprocess
import uuid
from pathlib import Path

import pytest
from answers import lines
from polling import wait_until
from programs import BINARY, KEY, clean_environment
from rows import SECOND, make_rows, now

TIMEOUT = 90
FRESH = ["--live-ttl", "0s", "--settling-ttl", "0s", "--settled-ttl", "0s", "--upstream-rate", "0"]


class Poller:
    """A program that exports changes and applies them by id."""

    def __init__(self, folder: Path, agent: str, url: str):
        self.folder, self.agent, self.url = folder, agent, url
        self.cursor, self.known, self.runs = folder / "cursor", {}, 0

    def command(self, *flags: str, output=None) -> list[str]:
        self.runs += 1
        return [
            str(BINARY), "export", "--agent", self.agent, "--gateway", self.url, "--token-file", str(self.folder / "key"),
            "--cursor-file", str(self.cursor), "--output", str(output or self.folder / f"{self.runs}.ndjson"), *flags,
        ]  # fmt: skip

    def run(self, *flags: str, output=None, **more) -> subprocess.CompletedProcess:
        return subprocess.run(
            self.command(*flags, output=output), env=clean_environment(), capture_output=True, timeout=TIMEOUT, **more
        )

    def poll(self) -> int:
        """Applies the changes; returns the number of lines."""
        done = self.run()
        assert done.returncode == 0, done.stderr.decode()
        return self.apply((self.folder / f"{self.runs}.ndjson").read_bytes())

    def apply(self, body: bytes) -> int:
        for line in lines(body):
            value = json.loads(line)
            assert "@end" not in value
            if "@removed" in value:
                self.known.pop(value["@removed"]["id"], None)
            else:
                self.known[value["id"]] = line
        return len(lines(body))


@pytest.fixture
def poller(gateway, upstream, tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "key").write_text(KEY)
    agent = str(uuid.uuid4())
    upstream.agent(agent, make_rows(300, 30), KEY, days=40)
    url = gateway(upstream.url, *FRESH).url
    return Poller(folder, agent, url)


def truth(upstream, poller) -> dict[str, bytes]:
    return {row.id: row.raw for row in upstream.agents[poller.agent].rows}


def test_rows_and_removals_applied_in_order_give_the_current_rows(poller, upstream):
    assert poller.poll() == 300
    agent = upstream.agents[poller.agent]
    agent.change(agent.rows[5].id, status="failed")
    gone = agent.rows[9].id
    agent.remove(gone)
    agent.add(make_rows(3, 0.01, seed=9, until=now() - 20 * SECOND))
    assert poller.poll() == 5
    assert poller.known == truth(upstream, poller)
    assert poller.poll() == 0
    assert not list(poller.folder.glob("*.part"))


def test_changes_do_not_replace_a_file(poller):
    poller.poll()
    before = poller.cursor.read_bytes()
    done = poller.run(output=poller.folder / "1.ndjson")
    assert done.returncode == 1 and b"exists" in done.stderr
    assert len(lines((poller.folder / "1.ndjson").read_bytes())) == 300
    assert poller.cursor.read_bytes() == before and not list(poller.folder.glob("*.part"))


def test_refuses_a_cursor_of_another_request_without_changing_files(poller):
    poller.poll()
    before = poller.cursor.read_bytes()
    done = poller.run("--status", "busy")
    assert done.returncode == 1 and b"400 invalid_request" in done.stderr, done.stderr
    assert poller.cursor.read_bytes() == before
    assert sorted(path.name for path in poller.folder.iterdir()) == ["1.ndjson", "cursor", "key"]


@pytest.mark.parametrize("content", ["", "\n", "two words", '{"cursor":null}'])
def test_refuses_a_cursor_file_without_a_cursor(poller, content):
    poller.cursor.write_text(content)
    done = poller.run()
    assert done.returncode == 1 and b"holds no cursor" in done.stderr
    assert poller.cursor.read_text() == content
    assert sorted(path.name for path in poller.folder.iterdir()) == ["cursor", "key"]


def test_ignores_a_line_break_after_the_cursor(poller):
    poller.poll()
    poller.cursor.write_text(poller.cursor.read_text().strip() + "\r\n\n")
    assert poller.poll() == 0


def test_a_cursor_that_is_gone_gets_advice(poller, upstream, gateway):
    poller.poll()
    upstream.agents[poller.agent].change(upstream.agents[poller.agent].rows[0].id, status="failed")
    # A new process has no change log.
    poller.url = gateway(upstream.url, *FRESH).url
    before = poller.cursor.read_bytes()
    done = poller.run()
    assert done.returncode == 1 and b"410 cursor_gone" in done.stderr
    assert b"Remove " in done.stderr and b"replaces all" in done.stderr
    assert poller.cursor.read_bytes() == before


def test_standard_output_gets_changes_and_the_cursor_follows_them(poller, upstream):
    done = poller.run(output="-")
    assert done.returncode == 0 and poller.apply(done.stdout) == 300
    before = poller.cursor.read_bytes()
    upstream.agents[poller.agent].change(upstream.agents[poller.agent].rows[0].id, status="failed")
    with open("/dev/full", "wb") as full:
        failed = subprocess.run(poller.command(output="-"), env=clean_environment(), stdout=full, stderr=subprocess.PIPE)
    assert failed.returncode == 1 and poller.cursor.read_bytes() == before, "the cursor ran ahead"
    assert poller.apply(poller.run(output="-").stdout) == 1
    assert poller.known == truth(upstream, poller)


def test_reports_a_full_folder_for_the_cursor_before_it_reads_anything(poller, upstream):
    poller.cursor = poller.folder / "no/such/folder"
    done = poller.run()
    assert done.returncode == 1 and b"No such file" in done.stderr
    assert upstream.log == []


def test_no_change_is_lost_when_it_is_killed(poller, upstream):
    poller.poll()
    agent = upstream.agents[poller.agent]
    for turn in range(6):
        agent.change(agent.rows[turn].id, status="failed")
        process = subprocess.Popen(poller.command(), env=clean_environment(), stderr=subprocess.DEVNULL)
        name = poller.folder / f"{poller.runs}.ndjson"
        if turn % 2:
            wait_until(lambda name=name, process=process: name.exists() or process.poll() is not None)
        process.send_signal(signal.SIGKILL)
        process.wait()
        if name.exists():
            poller.apply(name.read_bytes())
    poller.poll()
    assert poller.known == truth(upstream, poller)


def test_a_second_run_with_the_same_cursor_file_fails(poller, upstream):
    upstream.latency = 4
    first = subprocess.Popen(poller.command(), env=clean_environment(), stderr=subprocess.DEVNULL)
    wait_until(lambda: poller.cursor.with_name("cursor.part").exists())
    second = poller.run()
    assert second.returncode == 1 and f"is being written by process {first.pid}".encode() in second.stderr
    upstream.latency = 0
    assert first.wait(TIMEOUT) == 0
    assert os.stat(poller.cursor).st_size > 0
