"""Clock of a plan: counts its iterations and stops them in time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any


class Clock:
    """Counter of a plan's iterations within a deadline.

    Args:
        deadline: seconds from now; None for no deadline.
    """

    def __init__(self, deadline: float | None):
        """Start the clock."""
        self._start = time.monotonic()
        self._deadline = deadline
        self._iterations = 0

    def iterations(self, num: int) -> Iterator[int]:
        """Count up to num, and at least once.

        It stops early if one more iteration, as slow as the slowest one, would end too late.
        """
        slowest, now = 0.0, self._start
        for index in range(num):
            yield index
            self._iterations += 1
            if self._deadline is not None:
                before, now = now, time.monotonic()
                slowest = max(slowest, now - before)
                if now + slowest - self._start > self._deadline:
                    return

    def is_over(self) -> bool:
        """Return whether the deadline has passed."""
        return self._deadline is not None and time.monotonic() - self._start > self._deadline

    def info(self) -> dict[str, Any]:
        """Return the number of iterations and the latency in seconds."""
        return {"iterations": self._iterations, "latency": time.monotonic() - self._start}
