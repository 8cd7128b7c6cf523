"""A model as gymnasium's Env and VectorEnv: thin wrappers of ImaginedVecEnv."""

from __future__ import annotations

from typing import Any, final

import gymnasium
import numpy as np
import torch
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode

from mbrl.errors import BadInput
from mbrl.imagination.model_env import action_space, observation_space, to_tensor
from mbrl.imagination.vector_env import (
    AutoresetVectorEnv,
    Info,
    Mask,
    Outcome,
    check_seed,
    refuse_options,
)
from mbrl.roles import ModelVecEnv
from mbrl.types import as_numbers
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
        self._started = False
        self.observation_space = observation_space(env)
        self.action_space = action_space(env.action)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, Info]:
        """Return the first observation of a new episode; seed restarts the model's randomness.

        Raises:
            BadInput: if there are options, or the seed is no whole number of at least 0.
        """
        refuse_options(options)
        if seed is not None:
            check_seed(seed)
            seed = int(seed)
        super().reset(seed=seed)
        self._started = True
        return self._env.reset(seed)[0].cpu().numpy(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, Info]:
        """Return the outcome of one step; the observation is the successor, also at the end.

        Raises:
            ResetNeeded: before the first reset.
            BadInput: if the action is of another shape or kind, or not finite.
        """
        if not self._started:
            raise ResetNeeded("Cannot call env.step() before calling env.reset()")
        array = as_numbers("action", action, self.action_space.shape or ())
        step = self._env.advance(to_tensor(array[None], self._env.action))
        next_obs, reward, terminated, truncated = (x[0].cpu() for x in step)
        flags = bool(terminated), bool(truncated)
        return next_obs.numpy().copy(), reward.item(), *flags, {}


@final
class ModelVectorEnv(AutoresetVectorEnv):
    """Model as a gymnasium VectorEnv, float32.

    All environments draw from one generator, so one seed for each of them means a seed for all:
    [s, s + 1, ...] is the same as s.

    Args:
        env: the model as a vector environment.
        autoreset_mode: when an environment that has ended is reset, gymnasium's mode or its name:
            "NextStep": in the next step, as gymnasium's own vector environments do.
            "SameStep": at once; the last observation is in info["final_obs"].
            "Disabled": by reset(options={"reset_mask": mask}).
    """

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "render_modes": []}

    @checked
    def __init__(
        self,
        env: ModelVecEnv,
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    ):
        """Build the spaces."""
        self._env = env
        spaces = observation_space(env), action_space(env.action)
        super().__init__(env.num_envs, *spaces, autoreset_mode)

    def _start(self, rows: Mask, seeds: list[int | None] | None) -> tuple[np.ndarray, Info]:
        """Start episodes; see AutoresetVectorEnv."""
        seed = None if seeds is None else _common(seeds)
        if rows.all():
            return self._env.reset(seed).cpu().numpy(), {}
        done = torch.from_numpy(rows).to(self._env.action.low.device)
        return self._env.restart(done, seed).cpu().numpy(), {}

    def _advance(self, actions: Any, rows: Mask) -> Outcome:
        """Step every environment; see AutoresetVectorEnv."""
        array = as_numbers("action", actions, self.action_space.shape or ())
        step = self._env.advance(to_tensor(array, self._env.action))
        next_obs, reward, terminated, truncated = (x.cpu().numpy().copy() for x in step)
        return next_obs, reward, terminated, truncated, {}


def _common(seeds: list[int | None]) -> int:
    """Return one seed for all environments.

    Raises:
        BadInput: if some environments have a seed and others have none.
    """
    first = seeds[0]
    given = [seed for seed in seeds if seed is not None]
    if first is None or len(given) < len(seeds):
        raise BadInput(f"seed={seeds}: a model has one generator; give every environment a seed")
    if given == [first + i for i in range(len(given))]:
        return first
    return int(np.random.SeedSequence(given).generate_state(1)[0])
