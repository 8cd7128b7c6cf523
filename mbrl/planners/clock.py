"""The rounds of a plan: counted, and stopped in time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any


class Clock:
    """Count the rounds of a plan and what they cost, within a deadline.

    Attributes:
        evaluations: action sequences scored so far, per environment; a planner adds to it.
    """

    def __init__(self, deadline: float | None):
        """Begin now; deadline in seconds."""
        self._began = time.monotonic()
        self._deadline = deadline
        self._rounds = 0
        self.evaluations = 0

    def rounds(self, num: int) -> Iterator[int]:
        """Count up to num, one at least; stop where one more like the slowest would be late."""
        slowest, now = 0.0, self._began
        for i in range(num):
            yield i
            self._rounds += 1
            if self._deadline is not None:
                before, now = now, time.monotonic()
                slowest = max(slowest, now - before)
                if now + slowest - self._began > self._deadline:
                    return

    def late(self) -> bool:
        """Tell whether the deadline is over."""
        return self._deadline is not None and time.monotonic() - self._began > self._deadline

    def info(self) -> dict[str, Any]:
        """Give iterations, evaluations and the seconds taken."""
        taken = time.monotonic() - self._began
        return {"iterations": self._rounds, "evaluations": self.evaluations, "latency": taken}
