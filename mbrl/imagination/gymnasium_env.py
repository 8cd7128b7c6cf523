"""A model as gymnasium's Env and VectorEnv: thin wrappers of ImaginedVecEnv."""

from __future__ import annotations

from typing import Any, final

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from mbrl.errors import BadInput
from mbrl.imagination.model_env import action_space, observation_space, to_tensor
from mbrl.roles import ModelVecEnv
from mbrl.values import checked


@final
class ModelEnv(gymnasium.Env):
    """Model as a gymnasium Env, float32.

    Args:
        env: the model as a vector environment of one.

    Raises:
        BadInput: if env has several environments.
    """

    metadata = {"render_modes": []}
    render_mode = None

    @checked
    def __init__(self, env: ModelVecEnv):
        """Build the spaces."""
        if env.num_envs != 1:
            raise BadInput(
                f"env: ModelEnv takes one environment, not {env.num_envs}; use ModelVectorEnv"
            )
        self._env = env
        self.observation_space = observation_space(env)
        self.action_space = action_space(env.action)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Return the first observation of a new episode; seed restarts the model's randomness."""
        super().reset(seed=seed)
        return self._env.reset(seed)[0].cpu().numpy(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Return the outcome of one step; the observation is the successor, also at the end."""
        step = self._env.step(to_tensor(np.asarray(action)[None], self._env.action))
        flags = bool(step.terminated[0]), bool(step.truncated[0])
        return step.next_obs[0].cpu().numpy().copy(), step.reward[0].item(), *flags, {}


@final
class ModelVectorEnv(VectorEnv):
    """Model as a gymnasium VectorEnv, float32, with same-step autoreset.

    Args:
        env: the model as a vector environment.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}

    @checked
    def __init__(self, env: ModelVecEnv):
        """Build the spaces."""
        self._env = env
        self.num_envs = env.num_envs
        self.single_observation_space = observation_space(env)
        self.single_action_space = action_space(env.action)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Return the first observations of new episodes; seed restarts the model's randomness."""
        super().reset(seed=seed)
        return self._env.reset(seed).cpu().numpy(), {}

    def step(
        self, actions: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Return the outcome of one step; info["final_obs"] holds the last obs of episodes."""
        step = self._env.step(to_tensor(actions, self._env.action))
        terminated, truncated = step.terminated.cpu().numpy(), step.truncated.cpu().numpy()
        done = terminated | truncated
        info: dict[str, Any] = {}
        if done.any():
            last = np.full(self.num_envs, None, dtype=object)
            next_obs = step.next_obs.cpu().numpy()
            for i in np.flatnonzero(done):
                last[i] = next_obs[i].copy()
            info = {"final_obs": last, "_final_obs": done}
        return step.obs.cpu().numpy(), step.reward.cpu().numpy(), terminated, truncated, info
