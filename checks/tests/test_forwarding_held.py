"""With a held key, only listed paths are reached, and no token gets data of another agent, cached or not."""

import json
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from held import held_flags
from raw_upstream import RawUpstream, ask, connect, read_head

AGENTS = [str(uuid.uuid4()) for _ in range(2)]
EXECUTIONS = {str(uuid.uuid4()): agent for agent in AGENTS for _ in range(3)}
SECRETS = {agent: f"secret-of-{agent[:8]}" for agent in AGENTS}
ROUNDS = 40


def object_of(agent: str, id: str) -> dict[str, str]:
    return {"id": id, "agent_id": agent, "note": SECRETS[agent], "status": "completed"}


@pytest.fixture
def upstream():
    """Responds to every path, with data of all agents if the path names none."""

    def answer(head, connection):
        path = head.split()[1].decode()
        last = path.rpartition("/")[2]
        if last in AGENTS:
            body = object_of(last, last)
        elif last in EXECUTIONS:
            body = object_of(EXECUTIONS[last], last)
        else:
            body = [object_of(agent, agent) for agent in AGENTS]
        text = json.dumps(body).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))

    upstream = RawUpstream(answer)
    yield upstream
    upstream.stop()


def spellings() -> list[str]:
    own, foreign, execution = *AGENTS, next(iter(EXECUTIONS))
    hidden = [f"/v2/agent/{own}/../{foreign}", f"/v2/agent/{own}/%2e%2e/{foreign}", f"/v2/agent/{own}%2f..%2f{foreign}"]
    hidden += [f"/v2/agent/./{foreign}", f"/v2/agent/%2e/{foreign}", f"/v2/agent/%252e%252e/{foreign}", "/executions/../call"]
    slashes = [f"/v2//agent/{own}", f"/v2/agent//{own}", "///v2/agent/all", f"/v2/agent/{own}/", "/user//me", "/user/me/"]
    slashes += [f"//x/v2/agent/{foreign}", f"/\\x/v2/agent/{foreign}", f"/v2/agent/{own}\\..\\{foreign}"]
    marks = ["/v2/agent/all;x=1", f"/v2/agent/{own};jsessionid=1", f"/v2/agent;x=1/{foreign}", f"/v2/agent/{own}%3bx", f"/v2/agent/{own}%00"]
    other = ["/v2/agent/ALL", "/V2/agent/all", "/v2/agent/%61ll", "/v2/agent", "/v2", "/", "/call", "/phone-numbers/all", "/me/voices"]
    other += [f"/executions/{execution}/log", f"/executions/{execution}%2flog", f"/agent/{own}", f"/agent/{own}/executions"]
    other += [f"/batches/{own}/all", "/user/me/wallet", "/v2/agent/all?agent_id=x", f"/v2/agent/{own}?x=1", f"http://x/v2/agent/{own}"]
    return hidden + slashes + marks + other


def test_reaches_only_listed_paths(gateway, upstream, tmp_path):
    flags, tokens = held_flags(tmp_path, one=AGENTS[0], all="*")
    program = gateway(upstream.url, *flags)
    for token in tokens.values():
        lines = f"Host: x\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        for path in spellings():
            answer = ask(program.url, f"GET {path} HTTP/1.1\r\n{lines}".encode())
            assert int(answer.split()[1]) in (400, 403, 404), (path, answer)
            assert not any(secret.encode() in answer for secret in SECRETS.values()), path
        for path in ("/call", "/v2/agent", f"/v2/agent/{AGENTS[0]}", "/batches", f"/executions/{next(iter(EXECUTIONS))}"):
            for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get"):
                answer = ask(program.url, f"{method} {path} HTTP/1.1\r\n{lines}".encode())
                assert int(answer.split()[1]) in (400, 403, 404, 405), (method, path, answer)
        upgrade = f"GET /user/me HTTP/1.1\r\nUpgrade: h2c, websocket\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n{lines}"
        with connect(program.url, 20) as caller:
            caller.sendall(upgrade.replace("close", "Upgrade, HTTP2-Settings").encode())
            assert int(read_head(caller).split()[1]) in (400, 403)
    assert not upstream.heads


@pytest.mark.parametrize("newer", [False, True], ids=["HTTP/1.1", "HTTP/2"])
@pytest.mark.parametrize("flags", [["--settling-ttl", "0s"], []], ids=["cold", "warm"])
def test_no_token_gets_another_agents_bytes_while_many_ask(gateway, upstream, tmp_path, flags, newer):
    held, tokens = held_flags(tmp_path, one=AGENTS[0], other=AGENTS[1])
    program = gateway(upstream.url, *held, *flags)
    reach = {tokens["one"]: AGENTS[0], tokens["other"]: AGENTS[1]}
    paths = ["/v2/agent/all", "//v2/agent/all", "/v2/agent/all?&", *(f"/v2/agent/{agent}" for agent in AGENTS)]
    paths += [f"/executions/{execution}" for execution in EXECUTIONS]
    headers = [{}, {"If-None-Match": "*"}, {"Range": "bytes=0-9"}, {"Cache-Control": "no-cache"}, {"Cache-Control": "no-store"}]
    faults, start = [], threading.Barrier(8)

    def look(number: int) -> None:
        token = list(reach)[number % 2]
        foreign = next(secret for agent, secret in SECRETS.items() if agent != reach[token])
        start.wait()
        with httpx.Client(http1=not newer, http2=newer, timeout=30, trust_env=False) as session:
            for turn in range(ROUNDS):
                path, more = paths[(turn * 7 + number) % len(paths)], headers[(turn + number) % len(headers)]
                answer = session.get(program.url + path, headers={"Authorization": f"Bearer {token}"} | more)
                is_own = "/all" in path or reach[token] in (path[10:], EXECUTIONS.get(path[12:]))
                expected = ({200, 206, 304} if is_own else {403}) | {429}
                if answer.status_code not in expected or foreign in answer.text or (answer.status_code == 304 and answer.text):
                    faults.append((path, more, answer.status_code, answer.text))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(look, range(8)))
    assert not faults, faults[:3]
