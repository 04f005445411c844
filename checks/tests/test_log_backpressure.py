"""A log that can't be written drops lines, but no requests."""

import os
import subprocess
import time
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager

import pytest
import requests
from polling import wait_until
from programs import BINARY, KEY, clean_environment, free_port, responds
from rows import make_rows
from upstream import Upstream

REQUESTS = 600
PATIENCE = 30
ID = "00000000-0000-4000-8000-000000000009"


@contextmanager
def logging_into(upstream: Upstream, sink: int, *flags: str):
    """A gateway with this output."""
    url, admin = (f"127.0.0.1:{free_port()}" for _ in range(2))
    arguments = ["serve", "--listen", url, "--admin-listen", admin, "--upstream-url", upstream.url, *flags]
    environment = clean_environment()
    process = subprocess.Popen(
        [BINARY, *arguments, "--drain-delay", "0s"], env=environment, stdout=sink, stderr=sink
    )
    try:
        wait_until(lambda: responds(f"http://{admin}/readyz"))
        yield process, f"http://{url}", f"http://{admin}"
    finally:
        process.kill()
        process.wait()


def ask_many(url: str) -> set[int]:
    """Sends requests, each of which logs some 300 bytes, and fails at the first without a response."""

    def ask(number: int) -> int:
        headers = {"Authorization": f"Bearer {KEY}", "X-Request-Id": f"{number:0>100}"}
        return requests.get(f"{url}/agents/{ID}/executions/all", headers=headers, timeout=PATIENCE).status_code

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, number) for number in range(REQUESTS)]
        wait(asked, return_when=FIRST_EXCEPTION)
        pool.shutdown(cancel_futures=True)
    return {one.result() for one in asked if not one.cancelled()}


def serves_and_stops(upstream: Upstream, sink: int, *flags: str) -> None:
    upstream.agent(ID, make_rows(20, 3), days=4)
    with logging_into(upstream, sink, *flags) as (process, url, admin):
        assert ask_many(url) == {200}
        for path in ("/livez", "/readyz", "/metrics"):
            assert requests.get(admin + path, timeout=PATIENCE).status_code == 200
        began = time.monotonic()
        process.terminate()
        assert process.wait(PATIENCE) == 0
        assert time.monotonic() - began < PATIENCE


@pytest.mark.parametrize("form", ["json", "text"])
def test_an_unread_log_pipe_blocks_nothing(upstream, form):
    reader, writer = os.pipe()
    try:
        serves_and_stops(upstream, writer, "--log-format", form)
    finally:
        os.close(reader)
        os.close(writer)


def test_a_log_pipe_without_a_reader_blocks_nothing(upstream):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        serves_and_stops(upstream, writer)
    finally:
        os.close(writer)


def test_a_full_disk_for_the_log_blocks_nothing(upstream):
    with open("/dev/full", "wb") as full:
        serves_and_stops(upstream, full.fileno())


def test_a_stopped_terminal_blocks_nothing(upstream):
    reader, writer = os.openpty()
    try:
        serves_and_stops(upstream, writer)
    finally:
        os.close(reader)
        os.close(writer)
