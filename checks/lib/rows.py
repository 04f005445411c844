"""Executions as bytes that a careless gateway would change."""

import random
import uuid
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from functools import cached_property

SECOND = 1_000_000
DAY = 86_400 * SECOND
TERMINAL = ("completed", "no-answer", "busy", "failed", "canceled", "stopped", "error", "balance-low")
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)

# Must not appear in any log. Every row has both.
TRANSCRIPT_WORD = "Kadambari"
PHONE = "+919812345678"


def now() -> int:
    """The present in microseconds since 1970."""
    return (datetime.now(timezone.utc) - EPOCH) // timedelta(microseconds=1)


def text_of(micros: int, form: int = 1) -> str:
    """An instant as upstream writes it: naive, with `Z`, or with an offset."""
    naive = (EPOCH + timedelta(microseconds=micros)).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return naive + ("", "Z", "+00:00")[form]


def micros_of(text: str) -> int:
    """Parses an instant."""
    instant = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=timezone.utc)
    return (instant - EPOCH) // timedelta(microseconds=1)


@dataclass(frozen=True)
class Row:
    """One execution: the values that upstream filters by, and a number that the rest of its bytes depends on."""

    id: str
    created: int
    updated: int
    status: str = "completed"
    call_type: str = "outbound"
    provider: str = "plivo"
    voice_mail: bool = False
    batch: str = ""
    filling: int = 0
    form: int = 0

    def changed(self, **fields) -> "Row":
        """A later version of the execution."""
        return replace(self, **{"updated": now(), **fields})

    @cached_property
    def raw(self) -> bytes:
        """The bytes, with big integers, exponents, escapes, repeated keys, blanks, and raw and escaped text."""
        batch = f'"{self.batch}"' if self.batch else "null"
        # The last value of a repeated key counts, as in JSON parsers.
        decoy = '"id":"decoy","created_at":"1999-01-01T00:00:00",' if self.filling % 7 == 0 else ""
        return (
            f'{{{decoy}"id":"{self.id}","created_at":"{text_of(self.created, self.form)}",'
            f'"updated_at":"{text_of(self.updated, self.form)}", "status" :"{self.status}",'
            f'"batch_id":{batch},"answered_by_voice_mail":{str(self.voice_mail).lower()},'
            f'"big":9007199254740993{self.filling % 1000:03},"tiny":1e-7,"cost":12.710,"minus":-0.0,'
            r'"link":"https:\/\/example.invalid\/a\u0026b","twice":1,"twice":2,'
            r'"escaped":"\u0928\u092e\u0938\u094d\u0924\u0947 \ud83d\ude42 \"}\\","raw":"नमस्ते 🙂 ]},{",'
            f'"telephony_data":{{"duration":"69","call_type":"{self.call_type}","provider":"{self.provider}",'
            f'"to_number":"{PHONE}","id":"nested","created_at":"1999-01-01T00:00:00"}},"extracted_data":{{"Lead score":{{"value":null}}}},'
            f'"transcript":"{TRANSCRIPT_WORD} {"कॉल नंबर दें " * (self.filling % 60)}"}}'
        ).encode()


def make_rows(count: int, days: float, seed: int = 1, until: int | None = None) -> list[Row]:
    """Rows spread over the days before `until`, most of them completed, all of them terminal."""
    draw = random.Random(seed)
    end = until if until is not None else now() - 4 * 3600 * SECOND
    rows = []
    for _ in range(count):
        created = end - draw.randrange(int(days * DAY))
        rows.append(
            Row(
                id=str(uuid.UUID(int=draw.getrandbits(128), version=4)),
                created=created,
                updated=created + draw.randrange(600) * SECOND,
                status=draw.choice(("completed",) * 6 + ("no-answer", "busy", "failed", "error")),
                call_type=draw.choice(("outbound", "outbound", "inbound")),
                provider=draw.choice(("plivo", "twilio", "exotel")),
                voice_mail=draw.random() < 0.2,
                batch=draw.choice(("", "", "0123456789abcdef0123456789abcdef")),
                filling=draw.randrange(10_000),
                form=draw.randrange(3),
            )
        )
    return rows


def recent_and_old_rows(end: int) -> list[Row]:
    """30 rows of the two days before `end`, and 130 rows more than nine days before it, newest first."""
    rows = make_rows(30, 2, seed=1, until=end) + make_rows(130, 5, seed=2, until=end - 9 * DAY)
    return sorted(rows, key=lambda row: -row.created)
