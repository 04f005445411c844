"""No row is lost if an HTTP/2 upstream resets streams or closes connections in the middle of a read."""

import asyncio
import json
import ssl
import threading
import uuid
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from answers import raw_rows
from certificates import Certificates
from fault_upstream import cut
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import RequestReceived, WindowUpdated
from h2.exceptions import ProtocolError
from programs import KEY, start_gateway
from rows import DAY, SECOND, micros_of, now, recent_and_old_rows, text_of


class Connection:
    """One connection, and the bytes still to be sent on each stream."""

    def __init__(self, agents: dict, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.agents, self.reader, self.writer = agents, reader, writer
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.left: dict[int, bytes] = {}

    async def run(self) -> None:
        self.h2.initiate_connection()
        await self.flush()
        try:
            while data := await self.reader.read(1 << 16):
                for event in self.h2.receive_data(data):
                    if isinstance(event, RequestReceived):
                        await self.answer(event.stream_id, dict(event.headers)[":path"])
                    elif isinstance(event, WindowUpdated):
                        for stream in list(self.left):
                            await self.send(stream)
                await self.flush()
        except (ConnectionError, ProtocolError, ssl.SSLError):
            pass
        finally:
            self.writer.close()

    async def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())
        await self.writer.drain()

    def begin(self, stream: int, body: bytes) -> None:
        self.h2.send_headers(stream, [(":status", "200"), ("content-length", str(len(body)))])

    async def send(self, stream: int) -> None:
        """Sends as much of a body as the flow control windows allow."""
        while self.left[stream]:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if room <= 0:
                return
            self.h2.send_data(stream, self.left[stream][:room])
            self.left[stream] = self.left[stream][room:]
            await self.flush()
        del self.left[stream]
        self.h2.end_stream(stream)

    async def half(self, stream: int, body: bytes) -> None:
        self.begin(stream, body)
        self.h2.send_data(stream, body[: min(len(body) // 2, 10_000)])
        await self.flush()
        await asyncio.sleep(0.02)

    async def answer(self, stream: int, path: str) -> None:
        target = urlsplit(path)
        parts = target.path.strip("/").split("/")
        rows, older_than, faults = self.agents[parts[2]]
        if len(parts) == 3:
            body, fault = json.dumps({"id": parts[2], "created_at": text_of(rows[-1].created - 1)}).encode(), None
        else:
            query = {name: values[0] for name, values in parse_qs(target.query).items()}
            start, end = micros_of(query["from"]), micros_of(query["to"])
            page = cut([row for row in rows if start <= row.created <= end], int(query["page_number"]))
            body, fault = page.body(), faults.pop(0) if faults and start < older_than else None
        if fault:
            await fault(self, stream, body)
            return
        self.begin(stream, body)
        self.left[stream] = body
        await self.send(stream)


def reset_at_once(code: ErrorCodes):
    async def fault(connection: Connection, stream: int, body: bytes) -> None:
        connection.h2.reset_stream(stream, code)

    return fault


def reset_within(code: ErrorCodes):
    async def fault(connection: Connection, stream: int, body: bytes) -> None:
        await connection.half(stream, body)
        connection.h2.reset_stream(stream, code)

    return fault


async def goes_away_within(connection: Connection, stream: int, body: bytes) -> None:
    await connection.half(stream, body)
    connection.h2.close_connection(last_stream_id=stream)
    await connection.flush()
    connection.writer.close()


async def goes_away_unheard(connection: Connection, stream: int, body: bytes) -> None:
    connection.h2.close_connection(last_stream_id=max(0, stream - 2))
    await connection.flush()
    connection.writer.close()


async def ends_too_soon(connection: Connection, stream: int, body: bytes) -> None:
    await connection.half(stream, body)
    connection.h2.end_stream(stream)


async def breaks_off(connection: Connection, stream: int, body: bytes) -> None:
    await connection.half(stream, body)
    connection.writer.transport.abort()


async def speaks_nonsense(connection: Connection, stream: int, body: bytes) -> None:
    connection.writer.write(b"\xff" * 200)


FAULTS = {
    "refused": [reset_at_once(ErrorCodes.REFUSED_STREAM)] * 3,
    "calmed": [reset_at_once(ErrorCodes.ENHANCE_YOUR_CALM)],
    "reset": [reset_within(ErrorCodes.INTERNAL_ERROR)],
    "reset without an error": [reset_within(ErrorCodes.NO_ERROR)],
    "goes away within": [goes_away_within],
    "goes away unheard": [goes_away_unheard],
    "ends too soon": [ends_too_soon],
    "breaks off": [breaks_off],
    "nonsense": [speaks_nonsense],
    "one after the other": [goes_away_within, reset_within(ErrorCodes.CANCEL), goes_away_unheard],
}


@pytest.fixture(scope="module")
def agents_and_gateway(tmp_path_factory):
    directory, agents, loop = tmp_path_factory.mktemp("http2"), {}, asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    certificates = Certificates.make(directory)
    certificates.fit.set_alpn_protocols(["h2"])

    async def serve():
        async def run(reader, writer):
            await Connection(agents, reader, writer).run()

        return await asyncio.start_server(run, "127.0.0.1", 0, ssl=certificates.fit)

    server = asyncio.run_coroutine_threadsafe(serve(), loop).result(10)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    flags = ("--upstream-timeout", "3s", "--request-deadline", "20s", "--upstream-rate", "1000/s", "--live-ttl", "10m")
    program = start_gateway(directory, url, *flags, "--upstream-ca-file", str(certificates.authority))
    yield agents, program
    assert program.stop() == 0
    loop.call_soon_threadsafe(loop.stop)


@pytest.mark.parametrize("name", FAULTS)
def test_no_row_is_lost_when_streams_and_connections_end_early(agents_and_gateway, name):
    agents, gateway = agents_and_gateway
    end = now() - 4 * 3600 * SECOND
    rows = recent_and_old_rows(end)
    id, faults = str(uuid.uuid4()), list(FAULTS[name])
    agents[id] = rows, end - 7 * DAY, faults
    url = f"{gateway.url}/agents/{id}/executions/all"
    answer = requests.get(url, headers={"Authorization": f"Bearer {KEY}"}, timeout=60)
    assert answer.status_code == 200, answer.text
    assert not faults, "the fault never occurred"
    assert raw_rows(answer.text) == [row.raw for row in rows]
