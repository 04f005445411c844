"""External programs that some checks need."""

import os
import shutil
import sys
from pathlib import Path

import pytest
from programs import TARGET

# Where scripts/lib.sh installs them: beside this Python, or from Debian's packages.
PLACES = [Path(sys.executable).parent, TARGET / "debian/usr/bin", TARGET / "debian/usr/sbin"]


def find(name: str) -> str | None:
    """The path of a program; None if it is not on this machine."""
    return shutil.which(name, path=os.pathsep.join([*map(str, PLACES), os.environ.get("PATH", ""), "/usr/sbin"]))


def tool(name: str) -> str:
    """The path of a program. If it is missing, the check is skipped; in CI it fails."""
    found = find(name)
    if found is None:
        message = f"{name} is not on this machine: scripts/lib.sh, deploy_tools"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    return found
