"""What every environment keeps to: shapes, seeding, the true successor, going on bit for bit."""

from pathlib import Path

import pytest
import torch

from mbrl.agents import MPC
from mbrl.dynamics import Simulator
from mbrl.planners import PredictiveSampling
from mbrl.roles import SimulatesFromState, VecStep
from tests.contracts.parts import labels, make, names
from tests.toys import ToyEnv, generator

EXAMPLES = Path(__file__).parents[2] / "examples/own"
REAL = [name for name in names("env") if name not in ("dataset", "recorded")]  # not to act in
CHOICES = ["toy", *REAL]
SIMULATED = [name for name in REAL if "simulation" in labels("env", name).get("_provides_", ())]


def build(name: str, num_envs: int = 3):
    if name == "toy":
        return ToyEnv(num_envs)
    extra: dict = {"id": "MountainCarContinuous-v0"} if name.startswith("gym") else {}
    if name == "mjcf":
        target = {"_target_": "mbrl.envs.tasks.Mjcf", "path": EXAMPLES / "arm.xml"}
        extra = {"task": {**target, "costs": [{"sensor": "hand"}, {"upright": "lower"}]}}
    return make("env", name, {"num_envs": num_envs, **extra})


def actions(env, count: int) -> list[torch.Tensor]:
    draws = generator(5)
    return [env.action.sample(env.num_envs, generator=draws) for _ in range(count)]


def equal(a: VecStep, b: VecStep) -> bool:
    return all(x.equal(y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("name", CHOICES)
def test_env(name):
    env = build(name)
    obs = env.reset(3)
    count, dim = env.num_envs, env.obs_dim
    assert count == 3 and obs.shape == (3, dim) and obs.dtype == torch.float32
    assert env.action.low.shape == env.action.high.shape == (env.action.dim,)
    assert (env.action.low < env.action.high).all()
    taken, seen = actions(env, 60), []
    for action in taken:
        given = action.clone()
        step = env.step(action)
        assert action.equal(given), "the action was changed in place"
        assert step.obs.shape == step.next_obs.shape == (count, dim)
        assert step.reward.shape == step.terminated.shape == step.truncated.shape == (count,)
        assert step.terminated.dtype == step.truncated.dtype == torch.bool
        done = step.terminated | step.truncated
        assert step.obs[~done].equal(step.next_obs[~done])
        for key, field in (("reward", step.reward), ("terminated", step.terminated)):
            known = getattr(env.task, key)
            if known is not None:
                found = known(obs, action, step.next_obs)
                assert found.dtype == field.dtype
                torch.testing.assert_close(found, field, atol=1e-4, rtol=1e-4)
        if env.task.project is not None:
            projected = env.task.project(step.next_obs)
            torch.testing.assert_close(projected, step.next_obs, atol=1e-5, rtol=0)
        for cos, sin in env.task.angle_pairs:
            norm = step.next_obs[:, cos] ** 2 + step.next_obs[:, sin] ** 2
            torch.testing.assert_close(norm, torch.ones(count), atol=1e-5, rtol=0)
        if env.task.obs_names is not None:
            assert len(env.task.obs_names) == dim
        obs = step.obs
        seen.append(step)

    again = build(name)
    assert not again.reset(4).equal(build(name).reset(3)), "the seed changes nothing"
    again.reset(3)
    for action, step in zip(taken[:30], seen[:30], strict=True):
        assert equal(again.step(action), step), "the same seed gave another trajectory"
    resumed = build(name)
    resumed.reset(99)
    resumed.load_state_dict(again.state_dict())
    for action, step in zip(taken[30:], seen[30:], strict=True):
        assert equal(resumed.step(action), step), "a restored environment went another way"
    for each in (env, again, resumed):
        each.close()


@pytest.mark.parametrize("name", REAL)
def test_who_says_simulation_can_be_simulated_from_states(name):
    env = build(name)
    assert (name in SIMULATED) == isinstance(env, SimulatesFromState)
    env.close()


@pytest.mark.parametrize("name", SIMULATED)
def test_every_simulator_can_be_planned_in(name):
    env = build(name, num_envs=2)
    planner = PredictiveSampling(action=env.action, horizon=3, num_samples=4)
    agent = MPC(action=env.action, dynamics=Simulator(env=env), planner=planner, generator=0)
    obs = env.reset(3)
    for _ in range(2):
        action = agent.act(obs, explore=False, env_state=env.env_state())
        assert ((action >= env.action.low) & (action <= env.action.high)).all()
        obs = env.step(action).obs
    env.close()
