"""SB3's agents: the numbers of plain SB3, its randomness contained, its state in tensors."""

import random
import signal
import sys
import time

import gymnasium
import numpy as np
import pytest
import stable_baselines3
import torch
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv

from mbrl.agents import InModelAgent, OnPolicy
from mbrl.buffer import ReplayBuffer
from mbrl.cli import main
from mbrl.config import build_agent, compose
from mbrl.envs import GymnasiumVecEnv
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


def assert_same(ours, theirs):
    theirs = theirs.state_dict()
    assert ours.state_dict().keys() == theirs.keys()
    for name, tensor in ours.state_dict().items():
        assert tensor.equal(theirs[name]), name


def plain_sac(data, **settings):
    """Stable-Baselines3's own SAC, its replay buffer filled with the same transitions."""
    sac = stable_baselines3.SAC("MlpPolicy", "Pendulum-v1", seed=3, buffer_size=1000, **settings)
    sac.set_logger(Logger(None, []))
    for i in range(len(data.obs)):
        sac.replay_buffer.add(
            data.obs[i : i + 1].numpy(),
            data.next_obs[i : i + 1].numpy(),
            sac.policy.scale_action(data.action[i : i + 1].numpy()),
            data.reward[i : i + 1].numpy(),
            (data.terminated | data.truncated)[i : i + 1].numpy(),
            [{"TimeLimit.truncated": bool(data.truncated[i])}],
        )
    return sac


def test_sac_trains_to_the_weights_of_plain_sb3():
    env = GymnasiumVecEnv("Pendulum-v1")
    real = collect(env, 450)
    assert real.all().truncated.sum() == 2  # so that bootstrapping is part of it
    settings = {"batch_size": 64, "policy_kwargs": {"net_arch": [32, 32]}}
    theirs = plain_sac(real.all(), **settings)
    theirs.train(gradient_steps=30, batch_size=64)

    def make():
        return SB3SAC(obs_dim=3, action=env.action, seed=3, hidden=32, batch_size=64)

    ours = make()
    torch.manual_seed(99)  # what others draw does not matter
    ours.improve(real, num_updates=12)
    other = make()
    other.load_state_dict(ours.state_dict())
    np.random.seed(99)
    other.improve(real, num_updates=18)
    assert_same(other.algorithm.policy, theirs.policy)
    assert other.algorithm.log_ent_coef.equal(theirs.log_ent_coef)
    obs = real.all().obs[:50]
    mine = other.select(obs, generator=generator(), deterministic=True)
    np.testing.assert_array_equal(mine, theirs.predict(obs.numpy(), deterministic=True)[0])


def test_sac_mixes_imagined_rows_in():
    real, imagined = collect(ToyEnv(2), 50), collect(ToyEnv(2), 50, seed=1)
    seen = []

    class Spy(ReplayBuffer):
        def rows(self, index):
            seen.append((self.name, len(index)))
            return super().rows(index)

    for buffer, name in ((real, "real"), (imagined, "imagined")):
        buffer.__class__, buffer.name = Spy, name
    learner = SB3SAC(obs_dim=2, action=ACTION, hidden=8, batch_size=40, real_ratio=0.25)
    learner.improve(real, imagined)
    assert seen == [("real", 10), ("imagined", 30)]


@pytest.mark.parametrize("id, num_envs", [("CartPole-v1", 2), ("Pendulum-v1", 1)])
def test_a_run_of_ppo_ends_at_the_weights_of_plain_sb3(id, num_envs, tmp_path):
    """Acting, bootstrapping at truncations, advantages, train: bit for bit, from one seed."""
    steps, total = 96, 96 * 5 * num_envs
    theirs = stable_baselines3.PPO(
        "MlpPolicy", DummyVecEnv([lambda: gymnasium.make(id)] * num_envs), seed=5,
        n_steps=steps, batch_size=32, n_epochs=3,
    ).learn(total)  # fmt: skip
    env = GymnasiumVecEnv(id, num_envs=num_envs, seed=5)
    learner = SB3PPO(obs_dim=env.obs_dim, action=env.action, seed=5, batch_size=32, num_epochs=3)
    agent = OnPolicy(
        action=env.action, num_envs=num_envs, learner=learner, generator=generator(),
        num_steps=steps,
    )  # fmt: skip
    buffer = ReplayBuffer(total, env.obs_dim, env.action.dim)
    summary = train(
        env, agent, buffer=buffer, run=RunFolder.create(tmp_path / "run", {}), logger=Record(),
        make_eval_env=lambda n: GymnasiumVecEnv(id, num_envs=n), seed=5, total_steps=total,
        eval_every=150, eval_episodes=1, save_every=10_000,
    )  # fmt: skip
    assert summary["finished"]
    data = buffer.all()
    assert (data.truncated if id == "Pendulum-v1" else data.terminated).sum() > 1
    assert_same(learner.algorithm.policy, theirs.policy)
    obs = buffer.all().obs[:50]
    mine = learner.select(obs, generator=generator(), deterministic=True)
    mine = mine.argmax(1) if env.action.kind == "discrete" else mine
    np.testing.assert_array_equal(mine, theirs.predict(obs.numpy(), deterministic=True)[0])


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


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(BadInput, match=r"pip install 'dynaplan\[sb3\]'"):
        SB3SAC(obs_dim=2, action=ACTION)


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


def test_sac_refuses_discrete_actions():
    with pytest.raises(BadInput, match="sb3_ppo"):
        build_agent(compose(["agent=sb3_sac"]).config, GymnasiumVecEnv("CartPole-v1"))


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


def test_penalties_are_charged_inside_the_model():
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
