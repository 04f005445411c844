"""Sends requests to the gateway, and splits its responses without parsing the rows."""

import json
from dataclasses import dataclass

import requests
from programs import Program
from rows import Row

NDJSON = "application/x-ndjson"
PATIENCE = 90


@dataclass(frozen=True)
class Agent:
    """An agent, as a client sees it."""

    base: str
    id: str
    key: str
    program: Program | None = None

    @property
    def path(self) -> str:
        return f"/agents/{self.id}/executions/all"

    @property
    def url(self) -> str:
        return self.base + self.path

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def ask(self, query: str = "", method: str = "GET", **headers: str) -> requests.Response:
        """Sends a request with this query string; underscores in header names stand for dashes."""
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"{self.url}?{query}" if query else self.url
        return requests.request(method, url, headers=self.headers | more, timeout=PATIENCE)

    def rows(self, query: str = "", **headers: str) -> list[bytes]:
        """The rows of a collected response, which must be complete."""
        return whole(self.ask(query, **headers))

    def lines(self, query: str = "", **headers: str) -> list[bytes]:
        """The rows of a streamed response, which must be complete."""
        answer = self.ask(query, Accept=NDJSON, **headers)
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"].startswith(NDJSON)
        return lines(answer.content)


def lines(body: bytes) -> list[bytes]:
    assert not body or body.endswith(b"\n")
    return [line for line in body.split(b"\n") if line]


def whole(answer: requests.Response) -> list[bytes]:
    """Checks a collected response; returns its rows."""
    assert answer.status_code == 200, answer.text
    rows = raw_rows(answer.text)
    envelope = json.loads(answer.content)
    assert envelope["complete"] is True and envelope["has_more"] is False and envelope["page_number"] == 1
    assert envelope["total"] == envelope["page_size"] == len(envelope["data"]) == len(rows)
    assert answer.headers["X-Total-Count"] == str(len(rows))
    assert "Content-Length" in answer.headers
    return rows


def raw_rows(text: str) -> list[bytes]:
    """The bytes of each row in `data`."""
    decoder, rows = json.JSONDecoder(), []
    at = text.index('"data":') + len('"data":')
    at = skip(text, at, "[")
    while text[at] != "]":
        _, end = decoder.raw_decode(text, at)
        rows.append(text[at:end].encode())
        at = skip(text, end, ",")
    return rows


def skip(text: str, at: int, mark: str) -> int:
    while text[at] in " \r\n\t" + mark:
        at += 1
    return at


def problem(answer: requests.Response, status: int, code: str) -> dict:
    """Checks a problem document; returns it."""
    assert answer.status_code == status, f"{answer.status_code}: {answer.text}"
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.headers["Cache-Control"] == "no-store"
    document = answer.json()
    assert document["code"] == code, document
    assert document["status"] == status
    assert document["title"] and document["detail"] and document["request_id"]
    assert document["request_id"] == answer.headers["X-Request-Id"]
    return document


def assert_same(got: list[bytes], truth: list[Row]) -> None:
    """Checks that every row is there once, byte for byte, newest first. Rows of one instant may be in any order."""
    assert len(got) == len(truth), f"{len(got)} rows instead of {len(truth)}"
    created = {row.raw: row.created for row in truth}
    assert len(created) == len(truth)
    strangers = [raw for raw in got if raw not in created]
    assert not strangers, strangers[0].decode()
    assert len(set(got)) == len(got), "rows come twice"
    instants = [created[raw] for raw in got]
    assert instants == sorted(instants, reverse=True), "not newest first"
