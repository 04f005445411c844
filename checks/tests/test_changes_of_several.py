"""One cursor for several agents: new agents bring rows, and deleted agents removals once upstream confirms them."""

import json
import random
import time
import uuid

import pytest
import requests
from answers import problem
from held import held_flags
from programs import KEY
from rows import make_rows
from test_changes import edit

ALWAYS = ("--live-ttl", "0s", "--settling-ttl", "0s", "--settled-ttl", "0s", "--upstream-rate", "0")


class Several:
    """A client that keeps rows by agent and id."""

    def __init__(self, base: str, agents: str, key: str = KEY):
        self.base, self.agents, self.key = base, agents, key
        self.rows: dict[tuple[str, str], bytes] = {}
        self.cursor: str | None = None
        self.given = self.removed = 0

    def ask(self, path: str) -> requests.Response:
        # Requests the list of agents every time.
        headers = {"Authorization": f"Bearer {self.key}", "Cache-Control": "max-age=1"}
        return requests.get(f"{self.base}/agents/{self.agents}/executions/{path}", headers=headers, timeout=60)

    def poll(self, format: str) -> requests.Response:
        since = self.cursor
        answer = self.ask(f"changes?format={format}" + (f"&since={since}" if since else ""))
        if answer.status_code != 200:
            return answer
        changed: dict[tuple[str, str], bytes] = {}
        removed = []
        if format == "json":
            end = answer.json()
            for section, entry in zip(sections(answer.text), end["agents"], strict=True):
                changed |= {(entry["agent_id"], json.loads(row)["id"]): row for row in section}
            removed = [(row["agent_id"], row["id"]) for row in end["removed"]]
        else:
            agent = end = None
            for line in answer.content.splitlines():
                row = json.loads(line)
                if "@agent" in row:
                    agent = row["@agent"]["agent_id"]
                elif "@removed" in row:
                    removed.append((row["@removed"]["agent_id"], row["@removed"]["id"]))
                elif "@end" in row:
                    end = row["@end"]
                else:
                    changed[agent, row["id"]] = line
            assert (end["count"], end["removed"]) == (len(changed), len(removed))
        assert end["complete"] is True
        self.rows = (self.rows if since else {}) | changed
        for row in removed:
            self.rows.pop(row, None)
        assert end["total"] == len(self.rows)
        self.cursor, self.given, self.removed = end["cursor"], len(changed), len(removed)
        return answer

    def truth(self) -> dict[tuple[str, str], bytes]:
        answer = self.ask("all?format=ndjson")
        rows, agent = {}, None
        for line in answer.content.splitlines():
            row = json.loads(line)
            if "@agent" in row:
                agent = row["@agent"]["agent_id"]
            elif "@end" not in row:
                rows[agent, row["id"]] = line
        return rows


def sections(text: str) -> list[list[bytes]]:
    """The rows of each section of a JSON response, byte for byte."""
    decoder, found = json.JSONDecoder(), []
    at = text.index('"agents":[')
    while (at := text.find('"data":[', at)) >= 0:
        at += len('"data":[')
        rows = []
        while text[at] == "{":
            _, end = decoder.raw_decode(text, at)
            rows.append(text[at:end].encode())
            at = end + (text[end] == ",")
        found.append(rows)
    return found


def make(gateway, upstream, counts, *flags: str) -> tuple[str, list[str]]:
    ids = sorted(str(uuid.uuid4()) for _ in counts)
    for seed, (id, count) in enumerate(zip(ids, counts, strict=True)):
        upstream.agent(id, make_rows(count, 9, seed=seed), KEY, days=10)
    return gateway(upstream.url, *ALWAYS, *flags).url, ids


