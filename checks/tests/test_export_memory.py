"""`fanfold export` without a gateway needs little memory in every format."""

import subprocess

from exports import Export, most_memory
from programs import KEY, clean_environment, first_agent

MIB = 1 << 20
ROWS = 8_000


def test_an_export_without_a_gateway_needs_little_memory(simulator, tmp_path):
    upstream = simulator("--latency", "0ms", "--agents", "1", "--executions", str(ROWS), "--span", "90d", "--rate", "0")
    (tmp_path / "key").write_text(KEY)
    source = ("--upstream-url", upstream.url, "--upstream-key-file", str(tmp_path / "key"), "--upstream-rate", "0")
    export = Export(tmp_path, first_agent(upstream), *source)
    command = export.command("--progress", "never")
    most = most_memory(subprocess.Popen(command, env=clean_environment(), stderr=subprocess.PIPE))
    assert sum(1 for _ in export.file.open("rb")) == ROWS
    # The rows take 90 MB.
    assert most < 120 * MIB, f"{most / MIB:.0f} MiB"
