"""A model as Stable-Baselines3's VecEnv; imports stable_baselines3."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from mbrl.errors import BadInput
from mbrl.imagination.model_env import action_space, observation_space, to_tensor
from mbrl.imagination.vector_env import refuse_options
from mbrl.roles import ModelVecEnv
from mbrl.values import checked


@final
class SB3ModelEnv(VecEnv):
    """Model as SB3's VecEnv, with the episode statistics of SB3's Monitor.

    Args:
        env: the model as a vector environment.
    """

    @checked
    def __init__(self, env: ModelVecEnv):
        """Build the spaces."""
        self._env = env
        self.render_mode = None
        super().__init__(env.num_envs, observation_space(env), action_space(env.action))
        self._returns = np.zeros(env.num_envs)
        self._lengths = np.zeros(env.num_envs, dtype=int)
        self._actions: Any = None

    def reset(self) -> np.ndarray:
        """Return the first observations of new episodes; a seed() restarts the randomness.

        Raises:
            BadInput: if set_options() has set any.
        """
        for options in self._options:
            refuse_options(options)
        obs = self._env.reset(self._seeds[0])
        self._reset_seeds()
        self._reset_options()
        self._returns[:] = self._lengths[:] = 0
        return obs.cpu().numpy()

    def step_async(self, actions: np.ndarray) -> None:
        """Store the actions (E, act_dim) for step_wait().

        Raises:
            BadInput: if they are of another shape or kind, or not finite.
        """
        shape = (self.num_envs, *(self.action_space.shape or ()))
        if np.shape(actions) != shape:
            raise BadInput(f"action: shape should be {shape}, got {np.shape(actions)}")
        self._actions = to_tensor(actions, self._env.action)

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Return the outcome of one step; see SB3's VecEnv."""
        step = self._env.step(self._actions)
        reward = step.reward.cpu().numpy().copy()
        truncated = step.truncated.cpu().numpy()
        done = step.terminated.cpu().numpy() | truncated
        self._returns += reward
        self._lengths += 1
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": bool(t)} for t in truncated]
        next_obs = step.next_obs.cpu().numpy()
        for i in np.flatnonzero(done):
            infos[i]["terminal_observation"] = next_obs[i].copy()
            infos[i]["episode"] = {"r": float(self._returns[i]), "l": int(self._lengths[i])}
            self._returns[i] = self._lengths[i] = 0
        return step.obs.cpu().numpy(), reward, done, infos

    def close(self) -> None:
        """Do nothing: the model belongs to its owner."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute, the same one for every environment."""
        return [getattr(self, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Raise an error: the environments are rows of one tensor."""
        raise NotImplementedError(
            f"{attr_name}: the environments of a model share their attributes"
        )

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> Any:
        """Raise an error: the environments are rows of one tensor."""
        raise NotImplementedError(f"{method_name}: the environments of a model share their methods")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Return False, except for Monitor, whose statistics are there."""
        wrapped = wrapper_class.__name__ in ("Monitor", "VecMonitor")
        return [wrapped for _ in self._get_indices(indices)]
