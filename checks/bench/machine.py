"""The machine: which core does what, how long a server computes, and what all of it is called."""

import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

# What is measured has a core of its own; what asks it, and what it asks, share the other.
SERVER_CORE = max(os.sched_getaffinity(0))
LOAD_CORE = min(os.sched_getaffinity(0))

CHECKS = Path(__file__).resolve().parent.parent


def pinned(core: int, command: list) -> list[str]:
    return ["taskset", "--cpu-list", str(core), *map(str, command)]


def python(module: str, *arguments, core: int = LOAD_CORE) -> list[str]:
    """The command that runs one of this package's programs."""
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
    """What a process and its descendants have computed so far, in the kernel as well, by threads that are gone as well."""
    # clock_getcpuclockid(3) for another process, with the scheduler's nanoseconds.
    return sum(time.clock_gettime((~one << 3) | 2) for one in family(pid))


def peak_bytes(pid: int) -> int:
    """The most memory a process had resident at any time."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


def first_line(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0] if lines else ""


def version(package: str) -> str:
    from importlib import metadata

    return f"{package} {metadata.version(package)}"


def description() -> str:
    """One line that says on what, and against what, the figures were measured."""
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
