"""Writes results and targets to `docs/benchmarks.md`."""

import datetime
import re
from dataclasses import dataclass, field

from bench.machine import CHECKS, description, first_line

DOCUMENT = CHECKS.parent / "docs/benchmarks.md"


@dataclass
class Report:
    """The figures of one section, printed as they are measured."""

    section: str
    heads: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    targets: list[tuple[str, str, bool]] = field(default_factory=list)

    def row(self, *cells: str) -> None:
        self.rows.append(cells)
        print("  " + " · ".join(cells), flush=True)

    def target(self, what: str, found: str, holds: bool) -> None:
        """Reports whether a target holds."""
        self.targets.append((what, found, holds))
        print(f"  {'holds' if holds else 'FAILS'}: {what}: {found}", flush=True)

    def markdown(self) -> str:
        lines = [table(self.heads, self.rows)]
        if self.targets:
            rows = [(what, found, "holds" if holds else "**fails**") for what, found, holds in self.targets]
            lines.append(table(("target", "measured", ""), rows))
        lines.append(f"{datetime.date.today()}, {revision()}. {description()}.")
        return "\n\n".join(lines)

    def write(self) -> None:
        """Writes the section to the document."""
        text = DOCUMENT.read_text()
        begin, end = f"<!-- {self.section}: begin -->", f"<!-- {self.section}: end -->"
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.S)
        new, count = pattern.subn(lambda _: f"{begin}\n{self.markdown()}\n{end}", text)
        if count != 1:
            raise RuntimeError(f"{DOCUMENT} has no place for {self.section}")
        DOCUMENT.write_text(new)


def table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def revision() -> str:
    commit = first_line("git", "-C", str(CHECKS.parent), "rev-parse", "--short", "HEAD")
    changed = first_line("git", "-C", str(CHECKS.parent), "status", "--porcelain", "--", "src", "Cargo.lock")
    return f"commit {commit}{' with changes' if changed else ''}"


def megabytes(count: float) -> str:
    return f"{count / 1e6:,.0f} MB"
