"""`mbrl train`: start a run, or resume one."""

from __future__ import annotations

import contextlib
import difflib
import errno
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from mbrl.cli.common import failed, say, trust_of, use_folders_of
from mbrl.errors import BadInput
from mbrl.memory import limited_memory

if TYPE_CHECKING:
    from mbrl.config import Parts
    from mbrl.config.trust import Trust
    from mbrl.training.logger import Logger
    from mbrl.training.run_folder import RunFolder

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO)  # not the user's choice of a folder

_OPTIONS = ("--config-dir", "--resume", "--help", "--trust", "--accept-config")


class _TrainOptions(NamedTuple):
    settings: list[str]  # KEY=VALUE
    config_dir: Path | None
    resume: Path | None
    help: bool
    trust: bool = False  # the code that the run to resume names
    accept_config: bool = False  # of the run to resume, although it was changed


def _train_options(arguments: list[str]) -> _TrainOptions:
    """Split options from settings, which may begin with -- too."""
    settings: list[str] = []
    paths: dict[str, Path] = {}
    marks: set[str] = set()
    rest = iter(arguments)
    for argument in rest:
        name, equals, text = argument.partition("=")
        if name in ("--config-dir", "--resume"):
            value = text if equals else next(rest, "")
            if not value:
                raise BadInput(f"{name}: a folder must follow")
            paths[name] = Path(value)
        elif argument in ("-h", "--help", "--trust", "--accept-config"):
            marks.add(argument)
        elif argument.startswith("-") and (near := _nearest_option(name)):
            raise BadInput(f"{name}: unknown option; did you mean {near}?")
        else:
            settings.append(argument)
    return _TrainOptions(
        settings,
        paths.get("--config-dir"),
        paths.get("--resume"),
        bool(marks & {"-h", "--help"}),
        "--trust" in marks,
        "--accept-config" in marks,
    )


def _nearest_option(name: str) -> str | None:
    """Return the option that a word with hyphens is a misspelling of, None if it is a setting."""
    near = difflib.get_close_matches(name.replace("_", "-"), _OPTIONS, n=1, cutoff=0.75)
    return near[0] if near else None


def main(arguments: list[str]) -> int:
    """Train a new run, or resume one."""
    options = _train_options(arguments)
    if options.help:
        from mbrl.config.describe import describe

        print(describe(options.settings, options.config_dir))
        return 0
    trust = trust_of(options) if options.resume else None
    run = _created(options) if trust is None else _resumed(options, trust)
    with _stop_on_signals() as stop:
        try:
            parts, logger = _prepare(run, trust)
        except BadInput:
            if not options.resume:
                _remove_unused(run)
            raise
        except Exception as error:
            return failed(run, error)
        print(f"run folder {run.path}", flush=True)
        try:
            with contextlib.closing(logger), _memory(run.config["device"]):
                summary = _train_parts(run, parts, logger, stop)
        except KeyboardInterrupt:
            return say(f"aborted; `mbrl train --resume {run.path}` goes on", 130)
        except BadInput:
            if not options.resume:
                _remove_unused(run)
            raise
        except Exception as error:
            return failed(run, error)
    if not summary["finished"]:
        step = summary["step"]
        return say(f"stopped at step {step}; `mbrl train --resume {run.path}` goes on", 130)
    print(f"done at step {summary['step']}: eval/mean_reward {summary['eval/mean_reward']}")
    return 0


def _remove_unused(run: RunFolder) -> None:
    """Remove the folder of a run that has saved nothing, and its parents if they are empty."""
    if run.checkpoints():
        return
    shutil.rmtree(run.path)
    if not run.path.is_absolute():
        with contextlib.suppress(OSError):  # where other runs stand beside it
            os.removedirs(run.path.parent)


def _memory(device: str) -> contextlib.AbstractContextManager[None]:
    """Return the limit of memory, none on CUDA: it reserves addresses that it does not fill."""
    return limited_memory() if device == "cpu" else contextlib.nullcontext()


