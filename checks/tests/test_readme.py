"""The commands and programs in the README and the recipes work as printed.

A block is run if the line above it says `<!-- runs -->`. Shell blocks run in one directory, one after another, against
the demo; only its address is replaced. The table of settings must match the program's help.
"""

import os
import re
import shutil
import subprocess
import sys

import pytest
from programs import BINARY, ROOT, clean_environment, run, start_demo

TEXTS = "".join((ROOT / name).read_text() for name in ["README.md", "docs/recipes.md"])
SETTINGS = (ROOT / "docs/settings.md").read_text()
BLOCKS = re.findall(r"<!-- runs -->\n```(\w+)\n(.*?)```", TEXTS, re.S)
ADDRESS = "http://127.0.0.1:8080"
# A program that runs SQL, like `duckdb -c`.
DUCKDB = "import duckdb, sys; result = duckdb.sql(sys.argv[1]); print(result if result else 'done')"
COMMANDS = {
    "sql": [sys.executable, "-c", DUCKDB],
    "sh": ["bash", "-euo", "pipefail", "-c"],
    "python": [sys.executable, "-c"],
    "js": ["node", "--input-type=module", "-e"],
}
# Calls the function in the code block.
JS_DRIVER = """
const { URL: base, AGENT, KEY } = process.env;
for (const agents of [AGENT, "all"]) {
  const ids = new Set();
  for await (const row of executions(`${base}/agents/${agents}/executions/all`, KEY)) {
    if (typeof row.id !== "string" || ids.has(row.id)) throw new Error(`not a row: ${Object.keys(row)}`);
    ids.add(row.id);
  }
  if (ids.size === 0) throw new Error("no rows");
  console.log(ids.size);
}
"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    program = start_demo(tmp_path_factory.mktemp("demo"))
    yield program
    assert program.stop() == 0


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("readme")
    (directory / "bin").mkdir()
    (directory / "bin/fanfold").symlink_to(BINARY.resolve())
    return directory


def words_of(demo) -> dict[str, str]:
    """The key and the first agent in the demo's output."""
    printed = demo.output()
    key = re.search(r"Bearer ([\w.-]+)", printed)
    agent = re.search(r"/agents/([0-9a-f-]{36})/", printed)
    assert key and agent, printed
    return {"URL": demo.url, "KEY": key[1], "AGENT": agent[1]}


def missing_tool(language: str, code: str) -> str | None:
    """A tool that the block needs and that is missing on this machine."""
    needed = {"js": ["node"], "sh": re.findall(r"^\s*(jq|curl)\b", code, re.M), "python": [], "sql": []}[language]
    return next((tool for tool in needed if shutil.which(tool) is None), None)


@pytest.mark.parametrize(("language", "code"), BLOCKS, ids=lambda value: " ".join(value.split())[:40])
def test_code_block_works(demo, directory, language, code):
    if tool := missing_tool(language, code):
        pytest.skip(f"{tool} is not on this machine")
    code = code.replace(ADDRESS, demo.url)
    if language == "js":
        code += JS_DRIVER
    command = COMMANDS[language]
    done = subprocess.run(
        [*command, code],
        cwd=directory,
        env=clean_environment(**words_of(demo), PATH=f"{directory / 'bin'}:{os.environ['PATH']}"),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-2_000:]
    assert done.stdout.strip()


def test_the_demo_has_the_documented_key_and_agent(demo):
    named = re.findall(r"^export URL=\S+ KEY=(\S+) AGENT=(\S+)$", TEXTS, re.M)
    assert len(named) == 2
    assert {key for key, _ in named} == {words_of(demo)["KEY"]}
    for _, agent in named:
        assert re.search(rf"^ +{agent} +[\d,]+ executions", demo.output(), re.M), demo.output()


def test_finds_code_blocks_in_every_language():
    assert {language for language, _ in BLOCKS} == set(COMMANDS)


def test_the_settings_table_matches_the_help():
    table = dict(re.findall(r"^\| `--([a-z-]+)` \| (?:`([^`]*)`|–)", SETTINGS, re.M))
    text = run("serve", "--help").stdout
    known = {name for name in re.findall(r"--([a-z-]+)", text)}
    flattened = re.sub(r"\s+", " ", text)
    assert len(table) > 25
    for name, default in table.items():
        assert name in known, name
        if default and not default.startswith("text"):
            assert f"[default: {default}]" in flattened, f"--{name} {default}"


def test_links_into_the_project_resolve():
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
