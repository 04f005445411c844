"""`fanfold export`: files are correct, and an incomplete file never gets its final name."""

import asyncio
import csv
import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
import uuid
from pathlib import Path

import pytest
import requests
from answers import assert_same, lines
from exports import TIMEOUT, Export, canned
from held import held_flags
from polling import wait_until
from programs import KEY, clean_environment
from rows import DAY, PHONE, make_rows, micros_of, now
from test_csv import COLUMNS


@pytest.fixture
def truth():
    return make_rows(700, 40)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "key").write_text(f"{KEY}\n")
    return folder


@pytest.fixture
def agent(upstream, truth):
    id = str(uuid.uuid4())
    upstream.agent(id, truth, KEY, days=60)
    return id


@pytest.fixture
def through(gateway, upstream, folder, agent):
    """Exports through a gateway."""
    program = gateway(upstream.url, "--upstream-rate", "0")
    export = Export(folder, agent, "--gateway", program.url, "--token-file", str(folder / "key"))
    export.program = program
    return export


@pytest.fixture
def alone(upstream, folder, agent):
    """Exports without a gateway."""
    source = ["--upstream-url", upstream.url, "--upstream-key-file", str(folder / "key"), "--upstream-rate", "0"]
    return Export(folder, agent, *source)


@pytest.fixture(params=["through", "alone"])
def export(request):
    return request.getfixturevalue(request.param)


def slow(upstream, seconds: float) -> None:
    upstream.latency = seconds


# Contents


def test_ndjson_has_the_bytes_of_the_rows(export, truth):
    assert_same(lines(export.whole(name="out.ndjson")), truth)
    assert oct(export.file.stat().st_mode & 0o777) == oct(0o666 & ~current_mask())


def current_mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_json_matches_the_gateways(export, truth):
    document = json.loads(export.whole(name="out.json"))
    assert [document[name] for name in ("agent_id", "total", "page_size", "has_more", "complete")] == [
        export.agent, len(truth), len(truth), False, True]  # fmt: skip
    assert [row["id"] for row in document["data"]] == [row.id for row in newest_first(truth)] or (
        sorted(row["id"] for row in document["data"]) == sorted(row.id for row in truth)
    )
    text = export.file.read_bytes()
    assert all(row.raw in text for row in truth)


def newest_first(rows):
    return sorted(rows, key=lambda row: (-row.created, row.id))


def test_csv_matches_the_gateways(through, truth):
    fields = ["--fields", ",".join(COLUMNS)]
    table = list(csv.reader(io.StringIO(through.whole(*fields, name="out.csv").decode(), newline="")))
    assert table[0] == COLUMNS
    parsed = {row.id: json.loads(row.raw) for row in truth}
    literals = {row.id: {name: re.search(rf'"{name}":([^,}}]+)'.encode(), row.raw) for name in COLUMNS} for row in truth}
    assert len(table) == len(truth) + 1
    for line in table[1:]:
        row = parsed[line[0]]
        for column, got in zip(COLUMNS, line, strict=True):
            value = row
            for key in column.split("."):
                value = value.get(key) if isinstance(value, dict) else None
            if value is None or isinstance(value, str):
                assert got == (value or ""), column
            elif not isinstance(value, dict):
                assert got == literals[line[0]][column][1].decode(), column
    served = requests.get(
        f"{through.program.url}/agents/{through.agent}/executions/all",
        params={"format": "csv", "fields": ",".join(COLUMNS)}, headers={"Authorization": f"Bearer {KEY}"}, timeout=TIMEOUT,
    )  # fmt: skip
    assert through.file.read_bytes() == served.content


def test_a_table_for_excel_opens_in_python(export, truth):
    data = export.whole("--excel", "--fields", "id,telephony_data.to_number,status", name="out.csv")
    assert data[:2] == b"\xff\xfe"
    table = list(csv.reader(io.StringIO(data.decode("utf-16"), newline=""), delimiter="\t"))
    assert table[0] == ["id", "telephony_data.to_number", "status"]
    assert sorted(line[0] for line in table[1:]) == sorted(row.id for row in truth)
    assert {line[1] for line in table[1:]} == {f'="{PHONE}"'}


