"""`mbrl report`: how good the policy is, how it got there, how good its model is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mbrl.cli.common import Parser, count, failed
from mbrl.config.restore import restore
from mbrl.errors import BadInput

if TYPE_CHECKING:
    from mbrl.config import Parts
    from mbrl.training.run_folder import RunFolder
    from mbrl.types import Transitions

_HORIZON = 20  # steps of the model's open-loop error


def main(arguments: list[str]) -> int:
    """Write a run's report."""
    parser = Parser(prog="mbrl report", description=__doc__)
    parser.add_argument("run", metavar="RUN", type=Path, help="run folder")
    parser.add_argument("--episodes", type=count(1), metavar="N", help="default: the run's")
    options = parser.parse_args(arguments)

    from mbrl.training.run_folder import RunFolder

    run = RunFolder.open(options.run)
    if not (run.path / "summary.json").is_file():
        raise BadInput(f"{run.path}: has no summary.json yet; train it first")
    run.check_records()
    try:
        print(_write(run, options.episodes))
    except BadInput:
        raise
    except Exception as error:
        return failed(run, error)
    return 0


def _write(run: RunFolder, given: int | None) -> Path:
    """Measure the policy against a random one, and the model if there is one."""
    parts = restore(run)
    episodes = given or run.config["eval_episodes"]
    import torch

    from mbrl.agents import Random
    from mbrl.report import k_step_error, write_report
    from mbrl.roles import HasDynamics
    from mbrl.training.evaluation import evaluate

    if run.config["choices"]["env"] == "dataset":
        return _write_without_env(run, parts)
    seed = run.config["seed"]
    generator = torch.Generator(parts.env.device).manual_seed(seed)
    random = Random(action=parts.env.action, generator=generator)
    scores = {
        name: evaluate(parts.make_eval_env, agent, episodes=episodes, seed=seed)["eval/rewards"]
        for name, agent in ((run.config["choices"]["agent"], parts.agent), ("random", random))
    }
    error = None
    if isinstance(parts.agent, HasDynamics):
        data = _fresh_data(parts, episodes, seed)
        source = "new episodes of this policy, to which the model was not fitted"
        error = k_step_error(parts.agent.dynamics, data, horizon=_HORIZON, source=source)
    return write_report(run.path, run.config, scores, error)


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


def _fresh_data(parts: Parts, num_envs: int, seed: int) -> Transitions:
    """Collect transitions that the model was not fitted to: the first episodes of other seeds."""
    import torch

    from mbrl.roles import needed_env_state
    from mbrl.training.evaluation import episode_steps
    from mbrl.types import Transitions

    env = parts.make_eval_env(num_envs)
    obs = env.reset(2_000_000_000 + 1_000 * seed)
    running = torch.ones(num_envs, dtype=torch.bool, device=env.device)
    episode = torch.arange(num_envs, device=env.device)
    rows = []
    for _ in episode_steps(env, running):
        action = parts.agent.act(obs, explore=False, env_state=needed_env_state(parts.agent, env))
        step = env.step(action)
        rows.append(Transitions.of_step(obs, action, step, episode).select(running))
        running &= ~(step.terminated | step.truncated)
        obs = step.obs
    env.close()
    return Transitions.concatenate(rows)
