"""Weights & Biases as a view of the metrics: whatever it does, it ends no training."""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, final

from mbrl.files import read_regular

_MOST_WAITING = 10_000  # rows; W&B takes one in milliseconds


@final
class WandbSink:
    """Mirror of the metrics on Weights & Biases.

    WANDB_MODE decides where it is set; without it, runs with a WANDB_API_KEY are online and others
    offline, also those with a key in netrc (`wandb login`). The run's id stands in RUN/wandb_id, so
    that a resumed run goes on as the same one; a sweep's agent gives it in WANDB_RUN_ID.

    W&B works in a thread of its own, which training does not wait for. If it refuses, fails or
    hangs, one line on stderr says so and the rest is left out: metrics.jsonl has everything.

    Args:
        run_path: the run folder.
        config: the resolved config.
        patience: seconds that close waits for W&B.
    """

    def __init__(self, run_path: Path, config: dict[str, Any], *, patience: float = 120.0):
        """Start the thread, which starts the W&B run."""
        self._patience = patience
        self._calls: queue.Queue[Callable[[Any], object] | None] = queue.Queue(_MOST_WAITING)
        self._over = threading.Event()  # closed, or given up
        arguments = (run_path, config)
        self._thread = threading.Thread(target=self._work, args=arguments, daemon=True)
        self._thread.start()

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Send metrics; the step is a metric too, so that a resumed run may go back in it."""
        row = {"step": step, **metrics}
        self._send(lambda run: run.log(row))

    def close(self) -> None:
        """Close the W&B run."""
        self._send(lambda run: run.finish())
        self._send(None)
        if not self._over.is_set():
            self._thread.join(self._patience)
        if self._thread.is_alive():
            self._give_up(f"no answer within {self._patience:g} s")
        self._over.set()

    def _send(self, call: Callable[[Any], object] | None) -> None:
        """Append a call to the list of the thread."""
        if not self._over.is_set():
            try:
                self._calls.put_nowait(call)
            except queue.Full:
                self._give_up(f"no answer for {_MOST_WAITING} rows")

    def _work(self, run_path: Path, config: dict[str, Any]) -> None:
        """Start the run, and make the calls in their order."""
        try:
            run = _start(run_path, config)
            while (call := self._calls.get()) is not None:
                call(run)
        except BaseException as error:  # noqa: BLE001 (of W&B, of the network; SystemExit too)
            self._give_up(" ".join([f"{type(error).__name__}:", *str(error).split()]).rstrip(":"))

    def _give_up(self, reason: str) -> None:
        """Write one line, and leave W&B alone from now on."""
        if not self._over.is_set():
            self._over.set()
            print(
                f"mbrl: W&B failed ({reason[:300]}); this run goes on without it, "
                "metrics.jsonl has everything",
                file=sys.stderr,
            )


def _start(run_path: Path, config: dict[str, Any]) -> Any:
    """Start the W&B run of a run folder."""
    import wandb

    logging.raiseExceptions = False  # of its own log file, on a full disk, tracebacks on stderr
    wandb.setup(settings=wandb.Settings(silent=True, console="off"))
    choices = config.get("choices", {})
    words = [*(choices[group] for group in ("agent", "env") if group in choices), run_path.name]
    run = wandb.init(
        project=config["logger"]["project"],
        id=_identity(run_path / "wandb_id"),
        name="-".join(words),
        dir=str(run_path),
        config=config,
        resume="allow",
        mode=wandb_mode(),
    )
    run.define_metric("*", step_metric="step")
    return run


def _identity(file: Path) -> str:
    """Return the id of the W&B run, which the file keeps."""
    known = read_regular(file, 1024).decode().strip() if file.exists() else ""
    if not known:
        known = os.environ.get("WANDB_RUN_ID") or uuid.uuid4().hex[:8]
        working = file.with_name(f".{file.name}.tmp")
        working.write_text(known)
        working.replace(file)
    return known


def wandb_mode() -> Any:
    """Return W&B's mode: WANDB_MODE, else online if WANDB_API_KEY is set, else offline."""
    usual = "online" if os.environ.get("WANDB_API_KEY") else "offline"
    return os.environ.get("WANDB_MODE") or usual
