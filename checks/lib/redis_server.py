"""A Redis server for a check, and a relay that delays its replies."""

import contextlib
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

from polling import wait_until
from programs import free_port
from tools import tool


# Keys of scopes, rows and claims, without those that gateways poll.
KEY_OF_ROWS = re.compile(rb"ff1:\{[0-9a-f]+\}:[srt]:")


class RedisServer:
    """`redis-server` without persistence. With a certificate, it also has a TLS port."""

    def __init__(self, folder: Path, certificate: Path | None = None):
        self.folder, self.port, self.certificate = folder, free_port(), certificate
        self.tls_port = free_port() if certificate else None
        self.process = self.start()

    @property
    def url(self) -> str:
        if self.tls_port:
            return f"rediss://127.0.0.1:{self.tls_port}"
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> subprocess.Popen:
        arguments = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)]
        if self.certificate:
            arguments += ["--tls-port", str(self.tls_port), "--tls-auth-clients", "no"]
            arguments += ["--tls-cert-file", str(self.certificate)]
            arguments += ["--tls-key-file", str(self.certificate.with_suffix(".key"))]
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
        """Sends a command; returns the raw beginning of the reply."""
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
        """Restarts the server, which loses its data."""
        self.kill()
        self.process = self.start()


class SlowRelay:
    """Relays connections to a server, records the bytes sent to it, and delays each reply by `delay` seconds."""

    def __init__(self, port: int):
        self.delay = 0.0
        self._port, self._sent = port, []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def keys_of_rows(self) -> int:
        """How many keys of scopes, rows and claims were sent to the server."""
        return sum(len(KEY_OF_ROWS.findall(sent)) for sent in list(self._sent))

    def stop(self) -> None:
        # Closing alone doesn't wake the thread that accepts.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                sent = bytearray()
                self._sent.append(sent)
                threading.Thread(target=self._pump, args=(client, server, sent.extend), daemon=True).start()
                threading.Thread(target=self._pump, args=(server, client, self._hold), daemon=True).start()

    def _hold(self, _reply: bytes) -> None:
        time.sleep(self.delay)

    def _pump(self, source: socket.socket, sink: socket.socket, see: Callable[[bytes], None]) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                see(data)
                sink.sendall(data)
        # The other direction ends, too.
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
