"""Several agents in one response: correct for each, at the cost of single requests, and never with rows of another."""

import csv
import io
import json
import socket
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
import requests
from aiohttp import web
from answers import Agent, assert_same, problem, raw_rows
from held import held_flags
from programs import KEY
from rows import SECOND, Row, make_rows, now

LONG = ("--live-ttl", "10m", "--settling-ttl", "10m")
FORMS = ("all", "all?format=ndjson", "all?format=csv", "all?fields=id,status", "summary", "summary?format=csv")


@dataclass(frozen=True)
class Several:
    """A gateway and agents of one key, in ascending order of id."""

    base: str
    ids: tuple[str, ...]
    upstream: object
    key: str = KEY

    @property
    def named(self) -> str:
        return ",".join(self.ids)

    def ask(self, agents: str, path: str, method: str = "GET", **headers: str) -> requests.Response:
        more = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"{self.base}/agents/{agents}/executions/{path}"
        return requests.request(method, url, headers={"Authorization": f"Bearer {self.key}"} | more, timeout=90)

    def truth(self, id: str) -> list[Row]:
        return self.upstream.agents[id].rows

    def requests(self) -> tuple[int, int]:
        """The number of pages requested since the last call, and of other requests."""
        pages, all = len(self.upstream.pages), len(self.upstream.log)
        self.upstream.forget_log()
        return pages, all - pages


def make(gateway, upstream, counts, *flags: str) -> Several:
    ids = sorted(str(uuid.uuid4()) for _ in counts)
    for seed, (id, count) in enumerate(zip(ids, counts)):
        upstream.agent(id, make_rows(count, 20, seed=seed), KEY, days=30)
    return Several(gateway(upstream.url, "--upstream-rate", "0", *flags).url, tuple(ids), upstream)


def document(answer: requests.Response) -> dict:
    assert answer.status_code == 200, answer.text
    reported = answer.json()
    assert reported["complete"] is True and answer.headers["X-Total-Count"] == str(reported["total"])
    assert answer.headers["Content-Length"]
    return reported


def sections(body: bytes) -> tuple[list[tuple[str, list[bytes]]], dict]:
    """The rows of each section of NDJSON, and the last line."""
    found: list[tuple[str, list[bytes]]] = []
    *lines, last = [line for line in body.split(b"\n") if line]
    for line in lines:
        value = json.loads(line)
        if list(value) == ["@agent"]:
            found.append((value["@agent"]["agent_id"], []))
        else:
            found[-1][1].append(line)
    return found, json.loads(last)["@end"]


def assert_sections(several: Several, body: bytes) -> None:
    found, end = sections(body)
    assert [id for id, _ in found] == list(several.ids)
    for id, rows in found:
        assert_same(rows, several.truth(id))
    assert end["complete"] is True and end["count"] == sum(len(rows) for _, rows in found)
    reported = [(one["agent_id"], one["complete"], one["count"]) for one in end["agents"]]
    assert reported == [(id, True, len(rows)) for id, rows in found]
    assert end["as_of"] == min(one["as_of"] for one in end["agents"])


def test_every_form_is_correct_at_the_cost_of_single_requests(gateway, upstream):
    counts = (130, 0, 61)
    alone = make(gateway, upstream, counts, *LONG)
    for id in alone.ids:
        assert alone.ask(id, "all").status_code == 200
    single = alone.requests()
    for form in FORMS:
        for agents in (alone.named, "all"):
            program = gateway(upstream.url, "--upstream-rate", "0", *LONG)
            several = Several(program.url, alone.ids, upstream)
            answer = several.ask(agents, form)
            assert answer.status_code == 200, answer.text
            if agents == "all":
                # One request for the list, which also checks the key.
                assert several.requests() == (single[0], 1), form
            else:
                assert several.requests() == single, form
            assert several.ask(agents, form).status_code == 200
            assert several.requests() == (0, 0), form
            if form == "all":
                reported = document(answer)
                for id, envelope in zip(alone.ids, reported["agents"], strict=True):
                    assert envelope["agent_id"] == id and envelope["total"] == len(alone.truth(id))
                rows = raw_rows_of_all(answer.text)
                [assert_same(got, alone.truth(id)) for id, got in zip(alone.ids, rows, strict=True)]
            elif form == "all?format=ndjson":
                assert_sections(several, answer.content)
            elif form == "all?format=csv":
                lines = list(csv.DictReader(io.StringIO(answer.text, newline="")))
                got = [(line["@agent_id"], line["id"]) for line in lines]
                assert got == [(id, row.id) for id in alone.ids for row in sorted(alone.truth(id), key=lambda r: -r.created)]


