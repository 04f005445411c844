"""Builds use the locked dependencies, and workflows have only the permissions they need."""

import re
import subprocess

import pytest
from programs import ROOT
from tools import tool

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
SCRIPTS = [*(path for path in sorted((ROOT / "scripts").iterdir()) if path.is_file()), ROOT / "Dockerfile", *WORKFLOWS]
# Commands that would resolve newer dependencies without the lock file.
RESOLVES = re.compile(r"^[^#\n]*\bcargo\b(?: \"\+\$\w+\")? (?:build|check|clippy|doc|install|run|test)\b.*$", re.M)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_every_cargo_command_uses_the_lock_file(path):
    commands = RESOLVES.findall(re.sub(r"\\\n\s*", "", path.read_text()))
    for command in commands:
        said = command.strip().startswith(("echo", "- name")) or "`cargo" in command
        assert said or "--locked" in command, command


def test_finds_commands_without_the_lock_file():
    assert RESOLVES.findall('  cargo "+$version" check --all-targets\ncargo fmt\n# cargo build\n')[0].endswith(
        "targets"
    )


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_hash(path):
    used = re.findall(r"uses: (\S+)", path.read_text())
    assert used
    for action in used:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action), action


def test_zizmor_finds_nothing_in_the_workflows():
    done = subprocess.run([tool("zizmor"), "--offline", *map(str, WORKFLOWS)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
