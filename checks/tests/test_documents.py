"""References in documents resolve: links, anchors, files and tests."""

import re
from pathlib import Path

import pytest
from programs import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
FILES = {str(path.relative_to(ROOT)): path.read_text() for path in ROOT.glob("src/**/*.rs")}
TESTS = set(re.findall(r"\bfn (\w+)\(", "".join(FILES.values())))
# Tests that a macro generates.
TESTS |= {path.stem for path in ROOT.glob("src/upstream/gate/scenarios/*.json")}
# A placeholder name.
TESTS.add("joins_a_read_already_under_way")
METRICS = ("fanfold_", "process_")


def text_of(document: Path) -> str:
    """A document without its code blocks."""
    return re.sub(r"^```.*?^```", "", document.read_text(), flags=re.M | re.S)


def anchors(document: Path) -> set[str]:
    """The anchors of a document's headings on GitHub."""
    headings = re.findall(r"^#+ (.+)$", text_of(document), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def is_module(path: str) -> bool:
    folder = path.removesuffix("::tests").replace("::", "/")
    ends = (f"{folder}.rs", f"{folder}/mod.rs", f"{folder}/tests.rs", f"{folder}/tests/mod.rs")
    return any(file.endswith(ends) for file in FILES)


def each_document(test):
    return pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))(test)


@each_document
def test_every_link_resolves(document):
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(document)):
        path, _, anchor = target.partition("#")
        if re.match(r"https?:", target):
            continue
        linked = document.parent / path if path else document
        assert linked.exists(), target
        if anchor and linked.suffix == ".md":
            assert anchor in anchors(linked), target


@each_document
def test_every_named_file_exists(document):
    for word in re.findall(r"`((?:src|docs|checks|deploy|scripts|tests)/[\w./-]+)`", text_of(document)):
        assert (ROOT / word).exists(), word
    for word in re.findall(r"`(test_\w+\.py)`", text_of(document)):
        assert (ROOT / "checks/tests" / word).exists(), word


@each_document
def test_every_named_test_exists(document):
    for word in re.findall(r"`((?:\w+::)*\w+)`", text_of(document)):
        last = word.rsplit("::", 1)[-1]
        if last.count("_") > 3 and not last.startswith(METRICS):
            assert last in TESTS, word
        elif last == "tests" and word != last:
            assert is_module(word), word
