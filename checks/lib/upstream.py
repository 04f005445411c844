"""A small upstream that shares no code with the gateway or its simulator, with knobs for its unclear behavior.

It implements the parts of Bolna's executions API that the gateway uses; docs/upstream.md says how certain each is. It runs in
a thread of its own. Its settings can be changed and its log read at any time.
"""

import asyncio
import contextlib
import json
import math
import random
import ssl
import threading
import time
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from aiohttp import web
from rows import DAY, SECOND, Row, micros_of, now, text_of

MOST_ROWS = 50
FILTERS = {"status", "call_type", "provider", "batch_id", "answered_by_voice_mail"}


@dataclass(repr=False)
class Agent:
    """An agent, its key, and its executions, newest first."""

    id: str
    key: str
    created: int
    rows: list[Row] = field(default_factory=list)

    def add(self, rows: Iterable[Row]) -> None:
        self.rows = sorted([*self.rows, *rows], key=lambda row: (-row.created, row.id))

    def remove(self, id: str) -> None:
        self.rows = [row for row in self.rows if row.id != id]

    def change(self, id: str, **fields) -> None:
        self.rows = [row.changed(**fields) if row.id == id else row for row in self.rows]


@dataclass(frozen=True)
class Seen:
    """A received request."""

    at: float
    path: str
    query: dict[str, str]
    # By name in lowercase.
    headers: dict[str, str]

    @property
    def is_page(self) -> bool:
        return self.path.endswith("/executions")


