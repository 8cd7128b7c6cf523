"""A refrigerator's temperature, held by its compressor: MOREC's synthetic task.

    T' = T + (T_room - T) dt / tau - cooling(T) u dt

Luo et al. 2024 show on such a task what a transition filter can recover: the data are of a
controller that holds one temperature, the policy shall hold another. The equations are this
package's own: a wall that leaks in proportion, and a compressor whose capacity follows Carnot, so
that it fades in the cold.
"""

from __future__ import annotations

from typing import Annotated, final

import numpy as np
import torch
from annotated_types import Interval
from numpy.typing import NDArray
from torch import Tensor

from mbrl.envs.closed_form import ClosedFormTask, closed_form
from mbrl.envs.simulation import Array, SimulatedVecEnv, task_outcome
from mbrl.envs.tasks.common import never
from mbrl.types import Task
from mbrl.values import NumEnvs, checked

ROOM, TAU, DT = 25.0, 30.0, 1.0  # deg C, minutes, minutes
ZERO, CONDENSER, CAPACITY = 273.15, 45.0, 0.3  # kelvin at 0 deg C; deg C; deg C per minute and COP
LOWEST, HIGHEST = -40.0, 60.0  # of the thermometer
Temperature = Annotated[float, Interval(ge=LOWEST, le=HIGHEST)]


def after(temperature: Tensor, power: Tensor) -> Tensor:
    """Compute the temperature (B,) one minute later.

    Args:
        temperature: deg C (B,).
        power: share of the compressor's power (B,), clipped to [0, 1].
    """
    carnot = (temperature + ZERO) / (CONDENSER - temperature).clamp(min=1.0)
    leak = (ROOM - temperature) / TAU
    change = DT * (leak - CAPACITY * carnot * power.clamp(0, 1))
    return (temperature + change).clamp(LOWEST, HIGHEST)


@final
class Refrigerator(ClosedFormTask):
    """One temperature and one compressor; 1 observation [deg C], 1 action [share of power].

    Args:
        target: deg C that the reward asks for.
    """

    state_dim = obs_dim = 1
    max_episode_steps = 100

    @checked
    def __init__(self, *, target: Temperature = -5.0):
        """Build bounds and reward."""
        self.low = np.zeros(1, dtype=np.float32)
        self.high = np.ones(1, dtype=np.float32)
        self._target = target
        self.task = Task(reward=self._closeness, terminated=never, obs_names=("temperature",))

    def _closeness(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        """Return minus the distance from the target (B,)."""
        return -(next_obs[:, 0] - self._target).abs()

    def start(self, generators: list[np.random.Generator]) -> Array:
        """Sample a temperature a few degrees around 5."""
        return np.stack([generator.uniform(2.0, 8.0, 1) for generator in generators])

    def observe(self, state: Array) -> Array:
        """Return the temperature (B, 1) itself."""
        return state

    def step(self, state: Array, action: NDArray[np.float32]) -> Array:
        """Compute the temperature one minute later."""
        power = torch.from_numpy(action.astype(np.float64))[:, 0]
        return after(torch.from_numpy(state[:, 0]), power)[:, None].numpy()

    def outcome(
        self, state: Array, action: NDArray[np.float32], next_state: Array, next_obs: Array
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Return the reward of the task and no termination."""
        return task_outcome(self.task, state, action, next_obs)


@checked
def refrigerator(
    *,
    num_envs: NumEnvs = 1,
    seed: int = 0,
    target: Temperature = -5.0,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> SimulatedVecEnv:
    """Build a VecEnv of refrigerators.

    Args:
        num_envs: copies stepped at once.
        seed: environment i draws its starts from seed + i.
        target: deg C that the reward asks for.
        dtype: of observations and rewards.
        device: of the tensors that are returned.
    """
    task = Refrigerator(target=target)
    return closed_form(task, num_envs=num_envs, seed=seed, dtype=dtype, device=device)
