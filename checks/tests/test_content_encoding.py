"""Compressed responses, stitched from stored pieces, decode to every byte and every row in common clients."""

import asyncio
import gzip
import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import aiohttp
import httpx
import pytest
import requests
from answers import NDJSON, PATIENCE, Agent
from rows import DAY, SECOND, make_rows, micros_of, now, text_of

JSON = "application/json"


@pytest.fixture
def agent(agent_of) -> Agent:
    """Rows for several entries, known to the gateway."""
    agent = agent_of(make_rows(700, 30), "--cors-origin", "*")
    agent.rows()
    return agent


def question(agent: Agent) -> str:
    return f"{agent.url}?from=2020-01-01T00:00:00Z&to={ended()}"


def ended() -> str:
    """The end of a span in the past, so that responses do not change."""
    return text_of(now() - 3600 * SECOND)


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def curl(url: str, headers: dict[str, str]) -> bytes:
    sent = [part for name, value in headers.items() for part in ("--header", f"{name}: {value}")]
    command = [tool("curl"), "--silent", "--show-error", "--fail", "--compressed", *sent, url]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout


def with_requests(url: str, headers: dict[str, str]) -> bytes:
    answer = requests.get(url, headers=headers, timeout=PATIENCE)
    assert answer.headers["Content-Encoding"] == "gzip"
    return answer.content


def with_httpx(url: str, headers: dict[str, str]) -> bytes:
    answer = httpx.get(url, headers=headers, timeout=PATIENCE, trust_env=False)
    assert answer.headers["Content-Encoding"] == "gzip"
    return answer.content


def with_aiohttp(url: str, headers: dict[str, str]) -> bytes:
    async def read() -> bytes:
        async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
            assert answer.headers["Content-Encoding"] == "gzip"
            return await answer.read()

    return asyncio.run(read())


NODE = """
const [url, headers] = [process.argv[1], JSON.parse(process.argv[2])];
const answer = await fetch(url, { headers });
if (answer.headers.get("content-encoding") !== "gzip") throw new Error("not gzip");
for await (const piece of answer.body) process.stdout.write(piece);
"""


def with_node(url: str, headers: dict[str, str]) -> bytes:
    command = [tool("node"), "--input-type=module", "--eval", NODE, url, json.dumps(headers)]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout


CLIENTS = [curl, with_requests, with_httpx, with_aiohttp, with_node]


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("media", [JSON, NDJSON])
def test_programs_read_every_byte(agent, client, media):
    url, headers = question(agent), agent.headers | {"Accept": media}
    plain = requests.get(url, headers=headers | {"Accept-Encoding": "identity"}, timeout=PATIENCE)
    assert plain.status_code == 200 and "Content-Encoding" not in plain.headers
    assert client(url, headers) == plain.content


@pytest.mark.parametrize("media", [JSON, NDJSON])
def test_gzip_accepts_every_body(agent, media):
    headers = agent.headers | {"Accept": media, "Accept-Encoding": "gzip"}
    with requests.get(question(agent), headers=headers, stream=True, timeout=PATIENCE) as answer:
        packed = answer.raw.read(decode_content=False)
    assert packed.count(b"\x1f\x8b\x08\x00\x00\x00\x00\x00") == 1, "more than one member"
    done = subprocess.run([tool("gzip"), "--test"], input=packed, capture_output=True, timeout=PATIENCE)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert gzip.decompress(packed).count(b"Kadambari") == 700
    if media == JSON:
        assert int(answer.headers["Content-Length"]) == len(packed)


@pytest.mark.parametrize("query", ["status=busy", "call_type=inbound"])
def test_parts_of_entries_are_compressed_too(agent, query):
    for media in (JSON, NDJSON):
        plain, packed = (
            agent.ask(f"{query}&to={ended()}", Accept=media, Accept_Encoding=coding)
            for coding in ("identity", "gzip")
        )
        assert "Content-Encoding" not in plain.headers and packed.headers["Content-Encoding"] == "gzip"
        assert rows_of(packed.content, media) == rows_of(plain.content, media) != []


