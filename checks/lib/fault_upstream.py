"""An upstream on bare sockets that can respond to requests for pages with any fault.

It writes HTTP/1.1 by hand, so that it can break off in the middle of a header, a body or a chunk. Each `FaultyListener` is one
port with its own agents; all share one thread. A fault is an async function that writes to an `Exchange`.
"""

import asyncio
import contextlib
import json
import socket
import ssl
import struct
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from programs import free_port
from rows import Row, micros_of, text_of

PAGE_SIZE = 50
# For SO_LINGER: closing sends a reset.
RESET = struct.pack("ii", 1, 0)
JSON_TYPE = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Page:
    """The response of a correct upstream."""

    rows: list[Row]
    number: int
    total: int
    has_more: bool

    def body(self, **changed) -> bytes:
        """The page with changed fields, given as JSON; None leaves a field out."""
        data = b"[" + b",".join(row.raw for row in self.rows) + b"]"
        head = {"page_number": self.number, "page_size": PAGE_SIZE, "total": self.total, "has_more": self.has_more}
        fields = {name: json.dumps(value).encode() for name, value in head.items()} | {"data": data}
        for name, value in changed.items():
            fields[name] = value
        parts = [b'"' + name.encode() + b'":' + value for name, value in fields.items() if value is not None]
        return b"{" + b",".join(parts) + b"}"


@dataclass
class Exchange:
    """One request for a page, and methods to respond to it."""

    listener: "FaultyListener"
    writer: asyncio.StreamWriter
    page: Page
    # The previous page, if there is one.
    before: Page | None
    agent: "FaultyAgent | None" = None
    # Whether the connection may be used again.
    is_kept: bool = True

    async def send(self, body: bytes, status: str = "200 OK", **headers: str) -> None:
        """Sends a complete response."""
        self.listener.sent.add(body)
        await self.write(self.head(status, JSON_TYPE | {"Content-Length": str(len(body))} | named(headers)) + body)

    @staticmethod
    def head(status: str, headers: dict[str, str]) -> bytes:
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """Resets the connection."""
        self.is_kept = False
        with contextlib.suppress(OSError):
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.writer.transport.abort()

    def close(self) -> None:
        """Closes the connection gracefully, even if the response is incomplete."""
        self.is_kept = False
        self.writer.close()


def named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


Fault = Callable[[Exchange], Awaitable[None]]


@dataclass
class FaultyAgent:
    """An agent whose older pages get a fault, permanently or a number of times."""

    rows: list[Row]
    # Pages whose span begins before it are faulty.
    older_than: int
    # How many more pages get the fault; None for all of them.
    left: int | None = 0
    # The page numbers that may be faulty.
    least_number: int = 1
    fault: Fault | None = None
    hits: int = 0

    def next_fault(self, start: int, number: int) -> Fault | None:
        is_meant = start < self.older_than and number >= self.least_number
        if self.fault is None or not is_meant or self.left == 0:
            return None
        if self.left is not None:
            self.left -= 1
        self.hits += 1
        return self.fault


@dataclass(repr=False)
class FaultyListener:
    """One port of the upstream."""

    listeners: "ListenerThread"
    agents: dict[str, FaultyAgent] = field(default_factory=dict)
    # The TLS context of the connections.
    context: ssl.SSLContext | None = None
    # Requests for anything that is neither an agent nor its pages.
    misdirected: int = 0
    # The bodies of complete responses.
    sent: set[bytes] = field(default_factory=set)
    # A port that refuses connections while the listener is shut.
    port: int = field(default_factory=free_port)

    def __post_init__(self):
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task] = set()
        # Bytes to write to a connection when its next request arrives, if that is for the same agent.
        self.late: dict[asyncio.StreamWriter, tuple[FaultyAgent | None, bytes]] = {}
        self.listeners.run(self.open())

    @property
    def url(self) -> str:
        return f"{'https' if self.context else 'http'}://127.0.0.1:{self.port}"

    async def open(self) -> None:
        options = {"backlog": 512, "reuse_address": True, "limit": 1 << 20, "ssl": self.context}
        while self._server is None:
            try:
                self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, **options)
            except OSError:
                # A process that another thread has just forked still has the socket that was shut.
                await asyncio.sleep(0.05)

    def open_soon(self, seconds: float) -> None:
        async def wait() -> None:
            await asyncio.sleep(seconds)
            await self.open()

        task = self.listeners.loop.create_task(wait())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def shut(self) -> None:
        """Closes the listener and all connections."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def end(self) -> None:
        await self.shut()
        for task in list(self._tasks):
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            while await self._answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, TimeoutError):
            pass
        except asyncio.CancelledError:
            # The connection ended.
            pass
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            self.late.pop(writer, None)
            with contextlib.suppress(Exception):
                writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Responds to one request; returns whether the connection may have another."""
        head = await reader.readuntil(b"\r\n\r\n")
        target = urlsplit(head.split(b" ", 2)[1].decode())
        parts = target.path.strip("/").split("/")
        agent = self.agents.get(parts[2]) if len(parts) > 2 else None
        late_agent, late = self.late.pop(writer, (None, b""))
        # The response of another agent could not be distinguished from the right one: these rows name no agent.
        writer.write(late if late_agent is agent else b"")
        exchange = Exchange(self, writer, Page([], 1, 0, False), None, agent)
        if agent is None or parts[:2] != ["v2", "agent"]:
            self.misdirected += 1
            await exchange.send(b'{"message":"not here"}', "404 Not Found")
        elif len(parts) == 3:
            created = agent.rows[-1].created if agent.rows else micros_of("2026-01-01T00:00:00Z")
            await exchange.send(json.dumps({"id": parts[2], "created_at": text_of(created - 1)}).encode())
        else:
            query = {name: values[0] for name, values in parse_qs(target.query).items()}
            start, end, number = micros_of(query["from"]), micros_of(query["to"]), int(query.get("page_number", 1))
            within = [row for row in agent.rows if start <= row.created <= end]
            exchange.page = cut(within, number)
            exchange.before = cut(within, number - 1) if number > 1 else None
            fault = agent.next_fault(start, number) or honest
            await fault(exchange)
        return exchange.is_kept


async def honest(exchange: Exchange) -> None:
    await exchange.send(exchange.page.body())


def cut(rows: list[Row], number: int) -> Page:
    first = (number - 1) * PAGE_SIZE
    return Page(rows[first : first + PAGE_SIZE], number, len(rows), first + PAGE_SIZE < len(rows))


class ListenerThread:
    """The thread that serves all listeners."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self._open: list[FaultyListener] = []

    def run(self, work: Awaitable, seconds: float = 20):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)

    def listener(self, context=None) -> FaultyListener:
        listener = FaultyListener(self, context=context)
        self._open.append(listener)
        return listener

    def stop(self) -> None:
        for listener in self._open:
            with contextlib.suppress(Exception):
                self.run(listener.end(), 5)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
