"""Checks whether responses keep the promises of openapi.yaml about freshness.

They are compared with upstream's own history: how long ago the version of a row in the response was replaced or deleted, and
how long ago a row that is missing in the response first appeared.
"""

import random
import time
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

from rows import DAY, SECOND, TERMINAL, Row, now, text_of
from upstream import Agent

HOUR = 3600
# For clocks, sockets and the interpreter. Every promise is ten times as long, except in the soak.
SLACK_SECONDS = 1.0
MOST_TOLD = 20


@dataclass(frozen=True)
class SmallRow(Row):
    """An execution of half a kilobyte, so that Python is not the bottleneck."""

    @cached_property
    def raw(self) -> bytes:
        return (
            f'{{"id":"{self.id}","created_at":"{text_of(self.created, self.form)}",'
            f'"updated_at":"{text_of(self.updated, self.form)}","status":"{self.status}",'
            f'"answered_by_voice_mail":{str(self.voice_mail).lower()},"total_cost":12.710,'
            f'"telephony_data":{{"duration":"69","call_type":"{self.call_type}","provider":"{self.provider}"}},'
            f'"transcript":"{"x" * 180}"}}'
        ).encode()


def small(row: Row) -> SmallRow:
    return SmallRow(**{name: getattr(row, name) for name in Row.__dataclass_fields__})


@dataclass(frozen=True)
class Promise:
    """The settings that define the promises, in seconds."""

    live: float = 10
    settling: float = 120
    settled: float = 24 * HOUR
    settle_after: float = 3 * HOUR

    def flags(self) -> list[str]:
        lengths = {"live": self.live, "settling": self.settling, "settled": self.settled}
        return [part for name, value in lengths.items() for part in (f"--{name}-ttl", f"{int(value * 1000)}ms")]

    def place(self, created: int, at: float) -> float:
        """How late a response with a status filter may show that a row created then began or ceased to match."""
        age = at - created / SECOND
        if age <= self.settle_after:
            return self.live
        return self.settling if age <= 7 * DAY / SECOND else 2 * self.settled

    def row(self, row: Row, replaced: float, at: float) -> float:
        """How late a response may show that this version of a row was replaced or deleted."""
        changed = max(row.created, row.updated) / SECOND
        if row.status in TERMINAL:
            # The settled TTL is a target, and the promise is twice that.
            return 2 * self.settled if at - changed > self.settle_after else self.settling
        # The row was last read before it was replaced.
        return max(self.live, min((replaced - changed) / 20, self.settling))


@dataclass(repr=False)
class History:
    """All versions of all executions of an agent. Changes go through it."""

    agent: Agent
    # By id: the versions of the row, each with the time since which it is shown. A deleted row is None.
    versions: dict[str, list[tuple[float, Row | None]]] = field(default_factory=dict)

    def __post_init__(self):
        for row in self.agent.rows:
            self.versions[row.id] = [(0.0, row)]

    def add(self, row: Row) -> None:
        self.agent.add([row])
        self.versions[row.id] = [(time.time(), row)]

    def change(self, id: str, **fields) -> None:
        row = self.versions[id][-1][1]
        if row is None:
            return
        changed = row.changed(**fields)
        self.agent.rows = [changed if other.id == id else other for other in self.agent.rows]
        self.versions[id].append((time.time(), changed))

    def remove(self, id: str) -> None:
        self.agent.remove(id)
        self.versions[id].append((time.time(), None))

    def at(self, id: str, instant: float) -> Row | None:
        shown = None
        for since, row in self.versions[id]:
            if since <= instant:
                shown = row
        return shown


@dataclass(frozen=True)
class Asked:
    """A request: when it was sent, for which dates and which status."""

    at: float
    start: int = 0
    end: int = 1 << 62
    status: str | None = None

    def wants(self, row: Row | None) -> bool:
        return row is not None and self.start <= row.created <= self.end and self.status in (None, row.status)


