"""The console's table applies changes of rows and keeps its scroll position."""

import threading
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import pytest
from browser import browser, drive  # noqa: F401
from programs import KEY, Program, free_port, start
from rows import SECOND, make_rows, now

FRESH = ("--live-ttl", "0s", "--settling-ttl", "0s", "--settled-ttl", "0s", "--upstream-rate", "0")
ROWS = 300


class Control:
    """Lets a scenario change the rows behind its page: `POST /name?argument=…` calls an action."""

    def __init__(self, actions: dict[str, Callable[..., None]]):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                url = urlsplit(self.path)
                try:
                    actions[url.path.strip("/")](**dict(parse_qsl(url.query)))
                    status, body = 200, b"done"
                except Exception as error:
                    status, body = 500, repr(error).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def followed(upstream, tmp_path):
    """Runs a scenario with an agent whose rows it can change, and a gateway with these flags that it can restart."""
    agent = upstream.agent(str(uuid.uuid4()), make_rows(ROWS, 20), KEY, days=40)
    url, admin = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    running: list[Program] = []

    def begin(*flags: str) -> None:
        listen = ["--listen", url.removeprefix("http://"), "--admin-listen", admin.removeprefix("http://")]
        arguments = ["serve", *listen, "--upstream-url", upstream.url, "--drain-delay", "0s", *FRESH, *flags]
        running.append(start(tmp_path, arguments, f"{admin}/readyz", url, admin))

    def id_of(id: str = "", newest: str = "") -> str:
        return id or agent.rows[int(newest)].id

    def add(rows: str) -> None:
        agent.add(make_rows(int(rows), 0.001, seed=len(agent.rows), until=now() - 60 * SECOND))

    def run(scenario: str, *flags: str) -> None:
        def restart() -> None:
            assert running[-1].stop() == 0
            begin(*flags)

        begin(*flags)
        control = Control(
            {
                "add": add,
                "remove": lambda **which: agent.remove(id_of(**which)),
                "edit": lambda status, **which: agent.change(id_of(**which), status=status),
                "restart": restart,
            }
        )
        try:
            drive(scenario, url, agent=agent.id, control=control.url)
        finally:
            control.stop()

    yield run
    for program in running:
        assert program.stop() == 0, program.output()


def test_applies_changes_and_keeps_the_scroll_position(followed):
    followed("follows")


def test_an_open_call_is_updated_and_stays_after_its_removal(followed):
    followed("drawerFollows")


def test_after_a_restart_it_loads_all_rows_again(followed):
    followed("restarted")


def test_without_a_cursor_it_loads_the_newest_rows_again(followed):
    followed("withoutCursor", "--cursor-bytes", "1")


def test_a_broken_response_changes_neither_rows_nor_cursor(followed):
    followed("brokenChanges")
