"""`fanfold export --excel`: long cells are complete in the file, with a warning before the file is renamed."""

import csv
import io
import json
import re

import pytest
from exports import Export, canned
from programs import KEY

LONGEST_CELL = 32_767


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "key").write_text(KEY)
    return tmp_path


def excel(folder, url: str) -> tuple[Export, list[str]]:
    source = ("--gateway", url, "--token-file", str(folder / "key"))
    return Export(folder, "6f9619ff-8b86-d011-b42d-00cf4fc964ff", *source), ["--excel", "--fields", "id,transcript"]


def body(lengths: list[int]) -> bytes:
    rows = [json.dumps({"id": f"r{at}", "transcript": "x" * length}) for at, length in enumerate(lengths)]
    end = {"@end": {"complete": True, "count": len(rows), "as_of": "2026-11-01T00:00:00.000000Z"}}
    return "\n".join([*rows, json.dumps(end), ""]).encode()


def test_warns_about_cells_that_excel_cuts_but_writes_them_whole(folder):
    with canned(body([LONGEST_CELL, LONGEST_CELL + 1, 40_000, 5])) as url:
        export, flags = excel(folder, url)
        done = export.run(*flags)
    said = done.stderr.decode()
    assert done.returncode == 0 and "warning: 2 cells are longer than the 32,767 characters" in said, said
    csv.field_size_limit(100_000)
    table = list(csv.reader(io.StringIO(export.file.read_bytes().decode("utf-16"), newline=""), delimiter="\t"))
    assert [len(line[1]) for line in table[1:]] == [LONGEST_CELL, LONGEST_CELL + 1, 40_000, 5]


def test_does_not_warn_about_cells_that_excel_keeps(folder):
    with canned(body([LONGEST_CELL, 0])) as url:
        export, flags = excel(folder, url)
        done = export.run(*flags)
    assert done.returncode == 0 and b"warning" not in done.stderr


def test_warns_before_the_file_is_renamed(folder):
    export, flags = excel(folder, "")
    # A file can't be renamed over a folder.
    with canned(body([40_000]), before_end=export.file.mkdir) as url:
        export, flags = excel(folder, url)
        done = export.run(*flags)
    said = done.stderr.decode()
    assert done.returncode == 1 and export.file.is_dir(), said
    assert re.search(r"warning: 1 cell is longer.*\n.*not a regular file", said), said
