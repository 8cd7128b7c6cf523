"""A learned model as gymnasium's Env and VectorEnv: thin faces of ImaginedVecEnv."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from mbrl.errors import BadInput
from mbrl.imagination.model_env import ImaginedVecEnv, action_space, observation_space, to_tensor


class ModelEnv(gymnasium.Env):
    """Show an imagined environment as a gymnasium Env, float32.

    Args:
        world: of one environment.

    Raises:
        BadInput: if it is of several.
    """

    metadata = {"render_modes": []}
    render_mode = None

    def __init__(self, world: ImaginedVecEnv):
        """Make the spaces."""
        if world.num_envs != 1:
            raise BadInput(f"num_envs={world.num_envs}: ModelEnv shows one; see ModelVectorEnv")
        self.world = world
        self.observation_space = observation_space(world)
        self.action_space = action_space(world.action)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; a seed begins the model's randomness anew."""
        super().reset(seed=seed)
        return self.world.reset(seed)[0].cpu().numpy(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Take one step; the observation is the successor, also at an episode's end."""
        step = self.world.step(to_tensor(np.asarray(action)[None], self.world.action))
        flags = bool(step.terminated[0]), bool(step.truncated[0])
        return step.next_obs[0].cpu().numpy().copy(), step.reward[0].item(), *flags, {}


class ModelVectorEnv(VectorEnv):
    """Show imagined environments as a gymnasium VectorEnv, float32, same-step autoreset.

    Args:
        world: of any number of environments.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}

    def __init__(self, world: ImaginedVecEnv):
        """Make the spaces."""
        self.world = world
        self.num_envs = world.num_envs
        self.single_observation_space = observation_space(world)
        self.single_action_space = action_space(world.action)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start all episodes; a seed begins the model's randomness anew."""
        super().reset(seed=seed)
        return self.world.reset(seed).cpu().numpy(), {}

    def step(
        self, actions: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Take one step; the successors of episodes that ended stand in info["final_obs"]."""
        step = self.world.step(to_tensor(actions, self.world.action))
        terminated, truncated = step.terminated.cpu().numpy(), step.truncated.cpu().numpy()
        done = terminated | truncated
        info: dict[str, Any] = {}
        if done.any():
            last = np.full(self.num_envs, None, dtype=object)
            following = step.next_obs.cpu().numpy()
            for i in np.flatnonzero(done):
                last[i] = following[i].copy()
            info = {"final_obs": last, "_final_obs": done}
        return step.obs.cpu().numpy(), step.reward.cpu().numpy(), terminated, truncated, info
