"""Stand-in for an environment that is not available: the shapes of its dataset."""

from __future__ import annotations

from typing import Any, NoReturn, final

import torch
from torch import Tensor

from mbrl.data.load import load_dataset
from mbrl.errors import BadInput
from mbrl.roles import VecStep
from mbrl.types import ActionSpec, Task
from mbrl.values import NumEnvs, checked


class OnlyShapes:
    """VecEnv that has shapes and can be neither reset nor stepped.

    Attributes:
        device: of the tensors.
    """

    max_episode_steps: int | None = None
    device: torch.device
    _reason: str  # why, and what to do instead

    def reset(self, seed: int | None = None) -> Tensor:
        """Raise BadInput."""
        self._refuse()

    def step(self, action: Tensor) -> VecStep:
        """Raise BadInput, whatever the action (E, act_dim)."""
        self._refuse()

    def env_state(self) -> Tensor | None:
        """Return None."""
        return None

    def state_dict(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore nothing."""

    def close(self) -> None:
        """Close nothing."""

    def _refuse(self) -> NoReturn:
        raise BadInput(self._reason)


@final
class Spaces(OnlyShapes):
    """VecEnv that only has the shapes of a dataset; it can be neither reset nor stepped.

    Args:
        dataset: Minari's name, or a file of D4RL or NeoRL.
        num_envs: reported as its own.
        device: of the tensors.

    Raises:
        BadInput: if the dataset is missing or damaged.
    """

    _reason = (
        "there is no environment to act in, only the shapes of its dataset; take the real "
        "environment to evaluate the policy"
    )

    @checked
    def __init__(self, *, dataset: str, num_envs: NumEnvs = 1, device: torch.device | str = "cpu"):
        """Read the shapes."""
        self.num_envs = num_envs
        loaded = load_dataset(dataset, device=device)
        self.device = torch.device(device)
        self.obs_dim: int = loaded.data.obs.shape[1]
        self.action: ActionSpec = loaded.action
        self.task = Task()
