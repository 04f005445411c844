"""nginx, configured by the Ingress in deploy/: rows stream, and requests for an agent reach the same replica."""

import json
import re
import shutil
import signal
import subprocess
import time
import uuid
from dataclasses import replace

import pytest
import requests
from answers import PATIENCE, Agent
from manifests import documents, of_kind
from programs import KEY, free_port, responds, wait_until_it_serves
from rows import DAY, make_rows, now
from tools import tool

NGINX = "nginx.ingress.kubernetes.io/"
# The directives for annotations of ingress-nginx; $ stands for the value.
DIRECTIVES = {
    "proxy-http-version": "proxy_http_version $;",
    "proxy-buffering": "proxy_buffering $;",
    "proxy-request-buffering": "proxy_request_buffering $;",
    "proxy-connect-timeout": "proxy_connect_timeout $s;",
    "proxy-read-timeout": "proxy_read_timeout $s;",
    "proxy-next-upstream": "proxy_next_upstream $;",
    "proxy-body-size": "client_max_body_size $;",
}


def configuration(annotations: dict[str, str], port: int, gateways: list[str]) -> str:
    """An nginx.conf with only the directives of the annotations."""
    asked = {name.removeprefix(NGINX): value for name, value in annotations.items() if name.startswith(NGINX)}
    hashed = asked.pop("upstream-hash-by")
    directives = [DIRECTIVES[name].replace("$", value) for name, value in asked.items()]
    servers = " ".join(f"server {gateway.removeprefix('http://')};" for gateway in gateways)
    return f"""
daemon off; master_process off; pid nginx.pid; error_log stderr warn;
events {{ worker_connections 256; }}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  upstream fanfold {{ hash {hashed} consistent; {servers} keepalive 16; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      {" ".join(directives)}
      proxy_set_header Connection "";
      proxy_pass http://fanfold;
    }}
  }}
}}
"""


@pytest.fixture
def nginx(tmp_path):
    """Starts nginx in front of gateways with the configuration of the rendered Ingress; returns its URL."""
    started = []

    def start(*gateways: str) -> str:
        (ingress,) = of_kind(documents("ingress"), "Ingress")
        port = free_port()
        folder = tmp_path / f"nginx-{port}"
        folder.mkdir()
        text = configuration(ingress["metadata"]["annotations"], port, list(gateways))
        (folder / "nginx.conf").write_text(text)
        command = [tool("nginx"), "-p", str(folder), "-c", "nginx.conf", "-e", "stderr"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        started.append(process)
        url = f"http://127.0.0.1:{port}"
        wait_until_it_serves(
            process,
            lambda: responds(f"{url}/openapi.yaml"),
            lambda: "still running" if process.poll() is None else process.stderr.read(),
        )
        return url

    yield start
    for process in started:
        process.send_signal(signal.SIGQUIT)
        process.wait(30)
    shutil.rmtree(tmp_path, ignore_errors=True)


def arrivals(agent: Agent) -> tuple[list[float], list[bytes]]:
    """The arrival of each line of a stream, in seconds after the request, and the lines."""
    began = time.monotonic()
    at, lines = [], []
    url = f"{agent.url}?format=ndjson&end_record=true"
    with requests.get(
        url, headers=agent.headers | {"Accept-Encoding": "identity"}, stream=True, timeout=PATIENCE
    ) as answer:
        assert answer.status_code == 200, answer.text
        rest = b""
        for piece in answer.raw.stream(1 << 16):
            *whole, rest = (rest + piece).split(b"\n")
            at += [time.monotonic() - began] * len(whole)
            lines += whole
    assert rest == b""
    rows = [line for line in lines if line]
    assert json.loads(rows[-1])["@end"]["complete"] is True
    return at, rows


def stream_through(nginx, gateway, upstream, weeks: int, latency: float) -> None:
    """A stream that is read week by week passes nginx without delay."""
    # So few and small that a buffer of nginx could hold several weeks.
    instants = [now() - (7 * week + 1) * DAY for week in range(weeks)]
    rows = zip(make_rows(weeks, 7), instants)
    made = [replace(row, filling=0, created=instant, updated=instant) for row, instant in rows]
    upstream.latency = latency
    # One replica, with a new agent each time.
    program = gateway(upstream.url, "--fan-out", "1", "--upstream-rate", "0")
    ids = [str(uuid.uuid4()) for _ in range(2)]
    for id in ids:
        upstream.agent(id, made, KEY, weeks * 7 + 1)
    direct, _ = arrivals(Agent(program.url, ids[0], KEY))
    through, rows = arrivals(Agent(nginx(program.url), ids[1], KEY))
    assert len(rows) == len(made) + 1
    total = through[-1]
    assert total > weeks * latency / 2, "nothing came slowly, so nothing is shown"
    # Over HTTP/1.0 the gateway would collect the response.
    assert through[0] < max(total / 2, direct[0] + 0.5 + 2 * latency), (
        f"first row after {through[0]:.2f} s of {total:.2f} s, without nginx {direct[0]:.2f} s"
    )
    gaps = [later - earlier for earlier, later in zip(through, through[1:])]
    assert max(gaps) < max(gaps_of(direct)) + 3 + total / 10, f"{max(gaps):.2f} s without a row in {total:.0f} s"
    # A process that is suspended for two seconds makes a heap, too.
    assert sum(gap > latency / 4 for gap in gaps) > 0.4 * weeks, "the rows came in heaps"


def gaps_of(at: list[float]) -> list[float]:
    return [later - earlier for earlier, later in zip(at, at[1:])]


def test_a_stream_arrives_row_by_row(nginx, gateway, upstream):
    stream_through(nginx, gateway, upstream, weeks=24, latency=0.15)


@pytest.mark.long
def test_a_stream_of_five_minutes_arrives_row_by_row(nginx, gateway, upstream):
    stream_through(nginx, gateway, upstream, weeks=300, latency=1.0)


def test_a_large_forwarded_upload_passes(nginx, gateway, simulator):
    program = gateway(simulator("--agents", "1", "--executions", "1").url)
    headers = {"Authorization": f"Bearer {KEY}"}
    url = f"{nginx(program.url)}/batches"
    # nginx refuses bodies over 1 MB by default; the simulator has no such path.
    assert requests.post(url, data=b"x" * (5 << 20), headers=headers, timeout=30).status_code != 413


def test_requests_for_an_agent_reach_the_same_replica(nginx, gateway, upstream):
    programs = [gateway(upstream.url, "--live-ttl", "10m", "--settling-ttl", "10m") for _ in range(3)]
    base = nginx(*(program.url for program in programs))
    ids = [str(uuid.uuid4()) for _ in range(24)]
    made = make_rows(60, 6)
    for id in ids:
        upstream.agent(id, made, KEY, 7)
    for _ in range(2):
        for id in ids:
            for query in ("", "status=completed", "from=2026-01-01T00:00:00Z"):
                Agent(base, id, KEY).rows(query)
    pages = [re.search(r"/agents?/([^/]+)/", seen.path)[1] for seen in upstream.pages]
    # A second replica would have read the rows again.
    once = {id: pages.count(id) for id in ids}
    alone = str(uuid.uuid4())
    upstream.agent(alone, made, KEY, 7)
    upstream.forget_log()
    for query in ("", "status=completed", "from=2026-01-01T00:00:00Z"):
        Agent(programs[0].url, alone, KEY).rows(query)
    assert set(once.values()) == {len(upstream.pages)}
    answered = [program.metric("fanfold_requests_total") for program in programs]
    assert min(answered) >= 6, f"one replica has next to nothing to do: {answered}"
