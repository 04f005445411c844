"""Connections to upstream: TLS with a private CA, forward proxies, and where the key is sent."""

import ssl
import uuid
from urllib.parse import urlsplit

import pytest
import requests
import trustme
from answers import Agent, assert_same, problem
from polling import wait_until
from programs import KEY, free_port
from proxy import Proxy
from rows import DAY, make_rows, now, text_of
from upstream import Upstream

NAME = "upstream.test"


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def ca_file(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


@pytest.fixture
def secure(authority):
    """An upstream with TLS, under its own name and as localhost."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(NAME, "localhost", "127.0.0.1").configure_cert(context)
    upstream = Upstream(tls=context)
    yield upstream
    upstream.stop()


@pytest.fixture
def proxy(secure):
    at = urlsplit(secure.url)
    proxy = Proxy({f"{NAME}:443": (at.hostname, at.port)})
    yield proxy
    proxy.stop()


@pytest.fixture
def rows(secure):
    return make_rows(120, 5)


@pytest.fixture
def behind(secure, gateway, rows):
    """An agent behind a gateway with this upstream URL."""

    def make(url: str, *flags: str, **environment: str) -> Agent:
        id = str(uuid.uuid4())
        secure.agent(id, rows, days=6)
        program = gateway(url, *flags, **environment)
        return Agent(program.url, id, KEY, program)

    return make


def is_refused(agent: Agent) -> None:
    """Checks that upstream is reported as unavailable; only a response whose deadline passes during an attempt is not ready."""
    answers = []

    def is_told() -> bool:
        answers.append(agent.ask(Prefer="wait=3"))
        return answers[-1].status_code != 504

    wait_until(is_told, 60)
    problem(answers[-1], 502, "upstream_unavailable")


def test_trusts_the_configured_authority(secure, behind, ca_file, rows):
    assert secure.url.startswith("https://")
    assert_same(behind(secure.url, "--upstream-ca-file", ca_file).rows(), rows)


def test_trusts_no_other_authority(secure, behind):
    is_refused(behind(secure.url))
    assert secure.log == []


def test_refuses_a_certificate_for_another_host(secure, behind, ca_file):
    url = secure.url.replace("127.0.0.1", "127.0.0.2")
    is_refused(behind(url, "--upstream-ca-file", ca_file))
    assert secure.log == []


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_the_proxy_variables_are_honored(behind, ca_file, proxy, rows, variable):
    agent = behind(f"https://{NAME}", "--upstream-ca-file", ca_file, **{variable: proxy.url})
    assert_same(agent.rows(), rows)
    assert proxy.asked and all(head.startswith(f"CONNECT {NAME}:443 ") for head in proxy.asked)
    # The key is sent in the tunnel, not in the CONNECT request.
    assert not any(KEY in head for head in proxy.asked)


def test_no_proxy_excludes_a_host(behind, ca_file, proxy):
    agent = behind(f"https://{NAME}", "--upstream-ca-file", ca_file, HTTPS_PROXY=proxy.url, NO_PROXY=NAME)
    # Only the proxy can resolve the name.
    is_refused(agent)
    assert proxy.asked == []


def test_https_requests_use_the_proxy_even_on_this_machine(secure, behind, ca_file, rows):
    at = urlsplit(secure.url)
    proxy = Proxy({f"localhost:{at.port}": (at.hostname, at.port)})
    agent = behind(f"https://localhost:{at.port}", "--upstream-ca-file", ca_file, HTTPS_PROXY=proxy.url)
    assert_same(agent.rows(), rows)
    assert proxy.asked
    proxy.stop()


def test_http_requests_to_this_machine_use_no_proxy(agent_of, proxy):
    agent = agent_of(make_rows(20, 3), HTTP_PROXY=proxy.url, ALL_PROXY=proxy.url)
    agent.rows()
    assert proxy.asked == []


def test_a_redirect_is_not_followed_with_a_key(agent_of, upstream):
    other = Upstream()
    try:
        agent = agent_of(make_rows(20, 3), days=4)
        other.agent(agent.id, make_rows(20, 3))
        agent.rows(f"from={text_of(now() - DAY, 1)}")
        for status in (301, 302, 303, 307, 308):
            location = {"Location": f"{other.url}/v2/agent/{agent.id}/executions"}
            upstream.script.extend([(status, location, b"")] * 40)
            # The older part is not known yet.
            problem(agent.ask(), 502, "upstream_unavailable")
            upstream.script.clear()
        assert other.log == []
    finally:
        other.stop()


def test_only_listed_headers_go_upstream(agent_of, upstream):
    agent = agent_of(make_rows(30, 3))
    private = {
        "X_Private": "secret",
        "Cookie": "a=b",
        "Forwarded": "for=10.0.0.1",
        "X_Forwarded_For": "10.0.0.1",
        "Origin": "https://desk.example",
        "Referer": "https://desk.example/x",
        "User_Agent": "desk/1",
        "Accept_Language": "hi",
        "X_Request_Id": "job-7",
        "Baggage": "user=7",
        "Proxy_Authorization": "Basic YTpi",
        "If_None_Match": '"x"',
        "Prefer": "handling=lenient",
        "tracestate": "a=b",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    }
    agent.ask(**private)
    listed = {"accept", "accept-encoding", "authorization", "host", "traceparent", "tracestate", "user-agent"}
    headers = agent.headers | {name.replace("_", "-"): value for name, value in private.items()}
    path = f"{agent.base}/v2/agent/{agent.id}/executions?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z"
    requests.get(path, headers=headers, timeout=30)
    assert len(upstream.log) >= 3
    for seen in upstream.log:
        assert seen.headers.keys() == listed
        assert seen.headers["user-agent"].startswith("fanfold/")


def test_reports_an_unreachable_upstream(gateway):
    program = gateway(f"https://127.0.0.1:{free_port()}")
    agent = Agent(program.url, str(uuid.uuid4()), KEY, program)
    is_refused(agent)
