"""`fields`: unchanged values in every format, with no more upstream requests than whole rows."""

import gzip
import json
import re

import pytest
import requests
from answers import NDJSON, lines, problem, raw_rows
from polling import wait_until
from programs import KEY
from rows import PHONE, make_rows

FIELDS = "id,status,big,tiny,minus,escaped,telephony_data.to_number,extracted_data,nothing"
WAYS = ("", f"fields={FIELDS}", "omit=transcript,escaped,telephony_data.id", "format=csv", "format=csv&fields=id,cost")


def member(row: bytes, key: str) -> bytes:
    """The bytes of a member's value; of a repeated key the last."""
    text, decoder, found = row.decode(), json.JSONDecoder(), b""
    at = 1
    while True:
        name, end = decoder.raw_decode(text, at)
        at = re.compile(r"\s*:\s*").match(text, end).end()
        _, end = decoder.raw_decode(text, at)
        if name == key:
            found = text[at:end].encode()
        following = re.compile(r"\s*,\s*").match(text, end)
        if not following:
            return found
        at = following.end()


def projected(row: bytes) -> bytes:
    """The expected projection of a row to `FIELDS`."""
    parts = [b'"%s":%s' % (key.encode(), member(row, key)) for key in ("id", "status", "big", "tiny", "minus", "escaped")]
    parts.append(b'"telephony_data":{"to_number":%s}' % member(member(row, "telephony_data"), "to_number"))
    parts.append(b'"extracted_data":%s' % member(row, "extracted_data"))
    return b"{" + b",".join(parts) + b"}"


def newest_first(rows):
    return sorted(rows, key=lambda row: -row.created)


def test_chosen_values_keep_upstreams_bytes(agent_of):
    rows = make_rows(300, 30)
    agent = agent_of(rows)
    truth = [projected(row.raw) for row in newest_first(rows)]
    for _ in ("cold", "warm"):
        assert agent.rows(f"fields={FIELDS}") == truth
        assert agent.lines(f"fields={FIELDS}") == truth
    ended = lines(agent.ask(f"fields={FIELDS}&end_record=true", Accept=NDJSON).content)
    assert ended[:-1] == truth and json.loads(ended[-1])["@end"]["count"] == len(rows)


def test_streams_with_fields_start_early_and_can_be_compressed(agent_of):
    rows = make_rows(400, 60)
    agent = agent_of(rows)
    plain = agent.ask(f"fields={FIELDS}", Accept=NDJSON, Accept_Encoding="identity")
    assert "Content-Length" not in plain.headers
    with requests.get(
        f"{agent.url}?fields={FIELDS}", headers=agent.headers | {"Accept": NDJSON, "Accept-Encoding": "gzip"}, stream=True
    ) as packed:
        assert packed.headers["Content-Encoding"] == "gzip"
        assert gzip.decompress(packed.raw.read()) == plain.content


def test_removes_only_the_omitted_members(agent_of):
    rows = make_rows(200, 20)
    agent = agent_of(rows)
    got = agent.rows("omit=transcript,telephony_data.id,twice")
    for short, row in zip(got, newest_first(rows), strict=True):
        kept = re.sub(rb'"twice":1,"twice":2,', b"", row.raw)
        kept = re.sub(rb'"id":"nested",', b"", kept)
        kept = re.sub(rb',"transcript":"[^"]*"', b"", kept)
        assert short == kept


@pytest.mark.parametrize("query", WAYS[1:])
def test_fields_cost_upstream_no_more_than_whole_rows(gateway, upstream, query):
    counts = []
    for at, wanted in enumerate(("", query)):
        agent = f"00000000-0000-4000-8000-0000000000{at:02}"
        upstream.agent(agent, make_rows(700, 40), KEY)
        base = gateway(upstream.url, "--upstream-rate", "0", "--live-ttl", "10m", "--settling-ttl", "10m").url
        seen = []
        for _ in ("cold", "warm"):
            upstream.forget_log()
            url = f"{base}/agents/{agent}/executions/all?{wanted}"
            answer = requests.get(url, headers={"Authorization": f"Bearer {KEY}"}, timeout=60)
            assert answer.status_code == 200, answer.text
            seen.append(len(upstream.log))
        counts.append(seen)
    whole, form = counts
    assert form == whole and form[1] == 0, counts


