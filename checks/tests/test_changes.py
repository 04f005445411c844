"""A client that applies the responses of `/changes` always has exactly the rows that `/all` returns."""

import json
import random
import socket
import threading
import uuid
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
import requests
from aiohttp import web
from answers import problem, raw_rows
from polling import wait_until
from programs import KEY
from rows import DAY, SECOND, Row, make_rows, micros_of, now, text_of

# Every poll reads from upstream.
ALWAYS = ("--live-ttl", "0s", "--settling-ttl", "0s", "--settled-ttl", "0s", "--upstream-rate", "0")
NEVER = ("--live-ttl", "10m", "--settling-ttl", "10m", "--upstream-rate", "0")


def url(agent, query: str = "") -> str:
    return f"{agent.base}/agents/{agent.id}/executions/changes?{query}"


def ask(agent, query: str = "", method: str = "GET", **headers: str) -> requests.Response:
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.request(method, url(agent, query), headers=agent.headers | more, timeout=60)


def unread(agent, upstream):
    """Another agent of the same key that nobody has requested."""
    other = replace(agent, id=str(uuid.uuid4()))
    upstream.agent(other.id, make_rows(5, 5), KEY)
    return other


def truth(agent, query: str = "") -> dict[str, bytes]:
    return {json.loads(row)["id"]: row for row in agent.rows(query)}


class Client:
    """Keeps the rows of a request, and applies complete responses."""

    def __init__(self, agent, query: str = ""):
        self.agent, self.query = agent, query
        self.rows: dict[str, bytes] = {}
        self.cursor: str | None = None
        self.given = self.removed = 0

    def poll(self, format: str = "ndjson", cursor: str | None = None) -> requests.Response:
        since = cursor or self.cursor
        answer = ask(self.agent, f"{self.query}&format={format}" + (f"&since={since}" if since else ""))
        if answer.status_code != 200:
            return answer
        if format == "ndjson":
            *lines, last = answer.content.splitlines()
            end = json.loads(last)["@end"]
            rows = [line for line in lines if b'"@removed"' not in line]
            removed = [json.loads(line)["@removed"]["id"] for line in lines if b'"@removed"' in line]
            assert (end["count"], end["removed"]) == (len(rows), len(removed)), end
        else:
            end = answer.json()
            assert end["since"] == since
            rows = raw_rows(answer.text)
            removed = [row["id"] for row in end["removed"]]
        assert end["complete"] is True
        if since is None:
            self.rows = {}
        self.rows |= {json.loads(row)["id"]: row for row in rows}
        for id in removed:
            self.rows.pop(id, None)
        assert end["total"] == len(self.rows)
        self.cursor, self.given, self.removed = end["cursor"], len(rows), len(removed)
        return answer


def polled(agent, query: str = "") -> Client:
    """A client after its first poll."""
    client = Client(agent, query)
    client.poll()
    return client


def edit(upstream_agent, draw: random.Random) -> None:
    """Adds, changes or removes a few rows."""
    ids = [row.id for row in upstream_agent.rows]
    for _ in range(draw.randrange(4)):
        what = draw.randrange(3)
        if what == 0 and ids:
            upstream_agent.change(draw.choice(ids), status=draw.choice(("completed", "busy", "failed")), filling=draw.randrange(99))
        elif what == 1 and ids:
            upstream_agent.remove(draw.choice(ids))
        else:
            upstream_agent.add(make_rows(draw.randrange(1, 4), 9, seed=draw.randrange(10**9)))


@pytest.mark.parametrize("query", ["", "status=busy,failed", "status=busy"])
def test_a_client_has_what_all_returns_after_every_response(agent_of, upstream, query):
    agent = agent_of(make_rows(150, 9), *ALWAYS, days=10)
    draw = random.Random(len(query))
    clients = [Client(agent, query) for _ in range(3)]
    had: list[tuple[dict[str, bytes], str]] = []
    for round in range(25):
        edit(upstream.agents[agent.id], draw)
        client = clients[draw.randrange(3)]
        if had and draw.random() < 0.3:
            # The client lost its last responses and continues from an earlier state.
            client.rows, client.cursor = draw.choice(had[-6:])
            client.rows = dict(client.rows)
        assert client.poll(draw.choice(("json", "ndjson"))).status_code == 200
        assert client.rows == truth(agent, query), round
        had.append((dict(client.rows), client.cursor))


