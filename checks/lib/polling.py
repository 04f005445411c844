"""Waits for conditions."""

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def wait_until(
    condition: Callable[[], Result],
    seconds: float = 40,
    every: float = 0.05,
    describe: Callable[[], object] = lambda: "the condition does not hold",
) -> Result:
    """Calls `condition` until it returns something true, and returns that; fails with `describe()` after `seconds`.

    It blocks: a coroutine runs it with `asyncio.to_thread`.
    """
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"after {seconds} s: {describe()}"
        time.sleep(every)
    return result
