"""The memory and the open files of a process on this machine."""

import os
import re
from pathlib import Path


def peak_bytes(pid: int) -> int:
    """The most memory that the process has ever had resident; zero if it has ended."""
    return _status(pid, "VmHWM")


def resident_bytes(pid: int) -> int:
    """The memory that the process has resident now; zero if it has ended."""
    return _status(pid, "VmRSS")


def open_files(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def _status(pid: int, name: str) -> int:
    # A zombie has no such line.
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * 1024 if found else 0
