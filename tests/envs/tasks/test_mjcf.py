"""Tasks of any MJCF model: costs and steps by hand, control to a known place, bad descriptions."""

from pathlib import Path

import mujoco
import numpy as np
import pytest
import torch

from mbrl.agents import MPC
from mbrl.dynamics import Simulator
from mbrl.envs import tasks, threaded_mujoco
from mbrl.errors import BadInput
from mbrl.planners import ICEM

OWN = Path(__file__).parents[3] / "examples/own"
ARM, SHOVE = OWN / "arm.xml", OWN / "shove.xml"
HAND = {"sensor": "hand", "target": [0.3, 0, 0.3]}


def test_steps_and_costs_are_those_by_hand():
    costs = [
        {"body": "box", "target": [0.6, 0.1, 0.06], "weight": 2.0},
        {"joint": "rail", "target": 0.5, "weight": 0.5},
        {"velocity": "rail", "weight": 0.1},
        {"upright": "box", "weight": 3},
        {"velocity": "*", "weight": 0.01},
    ]
    task = tasks.Mjcf(SHOVE, costs, control_weight=0.25, keyframe="behind", noise=0.0)
    env = threaded_mujoco(task, dtype=torch.float64)
    obs = env.reset(0)
    model = mujoco.MjModel.from_xml_path(str(SHOVE))
    data = mujoco.MjData(model)
    mujoco.mj_resetDataKeyframe(model, data, 0)
    mujoco.mj_forward(model, data)
    assert obs[0, : model.nq].tolist() == data.qpos.tolist()
    for t in range(30):
        action = 0.8 if t < 20 else -0.5
        step = env.step(torch.tensor([[action]]))
        data.ctrl[:] = np.float32(action)
        mujoco.mj_step(model, data, 4)  # 0.02 s
        box, up = data.body("box").xpos, data.body("box").xmat[2::3]
        cost = 2 * np.square(box - [0.6, 0.1, 0.06]).sum() + 3 * np.square(up - [0, 0, 1]).sum()
        cost += 0.5 * (data.qpos[0] - 0.5) ** 2 + 0.1 * data.qvel[0] ** 2
        cost += 0.01 * np.square(data.qvel).sum() + 0.25 * action**2
        assert step.reward.item() == pytest.approx(-cost, rel=1e-6)
        expected = np.concatenate([data.qpos, data.qvel, box, up])
        np.testing.assert_array_equal(step.next_obs[0], expected)
    assert data.qpos[1] > 0.26, "the cart has not reached the box"
    assert env.task.obs_names[:3] == ("rail", "box_x", "box_y")
    assert env.task.obs_names[-4:] == ("box_at_z", "box_up_x", "box_up_y", "box_up_z")
    assert [env.task.obs_names[j] for _, j in env.task.positions] == ["rail_dot"]


def test_controls_are_scaled_by_their_ranges(tmp_path):
    file = tmp_path / "arm.xml"
    file.write_text(ARM.read_text().replace('gear="8" ctrlrange="-1 1"', 'ctrlrange="0 10"'))
    task = tasks.Mjcf(file, [HAND | {"weight": 0}], control_weight=2.0)
    obs = torch.zeros(3, 7)
    action = torch.tensor([[5.0, 0.0], [10.0, 0.5], [0.0, -1.0]])
    assert task.reward(obs, action, obs).tolist() == [0.0, -2.5, -4.0]


def test_starts_are_near_the_keyframe_and_inside_ranges():
    task = tasks.Mjcf(SHOVE, [{"joint": "rail"}], keyframe="behind", noise=2.0)
    env = threaded_mujoco(task, num_envs=200, dtype=torch.float64)
    obs = env.reset(0)
    rail, box = obs[:, 0], obs[:, 1:8]
    assert rail.min() == -1 and rail.max() == 1  # of its range
    assert (box == box[0]).all() and box[0, 0] == 0.25
    assert obs[:, 8:].abs().max() <= 2 and obs[:, 8:].std() > 1
    assert env.max_episode_steps == 500 and task.frame_skip == 4


def test_pictures_are_taken_from_where_the_model_says():
    camera = tasks.Mjcf(ARM, [HAND]).camera
    assert camera["lookat"].tolist() == [0, 0, -0.1] and camera["elevation"] == -15
    assert camera["distance"] == 1.5 and camera["azimuth"] == 90