@pytest.mark.parametrize("agents", ["all", "named"])
def test_a_client_has_what_all_returns_after_every_response(gateway, upstream, agents):
    base, ids = make(gateway, upstream, (40, 0, 25))
    client = Several(base, "all" if agents == "all" else ",".join(reversed(ids)))
    draw = random.Random(3)
    for round in range(10):
        for id in ids:
            edit(upstream.agents[id], draw)
        assert client.poll(("json", "ndjson")[round % 2]).status_code == 200
        assert client.rows == client.truth(), round
    upstream.agents[ids[0]].change(upstream.agents[ids[0]].rows[0].id, filling=7)
    answer = client.poll("ndjson")
    assert (client.given, answer.content.count(b"@agent")) == (1, 1), "agents without changes have no section"
    before = client.cursor
    for format in ("json", "ndjson"):
        assert len(client.poll(format).content) <= 400 and client.cursor == before
    client.agents = ",".join(ids) if agents == "named" else "all"
    client.poll("json")
    assert client.cursor == before, "the order of agents does not matter"


def test_new_agents_bring_rows_and_deleted_agents_removals(gateway, upstream):
    base, ids = make(gateway, upstream, (20, 30))
    client = Several(base, "all")
    client.poll("json")
    new = str(uuid.uuid4())
    upstream.agent(new, make_rows(7, 5, seed=9), KEY, days=10)
    time.sleep(1.1)
    client.poll("ndjson")
    assert client.given == 7 and {agent for agent, _ in client.rows} == {*ids, new}
    del upstream.agents[ids[0]]
    time.sleep(1.1)
    upstream.forget_log()
    client.poll("json")
    assert client.removed == 20 and {agent for agent, _ in client.rows} == {ids[1], new}
    assert sum(ids[0] in seen.path for seen in upstream.log) == 1, "upstream is asked once more"


class WithoutOne(dict):
    """Agents of which one exists but is not listed."""

    hidden = ""

    def values(self):
        return [agent for id, agent in self.items() if id != self.hidden]


def test_an_agent_missing_from_one_list_is_not_removed(gateway, upstream):
    base, ids = make(gateway, upstream, (20, 30))
    client = Several(base, "all")
    client.poll("json")
    listed, upstream.agents = upstream.agents, WithoutOne(upstream.agents)
    upstream.agents.hidden = ids[0]
    time.sleep(1.1)
    problem(client.poll("json"), 502, "upstream_inconsistent")
    upstream.agents = listed
    time.sleep(1.1)
    client.poll("json")
    assert (client.given, client.removed, client.rows) == (0, 0, client.truth())


def test_an_unreadable_agent_fails_the_response_and_removes_nothing(gateway, upstream):
    base, ids = make(gateway, upstream, (20, 30), "--stale-if-error", "0s")
    client = Several(base, ",".join(ids))
    client.poll("json")
    del upstream.agents[ids[1]]
    problem(client.poll("json"), 404, "agent_not_found")
    problem(client.poll("ndjson"), 404, "agent_not_found")


def test_a_cursor_for_all_does_not_work_for_the_same_agents_by_id(gateway, upstream):
    base, ids = make(gateway, upstream, (5, 5))
    client = Several(base, "all")
    client.poll("json")
    client.agents = ",".join(ids)
    assert "agents" in problem(client.poll("json"), 400, "invalid_request")["detail"]


def test_a_cursor_for_all_works_only_with_its_token(gateway, upstream, tmp_path):
    ids = sorted(str(uuid.uuid4()) for _ in range(2))
    for seed, id in enumerate(ids):
        upstream.agent(id, make_rows(5, 5, seed=seed), KEY, days=10)
    flags, tokens = held_flags(tmp_path, one=ids[0], other=ids[1])
    base = gateway(upstream.url, *ALWAYS, *flags).url
    one, other = (Several(base, "all", tokens[name]) for name in ("one", "other"))
    for client in (one, other, one, other):
        client.poll("json")
        assert client.removed == 0 and len({agent for agent, _ in client.rows}) == 1
    other.cursor = one.cursor
    problem(other.poll("json"), 400, "invalid_request")
