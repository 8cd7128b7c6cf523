"""Several seeds that learn as one batch: each ends where it ends alone, also after a resume."""

import itertools
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from mbrl.config import build, compose
from mbrl.dynamics import GaussianEnsemble
from mbrl.errors import BadInput, EnvironmentFault
from mbrl.training.run_folder import RunFolder
from mbrl.training.seeds import rewind_to_common_step, train_seeds
from mbrl.training.training_run import Schedule, TrainingRun
from tests.contracts.test_agent import Record, flat

SAC = [
    "agent=sac",
    "experiment=none",
    "agent.learning_starts=40",
    "learner.hidden=16",
    "learner.batch_size=32",
]
MBPO = [
    "agent=mbpo", "experiment=none", "agent.learning_starts=60", "agent.retrain_interval=60",
    "agent.num_rollouts=200", "agent.updates_per_step=2", "learner.hidden=16",
    "learner.batch_size=32", "dynamics.hidden=16", "dynamics.num_layers=2",
    "dynamics.training.min_updates=50", "dynamics.training.max_updates=100",
    "agent.rollout_length=[0,200,1,3]",
]  # fmt: skip
SIZES = ["total_steps=160"]
SCHEDULE = Schedule(160, eval_every=100, eval_episodes=1, save_every=50, log_every=20)


def run_of(seed: int, settings: list[str], folder: Path | None = None) -> TrainingRun:
    config, _ = compose([*settings, *SIZES, f"seed={seed}"])
    parts = build(config)
    run = TrainingRun(
        parts.env, parts.agent, SCHEDULE, buffer=parts.buffer, logger=Record(),
        make_eval_env=parts.make_eval_env, seed=seed,
        folder=None if folder is None else opened(folder / str(seed)),
    )  # fmt: skip
    return run


def opened(path: Path) -> RunFolder:
    return RunFolder.open(path) if path.exists() else RunFolder.create(path, {})


def state(run: TrainingRun) -> dict[str, Any]:
    parts = {"agent": run.agent, "buffer": run.buffer, "env": run.env}
    return flat({name: part.state_dict() for name, part in parts.items()})


def equal(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(
        value.equal(other[key]) if isinstance(value, torch.Tensor) else value == other[key]
        for key, value in one.items()
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        [*SAC, "env=pendulum"],
        [*SAC, "env=inverted_pendulum", "env.num_envs=2"],
        [*SAC, "env=gym", "env.id=Pendulum-v1"],
        [*MBPO, "env=pendulum"],
        [*MBPO, "env=inverted_pendulum", "env.num_envs=2"],
    ],
)
def test_each_seed_ends_where_it_ends_alone(settings):
    """But for rounding; what it draws is the same bit for bit."""
    alone, together = ([run_of(seed, settings) for seed in (3, 4, 5)] for _ in range(2))
    single = [train_seeds([run])[0] for run in alone]
    summaries = train_seeds(together)
    for one, other, mine, theirs in zip(alone, together, single, summaries, strict=True):
        assert theirs["step"] == mine["step"] == 160
        returns = [s["eval/mean_reward"] for s in (mine, theirs)]
        assert returns[1] == pytest.approx(returns[0], rel=1e-2, abs=1e-2)
        before, after = state(one), state(other)
        assert before.keys() == after.keys()
        for key, tensor in before.items():
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
                torch.testing.assert_close(after[key], tensor, rtol=1e-2, atol=1e-3, msg=key)
            elif "generator" in key:
                assert equal({key: tensor}, {key: after[key]}), key
    assert len({s["eval/mean_reward"] for s in summaries}) > 1


@pytest.mark.slow
def test_each_seed_ends_where_it_ends_alone_as_on_a_device(monkeypatch):
    """There the models are fitted together, and rows are drawn and added without a read."""
    monkeypatch.setattr("mbrl.types._HOSTS", ())
    settings = [*MBPO, "env=pendulum"]
    alone, together = ([run_of(seed, settings) for seed in (3, 4)] for _ in range(2))
    for run in alone:
        train_seeds([run])
    fitted: list[int] = []
    fit = GaussianEnsemble.fit_together

    def counted(models, *rest):
        fitted.append(len(models))
        return fit(models, *rest)

    monkeypatch.setattr(GaussianEnsemble, "fit_together", staticmethod(counted))
    train_seeds(together)
    assert set(fitted) == {2}
    for one, other in zip(alone, together, strict=True):
        before, after = state(one), state(other)
        for key, tensor in before.items():
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
                torch.testing.assert_close(after[key], tensor, rtol=1e-2, atol=1e-3, msg=key)


