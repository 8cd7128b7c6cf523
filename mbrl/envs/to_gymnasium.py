"""The framework's environments as gymnasium VectorEnvs and Envs, under ids `mbrl/...`."""

from __future__ import annotations

from typing import Any, final

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from mbrl.envs.registry import OWN


@final
class MbrlVectorEnv(VectorEnv):
    """Gymnasium VectorEnv of one of the framework's environments, float64, same-step autoreset.

    Args:
        id: of the framework's own environments.
        num_envs: copies stepped at once.
        kwargs: num_threads, time_limit, seed.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}

    def __init__(self, id: str, num_envs: int = 1, **kwargs: Any):
        """Build the VecEnv and its spaces."""
        kwargs.pop("render_mode", None)
        self.num_envs = num_envs
        self.env = OWN[id](num_envs=num_envs, dtype=torch.float64, **kwargs)
        self.single_observation_space, self.single_action_space = _spaces(id)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._obs_dtype = self.single_observation_space.dtype

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start new episodes; environment i is seeded with seed + i."""
        return self._array(self.env.reset(seed)), {}

    def step(
        self, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict]:
        """Step with actions (E, act_dim); info["final_obs"] holds the true last observations."""
        step = self.env.step(torch.from_numpy(np.asarray(actions, dtype=np.float32)))
        terminated, truncated = step.terminated.numpy(), step.truncated.numpy()
        done = terminated | truncated
        info: dict[str, Any] = {}
        if done.any():
            last = np.full(self.num_envs, None, dtype=object)
            for i, obs in zip(np.flatnonzero(done), self._array(step.next_obs)[done], strict=True):
                last[i] = obs
            info = {"final_obs": last, "_final_obs": done}
        return self._array(step.obs), step.reward.numpy(), terminated, truncated, info

    def _array(self, obs: torch.Tensor) -> np.ndarray:
        return obs.numpy().astype(self._obs_dtype)

    def close_extras(self, **kwargs: Any) -> None:
        """Close the VecEnv."""
        self.env.close()


@final
class MbrlEnv(gymnasium.Env):
    """Gymnasium Env of one of the framework's environments, float64.

    Args:
        id: of the framework's own environments.
        kwargs: time_limit, seed.
    """

    metadata = {"render_modes": []}

    def __init__(self, id: str, **kwargs: Any):
        """Build the VecEnv and its spaces."""
        kwargs.pop("render_mode", None)
        self.env = OWN[id](num_envs=1, dtype=torch.float64, **kwargs)
        self.observation_space, self.action_space = _spaces(id)
        self._last: np.ndarray | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start a new episode."""
        super().reset(seed=seed)
        return self._array(self.env.reset(seed)), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Step with an action (act_dim,); the observation is the true successor."""
        step = self.env.step(torch.from_numpy(np.asarray(action, dtype=np.float32))[None])
        flags = bool(step.terminated[0]), bool(step.truncated[0])
        return self._array(step.next_obs), step.reward[0].item(), *flags, {}

    def _array(self, obs: torch.Tensor) -> np.ndarray:
        return obs[0].numpy().astype(self.observation_space.dtype)

    def close(self) -> None:
        """Close the VecEnv."""
        self.env.close()


def _spaces(id: str) -> tuple[spaces.Box, spaces.Box]:
    """Return observation and action space, as in gymnasium's own environment of that id."""
    if id == "Pendulum-v1":
        high = np.array([1.0, 1.0, 8.0], dtype=np.float32)
        return spaces.Box(-high, high), spaces.Box(-2.0, 2.0, (1,), np.float32)
    env = OWN[id]()
    low, high = env.action.low.numpy(), env.action.high.numpy()
    env.close()
    observations = spaces.Box(-np.inf, np.inf, (env.obs_dim,), np.float64)
    return observations, spaces.Box(low, high, dtype=np.float32)


def register() -> None:
    """Register every environment of the framework with gymnasium, as `mbrl/ID`."""
    for id in OWN:
        gymnasium.register(
            f"mbrl/{id}",
            entry_point="mbrl.envs.to_gymnasium:MbrlEnv",
            vector_entry_point="mbrl.envs.to_gymnasium:MbrlVectorEnv",
            kwargs={"id": id},
        )
