"""Probes, the watchdog and signals work while nobody reads the log or every worker thread is stopped."""

import contextlib
import ctypes
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
import requests
from polling import wait_until
from programs import BINARY, KEY, clean_environment, free_port, responds, start_gateway, wait_until_it_serves

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_CONT = 0x4206, 0x4207, 7
WAIT_FOR_ALL = 0x40000000
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_long] * 4


def ptrace(request: int, thread: int) -> None:
    if LIBC.ptrace(request, thread, 0, 0) != 0:
        error = ctypes.get_errno()
        pytest.skip(f"threads can't be stopped here: {os.strerror(error)}")


@contextlib.contextmanager
def stopped_threads(process: subprocess.Popen, *but: str):
    """Stops all threads of a process except those with these names, as if they were spinning or deadlocked."""
    stopped = []
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        if (task / "comm").read_text().strip() not in but:
            ptrace(PTRACE_SEIZE, int(task.name))
            ptrace(PTRACE_INTERRUPT, int(task.name))
            os.waitpid(int(task.name), WAIT_FOR_ALL)
            stopped.append(int(task.name))
    assert len(stopped) >= 2, stopped
    try:
        yield lambda: [ptrace(PTRACE_CONT, thread) for thread in stopped]
    finally:
        for thread in stopped:
            with contextlib.suppress(ChildProcessError):
                if thread != process.pid:
                    os.waitpid(thread, WAIT_FOR_ALL | os.WNOHANG)


def exit_code(process: subprocess.Popen, seconds: float) -> int:
    """The exit status of a process whose threads are traced, so that each has to be waited for."""

    def has_ended() -> bool:
        for task in list(Path(f"/proc/{process.pid}/task").iterdir()):
            if int(task.name) != process.pid:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(int(task.name), WAIT_FOR_ALL | os.WNOHANG)
        return process.poll() is not None

    try:
        wait_until(has_ended, seconds, describe=lambda: "still running")
    except AssertionError:
        process.kill()
        raise
    return process.returncode


def livez(program) -> int:
    return requests.get(f"{program.admin}/livez", timeout=10).status_code


def is_leaving(program) -> bool:
    return requests.get(f"{program.admin}/readyz", timeout=10).status_code == 503


def test_probes_report_the_stall_when_every_worker_is_stuck(tmp_path, upstream):
    program = start_gateway(tmp_path, upstream.url, "--drain-timeout", "2s")
    with stopped_threads(program.process, "control", "log") as go_on:
        assert livez(program) == 200
        began = time.monotonic()
        # Only checks that are not late count, and on a busy machine many are.
        wait_until(lambda: livez(program) != 200, 180, every=0.5)
        assert 25 < time.monotonic() - began
        assert requests.get(f"{program.admin}/readyz", timeout=10).status_code == 200
        assert program.metric("fanfold_engine_stalled") == 1
        go_on()
        wait_until(lambda: livez(program) == 200, 30, every=0.2)
        assert program.metric("fanfold_engine_stalled") == 0
        program.process.send_signal(signal.SIGKILL)
        exit_code(program.process, 10)
    assert "has made no progress for 30 s" in program.output() and "makes progress again" in program.output()


def test_one_signal_ends_a_process_whose_workers_are_stuck_once_the_drain_is_over(tmp_path, upstream):
    program = start_gateway(tmp_path, upstream.url, "--drain-timeout", "4s")
    with stopped_threads(program.process, "control", "log"):
        program.process.send_signal(signal.SIGTERM)
        wait_until(lambda: is_leaving(program))
        assert exit_code(program.process, 30) == 0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT], ids=lambda second: second.name)
def test_a_second_signal_ends_a_process_whose_workers_are_stuck(tmp_path, upstream, second):
    program = start_gateway(tmp_path, upstream.url, "--drain-delay", "60s")
    with stopped_threads(program.process, "control", "log"):
        program.process.send_signal(signal.SIGTERM)
        # Two equal signals count as one until the first is handled.
        wait_until(lambda: is_leaving(program))
        assert program.process.poll() is None
        program.process.send_signal(second)
        assert exit_code(program.process, 20) == 128 + second


@pytest.fixture
def unread(upstream):
    """A gateway that logs a lot to a pipe that nobody reads."""
    url, admin = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    flags = ["--listen", url[7:], "--admin-listen", admin[7:], "--upstream-url", upstream.url]
    flags += ["--drain-delay", "0s", "--log-format", "json"]
    process = subprocess.Popen([BINARY, "serve", *flags], env=clean_environment(), stderr=subprocess.PIPE)
    wait_until_it_serves(process, lambda: responds(f"{admin}/readyz"), lambda: "its log is a pipe that nobody reads")
    yield process, url, admin
    process.kill()
    process.wait()
    process.stderr.close()


def ask_until_lines_are_dropped(url: str, admin: str) -> None:
    """Sends many concurrent requests that log a line each, and expects a response to each."""
    host, port = url[7:].split(":")
    with socket.create_connection((host, int(port)), 10) as client:
        for number in range(300):
            client.sendall(b"HEAD /openapi.yaml HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
            answers = b""
            while answers.count(b"\r\n\r\n") < 100:
                piece = client.recv(1 << 16)
                assert piece
                answers += piece
            assert answers.count(b"HTTP/1.1 200") == 100
            if number % 20 == 0 and dropped(admin) > 100:
                return
    raise AssertionError("no line was dropped")


def dropped(admin: str) -> int:
    text = requests.get(f"{admin}/metrics", timeout=10).text
    return int(re.search(r"^fanfold_log_lines_dropped_total (\d+)", text, re.M)[1])


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGTERM, signal.SIGTERM]], ids=["one", "two"])
def test_a_stopped_log_reader_blocks_neither_requests_nor_stopping(unread, signals):
    process, url, admin = unread
    ask_until_lines_are_dropped(url, admin)
    assert requests.get(f"{admin}/livez", timeout=10).status_code == 200
    for number in signals:
        process.send_signal(number)
        time.sleep(0.02)
    assert process.wait(20) in ((0,) if len(signals) == 1 else (0, 143))


def test_the_log_says_how_many_lines_were_dropped(unread):
    process, url, admin = unread
    ask_until_lines_are_dropped(url, admin)
    told = None
    while told is None:
        line = process.stderr.readline().decode()
        assert KEY not in line
        told = re.search(r"(\d+) log lines were dropped", line)
    assert int(told[1]) > 100
    process.send_signal(signal.SIGTERM)
    process.stderr.read()
    assert process.wait(20) == 0
