"""The server gives only responses that openapi.yaml describes."""

import subprocess
import sys

import pytest
import requests
import yaml
from programs import KEY, ROOT, clean_environment
from rows import make_rows

# Paths of the admin listener.
ADMIN_PATHS = ("/livez", "/readyz", "/metrics", "/agents/{agent_id}")
AGENT = "3fa85f64-5717-4562-b3fc-2c963f66afa6"
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance"
)


def run_schemathesis(base: str, tmp_path, examples: int, seed: int) -> None:
    document = yaml.safe_load((ROOT / "openapi.yaml").read_text())
    document["paths"] = {path: item for path, item in document["paths"].items() if path not in ADMIN_PATHS}
    schema = tmp_path / "openapi.yaml"
    schema.write_text(yaml.safe_dump(document))
    # Made-up agents would all be 404. With an existing agent, requests reach its rows.
    config = tmp_path / "schemathesis.toml"
    config.write_text(
        f'[parameters]\n"path.agent_id" = "{AGENT}"\n'
        # `Cache-Control: only-if-cached` and `Prefer: wait=0` can get 504.
        '[checks]\nnot_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "504"]\n'
    )
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", str(schema), "--url", base,
        "--header", f"Authorization: Bearer {KEY}", "--checks", CHECKS, "--max-examples", str(examples),
        "--seed", str(seed), "--phases", "examples,coverage,fuzzing", "--generation-database", "none",
        "--request-timeout", "60", "--no-color", "--warnings", "off",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True)
    assert done.returncode == 0, (done.stdout + done.stderr)[-12_000:]


@pytest.fixture
def base(upstream, gateway):
    upstream.agent(AGENT, make_rows(120, 20), KEY, days=21)
    return gateway(upstream.url, "--upstream-rate", "0", "--live-ttl", "10m").url


def test_schemathesis_finds_no_undocumented_response(base, tmp_path):
    run_schemathesis(base, tmp_path, examples=15, seed=1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
def test_schemathesis_finds_no_undocumented_response_at_length(base, tmp_path, seed):
    run_schemathesis(base, tmp_path, examples=400, seed=seed)


def test_serves_the_document_unchanged(base):
    served = requests.get(f"{base}/openapi.yaml", timeout=10)
    assert served.status_code == 200
    assert served.content == (ROOT / "openapi.yaml").read_bytes()


def test_the_rendered_document_loads_nothing_from_outside(base):
    page = requests.get(f"{base}/docs", timeout=10)
    assert page.status_code == 200 and page.headers["Content-Type"].startswith("text/html")
    for mark in ('src="http', "src='http", 'href="http', 'url("http', "import('http", "//cdn", "//unpkg"):
        assert mark not in page.text
