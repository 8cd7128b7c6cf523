"""An inverted pendulum that is to hold the cart at a place of one's own."""

from typing import final

from array_api_compat import array_namespace

from mbrl.envs import MujocoTask, task_outcome
from mbrl.envs.tasks.common import GYMNASIUM_ASSETS, add_uniform
from mbrl.types import Task
from mbrl.values import checked


@final
class Hold(MujocoTask):
    """Cart and pole; 4 observations [x, angle, and their speeds], 1 force.

    Args:
        place: of the cart, m.
    """

    model_path = GYMNASIUM_ASSETS / "inverted_pendulum.xml"
    frame_skip = 2
    max_episode_steps = 100

    @checked
    def __init__(self, place: float = 0.0):
        """Build the reward of that place."""
        self.task = Task(
            reward=lambda obs, action, next_obs: 1 - (next_obs[:, 0] - place).abs(),
            terminated=lambda obs, action, next_obs: next_obs[:, 1].abs() > 0.2,
            obs_names=("x", "angle", "x_dot", "angle_dot"),
        )

    def start(self, qpos, qvel, generator):
        """Sample near upright."""
        add_uniform(qpos, 0.01, generator)

    def observe(self, now):
        """Return positions and velocities."""
        xp = array_namespace(now["qpos"])
        return xp.concat((now["qpos"], now["qvel"]), axis=1)

    def outcome(self, before, action, now, dt):
        """Return reward and termination of the task."""
        return task_outcome(self.task, self.observe(before), action, self.observe(now))
