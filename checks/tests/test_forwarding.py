"""Forwarding of upstream's other paths: which requests pass, and what they look like on both sides."""

import json
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import requests
from held import held_flags
from polling import wait_until
from programs import KEY
from raw_upstream import OK, ask, connect, read_head, read_request

AUTH = {"Authorization": f"Bearer {KEY}"}
OWN, OTHER = str(uuid.uuid4()), str(uuid.uuid4())
HEAD = f"Host: other\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n".encode()


def status(answer: bytes) -> int:
    return int(answer.split()[1])


def test_sends_exactly_the_bytes_that_were_checked(gateway, raw):
    upstream = raw()
    program = gateway(upstream.url)
    for target in (b"/a/%2E/b%2Fc?x=%7e&y=a+b&z='|'&&=", b"/x/../y;p=1?", b"/%2e%2e/%252e"):
        assert status(ask(program.url, b"PUT " + target + b" HTTP/1.1\r\n" + HEAD + b"\r\n")) == 200
        assert upstream.lines()[-1] == b"PUT " + target + b" HTTP/1.1"
    host = upstream.url.removeprefix("http://").encode()
    for head in upstream.heads:
        assert head.lower().count(b"\r\nhost: ") == 1 and b"host: " + host in head.lower()


def test_connects_only_to_upstream(gateway, raw, tmp_path):
    upstream, trap = raw(), raw()
    there = trap.url.removeprefix("http://")
    targets = [f"//{there}/v2/agent/all", "///v2/agent/all", f"/\\{there}/x", f"{trap.url}/v2/agent/all"]
    flags, tokens = held_flags(tmp_path, all="*")
    for program, key in ((gateway(upstream.url), KEY), (gateway(upstream.url, *flags), tokens["all"])):
        for target in targets:
            request = f"GET {target} HTTP/1.1\r\nHost: {there}\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
            assert 400 <= status(ask(program.url, request.encode())) < 500, target
    assert trap.connections == 0 and upstream.connections == 0
    program = gateway(upstream.url)
    assert status(ask(program.url, b"GET //v2/agent/all HTTP/1.1\r\n" + HEAD + b"\r\n")) == 200
    assert upstream.lines() == [b"GET /v2/agent/all HTTP/1.1"]


def test_a_held_key_forwards_only_listed_paths(gateway, raw, tmp_path):
    objects = {id: f'{{ "id":"{id}", "n":1.0 }}' for id in (OWN, OTHER)}

    def answer(head, connection):
        path = head.split()[1].decode()
        if path == "/v2/agent/all":
            body = f"[{objects[OTHER]} , {objects[OWN]}]"
        elif path.startswith("/executions/"):
            body = f'{{"id":"x","agent_id":"{OWN if path.endswith("1") else OTHER}"}}'
        else:
            body = objects.get(path.rsplit("/", 1)[1], "{}")
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())

    upstream = raw(answer)
    flags, tokens = held_flags(tmp_path, one=OWN, other=OTHER, all="*")
    program = gateway(upstream.url, *flags)

    def get(path, token="one", method="GET", **headers):
        session = {"Authorization": f"Bearer {tokens[token]}"} | headers
        return requests.request(method, program.url + path, headers=session, timeout=10)

    mine, foreign = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
    for _ in range(2):
        assert get("/v2/agent/all").text == f"[{objects[OWN]}]"
        assert get("/v2/agent/all", "other").text == f"[{objects[OTHER]}]"
        assert get("/v2/agent/all", "all").text == f"[{objects[OTHER]} , {objects[OWN]}]"
        assert get(f"/v2/agent/{OWN}").text == objects[OWN]
        assert get(f"/v2/agent/{OTHER}").status_code == 403
        assert get(f"/executions/{mine}").status_code == 200
        refused = get(f"/executions/{foreign}")
        assert refused.status_code == 403 and OTHER not in refused.text
    assert get("/user/me").status_code == 403 and get("/user/me", "all").status_code == 200
    # An empty query does not change the path.
    for query in ("?", "?&", "?&&", "?#"):
        for path, expected in (("/v2/agent/all", 200), (f"/v2/agent/{OTHER}", 403), (f"/executions/{foreign}", 403)):
            request = f"GET {path}{query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {tokens['one']}\r\nConnection: close\r\n\r\n"
            answer = ask(program.url, request.encode())
            assert status(answer) == expected or query == "?#", (path, query)
            assert OTHER in path or OTHER.encode() not in answer, (path, query)
    assert all(f"Bearer {KEY}".encode() in head for head in upstream.heads)

    before = len(upstream.heads)
    for path in ("/call", "/executions/../call", f"/v2/agent/{OWN}/%2e%2e/{OTHER}", f"/v2/agent/{OWN}%2f..%2f{OTHER}",
                 "/v2/agent/%252e%252e", f"/v2/agent/{OWN}\\..\\x", f"/v2/agent/{OWN};x=1", "/v2//agent/all",
                 f"/v2/agent/{OWN}/", f"/executions/{mine}/log", "/phone-numbers/all", "/v2/agent/%61ll"):
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {tokens['all']}\r\nConnection: close\r\n\r\n"
        assert status(ask(program.url, request.encode())) in (400, 403, 404), path
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
        assert get(f"/v2/agent/{OWN}", "all", method).status_code == 403
    assert get("/user/me", "all", Upgrade="websocket", Connection="upgrade").status_code == 403
    assert get("/user/me?x=1", "all").status_code == 400
    assert len(upstream.heads) == before


