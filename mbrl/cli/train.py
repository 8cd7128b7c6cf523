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

from mbrl.cli.common import failed, say, started, trust_of, use_folders_of
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
    runs = _created(options) if trust is None else _resumed(options, trust)
    shown = runs[0].path if len(runs) == 1 else runs[0].path.parent
    with _stop_on_signals() as stop:
        try:
            parts, loggers = _prepare(runs, trust)
        except BadInput:
            if not options.resume:
                _remove_unused(runs)
            raise
        except Exception as error:
            return failed(runs[0], error)
        print(f"run folder {shown}", flush=True)
        started()
        try:
            with contextlib.ExitStack() as closing, _memory(runs[0].config["device"]):
                for logger in loggers:
                    closing.enter_context(contextlib.closing(logger))
                summaries = _train_parts(runs, parts, loggers, stop)
        except KeyboardInterrupt:
            return say(f"aborted; `mbrl train --resume {shown}` goes on", 130)
        except BadInput:
            if not options.resume:
                _remove_unused(runs)
            raise
        except Exception as error:
            return failed(runs[0], error)
    if not all(summary["finished"] for summary in summaries):
        step = min(summary["step"] for summary in summaries)
        return say(f"stopped at step {step}; `mbrl train --resume {shown}` goes on", 130)
    for run, summary in zip(runs, summaries, strict=True):
        seed = f"seed {run.config['seed']} " if len(runs) > 1 else ""
        mean = summary["eval/mean_reward"]
        print(f"{seed}done at step {summary['step']}: eval/mean_reward {mean}")
    return 0


def _remove_unused(runs: list[RunFolder]) -> None:
    """Remove the folders of runs that have saved nothing, and their parents if they are empty."""
    if any(run.checkpoints() for run in runs):
        return
    for run in runs:
        shutil.rmtree(run.path)
    if len(runs) > 1:
        with contextlib.suppress(OSError):
            runs[0].path.parent.rmdir()
    if not runs[0].path.is_absolute():
        with contextlib.suppress(OSError):  # where other runs stand beside it
            os.removedirs(runs[0].path.parent if len(runs) == 1 else runs[0].path.parents[1])


def _memory(device: str) -> contextlib.AbstractContextManager[None]:
    """Return the limit of memory, none on CUDA: it reserves addresses that it does not fill."""
    return limited_memory() if device == "cpu" else contextlib.nullcontext()


def _created(options: _TrainOptions) -> list[RunFolder]:
    """Create the folder of a new run, or those of its seeds within it."""
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
    path = Path(config["run_dir"])
    try:
        if config["num_seeds"] == 1:
            runs = [RunFolder.create(path, config)]
        else:
            runs = [RunFolder.create(path / f"{own['seed']}", own) for own in _of_seeds(config)]
    except OSError as error:
        if error.errno in _DISK:
            raise
        raise BadInput(f"run_dir={config['run_dir']}: {error.strerror}") from None
    print(*notes, sep="\n", end="\n" if notes else "", flush=True)
    return runs


def _of_seeds(config: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the config of each seed's run.

    Raises:
        BadInput: if a seed would be too large.
    """
    from mbrl.values import Seed, check_value

    first, number = config["seed"], config["num_seeds"]
    check_value("seed", first + number - 1, Seed, {}, f"{first} with num_seeds={number}")
    seeds = range(first, first + number)
    folder = config["run_dir"]
    return [{**config, "seed": seed, "run_dir": f"{folder}/{seed}"} for seed in seeds]


def _resumed(options: _TrainOptions, trust: Trust) -> list[RunFolder]:
    """Open the runs to resume."""
    from mbrl.training.seeds import rewind_to_common_step

    assert options.resume is not None
    runs = [_resume_one(each, options, trust) for each in _seed_folders(options.resume)]
    if len(runs) > 1:
        rewind_to_common_step(runs)
    return runs


def _seed_folders(path: Path) -> list[Path]:
    """Return the run folder to resume, or those of the seeds within it.

    Raises:
        BadInput: if a seed's is missing.
    """
    from mbrl.training.run_folder import RunFolder

    if os.path.lexists(path / "config.yaml") or not path.is_dir():
        return [path]
    folders = [p for p in path.iterdir() if p.name.isdecimal() and not p.is_symlink()]
    if not folders:
        return [path]
    folders.sort(key=lambda folder: int(folder.name))
    first, number = int(folders[0].name), RunFolder.open(folders[0]).config.get("num_seeds")
    if [folder.name for folder in folders] != [str(first + i) for i in range(len(folders))] or (
        len(folders) != number
    ):
        names = ", ".join(folder.name for folder in folders)
        raise BadInput(
            f"{path}: holds the seeds {names}; should hold the {number} from {first} on, as "
            "they were trained"
        )
    return folders


def _resume_one(path: Path, options: _TrainOptions, trust: Trust) -> RunFolder:
    """Open a run to resume; its total_steps may be extended."""
    from mbrl.config import plain_value
    from mbrl.config.arguments import parse_arguments
    from mbrl.config.restore import check_stored
    from mbrl.training.run_folder import RunFolder
    from mbrl.training.versions import warn_of_other_versions

    run = RunFolder.open(path)
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


def _prepare(runs: list[RunFolder], trust: Trust | None) -> tuple[list[Parts], list[Logger]]:
    """Build the parts, of stored runs in bounded memory, and open the loggers; imports torch."""
    import torch

    from mbrl.config import build
    from mbrl.config.restore import build_stored
    from mbrl.training.logger import make_logger

    torch.set_num_threads(runs[0].config["num_threads"])
    parts = [build(run.config) if trust is None else build_stored(run, trust) for run in runs]
    loggers = [
        make_logger(run.path, run.config, run.config["total_steps"], console=run is runs[0])
        for run in runs
    ]
    return parts, loggers


def _train_parts(
    runs: list[RunFolder], parts: list[Parts], loggers: list[Logger], stop: Callable[[], bool]
) -> list[dict[str, Any]]:
    """Run the training loop with the configs' settings; return the summaries."""
    if len(runs) == 1:
        return [_train_one(runs[0], parts[0], loggers[0], stop)]
    from mbrl.training.seeds import train_seeds
    from mbrl.training.training_run import Schedule, TrainingRun

    keys = ("total_steps", "eval_every", "eval_episodes", "save_every", "log_every")
    several = [
        TrainingRun(
            own.env,
            own.agent,
            Schedule(**{key: run.config[key] for key in keys}),
            buffer=own.buffer,
            folder=run,
            logger=logger,
            make_eval_env=own.make_eval_env,
            seed=run.config["seed"],
        )
        for run, own, logger in zip(runs, parts, loggers, strict=True)
    ]
    try:
        return train_seeds(several, stop=stop)
    except BadInput as error:
        if str(error).startswith(("agent:", "learner:")):
            raise BadInput(f"num_seeds={len(runs)}: {error}") from error
        raise


def _train_one(
    run: RunFolder, parts: Parts, logger: Logger, stop: Callable[[], bool]
) -> dict[str, Any]:
    """Run the training loop of one run; return its summary."""
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
