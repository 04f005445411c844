"""Forwarding over every kind of connection: HTTP/2 and TLS on either side, large bodies, and bodies that are cut short."""

import re
import socket
import ssl
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import hops
import httpx
import pytest
import requests
from certificates import Certificates
from hops import program_of
from process_memory import peak_bytes
from programs import KEY, clean_environment, free_port
from raw_upstream import OK, ask, connect, read_head, read_request

AUTH = {"Authorization": f"Bearer {KEY}"}
MEBIBYTE = 1 << 20
TOO_LARGE = b"HTTP/1.1 413 Too Large\r\nContent-Length: 7\r\nConnection: close\r\n\r\ntoo big"
# For SO_LINGER: closing sends a reset.
RESET = b"\x01\x00\x00\x00\x00\x00\x00\x00"


def http2() -> httpx.Client:
    # Without HTTP/1, httpx uses HTTP/2 without negotiation.
    return httpx.Client(http1=False, http2=True, timeout=30, trust_env=False)


def post_large(client: str, url: str, directory: Path, mebibytes: int = 50) -> tuple[int, str]:
    """Uploads with curl as this kind of client; returns the status and the text of the response."""
    body = directory / "body"
    with body.open("wb") as file:
        file.truncate(mebibytes * MEBIBYTE)
    how = {"HTTP/1.1": ["-H", "Expect:"], "Expect": ["-H", "Expect: 100-continue"], "HTTP/2": ["--http2-prior-knowledge"]}
    command = ["curl", "-sS", "--max-time", "60", "-X", "POST", "-T", body, "-H", f"Authorization: Bearer {KEY}"]
    command += [*how[client], "-w", "\n%{http_code}", url]
    answer = subprocess.run(command, env=clean_environment(), capture_output=True, text=True)
    text, _, status = answer.stdout.rpartition("\n")
    return int(status), text or answer.stderr


CLIENTS = ["HTTP/1.1", "Expect", "HTTP/2"]


def test_keeps_the_framing_of_http_2_requests(gateway, raw):
    def answer(head, connection):
        read_request(head, connection)
        connection.sendall(OK)

    upstream = raw(answer)
    program = gateway(upstream.url)
    host = upstream.url.removeprefix("http://").encode()
    with http2() as session:
        for method, body, framing in (
            ("GET", None, []),
            ("HEAD", None, []),
            ("DELETE", None, []),
            ("POST", b"", [b"content-length: 0"]),
            ("POST", b"x" * 2048, [b"content-length: 2048"]),
            ("POST", (piece for piece in (b"abc", b"def")), [b"transfer-encoding: chunked"]),
        ):
            answer = session.request(method, f"{program.url}/x?y=%7e", headers=AUTH | {"Cookie": "a=b"}, content=body)
            assert answer.status_code == 200 and answer.http_version == "HTTP/2", method
            first, *lines = upstream.heads[-1].lower().split(b"\r\n")
            assert first == method.lower().encode() + b" /x?y=%7e http/1.1"
            assert [line for line in lines if line.startswith((b"content-length", b"transfer-encoding"))] == framing
            assert [line for line in lines if line.startswith(b"host:")] == [b"host: " + host]
            assert not [line for line in lines if line.startswith((b"cookie", b":"))]


def test_forwards_over_http_1_1_even_if_upstream_offers_http_2(gateway, raw, tmp_path):
    certificates = Certificates.make(tmp_path)
    certificates.fit.set_alpn_protocols(["h2", "http/1.1"])
    upstream = raw(tls=certificates.fit)
    program = gateway(upstream.url, "--upstream-ca-file", str(certificates.authority))
    assert requests.get(f"{program.url}/me/voices", headers=AUTH, timeout=10).text == "{}"
    with http2() as session:
        assert session.post(f"{program.url}/call", headers=AUTH, content=b"{}").text == "{}"
    assert [line.split()[2] for line in upstream.lines()] == [b"HTTP/1.1"] * 2
    assert all(head.lower().count(b"\r\nhost: ") == 1 for head in upstream.heads)