def test_no_token_reads_another_agents_bytes_while_many_ask(gateway, raw, tmp_path):
    def answer(head, connection):
        time.sleep(0.002)
        body = json.dumps([{"id": OWN}, {"id": OTHER}])
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())

    flags, tokens = held_flags(tmp_path, one=OWN, other=OTHER)
    program = gateway(raw(answer).url, *flags, "--settling-ttl", "0s")

    def look(number):
        token, reach = ("one", OWN) if number % 2 else ("other", OTHER)
        answer = requests.get(f"{program.url}/v2/agent/all", headers={"Authorization": f"Bearer {tokens[token]}"}, timeout=20)
        return answer.status_code != 200 or answer.json() == [{"id": reach}]

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(look, range(300)))


def test_a_body_keeps_its_framing(gateway, raw):
    def answer(head, connection):
        read_request(head, connection)
        connection.sendall(OK)

    upstream = raw(answer)
    program = gateway(upstream.url)
    for method, headers, body, framing in (
        (b"GET", b"", b"", b""),
        (b"DELETE", b"", b"", b""),
        (b"POST", b"Content-Length: 0\r\n", b"", b"content-length: 0"),
        (b"POST", b"Content-Length: 2048\r\n", b"x" * 2048, b"content-length: 2048"),
        (b"POST", b"Transfer-Encoding: chunked\r\n", b"3\r\nabc\r\n0\r\n\r\n", b"transfer-encoding: chunked"),
    ):
        request = method + b" /x HTTP/1.1\r\n" + HEAD + headers + b"\r\n" + body
        assert status(ask(program.url, request)) == 200
        lines = upstream.heads[-1].lower().split(b"\r\n")
        framings = [line for line in lines if line.startswith((b"content-length", b"transfer-encoding"))]
        assert framings == ([framing] if framing else []), method


@pytest.mark.parametrize("linger", [False, True])
def test_returns_an_early_refusal(gateway, raw, linger):
    def answer(head, connection):
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 7\r\nConnection: close\r\n\r\ntoo big")
        if linger:
            time.sleep(0.2)
        return True

    upstream = raw(answer)
    program = gateway(upstream.url)
    refused = requests.post(f"{program.url}/x", data=b"x" * (50 << 20), headers=AUTH, timeout=30)
    assert refused.status_code in (413, 502)
    if refused.status_code == 413:
        assert refused.text == "too big"
    assert len(upstream.heads) == 1


def test_never_sends_a_write_twice(gateway, raw):
    def answer(head, connection):
        read_request(head, connection)
        return True

    upstream = raw(answer)
    program = gateway(upstream.url)
    for body in (b"", b'{"a":1}'):
        before = len(upstream.heads)
        refused = requests.post(f"{program.url}/call", data=body, headers=AUTH, timeout=10)
        assert refused.status_code == 502 and "may have arrived" in refused.json()["detail"]
        assert len(upstream.heads) == before + 1
    before = upstream.connections
    assert requests.get(f"{program.url}/me/voices", headers=AUTH, timeout=10).status_code == 502
    assert upstream.connections <= before + 2


