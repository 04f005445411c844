"""Traces as an OTLP collector receives them over HTTP."""

import threading
import time

import pytest
from answers import problem
from collector import Collector
from polling import wait_until
from programs import free_port, run
from rows import DAY, make_rows, now, text_of

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{CALLER}-01"


@pytest.fixture
def collector():
    collector = Collector()
    yield collector
    collector.stop()


def exporting(collector: Collector, **more: str) -> dict[str, str]:
    """The variables that send traces to the collector without much delay."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "100", **more}


def spans(collector: Collector, agent, answers: int = 1) -> list:
    """Stops the gateway once it has exported so many responses; returns all spans."""
    # When it stops, it has little time for the last ones.
    wait_until(lambda: sum(span.kind == "server" for span in list(collector.spans)) >= answers)
    assert agent.program.stop() == 0, agent.program.output()
    return collector.spans


def test_exports_a_complete_trace_with_its_upstream_spans(agent_of, upstream, collector):
    agent = agent_of(
        make_rows(400, 20), **exporting(collector, OTEL_RESOURCE_ATTRIBUTES="deployment.environment=check")
    )
    assert agent.ask(traceparent=PARENT, tracestate="vendor=1", X_Request_Id="job-7").json()["total"] == 400
    seen = list(upstream.log)
    agent.ask(traceparent=PARENT.replace(CALLER, "1" * 16))
    assert len(upstream.log) == len(seen)
    received = spans(collector, agent, answers=2)

    served = [span for span in received if span.kind == "server"]
    first, again = sorted(served, key=lambda span: span.parent != CALLER)
    assert (first.trace, first.parent, first.name) == (TRACE, CALLER, "GET /agents/{agents}/executions/all")
    for name, value in {
        "http.request.method": "GET",
        "http.route": "/agents/{agents}/executions/all",
        "http.response.status_code": 200,
        "fanfold.rows": 400,
        "fanfold.rows.miss": 400,
        "fanfold.rows.hit": 0,
        "fanfold.upstream_requests": len([s for s in seen if s.is_page]),
        "fanfold.request_id": "job-7",
        "fanfold.agent_id": agent.id,
        "fanfold.ending": "whole",
    }.items():
        assert first.attributes[name] == value, (name, first.attributes)
    assert (again.parent, again.attributes["fanfold.rows.hit"]) == ("1" * 16, 400)

    requests = [span for span in received if span.kind == "client"]
    assert len(requests) == len(seen) >= 9
    for span in requests:
        assert (span.trace, span.parent) == (TRACE, first.id)
        assert span.attributes["http.response.status_code"] == 200 and not span.error
        assert span.attributes["server.address"] == "127.0.0.1"
    # The exported spans are those in upstream's `traceparent` headers.
    assert {s.headers["traceparent"] for s in seen} == {f"00-{TRACE}-{span.id}-01" for span in requests}
    assert {s.headers["tracestate"] for s in seen} == {"vendor=1"}
    assert {span.resource["service.name"] for span in received} == {"fanfold"}
    assert {span.resource["deployment.environment"] for span in received} == {"check"}


def test_a_shared_read_belongs_to_the_caller_that_started_it(agent_of, upstream, collector):
    upstream.latency = 0.2
    agent = agent_of(make_rows(100, 3), days=4, **exporting(collector, OTEL_SERVICE_NAME="gate"))
    callers = [f"00-{i:032x}-{i:016x}-01" for i in range(1, 9)]
    threads = [threading.Thread(target=agent.ask, kwargs={"traceparent": caller}) for caller in callers]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    received = spans(collector, agent, answers=len(callers))
    answers = {span.id: span for span in received if span.kind == "server"}
    assert {span.trace for span in answers.values()} == {caller.split("-")[1] for caller in callers}
    requests = [span for span in received if span.kind == "client"]
    assert len(requests) == len(upstream.log) < 2 * len(callers)
    for span in requests:
        assert answers[span.parent].trace == span.trace
    assert {span.resource["service.name"] for span in received} == {"gate"}


def test_traces_show_failures_and_retries(agent_of, upstream, collector):
    agent = agent_of(make_rows(30, 3), days=4, **exporting(collector))
    agent.rows(f"from={text_of(now() - DAY, 1)}")
    upstream.script.append((500, {}, b'{"message":"boom"}'))
    # Not the first request of the key, whose first page is prefetched and requested again if that fails.
    agent.ask()
    problem(agent.ask("from=yesterday"), 400, "invalid_request")
    received = spans(collector, agent, answers=3)
    failed = [span for span in received if span.kind == "client" and span.error]
    assert [span.attributes["error.type"] for span in failed] == ["server_error"]
    assert failed[0].attributes["http.response.status_code"] == 500
    assert [
        span.attributes["http.request.resend_count"]
        for span in received
        if "http.request.resend_count" in span.attributes
    ] == [1]
    refused = [span for span in received if span.attributes.get("error.type") == "invalid_request"]
    # A client error is not an error of the server span.
    assert len(refused) == 1 and not refused[0].error


def test_begins_a_trace_without_a_parent_and_propagates_it_upstream(agent_of, upstream, collector):
    agent = agent_of(make_rows(30, 3), days=4, **exporting(collector))
    agent.rows()
    received = spans(collector, agent)
    answer = next(span for span in received if span.kind == "server")
    assert answer.parent == "" and all(s.headers["traceparent"].split("-")[1] == answer.trace for s in upstream.log)


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_SDK_DISABLED": "true"},
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_TRACES_SAMPLER": "always_off"},
    ],
    ids=lambda variables: next(iter(variables)),
)
def test_traces_can_be_switched_off(agent_of, upstream, collector, variables):
    agent = agent_of(make_rows(30, 3), days=4, **exporting(collector, **variables))
    agent.ask(traceparent=PARENT)
    assert spans(collector, agent, answers=0) == []
    told = {seen.headers["traceparent"].split("-")[1] for seen in upstream.log}
    assert told == {TRACE}
    if "OTEL_TRACES_SAMPLER" not in variables:
        assert {seen.headers["traceparent"] for seen in upstream.log} == {PARENT}


def test_unsampled_traces_are_not_exported(agent_of, collector):
    agent = agent_of(make_rows(30, 3), days=4, **exporting(collector))
    agent.ask(traceparent=PARENT[:-2] + "00")
    agent.ask(traceparent=PARENT)
    received = spans(collector, agent)
    assert {span.parent for span in received if span.kind == "server"} == {CALLER}
    assert all(span.attributes["fanfold.rows.hit"] == 30 for span in received if span.kind == "server")


def test_sends_the_configured_headers_and_compression(agent_of, collector):
    more = {"OTEL_EXPORTER_OTLP_HEADERS": "api-key=s3cret", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}
    agent = agent_of(make_rows(30, 3), days=4, **exporting(collector, **more))
    agent.rows()
    assert spans(collector, agent)
    headers = collector.headers[0]
    assert headers["api-key"] == "s3cret" and headers.get("Content-Encoding", headers.get("content-encoding")) == "gzip"
    assert "s3cret" not in agent.program.output()


def test_a_receiver_that_is_down_is_logged_once(agent_of):
    nobody = f"http://127.0.0.1:{free_port()}"
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": nobody, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    agent = agent_of(make_rows(30, 3), days=4, **variables)
    for _ in range(5):
        agent.rows()
        time.sleep(0.3)
    began = time.monotonic()
    assert agent.program.stop() == 0
    assert time.monotonic() - began < 15
    assert agent.program.output().count("Traces can't be exported") == 1


def test_an_unsupported_variable_is_a_warning():
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
    checked = run("serve", "--check", **variables)
    assert checked.returncode == 0 and "OTEL_EXPORTER_OTLP_PROTOCOL" in checked.stderr