def test_fields_have_a_validator_of_their_own_that_needs_no_rows(agent_of, upstream):
    agent = agent_of(make_rows(120, 10), "--live-ttl", "10m", "--settling-ttl", "10m")
    etags = {query: agent.ask(query).headers["ETag"] for query in WAYS}
    assert len(set(etags.values())) == len(WAYS)
    upstream.forget_log()
    for query, etag in etags.items():
        for method in ("GET", "HEAD"):
            same = agent.ask(query, method, If_None_Match=etag)
            assert (same.status_code, same.content) == (304, b"") and same.headers["ETag"] == etag
            assert {"Accept", "Prefer"} <= set(same.headers["Vary"].split(", "))
        other = agent.ask("fields=created_at", If_None_Match=etag)
        assert other.status_code == 200
    assert upstream.pages == []


def test_a_head_has_what_a_get_has(agent_of):
    agent = agent_of(make_rows(120, 10), "--live-ttl", "10m", "--settling-ttl", "10m")
    for query in WAYS:
        got, head = agent.ask(query), agent.ask(query, "HEAD")
        assert head.content == b"" and got.status_code == head.status_code == 200
        for name in ("Content-Length", "Content-Type", "ETag", "X-Total-Count", "Cache-Control", "Content-Disposition"):
            assert head.headers.get(name) == got.headers.get(name), (query, name)


def test_only_if_cached_and_deadlines_hold_for_every_form(agent_of):
    agent = agent_of(make_rows(120, 10), "--live-ttl", "10m", "--settling-ttl", "10m")
    for query in WAYS:
        problem(agent.ask(query, Cache_Control="only-if-cached"), 504, "not_cached")
    agent.rows()
    for query in WAYS:
        cached = agent.ask(query, Cache_Control="only-if-cached")
        assert cached.status_code == 200 and "hit" in cached.headers["Cache-Status"] and "Age" in cached.headers


def test_names_invalid_lists_of_fields_and_never_logs_them(agent_of):
    agent = agent_of(make_rows(10, 5))
    long = "a" * 5_000
    for query, name in (
        ("fields=", "fields"),
        ("fields=id,id", "fields"),
        ("fields=telephony_data,telephony_data.id", "fields"),
        ("fields=a:b", "fields"),
        ("fields=@day", "fields"),
        (f"fields={long}", "fields"),
        ("fields=" + ",".join(f"f{n}" for n in range(65)), "fields"),
        ("omit=@agent_id", "omit"),
        ("fields=id&omit=status", "omit"),
        ("format=ndjson&fields=@agent_id", "fields"),
        ("format=ndjson&fields=@agent_id,status", "fields"),
        ("format=csv&omit=status", "omit"),
        ("format=csv&end_record=true", "end_record"),
        (f"fields={PHONE.replace('+', '%2B')}..x", "fields"),
    ):
        document = problem(agent.ask(query), 400, "invalid_request")
        assert f"`{name}`" in document["detail"] and len(document["detail"]) < 1_000, document


def test_metrics_distinguish_the_formats(agent_of):
    agent = agent_of(make_rows(10, 5))
    for format in ("json", "ndjson", "csv"):
        assert agent.ask(f"fields=id&format={format}").status_code == 200

    def text() -> str:
        return requests.get(f"{agent.program.admin}/metrics", timeout=10).text

    # A response is counted after its last byte.
    for format in ("json", "ndjson", "csv"):
        wait_until(lambda format=format: f'format="{format}"' in text())


def test_a_token_gets_fields_only_of_its_own_agents(gateway, upstream, tmp_path):
    from held import held_flags

    one, other = "00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b"
    for seed, agent in enumerate((one, other)):
        upstream.agent(agent, make_rows(60, 6, seed=seed), KEY, days=7)
    flags, tokens = held_flags(tmp_path, first=one, second=other)
    base = gateway(upstream.url, "--upstream-rate", "0", *flags).url

    def ask(agent: str, token: str, rest: str):
        return requests.get(
            f"{base}/agents/{agent}/executions/{rest}", headers={"Authorization": f"Bearer {tokens[token]}"}, timeout=60
        )

    rests = [f"all?{query}" for query in WAYS] + ["summary", "summary?group_by=id&format=csv"]
    # Both have cached rows.
    for agent, token in ((one, "first"), (other, "second")):
        for rest in rests:
            assert ask(agent, token, rest).status_code == 200, rest
    for agent, token in ((other, "first"), (one, "second")):
        for rest in rests:
            problem(ask(agent, token, rest), 403, "forbidden")
    assert raw_rows(ask(one, "first", "all?fields=id").text) != raw_rows(ask(other, "second", "all?fields=id").text)
