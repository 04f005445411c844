"""Runs `fanfold export`, and a fake gateway for it to read from."""

import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from process_memory import peak_bytes
from programs import BINARY, clean_environment

TIMEOUT = 90


class Export:
    """Runs exports of one agent into a folder."""

    def __init__(self, folder: Path, agent: str, *source: str):
        self.folder, self.agent, self.source = folder, agent, source
        self.file = folder / "out"

    def command(self, *flags: str, output: str | Path | None = None, agent: str | None = None) -> list[str]:
        where = ["--agent", agent or self.agent, "--output", str(output or self.file)]
        return [str(BINARY), "export", *where, *self.source, *flags]

    def run(self, *flags: str, output=None, agent=None, **more) -> subprocess.CompletedProcess:
        given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": clean_environment(), "timeout": TIMEOUT}
        return subprocess.run(self.command(*flags, output=output, agent=agent), **(given | more))

    def start(self, *flags: str, output=None, **more) -> subprocess.Popen:
        given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": clean_environment()}
        return subprocess.Popen(self.command(*flags, output=output), **(given | more))

    @property
    def part(self) -> Path:
        return self.file.with_name(self.file.name + ".part")

    def whole(self, *flags: str, name: str = "out") -> bytes:
        """The content of a file after an export that must succeed."""
        self.file = self.folder / name
        done = self.run(*flags)
        assert done.returncode == 0, done.stderr.decode()
        assert not self.part.exists()
        return self.file.read_bytes()


def most_memory(process: subprocess.Popen, seconds: float = TIMEOUT) -> int:
    """Waits until a process ends with success; returns the most memory that it used, in bytes."""
    most, deadline = 0, time.monotonic() + seconds
    while process.poll() is None:
        assert time.monotonic() < deadline, f"{process.args} still runs after {seconds} s"
        most = max(most, peak_bytes(process.pid))
        time.sleep(0.02)
    assert process.returncode == 0, process.stderr.read() if process.stderr else process.returncode
    return most


class canned:
    """A fake gateway that refuses some requests, then sends a body and closes. Calls `before_end` before the last byte."""

    def __init__(
        self, body: bytes, kind: str = "application/x-ndjson", refusals: int = 0, before_end: Callable = lambda: None
    ):
        self.body, self.kind, self.refusals, self.before_end = body, kind, refusals, before_end

    def __enter__(self) -> str:
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.serve, daemon=True).start()
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def __exit__(self, *_) -> None:
        self.listener.close()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                request = connection.recv(65536)
                if b"/executions/all" not in request:
                    connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                elif self.refusals > 0:
                    self.refusals -= 1
                    connection.sendall(
                        b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n"
                        b"Connection: close\r\n\r\n"
                    )
                else:
                    head = f"HTTP/1.1 200 OK\r\nContent-Type: {self.kind}\r\nConnection: close\r\n\r\n"
                    connection.sendall(head.encode() + self.body[:-1])
                    self.before_end()
                    connection.sendall(self.body[-1:])
