"""The machine: its cores, the CPU time of servers, and a description for the report."""

import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

# The measured server has a core of its own; its clients and its upstream share the other.
SERVER_CORE = max(os.sched_getaffinity(0))
LOAD_CORE = min(os.sched_getaffinity(0))

CHECKS = Path(__file__).resolve().parent.parent


def pinned(core: int, command: list) -> list[str]:
    return ["taskset", "--cpu-list", str(core), *map(str, command)]


def python(module: str, *arguments, core: int = LOAD_CORE) -> list[str]:
    """The command that runs a program of this package."""
    return pinned(core, [sys.executable, "-m", f"bench.{module}", *arguments])


def environment(**more: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": f"{CHECKS}:{CHECKS / 'lib'}", "NO_PROXY": "*", "no_proxy": "*"} | more


def family(pid: int) -> list[int]:
    """A process and its descendants."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = {int(child) for task in tasks for child in (task / "children").read_text().split()}
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [pid, *(one for child in children for one in family(child))]


def cpu_seconds(pid: int) -> float:
    """The CPU time of a process and its descendants so far, including kernel time and threads that have ended."""
    # The clock of clock_getcpuclockid(3), which has nanosecond resolution.
    return sum(time.clock_gettime((~one << 3) | 2) for one in family(pid))


def first_line(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0] if lines else ""


def version(package: str) -> str:
    from importlib import metadata

    return f"{package} {metadata.version(package)}"


def description() -> str:
    """One line that describes the machine and the versions of the programs."""
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    nginx = re.search(r"nginx/([\d.]+)", first_line("nginx", "-v"))
    varnish = re.search(r"varnish-([\d.]+)", first_line("varnishd", "-V"))
    return "; ".join(
        (
            f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB",
            f"Linux {platform.release()}, Python {platform.python_version()}",
            f"load average {os.getloadavg()[2]:.0f}, measurement and other programs together",
            f"nginx {nginx[1] if nginx else '?'}, Varnish {varnish[1] if varnish else '?'}",
            ", ".join(version(package) for package in ("aiohttp", "dlt", "requests")),
        )
    )
