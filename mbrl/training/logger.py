"""Metrics: metrics.jsonl is the record; console, TensorBoard and W&B are views of it."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console as RichConsole
from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from mbrl.errors import BadInput
from mbrl.files import open_to_append
from mbrl.training.wandb_sink import WandbSink

_SHOWN_FIRST = ("eval/", "rollout/", "time/", "train/", "model/", "planner/")


class Sink(Protocol):
    """Receiver of metrics."""

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Write metrics at an environment step."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


class _Appended:
    """File that is appended to; what is written is handed to the system at once.

    Args:
        path: of the file.

    Raises:
        OSError: here and in every method, naming the file.
    """

    def __init__(self, path: Path):
        """Open the file, keeping what is in it."""
        self._path = path
        with self._named():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open_to_append(path)

    def write(self, content: bytes) -> None:
        """Append bytes."""
        with self._named():
            self._file.write(content)
            self._file.flush()

    def position(self) -> int:
        """Return the length in bytes, all of them on the disk."""
        with self._named():
            os.fsync(self._file.fileno())
            return self._file.seek(0, os.SEEK_END)

    def truncate(self, position: int) -> None:
        """Truncate to a length in bytes; a shorter file stays as it is."""
        with self._named():
            self._file.truncate(min(self.position(), position))

    def close(self) -> None:
        """Close the file."""
        with self._named():
            self._file.close()

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Add the file's name to an error of the system."""
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from error