def raw_rows_of_all(text: str) -> list[list[bytes]]:
    return [raw_rows(part) for part in text.split('{"agent_id":')[1:]]


def test_order_spelling_and_repetition_of_agents_do_not_matter(gateway, upstream):
    several = make(gateway, upstream, (5, 6, 7), *LONG)
    first = several.ask(several.named, "all")
    a, b, c = several.ids
    for agents in (f"{c},{a},{b}", f"{a},{b},{c},{a}", f"{c.upper()},{a},{b.upper()}", f"{a}%2C{b}%2C{c}", "all"):
        again = several.ask(agents, "all")
        assert (again.content, again.headers["ETag"]) == (first.content, first.headers["ETag"]), agents
        assert several.ask(agents, "all", If_None_Match=first.headers["ETag"]).status_code == 304
        assert several.ask(agents, "all?format=ndjson", If_None_Match=first.headers["ETag"]).status_code == 304
    twice = several.ask(f"{a},{a}", "all").json()
    assert [one["agent_id"] for one in twice["agents"]] == [a]
    assert several.ask(a, "all").json()["agent_id"] == a


def test_refuses_invalid_lists_without_upstream_requests(gateway, upstream):
    several = make(gateway, upstream, (1,))
    many = ",".join(str(uuid.uuid4()) for _ in range(101))
    for agents in (many, f"{several.ids[0]},", f"all,{several.ids[0]}", "ALL", f"{several.ids[0]},x", "*"):
        for form in ("all", "summary"):
            reported = problem(several.ask(agents, form), 400, "invalid_request")
            assert "`agents`" in reported["detail"] and "accepted" in reported["detail"]
    assert several.requests() == (0, 0)
    hundred = ",".join(sorted(str(uuid.UUID(int=n)) for n in range(100)))
    assert several.ask(hundred, "all").status_code == 404


def test_a_missing_agent_fails_the_response_or_is_marked(gateway, upstream):
    several = make(gateway, upstream, (20, 30, 10), *LONG)
    foreign = str(uuid.UUID(int=(1 << 128) - 1))
    upstream.agent(foreign, make_rows(9, 3), key="bn-other")
    agents = f"{several.named},{foreign}"
    for form in FORMS:
        reported = problem(several.ask(agents, form), 404, "agent_not_found")
        assert foreign in reported["detail"], reported
    lenient = several.ask(agents, "all", Prefer="handling=lenient")
    reported = lenient.json()
    assert reported["complete"] is False and lenient.headers["Preference-Applied"] == "handling=lenient"
    assert "ETag" not in lenient.headers and lenient.headers["Cache-Control"] == "no-store"
    assert [one["complete"] for one in reported["agents"]] == [True, True, True, False]
    assert reported["agents"][3]["missing"][0]["code"] == "agent_not_found" and reported["agents"][3]["data"] == []
    body = several.ask(agents, "all?format=ndjson", Prefer="handling=lenient").content
    found, end = sections(body)
    assert end["complete"] is False and [one["complete"] for one in end["agents"]] == [True, True, True, False]
    assert [len(rows) for _, rows in found] == [20, 30, 10, 0]
    totals = several.ask(agents, "summary", Prefer="handling=lenient").json()
    assert totals["complete"] is False and totals["total"] == 60
    assert [one["total"] for one in totals["agents"]] == [20, 30, 10, 0]


def test_fails_without_upstreams_list_of_agents(gateway, upstream):
    several = make(gateway, upstream, (3, 4))
    for form in FORMS:
        reported = problem(requests.get(f"{several.base}/agents/all/executions/{form}", timeout=30), 401, "unauthenticated")
        stranger = Several(several.base, several.ids, upstream, key="bn-stranger")
        assert stranger.ask("all", form).status_code == 403
        assert stranger.ask(several.named, form).status_code == 403
        lenient = stranger.ask(several.named, form, Prefer="handling=lenient")
        assert lenient.status_code == 403, (form, reported)
    upstream.rate = (0, 60)
    for form in ("all", "summary"):
        answer = several.ask("all", form, Prefer="wait=1")
        assert answer.status_code in (429, 504) and int(answer.headers["Retry-After"]) >= 1, answer.text