def test_a_refused_upload_gets_the_error(gateway, raw, tmp_path):
    upstream = raw()
    flags, tokens = held_flags(tmp_path, all="*")
    bearer = {"Authorization": f"Bearer {tokens['all']}"}
    for program, path, headers, expected in (
        (gateway(upstream.url), "/x", {}, 401),
        (gateway(upstream.url, "--forward", "reads"), "/x", AUTH, 403),
        (gateway(upstream.url, *flags), "/call", bearer, 403),
        (gateway(upstream.url), "/agents/nothing", AUTH, 404),
    ):
        refused = requests.post(program.url + path, data=b"x" * (20 << 20), headers=headers, timeout=30)
        assert refused.status_code == expected and refused.json()["code"]
        with httpx.Client(http1=False, http2=True, timeout=30, trust_env=False) as session:
            refused = session.post(program.url + path, content=b"x" * (1 << 20), headers=headers)
        assert refused.status_code == expected and refused.json()["code"]
    assert upstream.connections == 0


def test_evaluates_conditions_here_on_shared_responses(gateway, raw):
    def answer(head, connection):
        assert b"if-none-match" not in head.lower() and b"range" not in head.lower()
        connection.sendall(b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: 2\r\n\r\n[]')

    upstream = raw(answer)
    program = gateway(upstream.url)
    url = f"{program.url}/v2/agent/all"
    assert requests.get(url, headers=AUTH | {"If-None-Match": '"e"'}, timeout=10).status_code == 304
    assert requests.get(url, headers=AUTH, timeout=10).text == "[]"
    assert requests.get(url, headers=AUTH | {"If-None-Match": "*"}, timeout=10).status_code == 304
    assert requests.get(url, headers=AUTH | {"Range": "bytes=0-0"}, timeout=10).text == "[]"
    assert len(upstream.heads) == 1


def test_forwards_other_conditions_and_a_304_has_no_length(gateway, raw):
    upstream = raw(lambda head, connection: connection.sendall(b'HTTP/1.1 304 Not Modified\r\nETag: "e"\r\n\r\n'))
    program = gateway(upstream.url)
    answer = ask(program.url, b'GET /me/voices HTTP/1.1\r\n' + HEAD + b'If-None-Match: "e"\r\n\r\n').lower()
    assert status(answer) == 304 and b"content-length" not in answer and b'etag: "e"' in answer
    assert b"if-none-match" in upstream.heads[-1].lower()


def test_a_write_drops_cached_responses(gateway, simulator):
    program = gateway(simulator("--agents", "1", "--executions", "3").url)
    url = f"{program.url}/v2/agent"
    agent = requests.get(f"{url}/all", headers=AUTH, timeout=10).json()[0]["id"]
    changed = requests.patch(f"{url}/{agent}", json={"agent_config": {"agent_name": "New"}}, headers=AUTH, timeout=10)
    assert changed.status_code == 200
    assert requests.get(f"{url}/all", headers=AUTH, timeout=10).json()[0]["agent_name"] == "New"
    assert requests.get(f"{url}/{agent}", headers=AUTH, timeout=10).json()["agent_name"] == "New"


def test_upstreams_connection_closes_when_the_caller_leaves(gateway, raw):
    closed, asked = threading.Semaphore(0), threading.Semaphore(0)

    def answer(head, connection):
        asked.release()
        if not connection.recv(1):
            closed.release()
        return True

    program = gateway(raw(answer).url, "--upstream-timeout", "2m")
    callers = []
    for _ in range(30):
        caller = connect(program.url)
        caller.sendall(b"GET /me/voices HTTP/1.1\r\n" + HEAD + b"\r\n")
        callers.append(caller)
    for _ in callers:
        assert asked.acquire(timeout=20)
    for caller in callers:
        caller.close()
    for _ in callers:
        assert closed.acquire(timeout=20)


def test_never_completes_an_upload_that_the_caller_broke_off(gateway, raw):
    ends = []

    def answer(head, connection):
        seen = b""
        try:
            while piece := connection.recv(65536):
                seen += piece
        except OSError:
            pass
        ends.append(seen)
        return True

    upstream = raw(answer)
    program = gateway(upstream.url)
    with connect(program.url) as caller:
        caller.sendall(b"POST /x HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        wait_until(lambda: upstream.heads)
        time.sleep(0.5)
    wait_until(lambda: ends)
    assert not ends[0].endswith(b"0\r\n\r\n")


def test_forwards_codings_and_small_pieces_unchanged(gateway, raw):
    go_on = threading.Event()

    def answer(head, connection):
        assert b"accept-encoding" not in head.lower()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nno!\r\n")
        go_on.wait(10)
        connection.sendall(b"0\r\n\r\n")

    program = gateway(raw(answer).url)
    with connect(program.url, 10) as caller:
        caller.sendall(b"GET /me/voices HTTP/1.1\r\n" + HEAD + b"\r\n")
        head = read_head(caller)
        assert b"content-encoding: gzip" in head.lower() and b"content-length" not in head.lower()
        assert b"no!" in caller.recv(100)
        go_on.set()


def test_never_forwards_hop_by_hop_headers_and_cookies(gateway, raw):
    def answer(head, connection):
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nAccess-Control-Allow-Origin: *\r\nLink: <a>\r\nLink: <b>\r\n"
            b"X-Odd: \xff\r\nContent-Length: 2\r\n\r\n{}"
        )

    upstream = raw(answer)
    program = gateway(upstream.url)
    request = b"GET /me/voices HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + KEY.encode()
    request += b"\r\nConnection: close, x-hop\r\nX-Hop: 1\r\nCookie: c=d\r\nTE: trailers\r\n\r\n"
    answer = ask(program.url, request).lower()
    assert b"set-cookie" not in answer and b"access-control" not in answer
    assert answer.count(b"\r\nlink: ") == 2 and b"x-odd: \xff" in answer and b"via: 1.1 fanfold" in answer
    head = upstream.heads[-1].lower()
    assert not any(name in head for name in (b"x-hop", b"cookie", b"\r\nte:"))
    assert b"via: 1.1 fanfold" in head


def test_breaks_forwarding_loops(gateway, raw):
    upstream = raw()
    program = gateway(upstream.url)
    answer = requests.get(f"{program.url}/me/voices", headers=AUTH | {"Via": "1.1 fanfold"}, timeout=10)
    assert answer.status_code == 508 and upstream.connections == 0


def test_the_timeout_counts_only_the_time_that_upstream_takes(gateway, raw):
    def answer(head, connection):
        if b" /silent " in head:
            read_request(head, connection)
            return time.sleep(15)
        if b" /drip " in head:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
            for _ in range(6):
                time.sleep(1)
                connection.sendall(b"x")
            return None
        read_request(head, connection)
        connection.sendall(OK)

    program = gateway(raw(answer).url, "--upstream-timeout", "4s")

    def slowly():
        for _ in range(10):
            time.sleep(0.5)
            yield b"x" * 1000

    # A generator, because requests sends a length for anything else.
    assert requests.post(f"{program.url}/upload", data=slowly(), headers=AUTH, timeout=20).status_code == 200
    assert requests.get(f"{program.url}/drip", headers=AUTH, timeout=20).text == "xxxxxx"
    begun = time.monotonic()
    refused = requests.post(f"{program.url}/silent", data=b"abc", headers=AUTH, timeout=20)
    assert refused.status_code == 504 and refused.json()["code"] == "upstream_timeout"
    assert 3.5 < time.monotonic() - begun


def test_forwards_head_requests_and_large_uploads(gateway, raw):
    def answer(head, connection):
        if head.startswith(b"HEAD"):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 123\r\n\r\n")
        else:
            body = read_request(head, connection)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n%07d" % len(body))

    program = gateway(raw(answer).url)
    assert requests.head(f"{program.url}/me/voices", headers=AUTH, timeout=10).headers["Content-Length"] == "123"
    assert int(requests.post(f"{program.url}/x", data=b"x" * (3 << 20), headers=AUTH, timeout=20).text) == 3 << 20


def test_forward_none_is_404_and_a_held_key_never_writes(gateway, raw, tmp_path):
    upstream = raw()
    program = gateway(upstream.url, "--forward", "none")
    assert requests.get(f"{program.url}/v2/agent/all", headers=AUTH, timeout=10).status_code == 404
    flags, _ = held_flags(tmp_path, all="*")
    with pytest.raises(AssertionError, match="held key"):
        gateway(upstream.url, *flags, "--forward", "all")
    assert upstream.connections == 0