def test_filters_fields_and_a_limit_are_passed_on(export, truth):
    picked = [row for row in newest_first(truth) if row.status in ("busy", "failed")]
    rows = lines(export.whole("--status", "busy,failed", "--fields", "id,status"))
    assert [json.loads(row) for row in rows] == [{"id": row.id, "status": row.status} for row in picked]
    assert len(lines(export.whole("--limit", "7"))) == 7
    rows = [json.loads(row) for row in lines(export.whole("--omit", "transcript", "--limit", "3"))]
    assert all("transcript" not in row and "id" in row for row in rows)


def test_every_format_costs_upstream_the_same(through, upstream):
    through.whole()
    cold = len(upstream.pages)
    upstream.forget_log()
    for flags in ([], ["--format", "csv"], ["--format", "json"], ["--excel"]):
        through.whole(*flags)
    assert len(upstream.pages) < cold


def test_an_agent_without_rows_is_a_file_without_rows(export, upstream):
    export.agent = str(uuid.uuid4())
    upstream.agent(export.agent, [], KEY, days=3)
    assert export.whole(name="out.ndjson") == b""
    assert json.loads(export.whole(name="out.json"))["data"] == []
    assert len(export.whole(name="out.csv").splitlines()) == 1


# Errors


def test_shows_the_gateways_message_about_an_invalid_filter(export):
    done = export.run("--from", "yesterday")
    assert done.returncode == 1 and not export.file.exists() and not export.part.exists()
    assert re.search(r"400 invalid_request: `from` .*accepted: .*request ", done.stderr.decode()), done.stderr


def test_reports_a_refused_token(through, gateway, upstream, agent, tmp_path, folder):
    (folder / "key").write_text("bn-wrong")
    done = through.run()
    assert done.returncode == 1 and "403 upstream_denied" in done.stderr.decode()
    flags, tokens = held_flags(tmp_path, other=str(uuid.uuid4()))
    program = gateway(upstream.url, *flags)
    (folder / "token").write_text(tokens["other"])
    held = Export(folder, agent, "--gateway", program.url, "--token-file", str(folder / "token"))
    done = held.run()
    assert done.returncode == 1 and "403 forbidden" in done.stderr.decode()
    assert tokens["other"] not in done.stderr.decode()


def test_reports_all_invalid_settings_of_an_export_at_once(folder, agent):
    run = Export(folder, agent).run
    done = run("--format", "xml", "--fields", "a,a", "--limit", "0", "--progress", "often")
    said = done.stderr.decode()
    assert done.returncode == 64
    assert all(flag in said for flag in ("--format", "--limit", "--progress", "--gateway")), said
    both = ["--gateway", "http://127.0.0.1:9", "--token-file", str(folder / "key"), "--upstream-key-file", str(folder / "key")]
    assert run(*both).returncode == 64
    plain = run("--gateway", "http://gateway.example", "--token-file", str(folder / "key"))
    assert plain.returncode == 64 and "--gateway-insecure" in plain.stderr.decode()
    table = run(*both[:4], "--excel", "--omit", "transcript")
    assert table.returncode == 64 and "--omit" in table.stderr.decode()


def test_reports_an_unreachable_gateway(folder, agent):
    done = Export(folder, agent, "--gateway", "http://127.0.0.1:9", "--token-file", str(folder / "key")).run()
    assert done.returncode == 1 and "can't be reached" in done.stderr.decode()
    assert sorted(path.name for path in folder.iterdir()) == ["key"]


def test_refuses_links_and_devices(through, folder):
    (folder / "real").write_text("untouched")
    (folder / "link").symlink_to(folder / "real")
    (folder / "x.part").symlink_to(folder / "real")
    for output in (folder / "link", folder / "x", Path("/dev/full"), folder):
        done = through.run(output=output)
        assert done.returncode == 1, output
        assert "link" in done.stderr.decode() or "regular file" in done.stderr.decode()
    assert (folder / "real").read_text() == "untouched"


def test_an_existing_file_keeps_its_mode(through, truth):
    through.file.write_text("old")
    through.file.chmod(0o640)
    assert_same(lines(through.whole()), truth)
    assert through.file.stat().st_mode & 0o777 == 0o640


# Failures