def _created(options: _TrainOptions) -> RunFolder:
    """Create the folder of a new run."""
    from mbrl.config import compose
    from mbrl.training.run_folder import RunFolder

    for mark in ("--trust", "--accept-config"):
        if getattr(options, mark.strip("-").replace("-", "_")):
            raise BadInput(f"{mark}: goes with --resume RUN; what you type is trusted")
    use_folders_of(options.settings, options.config_dir)
    config, notes = compose(options.settings, options.config_dir)
    if config["run_dir"] is None:
        names = config["choices"]
        started = datetime.now().strftime("%Y%m%d-%H%M%S-%f")  # sweeps start many in a second
        config["run_dir"] = f"runs/{names['env']}/{names['agent']}/{config['seed']}-{started}"
    try:
        run = RunFolder.create(Path(config["run_dir"]), config)
    except OSError as error:
        if error.errno in _DISK:
            raise
        raise BadInput(f"run_dir={config['run_dir']}: {error.strerror}") from None
    print(*notes, sep="\n", end="\n" if notes else "", flush=True)
    return run


def _resumed(options: _TrainOptions, trust: Trust) -> RunFolder:
    """Open the run to resume; its total_steps may be extended."""
    from mbrl.config import plain_value
    from mbrl.config.arguments import parse_arguments
    from mbrl.config.restore import check_stored
    from mbrl.training.run_folder import RunFolder
    from mbrl.training.versions import warn_of_other_versions

    assert options.resume is not None
    run = RunFolder.open(options.resume)
    run.claim()
    changes = dict(parse_arguments(options.settings))
    for key in changes:
        if key != "total_steps":
            raise BadInput(
                f"{key}: a resumed run keeps its {run.path / 'config.yaml'}; "
                "only total_steps=N can be given"
            )
    check_stored(run, trust, with_data=True)
    run.check()  # before torch is imported
    run.check_metrics()
    if changes:
        total = plain_value("total_steps", changes["total_steps"])
        if total < run.step:
            raise BadInput(f"total_steps={total}: the run is at step {run.step} already; give more")
        run.update_config(total_steps=total)
    warn_of_other_versions(
        run.versions_path, "the end need not be bit for bit that of an uninterrupted run"
    )
    return run


def _prepare(run: RunFolder, trust: Trust | None) -> tuple[Parts, Logger]:
    """Build the parts, of a stored run in bounded memory, and open the logger; imports torch."""
    import torch

    from mbrl.config import build
    from mbrl.config.restore import build_stored
    from mbrl.training.logger import make_logger

    torch.set_num_threads(run.config["num_threads"])
    parts = build(run.config) if trust is None else build_stored(run, trust)
    return parts, make_logger(run.path, run.config, run.config["total_steps"])


def _train_parts(
    run: RunFolder, parts: Parts, logger: Logger, stop: Callable[[], bool]
) -> dict[str, Any]:
    """Run the training loop with the config's settings; return its summary."""
    from mbrl.roles import OfflineAgent
    from mbrl.training.loop import train
    from mbrl.training.offline_loop import train_offline

    keys = ("seed", "total_steps", "eval_every", "eval_episodes", "save_every", "log_every")
    if parts.dataset is not None and isinstance(parts.agent, OfflineAgent):
        return train_offline(
            parts.agent,
            parts.buffer,
            run=run,
            logger=logger,
            digest=parts.dataset.digest,
            make_eval_env=parts.make_eval_env
            if run.config["choices"]["env"] != "dataset"
            else None,
            score=parts.dataset.score,
            stop=stop,
            **{key: run.config[key] for key in keys},
        )
    return train(
        parts.env,
        parts.agent,
        buffer=parts.buffer,
        run=run,
        logger=logger,
        make_eval_env=parts.make_eval_env,
        stop=stop,
        **{key: run.config[key] for key in keys},
    )


@contextlib.contextmanager
def _stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Handle Ctrl-C, SIGTERM and a closed terminal: the loop stops, a second Ctrl-C aborts.

    A closed terminal may send SIGHUP twice, and `nohup` has it ignored.
    """
    signals: list[int] = []

    def handle(number: int, frame: Any) -> None:
        signals.append(number)
        if len(signals) > 1 and number == signal.SIGINT:
            raise KeyboardInterrupt
        if len(signals) == 1:
            with contextlib.suppress(OSError):  # nobody may be there to read it
                os.write(2, b"mbrl: saving after this step; Ctrl-C again aborts at once\n")

    handled = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        handled.append(signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in handled}
    try:
        yield lambda: bool(signals)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