def test_a_response_has_only_changed_and_removed_rows(agent_of, upstream):
    rows = make_rows(120, 9)
    agent = agent_of(rows, *ALWAYS, days=10)
    client = polled(agent)
    assert client.given == 120
    of = upstream.agents[agent.id]
    of.change(rows[3].id, filling=1)
    of.add([Row(id="not-a-uuid#1", created=rows[0].created, updated=rows[0].updated)])
    of.remove(rows[7].id)
    client.poll()
    assert (client.given, client.removed, client.rows) == (2, 1, truth(agent))
    before = client.cursor
    client.poll()
    assert (client.given, client.removed, client.cursor) == (0, 0, before)
    of.remove("not-a-uuid#1")
    client.poll("json")
    assert (client.given, client.removed, client.rows) == (0, 1, truth(agent))


def test_a_row_that_leaves_the_filter_is_removed(agent_of, upstream):
    rows = make_rows(60, 5)
    agent = agent_of(rows, *ALWAYS, days=10)
    client = polled(agent, "status=busy")
    busy = next(row for row in rows if row.status == "busy")
    upstream.agents[agent.id].change(busy.id, status="completed")
    client.poll()
    assert (client.given, client.removed) == (0, 1) and busy.id not in client.rows


def test_fields_reduce_rows_and_do_not_bind_the_cursor(agent_of, upstream):
    rows = make_rows(30, 5)
    agent = agent_of(rows, *ALWAYS, days=10)
    client = polled(agent, "fields=id,status")
    assert all(sorted(json.loads(row)) == ["id", "status"] for row in client.rows.values())
    upstream.agents[agent.id].change(rows[0].id, filling=5)
    client.query = "omit=transcript"
    client.poll()
    assert client.given == 1 and b"transcript" not in client.rows[rows[0].id]
    problem(ask(agent, "fields=status"), 400, "invalid_request")
    problem(ask(agent, "omit=id"), 400, "invalid_request")


def test_refuses_a_cursor_of_another_request_or_key(agent_of, upstream):
    rows = make_rows(30, 5)
    agent = agent_of(rows, *ALWAYS, days=10)
    other = "00000000-0000-4000-8000-000000000001"
    upstream.agent(other, make_rows(5, 5), KEY)
    upstream.agent("00000000-0000-4000-8000-000000000002", [], "bn-other")
    client = polled(agent, "from=2026-11-01T00:00:00%2B05:30")
    assert ask(agent, f"from=2026-10-31T18:30:00Z&since={client.cursor}").json()["data"] == []
    for query, part in [("", "`from`"), ("from=2026-10-31T18:30:00Z&status=busy", "filters")]:
        document = problem(ask(agent, f"{query}&since={client.cursor}"), 400, "invalid_request")
        assert part in document["detail"] and "`since`" in document["detail"]
    wrong = requests.get(
        f"{agent.base}/agents/{other}/executions/changes?from=2026-10-31T18:30:00Z&since={client.cursor}",
        headers=agent.headers,
        timeout=30,
    )
    assert "agents" in problem(wrong, 400, "invalid_request")["detail"]
    key = requests.get(
        url(agent, f"from=2026-10-31T18:30:00Z&since={client.cursor}"), headers={"Authorization": "Bearer bn-other"}, timeout=30
    )
    assert "key" in problem(key, 400, "invalid_request")["detail"]
    for malformed in ("x", "c1.", client.cursor[:-1], client.cursor + "A", "c2" + client.cursor[2:]):
        problem(ask(agent, f"from=2026-10-31T18:30:00Z&since={malformed}"), 400, "invalid_request")


def test_after_a_restart_an_old_cursor_works_only_without_changes(gateway, agent_of, upstream):
    rows = make_rows(80, 9)
    agent = agent_of(rows, *ALWAYS, days=10)
    client = polled(agent)
    restarted = gateway(upstream.url, *ALWAYS)
    client.agent = type(agent)(restarted.url, agent.id, agent.key)
    lost = client.cursor
    for format in ("ndjson", "json"):
        client.poll(format, lost)
        assert (client.given, client.removed) == (0, 0) and client.cursor != lost
    upstream.agents[agent.id].change(rows[0].id, filling=3)
    client.poll()
    assert client.given == 1 and client.rows == truth(agent)
    for format in ("ndjson", "json"):
        document = problem(client.poll(format, lost), 410, "cursor_gone")
        assert "without `since`" in document["detail"]
    client.cursor = None
    client.poll()
    assert client.rows == truth(agent)


