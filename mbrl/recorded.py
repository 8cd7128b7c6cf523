"""`mbrl.fit`: models of recorded runs, compared on held-out episodes, the best one as a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

from annotated_types import Interval

from mbrl.errors import BadInput, NumericalFault
from mbrl.values import Count, Seed, checked

if TYPE_CHECKING:
    from mbrl.data.logs.split import RecordedData
    from mbrl.report.log_accuracy import Accuracy
    from mbrl.roles import Dynamics

ALL = ("least_squares", "least_squares_2", "sindy", "sparse_relu", "ensemble")
_SQUARES = {"least_squares_2": ("least_squares", "dynamics.degree=2")}  # name -> model, setting


class Fit(NamedTuple):
    """Result of mbrl.fit."""

    dynamics: Dynamics  # the best model after the longest horizon; takes encoded observations
    names: tuple[str, ...]  # of the observations
    accuracy: list[Accuracy]  # of "no change", then of each model
    run: Path  # run folder of the best model, with report.html
    notes: list[str]  # what was found in the data and in the fits, a sentence each


class _Candidate(NamedTuple):
    """A model that was fitted."""

    config: dict[str, Any]
    agent: Any  # FittedModel
    accuracy: Accuracy


@checked
def fit(
    data: str | Path | Sequence[str | Path],
    *,
    obs: Sequence[str] = (),
    action: Sequence[str] = (),
    time: str | None = None,
    episode: str | None = None,
    angle: Sequence[str] = (),
    rate: float | Literal["auto", "as_recorded"] = "auto",
    missing: Literal["refuse", "split"] = "refuse",
    action_shift: Annotated[int, Interval(ge=-10, le=10)] = 0,
    holdout: Annotated[float, Interval(gt=0, lt=1)] = 0.3,
    dynamics: str = "ensemble",
    seed: Seed = 0,
    num_threads: Count = 1,
    run_dir: str | Path | None = None,
    settings: Sequence[str] = (),
    show: Callable[[str], object] = lambda line: None,
) -> Fit:
    """Fit models to recorded runs and measure them on held-out episodes.

    Args:
        data: files or folders: CSV, npz, Parquet, LeRobot.
        obs: names of the columns that are the state.
        action: names of the columns that are the inputs.
        time: name of the column of seconds.
        episode: name of the column that numbers the episodes; without one each file is one.
        angle: names of the observations that are angles in radians and wrap.
        rate: "auto" resamples uneven time, "as_recorded" leaves it, a number is in Hz.
        missing: "split" begins a new episode where a value is missing.
        action_shift: rows by which actions are late (-1) or early (1) in the data.
        holdout: share of the episodes held out.
        dynamics: a model as in `mbrl train dynamics=`, several with commas, or "all".
        seed: of all random draws.
        num_threads: of torch.
        run_dir: where the best model is saved; by default runs/recorded/NAME-TIMESTAMP.
        settings: further settings of a model: "dynamics.KEY=VALUE" of every one that is named,
            "ensemble.KEY=VALUE" of that one.
        show: called with each line of progress.

    Raises:
        BadInput: in one line, naming file, column and row, or the setting.
    """
    import torch

    from mbrl.data.logs.encoding import AngleEncoding
    from mbrl.data.logs.log import read_log
    from mbrl.data.logs.split import recorded_data
    from mbrl.report.log_accuracy import measure_persistence, remarks

    paths = [Path(p) for p in ([data] if isinstance(data, str | Path) else data)]
    names = list(ALL) if dynamics == "all" else [name for name in dynamics.split(",") if name]
    torch.set_num_threads(num_threads)
    log = read_log(
        paths, obs=obs, action=action, time=time, episode=episode, angle=angle, rate=rate,
        missing=missing, action_shift=action_shift,
    )  # fmt: skip
    encoding = AngleEncoding(tuple(log.obs_names), tuple(log.angles))
    recorded = recorded_data([(e.obs, e.action) for e in log.episodes], encoding, holdout=holdout)
    _check_settings(names, settings)
    when = datetime.now().strftime("%Y%m%d-%H%M%S-%f")
    configs = [
        config_of(
            name, recorded, step=log.step, seed=seed, num_threads=num_threads,
            run_dir=run_dir or f"runs/recorded/{name}/{seed}-{when}", settings=settings,
        )
        for name in names
    ]  # fmt: skip
    notes = list(log.notes)
    for note in notes:
        show(note)
    table = [measure_persistence(recorded)]
    fitted: list[_Candidate] = []
    for name, config in zip(names, configs, strict=True):
        show(f"fitting {name} to {len(recorded.train.reward)} transitions")
        try:
            fitted.append(_fit_one(name, config, recorded))
        except NumericalFault as error:
            notes.append(f"{name}: could not be fitted ({error}).")
            show(notes[-1])
            continue
        table.append(fitted[-1].accuracy)
    if not fitted:
        raise BadInput(f"dynamics={dynamics}: no model could be fitted; {notes[-1]}")
    notes += remarks(table)
    best = min(fitted, key=lambda each: each.accuracy.normalized[-1].item())
    run = _save(best, table, recorded, notes)
    return Fit(best.agent.dynamics, encoding.names, table, run, notes)


def _check_settings(names: Sequence[str], settings: Sequence[str]) -> None:
    """Check that every setting is of a model that is fitted.

    Raises:
        BadInput: naming one that is not.
    """
    for text in settings:
        part = text.partition(".")[0]
        if part not in ("dynamics", *names) or "=" not in text or "." not in text:
            known = ", ".join(f"{name}.KEY" for name in names)
            raise BadInput(f"{text}: should be dynamics.KEY=VALUE, or a model's own: {known}")


def config_of(
    name: str,
    data: RecordedData,
    *,
    step: float | None = None,
    seed: int = 0,
    num_threads: int = 1,
    run_dir: str | Path = "runs/recorded",
    settings: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the config of a run whose model is fitted to recorded data.

    Args:
        name: of the model.
        data: recorded runs.
        step: seconds of a step, if they are known.
        seed: of all random draws.
        num_threads: of torch.
        run_dir: of the run.
        settings: as in fit; those of other models are left out.

    Raises:
        BadInput: if it is no model that can be fitted, or a setting is wrong.
    """
    from mbrl.config import compose

    model, *own = _SQUARES.get(name, (name,))
    if model in ("none", "simulator", "reward_consistent"):
        raise BadInput(f"dynamics={model}: is not fitted to logs; choose from {', '.join(ALL)}")
    of_model = [
        f"dynamics.{text.partition('.')[2]}"
        for text in settings
        if text.partition(".")[0] in ("dynamics", name)
    ]
    if model == "ensemble" and not any(x.startswith("dynamics.reward=") for x in of_model):
        own.append("dynamics.reward=known")
    low, high = (json.dumps(x.tolist()) for x in (data.action.low, data.action.high))
    return compose(
        [
            *("agent=fitted_model", "env=recorded", f"dynamics={model}", f"seed={seed}"),
            *(f"num_threads={num_threads}", f"run_dir={run_dir}"),
            f"env.obs_names={json.dumps(list(data.encoding.names))}",
            f"env.angles={json.dumps(list(data.encoding.angles))}",
            *(f"env.action_low={low}", f"env.action_high={high}", f"env.step={step or 'null'}"),
            *own,
            *of_model,
        ]
    ).config


