"""An export through a proxy that compresses responses."""

import uuid

import pytest
from answers import assert_same, lines
from exports import Export
from hops import nginx, program_of
from programs import KEY
from rows import make_rows

COMPRESSING = "gzip on; gzip_types *; gzip_proxied any; gzip_min_length 1;"


@pytest.mark.parametrize("format", ["ndjson", "csv"])
def test_exports_correctly_through_a_compressing_proxy(gateway, upstream, tmp_path, format):
    if program_of("nginx") is None:
        pytest.skip("nginx is not on this machine")
    # nginx runs as another user.
    tmp_path.chmod(0o777)
    (tmp_path / "key").write_text(KEY)
    rows, agent = make_rows(700, 40), str(uuid.uuid4())
    upstream.agent(agent, rows, KEY, days=60)
    program = gateway(upstream.url, "--upstream-rate", "0")
    direct = Export(tmp_path, agent, "--gateway", program.url, "--token-file", str(tmp_path / "key"))
    expected = direct.whole("--format", format, name="direct")
    hop = nginx(tmp_path, program.url.removeprefix("http://"), "", COMPRESSING)
    try:
        behind = Export(tmp_path, agent, "--gateway", hop.http1, "--token-file", str(tmp_path / "key"))
        # Rows of the same instant may be in another order.
        assert sorted(behind.whole("--format", format, name="behind").split(b"\n")) == sorted(expected.split(b"\n"))
    finally:
        hop.stop()
    if format == "ndjson":
        assert_same(lines(expected), rows)