@pytest.mark.skipif(program_of("nginx") is None, reason="nginx is not on this machine")
def test_uploads_behind_a_tls_ingress_pass_or_get_the_reason(gateway, raw, tmp_path):
    sizes = []

    def answer(head, connection):
        sizes.append(len(read_request(head, connection)))
        connection.sendall(OK)

    certificates = Certificates.make(tmp_path)
    program = gateway(raw(answer).url)
    port, behind = free_port(), program.url.removeprefix("http://")
    server = (
        f"server {{ listen 127.0.0.1:{port} ssl http2; client_max_body_size 0;"
        f" ssl_certificate {tmp_path}/fit.pem; ssl_certificate_key {tmp_path}/fit.key;"
        f" location / {{ proxy_pass http://{behind}; proxy_http_version 1.1; proxy_request_buffering off; }} }}"
    )
    tmp_path.chmod(0o777)
    ingress = hops.nginx(tmp_path, behind, "", server)
    trust = ssl.create_default_context(cafile=certificates.authority)
    try:
        for newer in (False, True):
            with httpx.Client(http1=not newer, http2=newer, verify=trust, timeout=30, trust_env=False) as session:
                url, body = f"https://127.0.0.1:{port}", b"x" * (5 * MEBIBYTE)
                assert session.post(f"{url}/x", headers=AUTH, content=body).text == "{}"
                assert sizes.pop() == len(body)
                refused = session.post(f"{url}/x", content=body)
                assert refused.status_code == 401 and refused.json()["code"] == "unauthenticated"
                assert session.get(f"{url}/v2/agent/all", headers=AUTH).text == "{}"
    finally:
        ingress.stop()


@pytest.mark.parametrize("client", CLIENTS)
def test_returns_an_early_413_while_nothing_more_is_read(gateway, raw, tmp_path, client):
    is_over = threading.Event()

    def answer(head, connection):
        connection.recv(65536)
        connection.sendall(TOO_LARGE)
        connection.shutdown(socket.SHUT_WR)
        is_over.wait(20)
        return True

    upstream = raw(answer)
    program = gateway(upstream.url)
    try:
        assert post_large(client, f"{program.url}/x", tmp_path) == (413, "too big")
    finally:
        is_over.set()
    assert len(upstream.heads) == 1


@pytest.mark.parametrize("answered", [True, False], ids=["after a 413", "without an answer"])
@pytest.mark.parametrize("client", CLIENTS)
def test_reports_a_reset_within_an_upload_and_sends_nothing_again(gateway, raw, tmp_path, client, answered):
    def answer(head, connection):
        connection.recv(65536)
        if answered:
            connection.sendall(TOO_LARGE)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        return True

    upstream = raw(answer)
    program = gateway(upstream.url, "--upstream-timeout", "2m")
    began = time.monotonic()
    status, text = post_large(client, f"{program.url}/x", tmp_path)
    assert time.monotonic() - began < 40
    # The reset may destroy the response.
    assert status == 502 or (answered and status == 413), text
    assert status != 502 or "may have arrived" in text
    assert len(upstream.heads) == 1


def test_asks_for_a_body_only_if_upstream_wants_it(gateway, raw):
    def answer(head, connection):
        assert b"expect" not in head.lower()
        assert read_request(head, connection) == b"abc"
        connection.sendall(OK)

    upstream = raw(answer)
    program = gateway(upstream.url)
    lines = "Host: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n"
    with connect(program.url, 10) as caller:
        caller.sendall(f"POST /x HTTP/1.1\r\n{lines}Authorization: Bearer {KEY}\r\n\r\n".encode())
        assert read_head(caller).startswith(b"HTTP/1.1 100")
        caller.sendall(b"abc")
        assert read_head(caller).startswith(b"HTTP/1.1 200")
    assert len(upstream.heads) == 1
    for path, credential in (("/x", ""), ("/agents/nothing", f"Authorization: Bearer {KEY}\r\n")):
        refused = ask(program.url, f"POST {path} HTTP/1.1\r\n{lines}{credential}\r\n".encode())
        assert re.match(rb"HTTP/1\.1 40[14]", refused) and b"connection: close" in refused.lower(), refused
    assert len(upstream.heads) == 1