def test_costs_upstream_as_many_requests_as_all(gateway, upstream):
    seen = {}
    for at, form in enumerate(("all?format=ndjson", "changes?format=ndjson", "changes?format=json")):
        id = f"00000000-0000-4000-8000-0000000000{at:02}"
        upstream.agent(id, make_rows(700, 40), KEY)
        base = f"{gateway(upstream.url, *NEVER).url}/agents/{id}/executions/{form}"
        counts, since = [], ""
        for step in ("cold", "warm", "reloaded"):
            upstream.forget_log()
            headers = {"Authorization": f"Bearer {KEY}"} | ({"Cache-Control": "max-age=1"} if step == "reloaded" else {})
            if step == "reloaded":
                threading.Event().wait(1.2)
            answer = requests.get(base + since, headers=headers, timeout=60)
            assert answer.status_code == 200, answer.text
            counts.append(len(upstream.pages))
            if form.startswith("changes"):
                document = answer.json() if form.endswith("=json") else json.loads(answer.content.splitlines()[-1])["@end"]
                since = f"&since={document['cursor']}"
        seen[form] = counts
    assert len({tuple(counts) for counts in seen.values()}) == 1 and counts[1] == 0, seen


def test_a_response_without_changes_is_small_and_revalidates(agent_of, upstream):
    agent = agent_of(make_rows(300, 20), *NEVER)
    client = polled(agent)
    upstream.forget_log()
    for format in ("json", "ndjson"):
        answer = client.poll(format)
        assert len(answer.content) <= 400 and client.given == client.removed == 0
        same = ask(agent, f"format={format}&since={client.cursor}", If_None_Match=answer.headers["ETag"])
        assert (same.status_code, same.content) == (304, b"")
        assert all(name in answer.headers for name in ("Age", "Cache-Control", "Cache-Status", "Vary"))
        head = ask(agent, f"format={format}&since={client.cursor}", "HEAD")
        assert (head.status_code, head.content, head.headers["ETag"]) == (200, b"", answer.headers["ETag"])
    assert upstream.pages == []
    cold = ask(unread(agent, upstream), Cache_Control="only-if-cached")
    problem(cold, 504, "not_cached")


def test_the_old_cursor_still_works_after_a_broken_response(agent_of, upstream):
    rows = make_rows(400, 60)
    agent = agent_of(rows, *ALWAYS, "--upstream-timeout", "5s", "--request-deadline", "8s", "--stale-if-error", "0s")
    client = polled(agent)
    upstream.agents[agent.id].change(rows[0].id, filling=3)
    upstream.agents[agent.id].remove(rows[1].id)

    def fail_old(_, query):
        if micros_of(query["from"]) < now() - 20 * DAY:
            raise RuntimeError("scripted")

    upstream.before_page = fail_old
    with requests.get(url(agent, f"format=ndjson&since={client.cursor}"), headers=agent.headers, stream=True, timeout=60) as answer:
        body = b""
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            for chunk in answer.iter_content(1024):
                body += chunk
    end = json.loads(body.splitlines()[-1])["@end"]
    assert end["complete"] is False and "cursor" not in end and end["error"]["code"] in ("upstream_unavailable", "upstream_timeout")
    assert ask(agent, f"since={client.cursor}").status_code in (502, 504)
    upstream.before_page = lambda upstream, query: None
    wait_until(lambda: client.poll().status_code == 200, 90)
    assert (client.given, client.removed, client.rows) == (1, 1, truth(agent))


def test_confirms_an_empty_list_before_it_removes_rows(agent_of, upstream):
    rows = make_rows(400, 20)
    agent = agent_of(rows, *ALWAYS, days=30)
    client = polled(agent)
    async def empty(request):
        width = micros_of(request.query["to"]) - micros_of(request.query["from"])
        if request.path.endswith("/executions") and width > 4 * DAY:
            return web.json_response({"page_number": 1, "page_size": 50, "total": 0, "has_more": False, "data": []})
        return None

    upstream.fault = empty
    problem(client.poll("json"), 502, "upstream_inconsistent")
    streamed = requests.get(url(agent, f"format=ndjson&since={client.cursor}"), headers=agent.headers, stream=True, timeout=60)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        assert b'"@removed"' not in streamed.content
    upstream.fault = None
    wait_until(lambda: client.poll().status_code == 200, 90)
    assert (client.given, client.removed, client.rows) == (0, 0, truth(agent))


def test_confirming_removed_rows_costs_one_request(agent_of, upstream):
    rows = make_rows(400, 20)
    agent = agent_of(rows, *ALWAYS, days=30)
    client = polled(agent)
    of = upstream.agents[agent.id]
    of.rows = of.rows[:100]
    upstream.forget_log()
    agent.rows()
    as_all = len(upstream.pages)
    upstream.forget_log()
    client.poll()
    assert (client.removed, client.rows) == (300, truth(agent))
    upstream.forget_log()
    other = Client(agent)
    other.poll()
    assert len(upstream.pages) == as_all
    of.rows = of.rows[:10]
    upstream.forget_log()
    client.poll("json")
    assert client.removed == 90 and len(upstream.pages) <= as_all + 1