@dataclass(repr=False)
class Upstream:
    """The server and its knobs."""

    latency: float = 0.0
    require_window: bool = True
    ignore_dates: bool = False
    whole_seconds: bool = False
    shuffle_ties: bool = False
    # The order of lists: "created", "updated" or "oldest".
    order: str = "created"
    # The total of lists: "filtered", "absent", "everything", or a number to add to the true total.
    total: str | int = "filtered"
    # The most requests in any window of this many seconds; others get 429.
    rate: tuple[int, float] | None = None
    # The next responses to requests for pages: status, headers, body.
    script: deque[tuple[int, dict[str, str], bytes]] = field(default_factory=deque)
    # Called with the query before every page; a RuntimeError becomes a 500.
    before_page: Callable[["Upstream", Mapping[str, str]], None] = lambda upstream, query: None
    # Returns a page instead of the truth, or None.
    fault: Callable[[web.Request], Awaitable[web.StreamResponse | None]] | None = None
    # Fields that `GET /v2/agent/{id}` returns instead of the true ones.
    facts: dict[str, object] = field(default_factory=dict)
    denied_keys: set[str] = field(default_factory=set)
    # Leaves `Date` out of every response.
    without_date: bool = False
    # The TLS context, for https.
    tls: ssl.SSLContext | None = None

    def __post_init__(self):
        self.agents: dict[str, Agent] = {}
        self.log: list[Seen] = []
        self.in_flight = self.most_in_flight = 0
        self.draw = random.Random(5)
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._started.wait()

    def agent(self, id: str, rows: Iterable[Row] = (), key: str = "bn-check", days: float = 100) -> Agent:
        agent = self.agents[id] = Agent(id, key, now() - int(days * DAY))
        agent.add(rows)
        return agent

    def forget_log(self) -> None:
        self.log.clear()
        self.most_in_flight = 0

    @property
    def pages(self) -> list[Seen]:
        return [seen for seen in self.log if seen.is_page]

    def most_within(self, seconds: float) -> int:
        """The most requests in any window of this length."""
        times = sorted(seen.at for seen in self.log)
        return max((bisect_left(times, at + seconds) - i for i, at in enumerate(times)), default=0)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        app = web.Application()
        app.router.add_get("/v2/agent/{agent}/executions", self._executions)
        app.router.add_get("/v2/agent/all", self._agents)
        app.router.add_get("/v2/agent/{agent}", self._agent)
        app.router.add_get("/user/me", self._user)
        app.on_response_prepare.append(self._leave_date_out)
        # Requests that still wait at the end get no response.
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        self._loop.run_until_complete(runner.setup())
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=512, ssl_context=self.tls)
        self._loop.run_until_complete(site.start())
        scheme = "https" if self.tls else "http"
        self.url = f"{scheme}://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
        self._started.set()
        self._loop.run_forever()
        with contextlib.suppress(RuntimeError):
            self._loop.run_until_complete(asyncio.wait_for(runner.cleanup(), 2))

    async def _leave_date_out(self, _request: web.Request, response: web.StreamResponse) -> None:
        if self.without_date:
            response.headers.popall("Date", None)

    @contextlib.asynccontextmanager
    async def _request(self, request: web.Request):
        self.log.append(Seen(time.monotonic(), request.path, dict(request.query), lower(request.headers)))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.latency)
            yield
        finally:
            self.in_flight -= 1

    def _key(self, request: web.Request) -> str | None:
        """The request's key; None if it is missing, denied or unknown."""
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        known = {agent.key for agent in self.agents.values()} - set(self.denied_keys)
        return key if key in known else None

    def _refusal(self, request: web.Request) -> web.Response | None:
        key = self._key(request)
        if key is None:
            return error(403, "detail", "Invalid API key")
        if self.rate and self._count_within_last(self.rate[1]) > self.rate[0]:
            return error(429, "message", "Too many requests")
        if self.script and request.path.endswith("/executions"):
            status, headers, body = self.script.popleft()
            return web.Response(status=status, headers=headers, body=body)
        agent = self.agents.get(request.match_info["agent"])
        if agent is None or agent.key != key:
            return error(404, "message", "Agent not found")
        return None

    def _count_within_last(self, seconds: float) -> int:
        since = time.monotonic() - seconds
        return sum(seen.at > since for seen in self.log)

    async def _agent(self, request: web.Request) -> web.Response:
        async with self._request(request):
            if refusal := self._refusal(request):
                return refusal
            agent = self.agents[request.match_info["agent"]]
            facts = {"id": agent.id, "agent_name": "checked", "created_at": text_of(agent.created, 0)}
            return web.json_response(facts | self.facts)

    async def _agents(self, request: web.Request) -> web.Response:
        async with self._request(request):
            key = self._key(request)
            if key is None:
                return error(403, "detail", "Invalid API key")
            mine = [agent for agent in self.agents.values() if agent.key == key]
            return web.json_response([{"id": agent.id, "created_at": text_of(agent.created, 0)} for agent in mine])

    async def _user(self, request: web.Request) -> web.Response:
        async with self._request(request):
            if self._key(request) is None:
                return error(403, "detail", "Invalid API key")
            return web.json_response({"id": "checked", "name": "checked"})

    async def _executions(self, request: web.Request) -> web.StreamResponse:
        async with self._request(request):
            if refusal := self._refusal(request):
                return refusal
            if self.fault and (faulty := await self.fault(request)):
                return faulty
            try:
                self.before_page(self, request.query)
                return self._page(self.agents[request.match_info["agent"]], request.query)
            except ValueError as wrong:
                return error(400, "detail", str(wrong))
            except RuntimeError as failed:
                return error(500, "message", str(failed))

    def _page(self, agent: Agent, query) -> web.Response:
        number, size = int(query.get("page_number", 1)), int(query.get("page_size", 20))
        if number < 1 or not 1 <= size <= MOST_ROWS:
            return error(422, "detail", [{"loc": ["query", "page_size"], "msg": "out of range"}])
        rows = self._within(agent, query)
        if not FILTERS.isdisjoint(query):
            rows = [row for row in rows if is_wanted(row, query)]
        if self.order == "updated":
            rows.sort(key=lambda row: -row.updated)
        elif self.order == "oldest":
            rows.reverse()
        if self.shuffle_ties:
            rows.sort(key=lambda row: (-row.created, self.draw.random()))
        first = (number - 1) * size
        head = {"page_number": number, "page_size": size}
        if self.total != "absent":
            extra = self.total if isinstance(self.total, int) else 0
            head["total"] = len(agent.rows) if self.total == "everything" else max(0, len(rows) + extra)
        head["has_more"] = first + size < len(rows)
        page = b",".join(row.raw for row in rows[first : first + size])
        body = json.dumps(head, separators=(",", ":")).encode()[:-1] + b',"data":[' + page + b"]}"
        return web.Response(body=body, content_type="application/json")

    def _within(self, agent: Agent, query) -> list[Row]:
        if self.require_window and not ("from" in query and "to" in query):
            raise ValueError("from and to are required together")
        start = micros_of(query["from"]) if "from" in query else -math.inf
        end = micros_of(query["to"]) if "to" in query else math.inf
        if self.require_window and end - start > 7 * DAY:
            raise ValueError("from and to must be at most 7 days apart")
        if self.ignore_dates:
            return list(agent.rows)
        if self.whole_seconds:
            start, end = start // SECOND * SECOND, end // SECOND * SECOND + SECOND - 1

        def newest_first(row: Row) -> int:
            return -row.created

        first = bisect_left(agent.rows, -end, key=newest_first)
        return agent.rows[first : bisect_right(agent.rows, -start, key=newest_first)]


def is_wanted(row: Row, query) -> bool:
    """Whether a row passes the filters, apart from dates."""
    fields = {
        "status": row.status,
        "call_type": row.call_type,
        "provider": row.provider,
        "batch_id": row.batch,
        "answered_by_voice_mail": str(row.voice_mail).lower(),
    }
    return all(query[name].lower() == value for name, value in fields.items() if name in query)


def lower(headers) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def error(status: int, place: str, words) -> web.Response:
    """An error response. Upstream puts the text in various members."""
    return web.json_response({place: words}, status=status)