def test_an_account_without_agents_has_an_empty_complete_response(gateway, upstream, tmp_path):
    id = str(uuid.uuid4())
    upstream.agent(id, [], KEY)
    flags, tokens = held_flags(tmp_path, every="*")
    base = gateway(upstream.url, *flags).url
    several = Several(base, (id,), upstream, key=tokens["every"])
    reported = document(several.ask("all", "all"))
    assert (reported["total"], len(reported["agents"]), reported["agents"][0]["data"]) == (0, 1, [])
    assert document(several.ask("all", "summary"))["total"] == 0
    text = several.ask("all", "all?format=csv&fields=id").text
    assert text == '"@agent_id","id"\r\n'


def test_only_if_cached_answers_from_the_cache_or_504(gateway, upstream):
    several = make(gateway, upstream, (3, 4), *LONG)
    cached = {"Cache_Control": "only-if-cached"}
    for agents in (several.named, "all"):
        for form in FORMS:
            problem(several.ask(agents, form, **cached), 504, "not_cached")
    assert several.requests() == (0, 0)
    for agents in (several.named, "all"):
        several.ask(agents, "all")
    several.requests()
    for agents in (several.named, "all"):
        for form in FORMS:
            answer = several.ask(agents, form, **cached)
            assert answer.status_code == 200 and answer.headers["Cache-Status"].startswith("fanfold; hit"), form
            assert "max-age=" in answer.headers["Cache-Control"] and int(answer.headers["Age"]) >= 0
    assert several.requests() == (0, 0)


def test_head_has_the_headers_of_get_for_several_agents(gateway, upstream):
    several = make(gateway, upstream, (30, 4), *LONG)
    for form in FORMS:
        # The compressed length changes when the cache recompresses rows.
        plain = {"Accept_Encoding": "identity"}
        get, head = several.ask("all", form, **plain), several.ask("all", form, "HEAD", **plain)
        assert (head.status_code, head.content) == (200, b"")
        for name in ("Content-Length", "ETag", "X-Total-Count", "Content-Type", "Content-Disposition"):
            assert head.headers.get(name) == get.headers.get(name), (form, name)


def test_limit_counts_for_each_agent(gateway, upstream):
    several = make(gateway, upstream, (130, 3, 0), *LONG)
    answer = several.ask("all", "all?limit=10")
    reported = answer.json()
    assert "X-Total-Count" not in answer.headers and "total" not in reported and reported["complete"] is True
    assert [(one["page_size"], one["has_more"]) for one in reported["agents"]] == [(10, True), (3, False), (0, False)]
    _, end = sections(several.ask("all", "all?limit=10&format=ndjson").content)
    assert end["has_more"] is True and end["count"] == 13


def test_totals_cover_all_agents(gateway, upstream):
    several = make(gateway, upstream, (60, 45, 0), *LONG)
    reported = document(several.ask("all", "summary?group_by=@agent_id,status&stats=cost"))
    expected: dict[tuple[str, str], int] = {}
    for id in several.ids:
        for row in several.truth(id):
            expected[id, row.status] = expected.get((id, row.status), 0) + 1
    got = {(group["key"]["@agent_id"], group["key"]["status"]): group["count"] for group in reported["groups"]}
    assert got == expected
    assert [(one["agent_id"], one["total"]) for one in reported["agents"]] == [(id, len(several.truth(id))) for id in several.ids]
    by_day = document(several.ask("all", "summary?group_by=@day&time_zone=Asia/Kolkata"))
    assert sum(group["count"] for group in by_day["groups"]) == 105
    group = by_day["groups"][0]
    drill = several.ask("all", f"all?from={group['from']}&to={group['to']}").json()
    assert drill["total"] == group["count"]


def test_a_failure_in_a_later_section_breaks_the_stream_and_names_the_agent(gateway, upstream):
    several = make(gateway, upstream, (40, 400), "--request-deadline", "4s")
    second = several.ids[1]

    async def fails(request):
        if request.match_info["agent"] == second and int(request.query.get("page_number", 1)) > 1:
            return web.Response(status=500, text="no")
        return None

    upstream.fault = fails
    address = urlsplit(several.base)
    with socket.create_connection((address.hostname, address.port), timeout=60) as client:
        path = f"/agents/{several.named}/executions/all?format=ndjson"
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode())
        raw = b""
        while part := client.recv(65536):
            raw += part
    assert raw.startswith(b"HTTP/1.1 200") and not raw.endswith(b"0\r\n\r\n"), raw[-200:]
    end = json.loads(next(line for line in reversed(raw.split(b"\n")) if line.startswith(b'{"@end"')))["@end"]
    # The deadline may cut off the last attempt.
    assert end["complete"] is False and end["error"]["code"] in ("upstream_unavailable", "upstream_timeout", "not_ready")
    assert [(one["agent_id"], one["complete"]) for one in end["agents"]] == [(several.ids[0], True), (second, False)]
    assert second in end["error"]["detail"]
    answer = several.ask(several.named, "all")
    assert answer.status_code >= 500 and second in answer.json()["detail"]


