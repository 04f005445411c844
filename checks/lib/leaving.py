"""Callers that send requests and leave, over many HTTP/1.1 connections or as many HTTP/2 streams."""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

import h2.config
import h2.connection


@dataclass(frozen=True)
class Ask:
    """A request whose caller leaves before the end."""

    path: str
    key: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()


async def leave_http1(url: str, asks: Iterable[Ask], stay: Callable) -> None:
    """Opens a connection for each request, and closes them once `stay` returns."""
    at = urlsplit(url)
    writers = []
    for ask in asks:
        _, writer = await asyncio.open_connection(at.hostname, at.port)
        more = "".join(f"{name}: {value}\r\n" for name, value in ask.headers)
        head = f"{ask.method} {ask.path} HTTP/1.1\r\nHost: {at.netloc}\r\nAuthorization: Bearer {ask.key}\r\n{more}\r\n"
        writer.write(head.encode())
        writers.append(writer)
    await asyncio.to_thread(stay)
    for writer in writers:
        writer.transport.abort()


async def leave_http2(url: str, asks: Iterable[Ask], stay: Callable, reset: bool = True) -> None:
    """Opens a stream for each request on one connection, and resets them once `stay` returns."""
    at = urlsplit(url)
    _, writer = await asyncio.open_connection(at.hostname, at.port)
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    connection.initiate_connection()
    streams = []
    for ask in asks:
        stream = connection.get_next_available_stream_id()
        pseudo = {":method": ask.method, ":scheme": "http", ":authority": at.netloc, ":path": ask.path}
        headers = [*pseudo.items(), ("authorization", f"Bearer {ask.key}"), *ask.headers]
        connection.send_headers(stream, headers, end_stream=True)
        streams.append(stream)
    writer.write(connection.data_to_send())
    await writer.drain()
    await asyncio.to_thread(stay)
    if reset:
        for stream in streams:
            connection.reset_stream(stream, error_code=8)
        writer.write(connection.data_to_send())
        with contextlib.suppress(ConnectionError):
            await writer.drain()
    writer.close()
