"""A minimal HTTP/1.1 client that counts and discards bytes.

Read into a buffer, as any client does, or dropped inside the kernel: `MSG_TRUNC` copies nothing, so that the reader takes
no part in what is measured.
"""

from __future__ import annotations

import selectors
import socket
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

# As much as a client with large buffers reads at a time, and as much as is dropped at a time.
READ, DROP = (256 << 10, 0), (4 << 20, socket.MSG_TRUNC)
SCRATCH = bytearray(4 << 20)


class Refused(Exception):
    """An answer that is not 200."""


def request(url: str, headers: dict[str, str], connection: str) -> bytes:
    parts = urlsplit(url)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    lines = [f"GET {path} HTTP/1.1", f"Host: {parts.netloc}", f"Connection: {connection}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@dataclass
class Connection:
    """One connection and the progress of its response."""

    address: tuple[str, int]
    way: tuple[int, int] = DROP
    socket: socket.socket | None = None
    head: bytes = b""
    received: int = 0
    length: int | None = None
    first_at: float = 0.0

    def __post_init__(self):
        self.open()

    def open(self) -> None:
        self.socket = socket.create_connection(self.address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)

    def ask(self, text: bytes) -> None:
        self.head, self.received, self.length, self.first_at = b"", 0, None, 0.0
        self.socket.sendall(text)

    def take(self) -> bool:
        """Takes in what is there; true once the answer is over, by its length or by the connection's end."""
        while True:
            try:
                if self.first_at:
                    count = self.socket.recv_into(SCRATCH, *self.way)
                else:
                    count = self.take_head()
            except BlockingIOError:
                return False
            if count == 0:
                if self.length is not None or not self.first_at:
                    raise Refused(f"the answer broke off after {self.received} bytes: {self.head[:200]}")
                return True
            self.received += count
            if self.length is not None and self.received >= self.length:
                return True

    def take_head(self) -> int:
        piece = self.socket.recv(64 << 10)
        self.head += piece
        head, end, body = self.head.partition(b"\r\n\r\n")
        if not end:
            return len(piece)
        if b" 200 " not in head.split(b"\r\n", 1)[0]:
            raise Refused(self.head[:500].decode(errors="replace"))
        self.first_at = time.perf_counter()
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                self.length = int(value)
        # The caller adds the whole piece.
        self.received = len(body) - len(piece)
        return len(piece)


class Client:
    """Several connections to one server, in one loop."""

    def __init__(self, url: str, connections: int, way: tuple[int, int] = DROP):
        parts = urlsplit(url)
        self.selector = selectors.DefaultSelector()
        self.connections = [Connection((parts.hostname, parts.port), way) for _ in range(connections)]
        for connection in self.connections:
            self.selector.register(connection.socket, selectors.EVENT_READ, connection)

    def reopen(self, connection: Connection) -> None:
        self.selector.unregister(connection.socket)
        connection.socket.close()
        connection.open()
        self.selector.register(connection.socket, selectors.EVENT_READ, connection)

    def ready(self, timeout: float) -> list[Connection]:
        return [key.data for key, _ in self.selector.select(timeout)]
