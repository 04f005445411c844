"""The upstream of checks/long/abuse.py: agents whose rows name them, and changing faults."""

import asyncio
import json
import random
import time
import uuid
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

from aiohttp import web
from chaos import Chaos
from programs import KEY
from rows import Row, make_rows, now, text_of
from upstream import Upstream

ROWS = 250
DAYS = 40
KEYS = (KEY, "bn-second")
AGENTS_OF_EACH = 3
RETRY_AFTER = ("0", "1", "2", "-5", "59", "99999999999", "18446744073709551616", "soon", "", "Mon, 30 Feb 2026 00:00:00 GMT")
JSON = {"content_type": "application/json"}


@dataclass(frozen=True)
class NamedRow(Row):
    """An execution that names its agent."""

    agent: str = ""

    @cached_property
    def raw(self) -> bytes:
        made = Row.raw.func(self)
        return made[:-1] + f',"agent_id":"{self.agent}"}}'.encode()


def named(row: Row, agent: str) -> NamedRow:
    return NamedRow(**{name: getattr(row, name) for name in Row.__dataclass_fields__}, agent=agent)


class Weather(Chaos):
    """Faults of upstream, whose kind and rate change every few seconds."""

    def __init__(self, draw: random.Random, upstream: Upstream):
        super().__init__(draw, 0.0)
        self.upstream = upstream
        self.kinds = ()

    def clear(self) -> None:
        self.share = 0.0

    async def change(self, until: float) -> None:
        mild = (self.status, self.limited, self.cut, self.reset, self.nonsense, self.odd_limit, self.odd_number)
        kinds = (
            (0.0, mild),
            (0.1, mild),
            (0.5, mild),
            (1.0, (self.hang,)),
            (1.0, (self.odd_limit,)),
            (1.0, (self.status,)),
            (0.5, (self.swapped,)),
            (1.0, (self.endless, self.endless_empty)),
            (1.0, (self.made_up,)),
            (0.5, (self.huge, self.undated)),
            (0.5, (self.denied,)),
            (0.3, (self.hang_within, self.empty, *mild)),
        )
        while time.monotonic() < until:
            self.share, self.kinds = self.draw.choice(kinds)
            await asyncio.sleep(self.draw.choice((0.5, 2, 5)))
        # Requests in progress must be able to finish.
        self.clear()

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        if self.draw.random() >= self.share:
            return None
        kind = self.draw.choice(self.kinds)
        self.counts[kind.__name__] += 1
        return await kind(request)

    async def odd_limit(self, _) -> web.StreamResponse:
        more = {"Retry-After": self.draw.choice(RETRY_AFTER)}
        return web.json_response({"message": "slow down"}, status=self.draw.choice((429, 503)), headers=more)

    async def odd_number(self, request: web.Request) -> web.StreamResponse:
        field = self.draw.choice(("page_number", "page_size", "total"))
        number = self.draw.choice(("-1", "1e400", "18446744073709551616", "null", '"1"', "0"))
        head = {"page_number": "1", "page_size": "50", "total": "0", "has_more": "false"} | {field: number}
        return web.Response(text="{" + ",".join(f'"{n}":{v}' for n, v in head.items()) + ',"data":[]}', **JSON)

    async def denied(self, _) -> web.StreamResponse:
        return web.json_response({"detail": "not this one"}, status=self.draw.choice((401, 403, 404)))

    async def empty(self, _) -> web.StreamResponse:
        return self._page([], False, 0)

    async def swapped(self, request: web.Request) -> web.StreamResponse:
        """A valid page of another agent."""
        other = self.draw.choice(sorted(self.upstream.agents))
        return self.upstream._page(self.upstream.agents[other], request.query)

    async def endless(self, request: web.Request) -> web.StreamResponse:
        agent = self.upstream.agents[request.match_info["agent"]]
        return self._page([row.raw for row in agent.rows[:50]], True)

    async def endless_empty(self, _) -> web.StreamResponse:
        return self._page([], True)

    async def made_up(self, request: web.Request) -> web.StreamResponse:
        at = now() - self.draw.randrange(1, 3_000_000) * 1_000_000
        agent = request.match_info["agent"]
        rows = [
            json.dumps({"id": str(uuid.uuid4()), "agent_id": agent, "created_at": text_of(at), "t": "x" * 2_000})
            for _ in range(50)
        ]
        return self._page([row.encode() for row in rows], True)

    async def undated(self, request: web.Request) -> web.StreamResponse:
        agent = request.match_info["agent"]
        rows = [b'{"id":"%d","agent_id":"%s"}' % (number, agent.encode()) for number in range(2_000)]
        return self._page(rows, False, 2_000)

    async def huge(self, _) -> web.StreamResponse:
        return self._page([b'{"id":"%d"}' % number for number in range(60_000)], False)

    def _page(self, rows: list[bytes], more: bool, total: int | None = None) -> web.Response:
        head = {"page_number": 1, "page_size": 50, "has_more": more} | ({} if total is None else {"total": total})
        body = json.dumps(head).encode()[:-1] + b',"data":[' + b",".join(rows) + b"]}"
        return web.Response(body=body, content_type="application/json")


def make_upstream(draw: random.Random) -> tuple[Upstream, Weather, dict[str, list[str]]]:
    """An upstream, its faults, and the agents of each key."""
    upstream = Upstream()
    upstream.latency = draw.choice((0.0, 0.01, 0.1))
    reach: dict[str, list[str]] = {key: [] for key in KEYS}
    for key in KEYS:
        for number in range(AGENTS_OF_EACH):
            id = str(uuid.UUID(int=draw.getrandbits(128), version=4))
            rows = [named(row, id) for row in make_rows(ROWS, DAYS, seed=draw.getrandbits(30))]
            upstream.agent(id, rows, key, days=DAYS + 1)
            reach[key].append(id)
    upstream.fault = weather = Weather(random.Random(draw.getrandbits(30)), upstream)
    weather.counts = Counter()
    return upstream, weather, reach
