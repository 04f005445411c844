"""A typical poller for upstream: lists the agents and walks each page by page, without dates."""

import time
from dataclasses import dataclass, field

import requests
from answers import raw_rows


@dataclass
class Walk:
    """The result of one agent's walk."""

    rows: list[bytes] = field(default_factory=list)
    pages: int = 0
    first_page: float = 0.0
    slowest: float = 0.0
    took: float = 0.0
    # The `Retry-After` of every refusal.
    waits: list[int] = field(default_factory=list)


def poll(base: str, key: str, patience: float = 10.0, page_size: int = 50) -> dict[str, Walk]:
    """Walks every agent. Each request must succeed within `patience`, if necessary after one 429 and its `Retry-After`."""
    walks = {}
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {key}"
        agents = session.get(f"{base}/v2/agent/all", timeout=patience)
        assert agents.status_code == 200, agents.text
        for agent in agents.json():
            walks[agent["id"]] = walk(session, f"{base}/v2/agent/{agent['id']}/executions", patience, page_size)
    return walks


def walk(session: requests.Session, url: str, patience: float, page_size: int) -> Walk:
    walk, number, has_waited = Walk(), 1, False
    began = time.monotonic()
    while True:
        asked = time.monotonic()
        answer = session.get(url, params={"page_number": number, "page_size": page_size}, timeout=patience)
        walk.slowest = max(walk.slowest, time.monotonic() - asked)
        if answer.status_code == 429:
            assert not has_waited, f"page {number} is refused again after {walk.waits[-1]} s: {answer.text}"
            walk.waits.append(int(answer.headers["Retry-After"]))
            assert walk.waits[-1] >= 1
            time.sleep(walk.waits[-1])
            has_waited = True
            continue
        assert answer.status_code == 200, (number, answer.status_code, answer.text)
        has_waited = False
        walk.pages += 1
        walk.first_page = walk.first_page or time.monotonic() - began
        page = answer.json()
        assert page["page_number"] == number and len(page["data"]) <= page_size
        walk.rows += raw_rows(answer.text)
        if not page["has_more"]:
            assert page["total"] == (number - 1) * page_size + len(page["data"])
            walk.took = time.monotonic() - began
            return walk
        assert "total" not in page and len(page["data"]) == page_size
        number += 1
