"""`scripts/bench`: the sections that are named, or all but the long one; each writes its part of docs/benchmarks.md."""

import argparse
import sys
import tempfile
from pathlib import Path

from bench.callers import callers
from bench.cold import cold
from bench.long import long
from bench.loops import loops
from bench.memory import memory
from bench.small import small
from bench.stage import binary
from bench.warm import warm

SECTIONS = {section.__name__: section for section in (cold, callers, warm, small, memory, loops, long)}
SHORT = [name for name in SECTIONS if name != "long"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("section", nargs="*", help=f"of {', '.join(SECTIONS)}; without any, all but long")
    parser.add_argument("--long", action="store_true", help="also the million executions: some ten minutes")
    parser.add_argument("--rounds", type=int, default=5, help="how often each measurement is made")
    parser.add_argument("--dry", action="store_true", help="print, and leave docs/benchmarks.md as it is")
    options = parser.parse_args()
    wanted = options.section or SHORT
    if unknown := set(wanted) - set(SECTIONS):
        parser.error(f"no such section: {', '.join(sorted(unknown))}")
    if options.long and "long" not in wanted:
        wanted = [*wanted, "long"]
    print(f"{binary()}, {options.rounds} rounds", flush=True)
    failed = 0
    for name in wanted:
        print(f"\n== {name}", flush=True)
        with tempfile.TemporaryDirectory() as directory:
            report = SECTIONS[name](Path(directory), options.rounds)
        failed += sum(not holds for *_, holds in report.targets)
        if not options.dry:
            report.write()
    print(f"\n{failed} targets fail")
    return 0


if __name__ == "__main__":
    sys.exit(main())