@pytest.mark.parametrize(
    ("costs", "words"),
    [
        ([], r"costs: should be at least one, such as {body: lower, target: \[0, 0, 1\]}"),
        ([{"target": 1}], "costs.0: should have one of joint, velocity, sensor, body, upright"),
        (["hand"], "costs.0: should have one of joint"),
        ([{"joint": "elbow", "body": "lower"}], "costs.0: should have one of joint"),
        ([HAND, {"joint": "ellbow"}], r"costs.1.joint=ellbow: did you mean elbow\?"),
        ([{"sensor": "x"}], "costs.0.sensor=x: should be one of hand"),
        ([{"joint": "elbow", "wieght": 1}], "costs.0.wieght: should be one of joint, target"),
        ([{"joint": "elbow", "weight": -1}], "costs.0.weight=-1: should be at least 0"),
        ([{"joint": "elbow", "weight": "a"}], "costs.0.weight='a': should be a number"),
        ([{"joint": "elbow", "target": float("nan")}], "costs.0.target.*nan.*: should be"),
        ([{"joint": "elbow", "target": [1, 2]}], "costs.0.target: 2 numbers, should be 1"),
        ([{"sensor": "hand", "target": 1}], "costs.0.target: 1 numbers, should be 3"),
    ],
)
def test_a_cost_that_does_not_fit_the_model_is_named(costs, words):
    with pytest.raises(BadInput, match=words) as caught:
        tasks.Mjcf(ARM, costs)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_loaded_is_named(tmp_path):
    with pytest.raises(BadInput, match="^path=.*none.xml: MuJoCo cannot load it"):
        tasks.Mjcf(tmp_path / "none.xml", [HAND])
    with pytest.raises(BadInput, match="^path: MJCF itself should be the path of an MJCF file"):
        tasks.Mjcf(ARM.read_text(), [HAND])
    with pytest.raises(BadInput, match="keyframe=home: should be one of the model's, which names"):
        tasks.Mjcf(ARM, [HAND], keyframe="home")
    with pytest.raises(BadInput, match="costs.0.joint=box: is a ball or free joint; should be"):
        tasks.Mjcf(SHOVE, [{"joint": "box"}])
    file = tmp_path / "arm.xml"
    file.write_text(ARM.read_text().replace('gear="8" ctrlrange="-1 1"', 'gear="8"'))
    with pytest.raises(BadInput, match="^path=.*arm.xml: actuator shoulder has the control range"):
        tasks.Mjcf(file, [HAND])


@pytest.mark.parametrize("number", ["nan", "1e11"])
def test_a_keyframe_that_blows_up_is_named(number, tmp_path):
    key = f'<keyframe><key name="up" qpos="{number} 0"/></keyframe></mujoco>'
    file = tmp_path / "arm.xml"
    file.write_text(ARM.read_text().replace("</mujoco>", key))
    with pytest.raises(BadInput, match=r"^keyframe=up: its qpos is .*; should be numbers below"):
        tasks.Mjcf(file, [HAND], keyframe="up")


def control(task, steps, horizon):
    """Plan in the simulator; return the observations (steps, obs_dim)."""
    env = threaded_mujoco(task)
    planner = ICEM(
        action=env.action, horizon=horizon, num_samples=50, num_iterations=4, warm_iterations=3
    )
    agent = MPC(action=env.action, dynamics=Simulator(env=env), planner=planner, generator=0)
    obs, seen = env.reset(), []
    for _ in range(steps):
        obs = env.step(agent.act(obs, explore=False, env_state=env.env_state())).obs
        seen.append(obs[0])
    return torch.stack(seen)


@pytest.mark.slow
def test_control_brings_the_arm_to_its_target_and_holds_it_there():
    task = tasks.Mjcf(ARM, [HAND, {"velocity": "*", "weight": 0.001}])
    seen = control(task, steps=70, horizon=12)
    missed = (seen[:, 4:7] - torch.tensor(HAND["target"])).norm(dim=1)
    assert missed[0] > 0.9 and missed[-30:].max() < 0.04 and missed[-30:].mean() < 0.015


@pytest.mark.slow
def test_control_pushes_a_free_box_to_its_target():
    task = tasks.Mjcf(SHOVE, [{"body": "box", "target": [0.6, 0, 0.06]}], keyframe="behind")
    seen = control(task, steps=80, horizon=20)
    place = seen[:, list(task.task.obs_names).index("box_at_x")]
    assert place[0] == pytest.approx(0.25, abs=1e-3) and abs(place[-1] - 0.6) < 0.06