def test_streams_large_bodies_without_buffering(gateway, raw, tmp_path):
    mebibytes = 256

    def answer(head, connection):
        if head.startswith(b"GET"):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (mebibytes * MEBIBYTE))
            for _ in range(mebibytes):
                connection.sendall(b"x" * MEBIBYTE)
            return
        left, buffer = mebibytes * MEBIBYTE, bytearray(MEBIBYTE)
        while left and (count := connection.recv_into(buffer, min(left, len(buffer)))):
            left -= count
        connection.sendall(OK if not left else TOO_LARGE)

    program = gateway(raw(answer).url)

    def peak() -> int:
        return peak_bytes(program.process.pid)

    assert requests.get(f"{program.url}/docs", timeout=10).status_code == 200
    before = peak()
    assert post_large("HTTP/1.1", f"{program.url}/x", tmp_path, mebibytes) == (200, "{}")
    with requests.get(f"{program.url}/recording", headers=AUTH, stream=True, timeout=30) as answer:
        assert sum(len(piece) for piece in answer.iter_content(MEBIBYTE)) == mebibytes * MEBIBYTE
    assert peak() - before < 64 * MEBIBYTE


def test_two_hundred_at_once_are_answered_or_get_a_retry_after(gateway, raw):
    def answer(head, connection):
        time.sleep(0.5)
        connection.sendall(OK)

    program = gateway(raw(answer).url)

    def get(number: int) -> requests.Response:
        deadline = time.monotonic() + 60
        while True:
            answer = requests.get(f"{program.url}/me/voices?n={number}", headers=AUTH, timeout=30)
            if answer.status_code == 200 or time.monotonic() > deadline:
                return answer
            assert answer.status_code == 429 and int(answer.headers["Retry-After"]) >= 1, answer.text
            time.sleep(int(answer.headers["Retry-After"]))

    with ThreadPoolExecutor(200) as pool:
        assert {answer.text for answer in pool.map(get, range(200))} == {"{}"}


def test_reuses_as_many_connections_as_are_needed_at_once(gateway, raw):
    def answer(head, connection):
        time.sleep(1.5)
        connection.sendall(OK)

    upstream = raw(answer)
    program = gateway(upstream.url)
    with ThreadPoolExecutor(80) as pool:
        for _ in range(3):
            gets = pool.map(lambda _: requests.get(f"{program.url}/me/voices", headers=AUTH, timeout=30), range(80))
            assert {answer.status_code for answer in gets} == {200}
    assert len(upstream.heads) == 240 and upstream.connections <= 130, upstream.connections


def test_cors_allows_writes_only_if_they_are_forwarded(gateway, raw):
    def answer(head, connection):
        read_request(head, connection)
        connection.sendall(OK)

    upstream = raw(answer)
    origin = {"Origin": "https://app.example"}
    asks = origin | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    for flags, may_write in (((), True), (("--forward", "reads"), False)):
        program = gateway(upstream.url, "--cors-origin", "https://app.example", *flags)
        allowed = requests.options(f"{program.url}/call", headers=asks, timeout=10).headers
        methods = allowed["Access-Control-Allow-Methods"].split(",")
        assert [method in methods for method in ("POST", "PUT", "PATCH", "DELETE")] == [may_write] * 4
        assert {"GET", "HEAD"} <= set(methods)
        assert {"authorization", "content-type"} <= set(allowed["Access-Control-Allow-Headers"].split(","))
        answer = requests.post(f"{program.url}/call", headers=AUTH | origin, json={}, timeout=10)
        assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
        assert answer.status_code == (200 if may_write else 403)
    assert upstream.lines() == [b"POST /call HTTP/1.1"]
