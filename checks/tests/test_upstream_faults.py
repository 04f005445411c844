"""Whatever upstream does, a response is complete or says that it is not, in every form, and the gateway recovers.

Each case of checks/lib/faults.py runs twice: with the fault on a single page, and on all older pages until it is removed. A case
has a gateway of its own with an agent for each form of response, all requested at the same time. All selected cases run
concurrently, because they mostly wait.
"""

import json
import re
import time
import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pytest
import requests
from answers import NDJSON, raw_rows
from certificates import Certificates
from fault_upstream import FaultyAgent, FaultyListener, ListenerThread, cut
from faults import LIST, PASSED_ON, STATUS, WHOLE, Case, table, undated
from process_memory import peak_bytes
from programs import KEY, ROOT, Program, start_gateway
from rows import DAY, PHONE, SECOND, TRANSCRIPT_WORD, Row, make_rows, micros_of, now, text_of

ATTEMPT_SECONDS = 3
DEADLINE_SECONDS = 8
# Slack for a busy machine and the network.
SLACK_SECONDS = 8
# After this, a case fails.
HANGS_SECONDS = 60
# The circuit breaker may take a while to close.
MOMENT_SECONDS = 20
# The limit for a gateway with a cache of 64 MiB.
MOST_RESIDENT_MIB = 320
FLAGS = [
    *("--upstream-timeout", f"{int(ATTEMPT_SECONDS * 1000)}ms", "--request-deadline", f"{DEADLINE_SECONDS}s"),
    *("--upstream-rate", "1000/s", "--cache-bytes", "64MiB", "--live-ttl", "10m", "--settling-ttl", "10m"),
]
AT_ONCE = 10
ONCE, LASTING = "once", "lasting"
# One of the older rows.
ODD_ROW = 60
FORMS = ["json", "lenient", "ndjson", "end-record", "page"]


@dataclass
class Got:
    """The outcome of a request."""

    # Empty if the response claims to be complete, else its error codes, or "broken".
    codes: list[str]
    rows: list[bytes] = field(default_factory=list)
    status: int = 200
    missing: list[tuple[int, int]] = field(default_factory=list)
    body: bytes = b""
    text: str = ""

    @property
    def is_whole(self) -> bool:
        return not self.codes


@dataclass
class Asked:
    """An agent, its rows, and the form of the response."""

    url: str
    id: str
    form: str
    agent: FaultyAgent
    page_number: int

    @cached_property
    def page(self) -> dict[str, str]:
        newest_old = max(row.created for row in self.agent.rows if row.created < self.agent.older_than)
        start, end = newest_old - 6 * DAY, newest_old + SECOND
        return {"from": text_of(start), "to": text_of(end), "page_number": str(self.page_number), "page_size": "50"}

    def ask(self) -> Got:
        headers = {"Authorization": f"Bearer {KEY}"}
        match self.form:
            case "page":
                return read_page(self._get(f"/v2/agent/{self.id}/executions", headers, **self.page))
            case "json" | "lenient":
                more = {"Prefer": "handling=lenient"} if self.form == "lenient" else {}
                return read_json(self._get(f"/agents/{self.id}/executions/all", headers | more))
            case _:
                more = {"end_record": "true"} if self.form == "end-record" else {}
                return self._stream(headers | {"Accept": NDJSON}, more)

    def _get(self, path: str, headers: dict[str, str], **query: str) -> requests.Response:
        return requests.get(self.url + path, headers=headers, params=query, timeout=HANGS_SECONDS)

    def _stream(self, headers: dict[str, str], query: dict[str, str]) -> Got:
        url = f"{self.url}/agents/{self.id}/executions/all"
        began = time.monotonic()
        with requests.get(url, headers=headers, params=query, stream=True, timeout=HANGS_SECONDS) as answer:
            if answer.status_code != 200:
                return problem(answer)
            body, is_broken = b"", False
            try:
                for chunk in answer.iter_content(None):
                    body += chunk
                    assert time.monotonic() - began < HANGS_SECONDS, "hangs"
            except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ConnectionError):
                is_broken = True
        # A broken body may end in the middle of a line.
        lines = [line for line in body[: body.rfind(b"\n") + 1].split(b"\n") if line]
        if "end_record" not in query:
            return Got(["broken"] if is_broken else [], lines)
        verdict = json.loads(lines.pop())["@end"]
        assert verdict["count"] == len(lines), verdict
        assert verdict["complete"] is not is_broken, verdict
        return Got([verdict["error"]["code"]] if is_broken else [], lines, text=str(verdict))

    @cached_property
    def true_page(self) -> bytes:
        start, end = micros_of(self.page["from"]), micros_of(self.page["to"])
        within = [row for row in self.agent.rows if start <= row.created <= end]
        return cut(within, self.page_number).body()


def late(took: float) -> set[str]:
    """The codes that are allowed at the deadline."""
    return {"not_ready"} if took > DEADLINE_SECONDS - 2 else set()


def problem(answer: requests.Response) -> Got:
    document = answer.json()
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.headers["Cache-Control"] == "no-store" and document["status"] == answer.status_code
    return Got([document["code"]], status=answer.status_code, text=answer.text)