def _fit_one(name: str, config: dict[str, Any], data: RecordedData) -> _Candidate:
    """Build a model by its config, fit it and measure it."""
    from mbrl.config import build_agent, make_env
    from mbrl.report.log_accuracy import measure

    agent = build_agent(config, make_env(config))
    return _Candidate(config, agent, measure(name, agent.dynamics, data, fit=agent.fit))


def _save(
    best: _Candidate, table: Sequence[Accuracy], data: RecordedData, notes: Sequence[str]
) -> Path:
    """Save a model as a run folder with its accuracy and report; return the folder."""
    from mbrl.report.fit_report import write_fit_report
    from mbrl.training.run_folder import RunFolder

    path = Path(best.config["run_dir"])
    try:
        run = RunFolder.create(path, best.config)
    except OSError as error:
        raise BadInput(f"run_dir={path}: {error.strerror}") from None
    run.save(len(data.train.reward), {"agent": best.agent.state_dict()})
    summary = {
        "models": [as_numbers(each, data.encoding.names) for each in table],
        "notes": list(notes),
    }
    run.write_summary(summary)
    write_fit_report(path, best.accuracy.name, table, data, notes, best.agent.dynamics)
    return path


def as_numbers(accuracy: Accuracy, names: Sequence[str]) -> dict[str, Any]:
    """Return an accuracy as JSON values, errors in the data's units.

    Args:
        accuracy: of a model.
        names: of the observations.
    """
    return {
        "model": accuracy.name,
        "steps": list(accuracy.horizons),
        "normalized_error": [_number(x) for x in accuracy.normalized.tolist()],
        "error": {
            name: [_number(x) for x in column]
            for name, column in zip(names, accuracy.error.T.tolist(), strict=True)
        },
        "break_even": dict(zip(("step", "low", "high"), accuracy.break_even, strict=True)),
        "coverage": None if accuracy.coverage is None else list(accuracy.coverage),
        "cpu_seconds": accuracy.seconds,
        "sequences": accuracy.num_windows,
    }


def _number(x: float) -> float | None:
    """Return a number for JSON, None for one that is not finite."""
    return x if abs(x) < float("inf") else None