class JsonLines:
    """File of rows, each one flushed: {"step": 100, "train/loss": 0.5, ...}.

    Numbers that are not finite become null, so that every line is JSON.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path):
        """Open the file, keeping what is in it."""
        self._file = _Appended(path)

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Append a row."""
        row = {k: v if math.isfinite(v) else None for k, v in metrics.items()}
        self._file.write(json.dumps({"step": step, **row}).encode() + b"\n")

    def position(self) -> int:
        """Return the file's length in bytes, all of them on the disk."""
        return self._file.position()

    def truncate(self, position: int) -> None:
        """Truncate the file to a length in bytes; a shorter one stays as it is."""
        self._file.truncate(position)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Console:
    """Display of progress: a bar with a table on a terminal, plain lines elsewhere.

    Plain lines come at most once a second, except those with an evaluation.

    Args:
        total_steps: environment steps of the whole run, for the time left.
        console: where to write; by default stdout.
        clock: returns seconds.
    """

    def __init__(
        self,
        total_steps: int,
        *,
        console: RichConsole | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """Build the table and the bar; nothing is drawn before the first metrics."""
        self._console = console or RichConsole()
        self._clock = clock
        self._total = total_steps
        self._started: tuple[float, int] | None = None  # time and step of the first metrics
        self._last_line = -math.inf
        self._latest: dict[str, float] = {}
        self._live: Live | None = None
        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("left"), TimeRemainingColumn())
        self._progress = Progress(TextColumn("steps"), *columns, console=self._console)
        self._task = self._progress.add_task("steps", total=total_steps)

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Update the display."""
        now = self._clock()
        self._started = self._started or (now, step)
        if self._console.is_terminal:
            self._latest |= metrics
            self._progress.update(self._task, completed=step)
            if self._live is None:
                self._live = Live(console=self._console, refresh_per_second=2)
                self._live.start()
            self._live.update(Group(self._table(), self._progress))
        elif now - self._last_line >= 1 or any(key.startswith("eval/") for key in metrics):
            self._last_line = now
            words = [f"step {step}/{self._total}", *self._left(now, step)]
            words += [f"{key} {metrics[key]:.4g}" for key in sorted(metrics, key=_order)]
            print("  ".join(words), file=self._console.file, flush=True)

    def _left(self, now: float, step: int) -> list[str]:
        """Return the words for the time left, none before it can be estimated."""
        assert self._started is not None
        seconds, steps = now - self._started[0], step - self._started[1]
        if steps <= 0:
            return []
        left = int(max(0, self._total - step) * seconds / steps)
        return [f"left {left // 3600}:{left // 60 % 60:02}:{left % 60:02}"]

    def _table(self) -> Table:
        """Return the table of the latest value of each metric."""
        table = Table(show_header=False, box=None)
        for key in sorted(self._latest, key=_order):
            table.add_row(key, f"{self._latest[key]:.4g}")
        return table

    def close(self) -> None:
        """Stop the display, which stays as it is."""
        if self._live is not None:
            self._live.stop()


def _order(key: str) -> tuple[int, str]:
    """Return the key by which metrics are sorted: what matters most comes first."""
    ranks = [i for i, prefix in enumerate(_SHOWN_FIRST) if key.startswith(prefix)]
    return (ranks[0] if ranks else len(_SHOWN_FIRST), key)


class TensorBoardSink:
    """Event file of TensorBoard; a resumed run adds a file of its own.

    It is written here and not by TensorBoard's thread, so that a full disk ends the run as under
    any other file, and a resume writes again what is missing.

    Args:
        folder: where; made when the first metric comes.

    Raises:
        BadInput: if the package is missing.
    """

    def __init__(self, folder: Path):
        """Store the folder."""
        _need("tensorboard")
        self._folder = folder
        self._file: _Appended | None = None

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Write the metrics as scalars; a resumed run hides what it repeats.

        Raises:
            OSError: naming the file that cannot be written.
        """
        from tensorboard.compat.proto import event_pb2, summary_pb2

        kinds: Any = event_pb2  # a type checker does not see what protobuf makes
        value = vars(summary_pb2)["Summary"].Value
        now = time.time()
        scalars = [value(tag=key, simple_value=number) for key, number in metrics.items()]
        events = [kinds.Event(wall_time=now, step=step, summary={"value": scalars})]
        if self._file is None:
            began = f"{now:.6f}.{socket.gethostname()}.{os.getpid()}"
            self._file = _Appended(self._folder / f"events.out.tfevents.{began}")
            head = kinds.Event(wall_time=now, step=step, file_version="brain.Event:2")
            start = {"status": kinds.SessionLog.START}
            events = [head, kinds.Event(step=step, session_log=start), *events]
        self._file.write(_records(event.SerializeToString() for event in events))

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _records(events: Iterable[bytes]) -> bytes:
    """Return events in TensorBoard's form of a file."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    content = io.BytesIO()
    writer = RecordWriter(content)
    for event in events:
        writer.write(event)
    return content.getvalue()


def _need(package: str) -> None:
    """Check that the package of a view is installed.

    Raises:
        BadInput: if it is missing.
    """
    if package not in sys.modules and find_spec(package) is None:
        raise BadInput(
            f"logger.{package}=true: the package {package} is not installed; "
            f"pip install 'dynaplan[{package}]'"
        )


class Logger:
    """Distributor of metrics to every sink.

    Args:
        sinks: the first JsonLines among them is the record that position and rewind speak of.
    """

    def __init__(self, sinks: Sequence[Sink]):
        """Find the record among the sinks."""
        self._sinks = sinks
        self._record = next((sink for sink in sinks if isinstance(sink, JsonLines)), None)

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Record metrics at an environment step."""
        for sink in self._sinks:
            sink.log(metrics, step)

    def position(self) -> int:
        """Return the length of the record in bytes."""
        return self._record.position() if self._record else 0

    def rewind(self, position: int) -> None:
        """Truncate the record to a length in bytes, on a resume."""
        if self._record:
            self._record.truncate(position)

    def close(self) -> None:
        """Close every sink."""
        with contextlib.ExitStack() as stack:  # all of them, also if one fails
            for sink in self._sinks:
                stack.callback(sink.close)


def make_logger(
    run_path: Path, config: dict[str, Any], total_steps: int, *, console: bool = True
) -> Logger:
    """Open the sinks that a config asks for.

    Args:
        run_path: the run folder.
        config: the resolved config.
        total_steps: environment steps of the whole run.
        console: whether the run is shown; of several at once, one is.

    Raises:
        BadInput: if a view's package is missing.
    """
    settings = config["logger"]
    sinks: list[Sink] = [JsonLines(run_path / "metrics.jsonl")]
    if console:
        sinks.append(Console(total_steps))
    if settings["tensorboard"]:
        sinks.append(TensorBoardSink(run_path / "tensorboard"))
    if settings["wandb"]:
        _need("wandb")
        sinks.append(WandbSink(run_path, config))
    return Logger(sinks)
