"""Probes a program continuously from its own thread, and measures the longest silence."""

import contextlib
import threading
import time

import requests
from programs import Program

# Between two requests.
PAUSE = 0.2


class Pulse:
    """Requests a URL until it is closed. Only the time without responses matters, not their content."""

    def __init__(self, url: str):
        self.url = url
        self.answers = 0
        self._longest = 0.0
        self._last = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @classmethod
    def of(cls, program: Program) -> "Pulse":
        """The pulse of the public listener, whose workers also serve rows."""
        return cls(f"{program.url}/agents/none/executions/all")

    def _run(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(requests.RequestException):
                requests.get(self.url, timeout=60)
                now = time.monotonic()
                self._longest = max(self._longest, now - self._last)
                self._last = now
                self.answers += 1
            self._stop.wait(PAUSE)

    @property
    def longest(self) -> float:
        """The longest silence, including the present one."""
        return max(self._longest, time.monotonic() - self._last)

    def __enter__(self) -> "Pulse":
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