def rows_of(body: bytes, media: str) -> list[str]:
    rows = json.loads(body)["data"] if media == JSON else [json.loads(line) for line in body.splitlines()]
    return [row["id"] for row in rows]


class Held:
    """An upstream that fails for the second window until a client has read a row of the first."""

    def __init__(self, upstream):
        self.was_read = threading.Event()
        newest = now() - 6 * DAY
        upstream.before_page = lambda _, query: micros_of(query["to"]) < newest and self.refuse()

    def refuse(self) -> None:
        if not self.was_read.is_set():
            raise RuntimeError("not yet")


def pieces_of_node(url: str, headers: dict[str, str], first: Callable[[], None]) -> bytes:
    command = [tool("node"), "--input-type=module", "--eval", NODE, url, json.dumps(headers)]
    return pieces_of(command, first)


def pieces_of_curl(url: str, headers: dict[str, str], first: Callable[[], None]) -> bytes:
    sent = [part for name, value in headers.items() for part in ("--header", f"{name}: {value}")]
    return pieces_of([tool("curl"), "--silent", "--no-buffer", "--compressed", *sent, url], first)


def pieces_of(command: list[str], first: Callable[[], None]) -> bytes:
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        line = process.stdout.readline()
        first()
        return line + process.stdout.read()


def pieces_of_httpx(url: str, headers: dict[str, str], first: Callable[[], None]) -> bytes:
    with httpx.stream("GET", url, headers=headers, timeout=PATIENCE, trust_env=False) as answer:
        body = b""
        for piece in answer.iter_bytes():
            body += piece
            first()
        return body


PAGE = b"""<!doctype html><script type="module">
const { url, headers } = await (await fetch("/task")).json();
let posted = Promise.resolve();
try {
  const answer = await fetch(url, { headers, cache: "no-store" });
  const rows = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let body = "";
  for (;;) {
    const { done, value } = await rows.read();
    if (done) break;
    body += value;
    if (body.includes("\\n")) posted = posted.then(() => fetch("/row", { method: "POST" }));
  }
  await posted;
  await fetch("/body", { method: "POST", body });
} catch (error) {
  await fetch("/error", { method: "POST", body: String(error) });
}
</script>"""


def pieces_of_chromium(url: str, headers: dict[str, str], first: Callable[[], None], directory: Path) -> bytes:
    """A page that reads the stream with fetch and reports to a local server."""
    reports: dict[str, bytes] = {}
    is_over = threading.Event()

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = json.dumps({"url": url, "headers": headers}).encode() if self.path == "/task" else PAGE
            self.answer(body, JSON if self.path == "/task" else "text/html")

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path == "/row":
                first()
            else:
                reports[self.path] = body
                is_over.set()
            self.answer(b"", "text/plain")

        def answer(self, body: bytes, media: str):
            self.send_response(200)
            self.send_header("Content-Type", media)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--no-proxy-server"]
        command = [tool("chromium"), *flags, f"--user-data-dir={directory}", f"http://127.0.0.1:{server.server_port}/"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                assert is_over.wait(PATIENCE), "chromium said nothing"
            finally:
                process.terminate()
                process.wait()
                server.shutdown()
    assert "/error" not in reports, reports
    return reports["/body"]


@pytest.mark.parametrize("client", ["curl", "node", "httpx", "chromium"])
def test_clients_get_compressed_rows_as_they_arrive(agent_of, upstream, client, tmp_path):
    rows = make_rows(30, 5) + make_rows(30, 5, seed=2, until=now() - 8 * DAY)
    agent = agent_of(rows, "--cors-origin", "*", days=13)
    held = Held(upstream)
    headers = agent.headers | {"Accept": NDJSON}
    if client == "chromium":
        body = pieces_of_chromium(agent.url, headers, held.was_read.set, tmp_path / "profile")
    else:
        body = globals()[f"pieces_of_{client}"](agent.url, headers, held.was_read.set)
    # The second window could not be read before that.
    assert held.was_read.is_set()
    assert len(body.splitlines()) == 60
