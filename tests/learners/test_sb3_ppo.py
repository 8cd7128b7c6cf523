"""SB3's PPO inside a model: it learns, resumes bit for bit, and keeps its randomness to itself."""

import random
import signal
import time

import numpy as np
import pytest
import torch

from mbrl.agents import InModelAgent
from mbrl.buffer import ReplayBuffer
from mbrl.cli import main
from mbrl.config import compose
from mbrl.errors import BadInput
from mbrl.imagination import ImaginedVecEnv
from mbrl.learners import SB3PPO, SB3SAC
from mbrl.nn.global_rng import GlobalRng
from mbrl.roles import ModelEnvLearner
from mbrl.training.loop import train
from mbrl.training.run_folder import RunFolder
from tests.contracts.test_agent import Record, flat
from tests.test_determinism import digests, finish, start
from tests.toys import ACTION, ToyDynamics, ToyEnv, ToyModel, collect, generator, reward


def global_draws():
    return random.random(), np.random.rand(), torch.rand(()).item()


def test_global_randomness_is_contained():
    def seed():
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)

    seed()
    expected = global_draws()
    real = collect(ToyEnv(2), 60)
    seed()
    rng = GlobalRng(7)
    with rng:
        first = global_draws()
    saved = rng.state_dict()
    sac = SB3SAC(obs_dim=2, action=ACTION, hidden=8, batch_size=16)
    sac.improve(real, num_updates=3)
    ppo = SB3PPO(obs_dim=2, action=ACTION, num_model_envs=2, num_steps=8, batch_size=8)
    ppo.improve(real, None, ImaginedVecEnv(ToyModel(), real, ACTION, num_envs=2))
    ppo.sample(real.all().obs)
    assert global_draws() == expected
    seed()
    with rng:
        second = global_draws()
    assert second != first and global_draws() == expected
    with pytest.raises(ZeroDivisionError), rng:
        global_draws()
        raise ZeroDivisionError
    other = GlobalRng(0)
    other.load_state_dict(saved)
    with other:
        assert global_draws() == second


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["agent=sac", "learner=sb3_ppo"], "learner=sb3_ppo needs model_env"),
        (["agent=sb3_ppo", "learner=sac"], "agent=sb3_ppo needs own_rollouts"),
        (["agent=sb3_ppo", "learner.batch_size=1"], "learner.batch_size=1: should be at least 2"),
    ],
)
def test_what_does_not_fit_is_refused(arguments, words):
    with pytest.raises(BadInput, match=words):
        compose([*arguments, "env=pendulum"])


class KnownReward(ToyDynamics):
    """The fitted motion with the true reward: the toy's is not linear."""

    def step(self, state, action, **kwargs):
        after, pred = super().step(state, action, **kwargs)
        return after, pred._replace(reward=reward(state, action, after))


def in_model(penalty=None):
    learner = SB3PPO(
        obs_dim=2, action=ACTION, hidden=16, num_model_envs=8, num_steps=32, batch_size=64,
        num_epochs=5, learning_rate=3e-3, discount=0.9,
    )  # fmt: skip
    return InModelAgent(
        action=ACTION, dynamics=KnownReward(), learner=learner, generator=generator(),
        penalty=penalty, learning_starts=100, retrain_interval=100, updates_per_refit=10,
        max_episode_steps=20,
    )  # fmt: skip


def run_in_model(path, stop_at=None):
    run = RunFolder.open(path) if path.exists() else RunFolder.create(path, {})
    agent, count = in_model(), [0]

    def stop():
        count[0] += 2
        return stop_at is not None and count[0] > stop_at

    summary = train(
        ToyEnv(2), agent, buffer=ReplayBuffer(400, 2, 1), run=run, logger=Record(),
        make_eval_env=ToyEnv, seed=0,
        total_steps=300, eval_every=50, eval_episodes=20, save_every=50, stop=stop,
    )  # fmt: skip
    return agent, summary


def test_ppo_in_the_model_learns_and_resumes_bit_for_bit(tmp_path):
    whole, summary = run_in_model(tmp_path / "whole")
    assert isinstance(whole.learner, ModelEnvLearner)
    means = [np.mean(e["rewards"]) for e in summary["evaluations"]]
    assert (
        means[-1] > means[0] / 2 > means[0]
    )  # on the real environment, from training in the model alone
    _, early = run_in_model(tmp_path / "broken", stop_at=250)
    assert not early["finished"]
    resumed, _ = run_in_model(tmp_path / "broken")
    found, expected = flat(resumed.state_dict()), flat(whole.state_dict())
    assert found.keys() == expected.keys()
    for key, a in expected.items():
        assert a.equal(found[key]) if isinstance(a, torch.Tensor) else a == found[key], key


def test_penalties_are_subtracted_inside_the_model():
    real = collect(ToyEnv(2), 60)
    metrics = [
        in_model(penalty).update(real)["train/model_ep_rew_mean"]
        for penalty in (None, lambda transition, model, learner: 100 + transition.reward)
    ]
    assert metrics[1] == pytest.approx(-2000, rel=0.01) and metrics[0] > -200


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["agent=sb3_sac", "env=pendulum", "learner.hidden=32", "total_steps=1500",
         "save_every=200"],
        ["agent=sb3_ppo", "env=cartpole", "agent.num_steps=150", "total_steps=3000",
         "save_every=100"],
        ["agent=sindy_rl", "dynamics=ensemble", "learner=sb3_ppo", "env=pendulum",
         "experiment=none", "save_every=100",
         "agent.learning_starts=200", "agent.retrain_interval=200", "total_steps=800",
         "dynamics.hidden=16", "dynamics.training.max_updates=50",
         "dynamics.training.min_updates=20",
         "learner.num_epochs=2", "agent.updates_per_refit=2"],
    ],
    ids=["sac", "ppo", "in_model"],
)  # fmt: skip
def test_killed_it_ends_bit_for_bit_the_same(arguments, tmp_path):
    """SIGKILL once a new checkpoint has been committed, twice."""
    arguments = [*arguments, "eval_every=500", "eval_episodes=2"]
    finish(start(*arguments, f"run_dir={tmp_path / 'whole'}"))
    run, seen = tmp_path / "broken", ""
    process = start(*arguments, f"run_dir={run}")
    for _ in range(2):
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            saved = sorted(p.name for p in (run / "checkpoints").glob("[0-9]*"))
            if saved and saved[-1] > seen:
                seen = saved[-1]
                break
            time.sleep(0.005)
        assert process.poll() is None, "ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
        process = start("--resume", str(run))
    finish(process)
    assert digests(run) == digests(tmp_path / "whole")
    assert main(["eval", str(run), "--episodes", "2", "--json"]) == 0
    assert not list(run.rglob("*.pkl")) and not list(run.rglob("*.pt"))