@dataclass
class Verdicts:
    """The results of the checked responses."""

    answers: int = 0
    rows: int = 0
    stale: int = 0
    wrong: list[str] = field(default_factory=list)
    # By how many seconds responses were behind, by kind.
    behind: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def check(
        self, history: History, promise: Promise, asked: Asked, data: list[dict], name: str = "", grace: float = 0.0
    ) -> None:
        """Compares a response that was just received with the history. A stale one gets some grace."""
        received = time.time()
        self.stale += grace > 0
        given = {row["id"]: row["updated_at"] for row in data}
        self.answers += 1
        self.rows += len(data)

        def wrong(what: str) -> None:
            self.wrong.append(f"{time.strftime('%H:%M:%S')} {name}: {what}")

        if len(given) != len(data):
            wrong(f"{len(data) - len(given)} rows come twice")
        instants = [row["created_at"][:26] for row in data]
        if any(above < below for above, below in pairwise(instants)):
            wrong("not newest first")
        for id, updated in given.items():
            self._given(history, promise, asked, id, updated, grace, wrong)
        for id, versions in history.versions.items():
            if id not in given:
                self._missing(promise, asked, received, id, versions, grace, wrong)

    def _given(
        self, history: History, promise: Promise, asked: Asked, id: str, updated: str, grace: float, wrong
    ) -> None:
        versions = history.versions.get(id)
        if versions is None:
            return wrong(f"{id} was never shown")
        texts = [row and text_of(row.updated, row.form) for _, row in versions]
        shown = texts.index(updated) if updated in texts else None
        if shown is None:
            return wrong(f"{id} never was as it is given")
        row = versions[shown][1]
        if not asked.wants(row):
            return wrong(f"{id} was not asked for")
        if shown + 1 == len(versions) or (replaced := versions[shown + 1][0]) >= asked.at:
            return None
        late, limit = asked.at - replaced, promise.row(row, replaced, asked.at)
        kind = "live" if row.status not in TERMINAL else "settling" if limit == promise.settling else "settled"
        if asked.status and row.status != getattr(versions[-1][1], "status", None):
            # The row no longer matches the filter.
            place = promise.place(row.created, asked.at)
            limit, kind = min(limit, place), f"left, {self._place(promise, place)}"
        self.behind["stale" if grace else f"given: {kind}"].append(late)
        if late > limit + grace + SLACK_SECONDS:
            wrong(f"{id} ({row.status}, created {text_of(row.created)}) is {late:.1f} s behind, {kind}: {limit:.1f} s")
        return None

    def _missing(
        self, promise: Promise, asked: Asked, received: float, id: str, versions, grace: float, wrong
    ) -> None:
        since = None
        for at, row in versions:
            if at > received:
                break
            if not asked.wants(row):
                since = None
            elif since is None:
                since = at
        if since is None or since >= asked.at:
            return
        row = versions[-1][1] or versions[0][1]
        late = asked.at - since
        is_new = since == versions[0][0]
        limit = promise.live if is_new and since else promise.place(row.created, asked.at) if asked.status else 0.0
        kind = "new" if is_new else f"entered, {self._place(promise, limit)}"
        if since:
            self.behind["stale" if grace else f"missing: {kind}"].append(late)
        if late > limit + grace + SLACK_SECONDS:
            behind = f"for {late:.1f} s, {kind}: {limit:.1f} s" if since else "though always there"
            wrong(f"{id} ({row.status}, created {text_of(row.created)}) is missing {behind}")

    @staticmethod
    def _place(promise: Promise, limit: float) -> str:
        return {promise.live: "last hours", promise.settling: "last week"}.get(limit, "older")

    def tell(self) -> None:
        print(
            f"\n{self.answers} answers with {self.rows} rows checked, {len(self.wrong)} untrue, "
            f"{self.stale} said they are stale"
        )
        for kind, seconds in sorted(self.behind.items()):
            print(f"  {kind}: {len(seconds)} times behind, at most {max(seconds):.1f} s")
        for what in self.wrong[:MOST_TOLD]:
            print("  UNTRUE", what)


async def call(history: History, sleep, draw: random.Random) -> None:
    """Simulates one call, from queued to priced."""
    created = now()
    # Rows become visible a little late.
    await sleep(draw.uniform(0, 2))
    id = f"{draw.getrandbits(32):08x}-0000-4000-8000-{draw.getrandbits(48):012x}"
    history.add(SmallRow(id=id, created=created, updated=created, status="queued", form=draw.randrange(3)))
    answered = draw.random() < 0.7
    steps = [("initiated", 3), ("ringing", 4), ("in-progress", 8), ("call-disconnected", 60), ("completed", 40)]
    if not answered:
        steps = [("initiated", 3), ("ringing", 4), (draw.choice(("no-answer", "busy", "failed")), 20)]
    for status, seconds in steps:
        await sleep(draw.uniform(0.5, 1.5) * seconds)
        history.change(id, status=status)
    # The price arrives.
    await sleep(draw.uniform(5, 60))
    history.change(id)

