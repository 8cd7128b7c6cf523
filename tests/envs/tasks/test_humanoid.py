"""Humanoid against gymnasium's, to the bit."""

import gymnasium
import mujoco
import numpy as np
import pytest
import torch

import mbrl
from mbrl.envs import tasks, threaded_mujoco
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


def test_the_reward_is_the_speed_of_the_heavier_bodys_center_too():
    env = threaded_mujoco(tasks.Humanoid(), randomize={"body_mass": [1.3, 1.3]})
    env.reset(0)
    model = mujoco.MjModel.from_xml_path(str(tasks.Humanoid.model_path))
    model.body_mass[:] *= 1.3
    model.body_inertia[:] *= 1.3
    data = mujoco.MjData(model)
    mujoco.mj_setConst(model, data)
    state = env.simulation.get_state()[0]
    size = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_INTEGRATION)
    mujoco.mj_setState(model, data, state[:size], mujoco.mjtState.mjSTATE_INTEGRATION)
    mujoco.mj_forward(model, data)
    before = model.body_mass @ data.xipos / model.body_mass.sum()
    mujoco.mj_setState(model, data, state[:size], mujoco.mjtState.mjSTATE_INTEGRATION)
    env.step(torch.full((1, 17), 0.1))
    data.ctrl[:] = np.float32(0.1)
    mujoco.mj_step(model, data, 5)
    after = model.body_mass @ data.xipos / model.body_mass.sum()
    speed = env.simulation.step_info()["x_velocity"][0]
    assert speed == pytest.approx((after - before)[0] / 0.015, rel=1e-9)