def read_page(answer: requests.Response) -> Got:
    return Got([], body=answer.content) if answer.status_code == 200 else problem(answer)


def read_json(answer: requests.Response) -> Got:
    if answer.status_code != 200:
        return problem(answer)
    document = json.loads(answer.content)
    rows = raw_rows(answer.text)
    assert document["total"] == len(rows)
    missing = document.get("missing", [])
    assert document["complete"] is not bool(missing)
    spans = [(micros_of(part["from"]), micros_of(part["to"])) for part in missing]
    return Got([part["code"] for part in missing], rows, missing=spans, text=str(missing))


class FaultRun:
    """One case, once or lasting."""

    def __init__(self, case: Case, mode: str, directory: Path, listeners: ListenerThread, certificates):
        self.case, self.mode, self.directory = case, mode, directory
        self.listener: FaultyListener = listeners.listener(certificates.unfit if case.is_of_tls else None)
        self.listeners, self.certificates = listeners, certificates
        # By form, with "" for all forms.
        self.faults: dict[str, list[str]] = {form: [] for form in ("", *FORMS)}
        self.outcomes: dict[str, str] = dict.fromkeys(("", *FORMS), "")

    def run(self) -> "FaultRun":
        self.directory.mkdir()
        flags = ["--upstream-ca-file", str(self.certificates.authority)] if self.case.is_of_tls else []
        gateway = start_gateway(self.directory, self.listener.url, *FLAGS, *flags)
        try:
            asked = [self.make(gateway, form) for form in FORMS]
            with ThreadPoolExecutor(len(asked)) as threads:
                asking = [threads.submit(self.first, one) for one in asked]
                if self.case.is_of_tls and self.mode == ONCE:
                    time.sleep(0.7)
                    self.present_what_fits()
                [done.result() for done in asking]
                self.end_the_fault(asked)
                [done.result() for done in [threads.submit(self.afterwards, one) for one in asked]]
            self.look_at(gateway)
        finally:
            if gateway.process.poll() is None and gateway.stop() != 0:
                self.faults[""].append("did not end in peace")
            self.listeners.run(self.listener.end())
        return self

    def make(self, gateway: Program, form: str) -> Asked:
        end = now() - 4 * 3600 * SECOND
        # A page of late ones, and three pages of one week of older ones.
        new = make_rows(30, 2, seed=1, until=end)
        old = make_rows(self.case.old_rows, 5, seed=2, until=end - 9 * DAY)
        rows = sorted(new + old, key=lambda row: -row.created)
        if self.case.odd_row:
            odd = rows[ODD_ROW]
            rows[ODD_ROW] = Odd(**{n: getattr(odd, n) for n in Row.__dataclass_fields__}, odd=self.case.odd_row(odd))
        left = 1 if self.mode == ONCE else None
        older_than = end - 7 * DAY
        agent = FaultyAgent(rows, older_than, left, self.case.least_number, self.case.fault)
        id = str(uuid.uuid4())
        self.listener.agents[id] = agent
        return Asked(gateway.url, id, form, agent, self.case.least_number)

    def expected(self, form: str):
        case, is_page = self.case, form == "page"
        if self.mode == ONCE:
            return case.page_once if is_page and case.page_once is not None else case.once
        return case.page_lasting if is_page and case.page_lasting is not None else case.lasting

    def first(self, asked: Asked) -> None:
        began = time.monotonic()
        try:
            got = asked.ask()
            took = time.monotonic() - began
            self.outcomes[asked.form] = f"{got.status} {got.codes or WHOLE} in {took:.1f} s"
            self.judge(asked, got, took)
        except (AssertionError, requests.RequestException, LookupError, ValueError) as wrong:
            self.faults[asked.form].append(f"{type(wrong).__name__}: {str(wrong)[:300]}")

    def judge(self, asked: Asked, got: Got, took: float) -> None:
        wrong, expected = self.faults[asked.form].append, self.expected(asked.form)
        is_stream = asked.form in ("ndjson", "end-record")
        if took > DEADLINE_SECONDS + SLACK_SECONDS + (self.case.more_seconds if is_stream else 0):
            wrong(f"took {took:.1f} s")
        # Requests for other agents may have tripped the shared breaker before this one reached upstream.
        is_own = self.mode == ONCE and not self.case.is_of_connections
        met = [asked.agent] if is_own else list(self.listener.agents.values())
        if self.case.fault and not any(agent.hits for agent in met):
            wrong("the fault was never met")
        if expected in (WHOLE, PASSED_ON):
            if got.codes:
                wrong(f"said {got.codes}, expected {expected}: {got.text[:300]}")
        elif got.is_whole:
            wrong(f"claims to be whole, expected {expected}")
        elif got.codes != ["broken"] and not set(got.codes) <= set(expected) | late(took):
            wrong(f"said {got.codes}, expected {expected}: {got.text[:300]}")
        elif got.status != 200:
            self.judge_status(asked, got)
        self.judge_rows(asked, got, expected)

    def judge_status(self, asked: Asked, got: Got) -> None:
        own = {STATUS.get(code) for code in got.codes}
        if asked.form == "page" and self.case.page_status:
            own |= {self.case.page_status}
        if got.status not in own:
            self.faults[asked.form].append(f"status {got.status} with {got.codes}")

    def judge_rows(self, asked: Asked, got: Got, expected) -> None:
        wrong = self.faults[asked.form].append
        if asked.form == "page":
            is_right = got.body in self.listener.sent if expected == PASSED_ON else got.body == asked.true_page
            if got.is_whole and not is_right:
                wrong(f"the page is not upstream's: {got.body[:200]!r}")
            return
        truth = [row.raw for row in asked.agent.rows]
        if got.is_whole and sorted(got.rows) != sorted(truth):
            wrong(f"claims to be whole with {len(got.rows)} of {len(truth)} rows")
        if self.case.odd_row is undated:
            # It has no place of its own.
            truth, got.rows = (
                [raw for raw in raws if raw != asked.agent.rows[ODD_ROW].raw] for raws in (truth, got.rows)
            )
        if set(got.rows) - set(truth):
            wrong("a row that never was")
        if got.missing:
            left = [row.raw for row in asked.agent.rows if not any(a <= row.created <= b for a, b in got.missing)]
            if [raw for raw in left if raw not in set(got.rows)]:
                wrong("rows are missing that it does not name")
        elif got.status == 200 and got.rows != truth[: len(got.rows)]:
            wrong("rows are left out before the break")

    def end_the_fault(self, asked: list[Asked]) -> None:
        for one in asked:
            one.agent.fault = None
        if self.case.is_of_tls:
            self.present_what_fits()
        self.listeners.run(self.listener.open())

    def present_what_fits(self) -> None:
        self.listeners.run(self.listener.shut())
        self.listener.context = self.certificates.fit
        self.listeners.run(self.listener.open())

    def afterwards(self, asked: Asked) -> None:
        """Repeats a request until its response is complete."""
        began = time.monotonic()
        got = None
        while time.monotonic() - began < MOMENT_SECONDS + self.case.more_seconds:
            try:
                got = asked.ask()
            except (AssertionError, requests.RequestException, LookupError, ValueError) as wrong:
                self.faults[asked.form].append(f"afterwards {type(wrong).__name__}: {str(wrong)[:300]}")
                return
            if got.is_whole:
                # The faulty page may have been passed on and cached.
                if asked.form != "page" or self.expected("page") != PASSED_ON:
                    self.judge_rows(asked, got, WHOLE)
                self.outcomes[asked.form] += f", whole {time.monotonic() - began:.1f} s after"
                return
            time.sleep(0.3)
        self.faults[asked.form].append(f"still {got.codes} afterwards: {got.text[:300]}")

    def look_at(self, gateway: Program) -> None:
        most = peak_bytes(gateway.process.pid) >> 20
        self.outcomes[""] = f"{most} MiB"
        if most > MOST_RESIDENT_MIB:
            self.faults[""].append(f"{most} MiB resident")
        if self.listener.misdirected:
            self.faults[""].append("upstream was asked for something else")
        output = gateway.output()
        if re.search(r"\bpanicked at\b", output):
            self.faults[""].append(output[-1000:])
        if any(secret in output for secret in (KEY, PHONE, TRANSCRIPT_WORD)):
            self.faults[""].append("something is in the log that is a client's")