def test_what_a_seed_alone_is_given_is_what_train_gives_it():
    from mbrl.training.loop import train

    one, parts = run_of(3, [*SAC, "env=pendulum"]), run_of(3, [*SAC, "env=pendulum"])
    train_seeds([one])
    train(
        parts.env, parts.agent, 160, buffer=parts.buffer, seed=3, eval_every=100, eval_episodes=1,
        make_eval_env=parts._make_eval_env, save_every=50, log_every=20,
    )  # fmt: skip
    assert equal(state(one), state(parts))


@pytest.mark.slow
@pytest.mark.parametrize("settings", [[*SAC, "env=pendulum"], [*MBPO, "env=inverted_pendulum"]])
def test_stopped_or_killed_seeds_go_on_to_the_same_end_bit_for_bit(settings, tmp_path):
    seeds = (0, 1, 2)
    whole = [run_of(seed, settings, tmp_path / "whole") for seed in seeds]
    train_seeds(whole)
    cut = tmp_path / "cut"
    steps = itertools.count()
    train_seeds([run_of(s, settings, cut) for s in seeds], stop=lambda: next(steps) >= 120)
    shutil.rmtree(cut / "1" / "checkpoints" / "0000000120")  # killed before this seed had saved
    broken = [run_of(seed, settings, cut) for seed in seeds]
    assert rewind_to_common_step([opened(cut / str(seed)) for seed in seeds]) == 100
    folders = [run.folder for run in broken]
    rewind_to_common_step([folder for folder in folders if folder is not None])
    summaries = train_seeds(broken)
    assert [s["step"] for s in summaries] == [160] * 3
    for one, other in zip(whole, broken, strict=True):
        assert equal(state(one), state(other))
        assert [p.name for p in opened(cut / str(one.seed)).checkpoints()][-1] == "0000000160"


def test_seeds_without_a_common_step_are_refused(tmp_path):
    def folder(name: str, steps: list[int]) -> RunFolder:
        run = RunFolder.create(tmp_path / name, {})
        for step in steps:
            run.save(step, {"loop": {"step": step}})
        return run

    early, late = folder("0", [10]), folder("1", [20, 30])
    with pytest.raises(BadInput, match=r"no checkpoint of the same step \(0 at .* 1 at"):
        rewind_to_common_step([early, late])
    assert rewind_to_common_step([folder("2", []), folder("3", [50])]) == 0
    assert rewind_to_common_step([folder("4", [40, 50]), folder("5", [50, 60])]) == 50


@pytest.mark.parametrize(
    "settings, words",
    [
        (["agent=pets", "env=pendulum"], "agent: several seeds of a MPC cannot learn as one"),
        (["agent=sac", "learner=sb3_sac", "env=pendulum"], "learner: several seeds of a SB3SAC"),
    ],
)
def test_agents_that_cannot_learn_as_one_batch_are_named(settings, words):
    with pytest.raises(BadInput, match=words):
        train_seeds([run_of(seed, settings) for seed in (0, 1)])


def test_seeds_at_different_steps_are_refused(tmp_path):
    runs = [run_of(seed, [*SAC, "env=pendulum"]) for seed in (0, 1)]
    runs[1].counters.step = 50
    with pytest.raises(BadInput, match="should be after the same"):
        train_seeds(runs)


def test_seeds_with_different_ends_are_refused():
    runs = [run_of(seed, [*SAC, "env=pendulum"]) for seed in (0, 1)]
    runs[1].schedule = Schedule(120, eval_every=100, eval_episodes=1, save_every=50, log_every=20)
    with pytest.raises(BadInput, match="total_steps: is 160, 120 in .* such as total_steps=160"):
        train_seeds(runs)


def test_a_fault_names_the_seed():
    runs = [run_of(seed, [*SAC, "env=pendulum"]) for seed in (0, 7)]

    def broken(action):
        raise EnvironmentFault("a NaN", index=0, step=1)

    runs[1].env.step = broken  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(EnvironmentFault, match="of seed 7 after 0 transitions"):
        train_seeds(runs)


def test_every_seed_has_its_record_and_summary(tmp_path):
    runs = [run_of(seed, [*SAC, "env=pendulum"], tmp_path) for seed in (0, 1)]
    train_seeds(runs)
    for run in runs:
        assert isinstance(run._logger, Record)
        assert [row["step"] for row in run._logger.rows] == list(range(20, 161, 20))
        summary = json.loads((tmp_path / str(run.seed) / "summary.json").read_text())
        assert summary["finished"] and summary["step"] == 160
