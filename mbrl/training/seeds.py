"""The training loop of several seeds at once: their agents learn as one batch.

Each seed has its own environments, replay buffer, generators, record and run folder, as in a run
alone, and draws the same numbers. Only the arithmetic of the updates is shared, so that a seed ends
where it ends alone, but for rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

from mbrl.errors import BadInput
from mbrl.roles import stack_parts
from mbrl.training.faults import located
from mbrl.training.run_folder import RunFolder
from mbrl.training.training_run import Schedule, TrainingRun


def train_seeds(
    runs: Sequence[TrainingRun], *, stop: Callable[[], bool] = lambda: False
) -> list[dict[str, Any]]:
    """Train several runs that differ in their seeds, from the newest checkpoints if there are any.

    Args:
        runs: of one seed each.
        stop: called after each step; True saves and returns early.

    Returns:
        The summary of each run, as train returns it.

    Raises:
        BadInput: as train; if the agents cannot learn as one batch; if the runs are not at the same
            step, or are to end, evaluate or save at others.
        EnvironmentFault: naming the environment, its step, and the seed.
        NumericalFault: naming what was not finite, and after how many transitions.
    """
    _check_schedules(runs)
    for run in runs:
        run.begin()
    steps = {run.seed: run.counters.step for run in runs}
    if len(set(steps.values())) > 1:
        raise BadInput(
            f"runs: are after {steps} transitions of the seeds; should be after the same"
        )
    stack = stack_parts("agent", [run.agent for run in runs])
    while any(run.goes_on for run in runs) and not stop():
        waiting = [run for run in runs if run.waiting]
        if not waiting:
            actions = stack.act([run.obs for run in runs])
            for run, action in zip(runs, actions, strict=True):
                with located(run.counters.step, f"of seed {run.seed} "):
                    run.step(action)
            with located(runs[0].counters.step):
                metrics = stack.update([run.buffer for run in runs])
            for run, own in zip(runs, metrics, strict=True):
                run.learned(own)
        for run in waiting or runs:  # only the evaluations that are due again after a resume
            with located(run.counters.step, f"of seed {run.seed} "):
                run.close_step()
    return [run.finish() for run in runs]


def _check_schedules(runs: Sequence[TrainingRun]) -> None:
    """Raise BadInput if runs differ in when they end, evaluate, save and log."""
    for field in fields(Schedule):
        values = [getattr(run.schedule, field.name) for run in runs]
        if len(set(values)) > 1:
            raise BadInput(
                f"{field.name}: is {', '.join(map(str, values))} in the runs of the seeds; should "
                f"be one number, such as {field.name}={max(filter(None, values))}"
            )


def rewind_to_common_step(folders: Sequence[RunFolder]) -> int:
    """Skip the checkpoints that not all runs have: some were killed before others had saved.

    Args:
        folders: of the runs.

    Returns:
        The step from which all of them go on; 0 if they begin anew.

    Raises:
        BadInput: naming a file that is damaged, if no checkpoint of a run is good; or the runs, if
            they have no checkpoint of the same step.
    """
    for folder in folders:
        folder.check()
    while len({folder.step for folder in folders}) > 1:
        least = min(folder.step for folder in folders)
        if least == 0 and any(len(folder.checkpoints()) > 1 for folder in folders):
            steps = ", ".join(f"{folder.path.name} at {folder.step}" for folder in folders)
            raise BadInput(
                f"{folders[0].path.parent}: its runs have no checkpoint of the same step "
                f"({steps}); resume each by itself"
            )
        for folder in folders:
            folder.rewind(least)
            folder.check()
    return folders[0].step
