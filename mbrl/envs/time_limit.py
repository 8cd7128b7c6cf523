"""Thread with a time limit: work that hangs is reported and keeps no process alive."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import final


class Hang(Exception):
    """Timeout of work that did not return."""


@final
class LimitedThread:
    """Daemon thread that runs one piece of work at a time.

    Args:
        time_limit: seconds that each may take.
    """

    def __init__(self, time_limit: float):
        """Start nothing yet."""
        self._time_limit = time_limit
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._started = False

    def run(self, work: Callable[[], None]) -> None:
        """Run work and wait for it.

        Raises:
            Hang: if it takes longer; the thread is then lost.
            BaseException: what it raised.
        """
        if not self._started:
            threading.Thread(target=self._serve, daemon=True).start()
            self._started = True
        self._work.put(work)
        try:
            error = self._done.get(timeout=self._time_limit)
        except queue.Empty:
            raise Hang from None
        if error is not None:
            raise error

    def __reduce__(self) -> tuple[type[LimitedThread], tuple[float]]:
        """Return how a copy is made: it starts a thread of its own."""
        return LimitedThread, (self._time_limit,)

    def close(self) -> None:
        """Stop the thread."""
        if self._started:
            self._work.put(None)
        self._started = False

    def _serve(self) -> None:
        """Run work until None comes."""
        while (work := self._work.get()) is not None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 (handed to the caller of run)
                self._done.put(error)
            else:
                self._done.put(None)
