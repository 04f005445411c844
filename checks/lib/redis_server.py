"""A Redis server of its own for a check, on a free port, and what may go wrong with it."""

import signal
import socket
import subprocess
from pathlib import Path

from polling import wait_until
from programs import free_port
from tools import tool


class RedisServer:
    """`redis-server` without persistence."""

    def __init__(self, folder: Path):
        self.folder, self.port = folder, free_port()
        self.process = self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> subprocess.Popen:
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)]
        process = subprocess.Popen([tool("redis-server"), *arguments], stdout=subprocess.DEVNULL)
        try:
            wait_until(lambda: process.poll() is not None or self.pings())
            assert process.poll() is None, "redis-server ended"
        except BaseException:
            process.kill()
            process.wait()
            raise
        return process

    def pings(self) -> bool:
        try:
            return self.tell("PING") == b"+PONG\r\n"
        except OSError:
            return False

    def tell(self, *words: str | bytes) -> bytes:
        """Sends a command and returns the beginning of the reply, as it came."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            words = [word.encode() if isinstance(word, str) else word for word in words]
            connection.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
            return connection.recv(1 << 20)

    def run(self, script: str) -> bytes:
        """Runs a script."""
        return self.tell("EVAL", script, "0")

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """Comes back without what it held."""
        self.kill()
        self.process = self.start()
