"""A task of one's own: a mass on a frictionless slider, whose motion is known in closed form."""

import numpy as np
import pytest
import torch

from mbrl.envs import MujocoTask, threaded_mujoco
from mbrl.types import Task

MASS, DT, SKIP = 2.0, 0.01, 3
MJCF = f"""
<mujoco>
  <option timestep="{DT}" gravity="0 0 0" integrator="Euler"/>
  <worldbody>
    <body>
      <joint name="x" type="slide" axis="1 0 0"/>
      <geom type="sphere" size="0.1" mass="{MASS}"/>
    </body>
  </worldbody>
  <actuator><motor joint="x" ctrllimited="true" ctrlrange="-1 1"/></actuator>
</mujoco>
"""


class Slider(MujocoTask):
    """Starts at 1 with speed 2; pays the actuator's force, ends beyond 1.5."""

    frame_skip, max_episode_steps, task = SKIP, 50, Task()
    fields = ("actuator_force",)

    def start(self, qpos, qvel, generator):
        qpos[:], qvel[:] = qpos + 1, qvel + 2

    def observe(self, now):
        return np.concatenate([now["qpos"], now["qvel"]], 1)

    def outcome(self, before, action, now, dt):
        speed = (now["qpos"] - before["qpos"])[:, 0] / dt
        return now["actuator_force"][:, 0] + 100 * speed, now["qpos"][:, 0] > 1.5


class Reversed(Slider):
    """The same with the motor turned round."""

    steers = True

    def control(self, before, action):
        return -action


@pytest.fixture
def make(tmp_path):
    (tmp_path / "slider.xml").write_text(MJCF)

    def build(task, **options):
        task.model_path = tmp_path / "slider.xml"
        return threaded_mujoco(task, dtype=torch.float64, **options)

    return build


def by_hand(x, v, force):
    """Step the mass: each of SKIP steps changes the speed first, then the position."""
    start = x
    for _ in range(SKIP):
        v = v + DT * force / MASS
        x = x + DT * v
    return x, v, force + 100 * (x - start) / (DT * SKIP)


@pytest.mark.parametrize(("task", "sign"), [(Slider, 1), (Reversed, -1)])
def test_steps_are_those_by_hand(make, task, sign):
    env = make(task(), num_envs=2)
    assert env.reset(0).tolist() == [[1, 2]] * 2
    force = torch.tensor([[0.5], [-1.0]], dtype=torch.float64)
    x, v = np.full(2, 1.0), np.full(2, 2.0)
    for _ in range(4):
        step = env.step(force)
        x, v, reward = by_hand(x, v, sign * force[:, 0].numpy())
        np.testing.assert_allclose(step.next_obs, np.stack([x, v], 1), rtol=1e-12)
        np.testing.assert_allclose(step.reward, reward, rtol=1e-9)
        assert not step.terminated.any()


@pytest.mark.parametrize("task", [Slider, Reversed])
def test_sequences_are_simulated_as_they_are_stepped(make, task):
    env = make(task())
    env.reset(0)
    forces = torch.tensor([0.3, -0.7, 1.0, 0.2], dtype=torch.float64).view(1, 4, 1)
    simulated, _ = env.simulate(env.env_state(), forces)
    for t in range(4):
        step = env.step(forces[:, t])
        np.testing.assert_allclose(simulated.next_obs[:, t], step.next_obs, rtol=1e-12)
        np.testing.assert_allclose(simulated.reward[:, t], step.reward, rtol=1e-9)


def test_an_episode_ends_where_the_task_says_or_at_its_last_step(make):
    env = make(Slider())
    env.reset(0)
    ends = [env.step(torch.ones(1, 1)).terminated.item() for _ in range(9)]
    x, v, _ = by_hand(1.0, 2.0, 1.0)
    count = 1
    while x <= 1.5:
        x, v, _ = by_hand(x, v, 1.0)
        count += 1
    assert ends.index(True) == count - 1
    assert env.max_episode_steps == 50 and env.action.low.tolist() == [-1]


def test_without_steering_controls_are_the_actions():
    action = np.array([[0.5]], np.float32)
    assert Slider().control({}, action) is action
    assert Slider.ends and not MujocoTask.steers and MujocoTask.fields == ()


def test_start_observation_and_outcome_must_be_written():
    assert MujocoTask.__abstractmethods__ == {"start", "observe", "outcome"}
    with pytest.raises(TypeError, match="abstract"):
        MujocoTask()
