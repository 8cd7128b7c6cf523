"""Start states of episodes, drawn ahead on the CPU for environments that are on another device."""

from __future__ import annotations

from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from mbrl.envs.guards import call_task
from mbrl.envs.mujoco_task import MujocoTask
from mbrl.envs.simulation import Array
from mbrl.errors import EnvironmentFault

_AHEAD = 16  # steps for which there are starts, even if every episode ends in each


def draw_start(
    task: MujocoTask, qpos: Array, qvel: Array, generator: np.random.Generator, index: int | None
) -> Array:
    """Return a start (nq + nv,) of a task.

    Args:
        task: that draws it.
        qpos: (nq,) the model's own posture.
        qvel: (nv,) zeros.
        generator: source of every random draw.
        index: the environment that it is for, None if it is not known.

    Raises:
        EnvironmentFault: if the task raises, or returns a value.
    """
    qpos, qvel = qpos.copy(), qvel.copy()
    indices = None if index is None else [index]
    if call_task("start", task.start, qpos, qvel, generator, indices=indices) is not None:
        what = "start() returned a value: it should write into qpos and qvel instead"
        raise EnvironmentFault(what, index=index, step=0)
    return np.concatenate((qpos, qvel))


@final
class StartPool:
    """Queue of start states on a device, filled by the CPU before it can run empty.

    Which start an episode gets depends on the generator and on how many episodes began before it,
    not on when the queue is filled. The device is waited for once in 16 steps.

    Args:
        task: that draws them.
        qpos: (nq,) the model's own posture.
        qvel: (nv,) zeros.
        num_envs: E.
        device: of the starts.
    """

    def __init__(
        self, task: MujocoTask, qpos: Array, qvel: Array, *, num_envs: int, device: torch.device
    ):
        """Draw nothing before the first start."""
        self._task, self._qpos, self._qvel = task, qpos, qvel
        self._num_envs, self._device = num_envs, device
        size = _AHEAD * num_envs
        self._rows = torch.zeros(size, len(qpos) + len(qvel), device=device)
        self.seed([0])

    def seed(self, seeds: list[int]) -> None:
        """Set the seeds of the generator; starts that were drawn before are thrown away."""
        self._generator = np.random.default_rng(np.random.SeedSequence(seeds))
        self._taken = torch.zeros((), dtype=torch.int64, device=self._device)
        self._drawn = 0
        self._at_most = 0  # that may have been taken

    def take(self, mask: Tensor) -> Tensor:
        """Return the next starts in the rows of mask (E,); the other rows mean nothing.

        Returns:
            qpos and qvel, (E, nq + nv) float32.
        """
        if self._at_most + self._num_envs > self._drawn:
            self._fill()
        order = self._taken + mask.cumsum(0)
        self._taken = order[-1]
        self._at_most += self._num_envs
        return self._rows[(order - 1) % len(self._rows)]

    def _fill(self) -> None:
        """Draw as many starts as have been taken."""
        self._at_most = int(self._taken)
        missing = len(self._rows) - (self._drawn - self._at_most)
        if not missing:
            return
        draws = [
            draw_start(self._task, self._qpos, self._qvel, self._generator, None)
            for _ in range(missing)
        ]
        places = (self._drawn + torch.arange(missing)) % len(self._rows)
        drawn = torch.from_numpy(np.stack(draws)).to(self._device, torch.float32)
        self._rows[places.to(self._device)] = drawn
        self._drawn += missing

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to go on with the same starts."""
        self._fill()  # so that it depends on what was taken only
        return {
            "rows": self._rows.cpu().clone(),
            "taken": int(self._taken),
            "drawn": self._drawn,
            "generator": self._generator.bit_generator.state,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state_dict."""
        self._rows.copy_(state["rows"])
        self._taken.fill_(state["taken"])
        self._drawn, self._at_most = state["drawn"], state["taken"]
        self._generator.bit_generator.state = state["generator"]