@dataclass(frozen=True)
class Odd(Row):
    """A row with arbitrary bytes."""

    odd: bytes = b""

    @cached_property
    def raw(self) -> bytes:
        return self.odd


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory):
    """Starts the runs that the selected tests need."""
    directory = tmp_path_factory.mktemp("faults")
    (directory / "tls").mkdir()
    certificates, listeners = Certificates.make(directory / "tls"), ListenerThread()
    wanted: dict[tuple[str, str], Future] = {}
    with ThreadPoolExecutor(AT_ONCE) as threads:
        asked = [item.callspec.params for item in request.session.items if item.function is test_fault]
        # The longest begin first.
        for params in sorted(asked, key=lambda params: -params["case"].more_seconds):
            case, mode = params["case"], params["mode"]
            if (case.slug, mode) not in wanted:
                run = FaultRun(case, mode, directory / f"{case.slug}-{mode}", listeners, certificates)
                wanted[case.slug, mode] = threads.submit(run.run)
        yield wanted
        for future in wanted.values():
            future.cancel()
    listeners.stop()


@pytest.mark.alone
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", [ONCE, LASTING])
@pytest.mark.parametrize("case", LIST, ids=lambda case: case.slug)
def test_fault(runs, case, mode, form):
    run = runs[case.slug, mode].result(180)
    print(run.outcomes.get(form), run.outcomes.get(""))
    assert not run.faults[form] and not run.faults[""]


def test_the_documented_table_matches_the_list():
    document = (ROOT / "docs/reliability.md").read_text()
    _, documented, _ = re.split(r"<!-- faults: (?:begin|end) -->\n", document)
    assert documented.strip() == table(), "put what `python checks/lib/faults.py` prints between the marks"
