"""Runs a scenario of checks/console in Debian's Chromium."""

import json
import os
import subprocess

import pytest
from programs import KEY, ROOT, clean_environment
from tools import tool

SCENARIOS = ROOT / "checks/console/scenarios.mjs"
SECONDS = 240


@pytest.fixture(scope="module", autouse=True)
def browser():
    """Skips the tests of a module that imports this without Chromium, node or the packages that scripts/lib.sh installs."""
    for name in ("chromium", "node"):
        tool(name)
    if not (ROOT / "target/console/node_modules/playwright-core").exists():
        message = "the console's packages are not installed: scripts/lib.sh, console_packages"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)


def drive(scenario: str, url: str, key: str = KEY, **more) -> None:
    """Runs a scenario, which must succeed."""
    command = [tool("node"), str(SCENARIOS), scenario, json.dumps({"url": url, "key": key} | more)]
    done = subprocess.run(
        command, env=clean_environment(CHROMIUM=tool("chromium")), capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 0, done.stderr[-4_000:]