def test_several_clients_can_use_the_same_cursor(agent_of, upstream):
    rows = make_rows(200, 9)
    agent = agent_of(rows, *ALWAYS, days=10)
    first = polled(agent)
    clients = []
    for _ in range(12):
        client = Client(agent)
        client.rows, client.cursor = dict(first.rows), first.cursor
        clients.append(client)
    upstream.latency = 0.05
    threads = [threading.Thread(target=client.poll, args=(("json", "ndjson")[at % 2],)) for at, client in enumerate(clients)]
    for at, thread in enumerate(threads):
        thread.start()
        upstream.agents[agent.id].change(rows[at].id, filling=at)
        upstream.agents[agent.id].remove(rows[50 + at].id)
    for thread in threads:
        thread.join()
    for client in [first, *clients]:
        client.poll()
        assert client.rows == truth(agent)


def test_change_logs_are_dropped_with_a_revoked_key(agent_of, upstream):
    rows = make_rows(50, 5)
    agent = agent_of(rows, *NEVER, days=10)
    client = polled(agent)
    upstream.denied_keys.add(KEY)
    # Data older than a second is read again.
    wait_until(lambda: ask(agent, Cache_Control="no-cache").status_code == 403, 30)
    problem(client.poll("json"), 403, "upstream_denied")
    assert "fanfold_change_logs 0" in requests.get(f"{agent.program.admin}/metrics", timeout=30).text
    upstream.denied_keys.clear()
    upstream.agents[agent.id].change(rows[0].id, filling=3)
    wait_until(lambda: client.poll("json").status_code != 403)
    problem(client.poll("json"), 410, "cursor_gone")


def test_a_result_too_large_to_follow_has_no_cursor_and_a_reason(agent_of, upstream):
    agent = agent_of(make_rows(400, 20), *NEVER, "--cursor-bytes", "32KiB")
    for format in ("ndjson", "json"):
        answer = ask(agent, f"format={format}")
        end = answer.json() if format == "json" else json.loads(answer.content.splitlines()[-1])["@end"]
        assert end["cursor"] is None and "too many rows" in end["cursor_reason"] and end["complete"] is True
    few = ask(agent, f"from={text_of(now() - 2 * DAY)}").json()
    assert few["cursor"] is not None


def test_gives_no_cursor_without_room_for_its_change_log(agent_of, upstream):
    agent = agent_of(make_rows(400, 20), *NEVER, "--cursor-bytes", "64KiB")
    queries = [f"status={status}" for status in ("completed", "busy", "failed", "error", "no-answer", "completed,busy,failed")]
    queries += [f"provider={provider}" for provider in ("plivo", "twilio", "exotel")]
    ends = {query: ask(agent, f"{query}&fields=id").json() for query in queries}
    assert any("no room" in end.get("cursor_reason", "") for end in ends.values())
    assert ends[queries[0]]["cursor"] is not None
    for query, end in ends.items():
        if cursor := end["cursor"]:
            assert ask(agent, f"{query}&since={cursor}").json()["cursor"] == cursor, query


def test_an_http_1_0_client_gets_lines_with_a_length(agent_of, upstream):
    agent = agent_of(make_rows(40, 5), *NEVER, days=10)
    address = urlsplit(agent.base)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        request = f"GET /agents/{agent.id}/executions/changes?format=ndjson HTTP/1.0\r\nAuthorization: Bearer {KEY}\r\n\r\n"
        connection.sendall(request.encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    head, _, body = answer.partition(b"\r\n\r\n")
    assert f"content-length: {len(body)}".encode() in head.lower()
    assert json.loads(body.splitlines()[-1])["@end"]["count"] == 40


def test_cursors_are_in_the_metrics_but_not_in_the_log(agent_of, upstream):
    agent = agent_of(make_rows(40, 5), *NEVER, days=10)
    client = polled(agent)
    problem(ask(agent, "since=SECRETSECRET"), 400, "invalid_request")
    metrics = requests.get(f"{agent.program.admin}/metrics", timeout=30).text
    assert "fanfold_change_logs 1" in metrics and "fanfold_change_log_bytes" in metrics
    assert client.cursor not in agent.program.output() and "SECRETSECRET" not in agent.program.output()


def test_now_is_part_of_the_result(agent_of, upstream):
    created = now() - 2 * SECOND
    agent = agent_of(make_rows(10, 1), *ALWAYS, days=2)
    client = polled(agent)
    upstream.agents[agent.id].add([Row(id="0c9fa1de-8a07-4ffb-a31f-6ecf0a8b4d57", created=created, updated=created, status="queued")])
    client.poll()
    assert client.given == 1 and client.rows == truth(agent)