def test_keeps_the_old_file_if_the_gateway_ends_midway(through, upstream, truth):
    through.file.write_text("old")

    async def hold_what_is_old(request):
        if micros_of(request.query["to"]) < now() - 15 * DAY:
            await asyncio.sleep(TIMEOUT)

    upstream.fault = hold_what_is_old
    process = through.start("--limit", "690")
    wait_until(lambda: through.part.exists() and through.part.stat().st_size > 0)
    through.program.process.kill()
    _, said = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 1, said
    assert "cut off" in said.decode() and "is not complete" in said.decode()
    assert through.file.read_text() == "old"
    # The fixture must not report the gateway that was killed on purpose.
    through.program.process.wait()
    through.program.process.returncode = 0


def test_a_second_run_on_the_same_file_names_the_process_that_writes_it(through, upstream):
    slow(upstream, 4)
    first = through.start()
    wait_until(through.part.exists)
    second = through.run()
    assert second.returncode == 1
    assert f"is being written by process {first.pid}" in second.stderr.decode(), second.stderr
    slow(upstream, 0)
    first.communicate(timeout=TIMEOUT)
    assert first.returncode == 0


@pytest.mark.parametrize("how, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_a_signal_ends_it_at_once(through, upstream, how, code):
    slow(upstream, 8)
    process = through.start()
    wait_until(through.part.exists)
    time.sleep(0.2)
    process.send_signal(how)
    _, said = process.communicate(timeout=20)
    assert process.returncode == code and b"is not complete" in said
    assert not through.file.exists()


def test_a_signal_ends_it_while_nobody_reads_its_output(through):
    process = through.start(output="-")
    wait_until(lambda: select.select([process.stdout], [], [], 0)[0])
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 143


def test_a_closed_pipe_ends_it_quietly(export):
    process = export.start(output="-")
    assert process.stdout.readline().startswith(b"{")
    process.stdout.close()
    assert process.wait(TIMEOUT) == 141
    assert b"rror" not in process.stderr.read()


def test_standard_output_gets_the_rows(export, truth):
    done = export.run(output="-")
    assert done.returncode == 0
    assert_same(lines(done.stdout), truth)
    assert done.stderr.startswith(f"{len(truth)} executions, ".encode())


def test_reports_a_full_disk_and_keeps_the_old_file(through, folder):
    with open("/dev/full", "wb") as full:
        done = through.run(output="-", stdout=full)
    assert done.returncode == 1 and b"No space left" in done.stderr, done.stderr
    # A limit on the size of files acts like a full disk without a mount.
    through.file.write_text("old")
    command = through.command()
    done = subprocess.run(
        ["bash", "-c", 'trap "" XFSZ; ulimit -f 64; exec "$@"', "-", *command],
        capture_output=True, env=clean_environment(), timeout=TIMEOUT,
    )  # fmt: skip
    assert done.returncode == 1 and b"can't be written" in done.stderr, done.stderr
    assert through.file.read_text() == "old" and not through.part.exists()


def test_reports_a_full_tmpfs_and_frees_its_space(through, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting needs rights")
    try:
        done = through.run(output=small / "out")
        assert done.returncode == 1 and b"No space left" in done.stderr, done.stderr
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_rejects_a_body_that_only_looks_complete(folder, agent):
    row = b'{"id":"a"}\n'
    with canned(row + b'{"@end":{"complete":true,"count":2,"as_of":"x"}}\n') as url:
        done = Export(folder, agent, "--gateway", url, "--token-file", str(folder / "key")).run()
    assert done.returncode == 1 and b"2 executions, but 1 arrived" in done.stderr
    with canned(row) as url:
        done = Export(folder, agent, "--gateway", url, "--token-file", str(folder / "key")).run()
    assert done.returncode == 1 and b"cut off" in done.stderr
    with canned(b"<html>Log in</html>", kind="text/html") as url:
        done = Export(folder, agent, "--gateway", url, "--token-file", str(folder / "key")).run()
    assert done.returncode == 1 and b"not from fanfold" in done.stderr


def test_waits_as_long_as_a_refusal_says(folder, agent):
    whole = b'{"id":"a"}\n{"@end":{"complete":true,"count":1,"as_of":"x"}}\n'
    with canned(whole, refusals=2) as url:
        done = Export(folder, agent, "--gateway", url, "--token-file", str(folder / "key")).run()
    assert done.returncode == 0, done.stderr
    assert (folder / "out").read_bytes() == b'{"id":"a"}\n'


# Progress


def on_terminal(export, *flags: str, columns: int = 100, seconds: float = 3, **more: str) -> tuple[int, str]:
    """Runs an export on a pseudo terminal; returns its exit code and the output."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        export.command(*flags), stdout=subprocess.PIPE, stderr=follower,
        env=clean_environment(**({"TERM": "xterm"} | more)),
    )  # fmt: skip
    os.close(follower)
    shown = b""
    while True:
        try:
            shown += os.read(leader, 65536)
        except OSError:
            break
    os.close(leader)
    return process.wait(TIMEOUT), shown.decode()


def test_a_terminal_shows_the_progress(through, upstream):
    slow(upstream, 1)
    code, shown = on_terminal(through, "--from", "2020-01-01")
    assert code == 0
    drawn = shown.split("\r\x1b[K")
    assert len(drawn) > 3, shown
    assert any(re.search(r"\[=* *\] \d+%, [\d,]+ executions, [\d.]+ [KM]?B, [\d.]+ [KM]?B/s", line) for line in drawn), drawn
    assert any("back to 20" in line for line in drawn), drawn
    assert all(len(line.splitlines()[0]) < 100 for line in drawn[1:-1] if line)
    assert re.search(r"700 executions, [\d.]+ MB, complete as of 20.*, in [\d.]+ s: ", drawn[-1]), drawn[-1]


def test_a_dumb_terminal_gets_lines(through, upstream):
    slow(upstream, 0.2)
    for more in ({"TERM": "dumb"}, {"TERM": ""}):
        code, shown = on_terminal(through, **more)
        assert code == 0 and "\x1b" not in shown and "\r\x1b" not in shown


def test_a_terminal_without_a_width_gets_the_default_width(through, upstream):
    slow(upstream, 0.3)
    code, shown = on_terminal(through, columns=0)
    assert code == 0 and "executions" in shown.split("\r\x1b[K")[1]


def test_without_a_terminal_there_is_a_line_every_ten_seconds(through, upstream):
    slow(upstream, 3)
    done = through.run("--progress", "always")
    assert done.returncode == 0
    said = done.stderr.decode()
    assert "\r" not in said and "\x1b" not in said
    assert 2 <= len(said.splitlines()) <= 5, said


def test_progress_never_is_silent(export):
    done = export.run("--progress", "never")
    assert (done.returncode, done.stderr, done.stdout) == (0, b"", b"")


def test_an_unread_stderr_stops_nothing(through, upstream, truth):
    slow(upstream, 0.2)
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETFL, os.O_NONBLOCK)
    try:
        while os.write(writer, b"x" * 4096):
            pass
    except BlockingIOError:
        pass
    fcntl.fcntl(writer, fcntl.F_SETFL, 0)
    process = through.start("--progress", "always", stderr=writer)
    os.close(writer)
    assert process.wait(TIMEOUT) == 0
    assert_same(lines(through.file.read_bytes()), truth)
    os.close(reader)


def test_shows_that_it_waits_for_the_budget(gateway, upstream, folder, agent):
    program = gateway(upstream.url, "--upstream-rate", "12/min", "--refresh-reserve", "0%")
    export = Export(folder, agent, "--gateway", program.url, "--token-file", str(folder / "key"))
    leader, follower = pty.openpty()
    process = subprocess.Popen(export.command(), stderr=follower, env=clean_environment(TERM="xterm"))
    os.close(follower)
    shown = ""

    def is_named():
        nonlocal shown
        try:
            shown += os.read(leader, 65536).decode()
        except OSError:
            # It has ended, and nothing more comes.
            pytest.fail(f"ended with {process.wait(TIMEOUT)}: {shown}")
        return re.search(r"waiting \d+ s for the request budget", shown)

    try:
        wait_until(is_named, 40, describe=lambda: shown[-500:])
    finally:
        process.kill()
        process.wait()
        os.close(leader)
