"""Humanoid against gymnasium's, to the bit."""

import gymnasium
import numpy as np
import pytest
import torch

import mbrl
from mbrl.envs import tasks
from tests.envs.compare import compare


def test_it_is_exactly_gymnasiums():
    assert compare("Humanoid-v5", seeds=4, steps=100, tolerance=0.0) > 0


def test_models_are_told_when_it_ends():
    env = mbrl.make_vec("Humanoid-v5", num_envs=4, dtype=torch.float64)
    obs, draws, ended = env.reset(0), torch.Generator().manual_seed(0), 0
    for _ in range(60):
        action = env.action.sample(4, generator=draws)
        step = env.step(action)
        known = env.task.terminated(obs, action, step.next_obs)
        assert known.equal(step.terminated)
        obs, ended = step.obs, ended + int(known.sum())
    assert ended > 0


@pytest.mark.parametrize("name", ["Ant", "Humanoid", "HumanoidStandup"])
def test_names_say_what_an_observation_holds(name):
    """Positions and their velocities are those of one joint, in gymnasium's order of parts."""
    task = getattr(tasks, name).task
    structure = gymnasium.make(f"{name}-v5").unwrapped.observation_structure
    place, speed = structure["qpos"], structure["qvel"]
    assert (
        len(task.obs_names)
        == len(set(task.obs_names))
        == place
        + speed
        + sum(structure.get(part, 0) for part in ("cinert", "cvel", "qfrc_actuator", "cfrc_ext"))
    )
    assert all(not named.endswith("_dot") for named in task.obs_names[:place])
    assert all(n.endswith("_dot") or n[:4] == "spin" for n in task.obs_names[place : place + speed])
    pairs = [(task.obs_names[i], task.obs_names[j]) for i, j in task.positions]
    assert len(pairs) == place - 4 and all(b == f"{a}_dot" for a, b in pairs)


def test_positions_are_the_integrals_of_their_velocities():
    env = mbrl.make_vec("Humanoid-v5", dtype=torch.float64)
    env.simulation.physics._batch.expand("opt.timestep")[:] = 1e-7
    obs = env.reset(3)
    step = env.step(torch.zeros(1, 17))
    for position, speed in env.task.positions:
        moved = (step.next_obs - obs)[0, position].item() / 5e-7
        assert moved == pytest.approx(step.next_obs[0, speed].item(), abs=2e-3)
    assert np.abs(obs[0, 22:45]).max() > 5e-3
