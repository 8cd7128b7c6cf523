"""`mbrl report`: how good the policy is, how it got there, how good its model is."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mbrl.cli.common import Parser, add_trust, count, run_on, trust_of
from mbrl.config.restore import restore
from mbrl.errors import BadInput
from mbrl.lock import locked

if TYPE_CHECKING:
    from mbrl.config import Parts
    from mbrl.roles import Actor
    from mbrl.training.run_folder import RunFolder
    from mbrl.types import Transitions

_HORIZON = 20  # steps of the model's open-loop error


def main(arguments: list[str]) -> int:
    """Write a run's report."""
    parser = Parser(prog="mbrl report", description=__doc__)
    parser.add_argument("run", metavar="RUN", type=Path, help="run folder")
    parser.add_argument("--episodes", type=count(1), metavar="N", help="default: the run's")
    add_trust(parser)
    options = parser.parse_args(arguments)

    from mbrl.training.run_folder import RunFolder

    run = RunFolder.open(options.run)
    if not (run.path / "summary.json").is_file():
        raise BadInput(f"{run.path}: has no summary.json yet; train it first")
    run.check_records()

    def work() -> int:
        with locked(run.path / ".report.lock", str(run.path / "report.html")):
            page = _write(run, options)
        print(page)
        return 0

    return run_on(run, work)


def _write(run: RunFolder, options: argparse.Namespace) -> Path:
    """Measure the policy against a random one, and the model if there is one."""
    parts = restore(run, trust_of(options))
    episodes = options.episodes or run.config["eval_episodes"]
    import torch

    from mbrl.agents import Random
    from mbrl.report import report_run
    from mbrl.training.evaluation import collect_episodes, evaluate

    if run.config["choices"]["env"] == "dataset":
        return _write_without_env(run, parts)
    seed = run.config["seed"]
    generator = torch.Generator(parts.env.device).manual_seed(seed)
    random = Random(action=parts.env.action, generator=generator)

    def returns(agent: Actor) -> list[float]:
        return evaluate(parts.make_eval_env, agent, episodes=episodes, seed=seed)["eval/rewards"]

    def collected(agent: Actor) -> Transitions:
        env = parts.make_eval_env(episodes)
        data = collect_episodes(env, agent, seed=seed)
        env.close()
        return data

    agents = {run.config["choices"]["agent"]: parts.agent, "random": random}
    return report_run(run.path, run.config, agents, returns=returns, episodes=collected)


def _write_without_env(run: RunFolder, parts: Parts) -> Path:
    """Write a report without an environment: the model's error, the returns in the dataset."""
    from mbrl.data import load_dataset
    from mbrl.report import k_step_error, write_report
    from mbrl.roles import HasDynamics, HoldsOut

    dataset = load_dataset(run.config["dataset"], device=run.config["device"])
    error = None
    if isinstance(parts.agent, HasDynamics):
        data = dataset.known()
        source = "the data that the model was fitted to (nothing was held out)"
        held = parts.agent.held_out(data) if isinstance(parts.agent, HoldsOut) else None
        if held is not None and held.any():
            number, count = (len(rows.episode.unique()) for rows in (data.select(held), data))
            source = f"{number} of the dataset's {count} episodes, to which it was not fitted"
            data = data.select(held)
        error = k_step_error(parts.agent.dynamics, data, horizon=_HORIZON, source=source)
    return write_report(run.path, run.config, {"the dataset": dataset.returns().tolist()}, error)