def test_tokens_see_their_own_agents_in_every_form_from_a_warm_cache(gateway, upstream, tmp_path):
    ids = sorted(str(uuid.uuid4()) for _ in range(4))
    for seed, id in enumerate(ids):
        upstream.agent(id, make_rows(40, 10, seed=seed), KEY, days=30)
    a, b, c, d = ids
    flags, tokens = held_flags(tmp_path, first=a, second=f"{b},{c}", every="*")
    base = gateway(upstream.url, "--upstream-rate", "0", *LONG, *flags).url

    def of(token: str) -> Several:
        return Several(base, tuple(ids), upstream, key=tokens[token])

    for form in FORMS:
        assert of("every").ask("all", form).status_code == 200
    upstream.forget_log()
    ways = [{}, {"Cache_Control": "only-if-cached"}, {"Prefer": "handling=lenient"}, {"If_None_Match": "*"}]
    everyone = {row.id: id for id in ids for row in upstream.agents[id].rows}

    def look(answer: requests.Response, reach: set[str], about) -> None:
        foreign = [id for row, id in everyone.items() if row in answer.text and id not in reach]
        assert not foreign and not any(id in answer.text for id in set(ids) - reach), about

    with ThreadPoolExecutor(8) as pool:
        jobs = []
        for token, reach in (("first", {a}), ("second", {b, c})):
            for form in FORMS:
                for way in ways:
                    jobs.append((token, reach, "all", form, way, None))
                    for foreign in sorted(set(ids) - reach):
                        jobs.append((token, reach, f"{foreign},{sorted(reach)[0]}", form, way, foreign))

        def run(job) -> None:
            token, reach, agents, form, way, foreign = job
            answer = of(token).ask(agents, form, **way)
            if foreign is None:
                assert answer.status_code in (200, 304), (job, answer.text)
                look(answer, reach, job)
            else:
                reported = problem(answer, 403, "forbidden")
                assert foreign in reported["detail"] and "ETag" not in answer.headers
                assert not any(row in answer.text for row in everyone), job

        list(pool.map(run, jobs))
    assert upstream.pages == []
    reported = of("second").ask("all", "all").json()
    assert [one["agent_id"] for one in reported["agents"]] == [b, c]
    assert len(reported["agents"][0]["data"]) == 40


def test_quiet_agents_do_not_use_up_the_budget(gateway, upstream):
    """Of twenty agents that are polled, two are busy, and the heads of the quiet ones are rarely read."""
    several = make(gateway, upstream, (3,) * 20, "--live-ttl", "1s", "--settling-ttl", "60s")
    for id in several.ids[:2]:
        upstream.agents[id].add([Row(id=str(uuid.uuid4()), created=now() - SECOND, updated=now(), status="in-progress")])
    assert several.ask("all", "all").status_code == 200
    several.requests()
    for _ in range(3):
        time.sleep(1.5)
        answer = several.ask("all", "all")
        assert answer.status_code == 200
        pages, others = several.requests()
        assert pages <= 4 and others == 0, (pages, others)
    fresh = Agent(several.base, several.ids[5], KEY)
    assert fresh.ask().status_code == 200
    assert several.requests()[0] == 1, "alone it is as fresh as ever"


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_lines_have_the_same_sections_for_old_clients(gateway, upstream, version):
    several = make(gateway, upstream, (60, 7), *LONG)
    address = urlsplit(several.base)
    with socket.create_connection((address.hostname, address.port), timeout=60) as client:
        path = "/agents/all/executions/all?format=ndjson"
        head = f"GET {path} HTTP/{version}\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {KEY}\r\n\r\n"
        client.sendall(head.encode())
        raw = b""
        while part := client.recv(65536):
            raw += part
    head, _, body = raw.partition(b"\r\n\r\n")
    if version == "1.0":
        assert b"content-length" in head.lower() and b"chunked" not in head.lower()
        assert_sections(several, body)
    else:
        assert b"chunked" in head.lower() and raw.endswith(b"0\r\n\r\n")
