"""A learned model as Stable-Baselines3's VecEnv; imports stable_baselines3."""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from mbrl.imagination.model_env import ImaginedVecEnv, action_space, observation_space, to_tensor


class SB3ModelEnv(VecEnv):
    """Show imagined environments as SB3's VecEnv, with a Monitor's account of the episodes.

    Args:
        world: of any number of environments.
    """

    def __init__(self, world: ImaginedVecEnv):
        """Make the spaces."""
        self.world = world
        self.render_mode = None
        super().__init__(world.num_envs, observation_space(world), action_space(world.action))
        self._returns = np.zeros(world.num_envs)
        self._lengths = np.zeros(world.num_envs, dtype=int)
        self._actions: Any = None

    def reset(self) -> np.ndarray:
        """Start all episodes; what seed() was given begins the model's randomness anew."""
        obs = self.world.reset(self._seeds[0])
        self._reset_seeds()
        self._reset_options()
        self._returns[:] = self._lengths[:] = 0
        return obs.cpu().numpy()

    def step_async(self, actions: np.ndarray) -> None:
        """Take the actions."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Take one step; see VecEnv.step."""
        step = self.world.step(to_tensor(self._actions, self.world.action))
        reward = step.reward.cpu().numpy().copy()
        truncated = step.truncated.cpu().numpy()
        done = step.terminated.cpu().numpy() | truncated
        self._returns += reward
        self._lengths += 1
        infos: list[dict[str, Any]] = [{"TimeLimit.truncated": bool(t)} for t in truncated]
        following = step.next_obs.cpu().numpy()
        for i in np.flatnonzero(done):
            infos[i]["terminal_observation"] = following[i].copy()
            infos[i]["episode"] = {"r": float(self._returns[i]), "l": int(self._lengths[i])}
            self._returns[i] = self._lengths[i] = 0
        return step.obs.cpu().numpy(), reward, done, infos

    def close(self) -> None:
        """Free nothing: the model is its owner's."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Give an attribute, the same one for every environment."""
        return [getattr(self, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Refuse: the environments are rows of one tensor."""
        raise NotImplementedError(f"{attr_name}: imagined environments have no attributes apart")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> Any:
        """Refuse: the environments are rows of one tensor."""
        raise NotImplementedError(f"{method_name}: imagined environments have no methods apart")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """Tell that they are not, but for Monitor, whose account is given."""
        wrapped = wrapper_class.__name__ in ("Monitor", "VecMonitor")
        return [wrapped for _ in self._get_indices(indices)]
