"""Daemon threads with a time limit: a job that hangs is reported and keeps no process alive."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import final


class Hang(Exception):
    """Timeout of jobs that did not return.

    Attributes:
        jobs: their numbers.
    """

    def __init__(self, jobs: list[int]):
        """Store the numbers of the jobs."""
        super().__init__(f"jobs {jobs} did not return")
        self.jobs = jobs


@final
class DaemonPool:
    """Pool of persistent threads that run jobs side by side.

    Args:
        num_threads: of the pool; started with the first call of run.
    """

    def __init__(self, num_threads: int):
        """Start nothing yet."""
        self._num_threads = num_threads
        self._jobs: queue.SimpleQueue[tuple[int, Callable[[], None]] | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[int, BaseException | None]] = queue.SimpleQueue()
        self._started = False

    def run(self, jobs: Sequence[Callable[[], None]], time_limit: float | None = None) -> None:
        """Run all jobs and wait for them.

        Raises:
            Hang: naming the jobs that took longer than time_limit seconds; the pool is then lost.
            BaseException: what the first failing job raised.
        """
        if not self._started:
            for _ in range(self._num_threads):
                threading.Thread(target=self._work, daemon=True).start()
            self._started = True
        for job in enumerate(jobs):
            self._jobs.put(job)
        waiting = set(range(len(jobs)))
        failure: BaseException | None = None
        while waiting:
            try:
                number, error = self._done.get(timeout=time_limit)
            except queue.Empty:
                raise Hang(sorted(waiting)) from None
            waiting.discard(number)
            failure = failure or error
        if failure is not None:
            raise failure

    def __reduce__(self) -> tuple[type[DaemonPool], tuple[int]]:
        """Return how a copy is made: threads are not shared, it starts its own."""
        return DaemonPool, (self._num_threads,)

    def close(self) -> None:
        """Stop the threads."""
        if self._started:
            for _ in range(self._num_threads):
                self._jobs.put(None)
        self._started = False

    def _work(self) -> None:
        """Run jobs until None comes."""
        while (item := self._jobs.get()) is not None:
            number, job = item
            try:
                job()
            except BaseException as error:  # noqa: BLE001 (handed to the caller of run)
                self._done.put((number, error))
            else:
                self._done.put((number, None))
