"""A model as an environment: many imagined copies stepped at once, tensors in and out."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from mbrl.buffer import ReplayBuffer
from mbrl.errors import BadInput, NumericalFault
from mbrl.roles import VecStep
from mbrl.types import ActionSpec, Prediction, Transitions, map_tensors


class ImaginedVecEnv:
    """Step E imagined copies of an environment; those that end begin anew in the same step.

    A step that the model does not stand by (valid = False) truncates, so that the value of what
    would follow is bootstrapped; unless value_outside says it.

    Args:
        model: a Model.
        starts: where episodes begin, drawn uniformly: obs (N, obs_dim), or a buffer's.
        action: the actions it takes; others are clipped to the bounds.
        num_envs: E.
        max_episode_steps: when an episode is truncated; None for never.
        stochastic: whether the model's noise and members are drawn; else its mean prediction.
        bounds: (low, high), each (obs_dim,): predictions are clipped to them; None for no bounds.
        value_outside: what follows a step that the model does not stand by is worth this, and the
            episode terminates; below what can be earned, or else leaving pays. None to bootstrap.
        hold: model steps for which each action is held; their rewards are added up.
        charge: what is taken off the rewards (B,) of transitions, such as a penalty.
        generator: source of every random draw; None makes one, seeded with 0.

    Raises:
        BadInput: if there is nothing to start from.
    """

    def __init__(
        self,
        model: Any,
        starts: Tensor | ReplayBuffer,
        action: ActionSpec,
        *,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        stochastic: bool = True,
        bounds: tuple[Tensor, Tensor] | None = None,
        value_outside: float | None = None,
        hold: int = 1,
        charge: Callable[[Transitions], Tensor] | None = None,
        generator: torch.Generator | None = None,
    ):
        """Take the model; no episode is running yet."""
        if len(starts) == 0:
            raise BadInput("starts: there are no observations to start from")
        self.num_envs = num_envs
        self.action = action
        self.device = action.low.device
        self.max_episode_steps = max_episode_steps
        self.bounds = bounds
        if isinstance(starts, ReplayBuffer):
            self.obs_dim = starts.obs_dim
        else:
            self.obs_dim = starts.shape[1]
            starts = starts.to(self.device, torch.float32)
        self._model = model
        self._starts = starts
        self._stochastic = stochastic
        self._value_outside = value_outside
        self._hold = hold
        self._charge = charge
        own = torch.Generator(self.device).manual_seed(0)
        self._generator = own if generator is None else generator
        self._state: Any = None
        self._obs = torch.zeros(num_envs, self.obs_dim, device=self.device)
        self._elapsed = torch.zeros(num_envs, dtype=torch.int64, device=self.device)

    @torch.no_grad()
    def reset(self, seed: int | None = None) -> Tensor:
        """Begin every episode; a seed also begins the random draws anew.

        Returns:
            obs (E, obs_dim).
        """
        if seed is not None:
            self._generator.manual_seed(seed)
        self._obs, self._state = self._begin()
        self._elapsed = torch.zeros_like(self._elapsed)
        return self._obs.clone()

    @torch.no_grad()
    def step(self, action: Tensor) -> VecStep:
        """Take one step with actions (E, act_dim) in environment units.

        Raises:
            NumericalFault: if the model predicts a NaN or an infinity.
        """
        if self._state is None:
            self.reset()
        action = self.action.clip(action.to(self.device, torch.float32))
        state, pred = self._advance(action)
        if not (torch.isfinite(pred.next_obs).all() and torch.isfinite(pred.reward).all()):
            raise NumericalFault("the model predicted a NaN or an infinity")
        following = pred.next_obs
        if self.bounds is not None:
            following = following.clamp(*self.bounds)
            if not following.equal(pred.next_obs):
                state = self._model.observe(state, action, following)
        self._elapsed = self._elapsed + self._hold
        terminated, truncated, reward = pred.terminated, ~pred.valid, pred.reward
        if self._value_outside is not None:
            outside = truncated & ~terminated
            reward = torch.where(outside, reward + self._value_outside, reward)
            terminated, truncated = terminated | outside, torch.zeros_like(truncated)
        if self.max_episode_steps is not None:
            truncated = truncated | (self._elapsed >= self.max_episode_steps)
        truncated = truncated & ~terminated
        if self._charge is not None:
            seen = (self._obs, action, reward, following, terminated, truncated)
            reward = reward - self._charge(Transitions(*seen, torch.zeros_like(self._elapsed)))
        done = terminated | truncated
        self._obs, self._state = following, state
        if done.any():
            self._restart(done)
        return VecStep(self._obs.clone(), following, reward, terminated, truncated)

    def _advance(self, action: Tensor) -> tuple[Any, Prediction]:
        """Hold actions (E, act_dim); a row that has ended stands still and earns nothing more."""
        state, pred = self._model.step(self._state, action, generator=self._noise())
        for _ in range(self._hold - 1):
            alive = pred.valid & ~pred.terminated
            following, more = self._model.step(state, action, generator=self._noise())
            more = more._replace(reward=pred.reward + more.reward)
            state, pred = (
                map_tensors(partial(_where, alive), new, old)
                for new, old in ((following, state), (more, pred))
            )
        return state, pred

    def _begin(self) -> tuple[Tensor, Any]:
        """Draw E starts and the beliefs there."""
        count = self.num_envs
        if isinstance(self._starts, ReplayBuffer):
            obs = self._starts.sample(count, generator=self._generator).obs.clone()
        else:
            size = (count,)
            index = torch.randint(
                len(self._starts), size, generator=self._generator, device=self.device
            )
            obs = self._starts[index]
        return obs, self._model.initial(obs, generator=self._noise())

    def _restart(self, done: Tensor) -> None:
        """Begin the episodes in done (E,) anew; the others keep their place and their member."""
        obs, state = self._begin()
        if not done.all():
            obs = torch.where(done[:, None], obs, self._obs)
            state = map_tensors(partial(_where, done), state, self._state)
        self._obs, self._state = obs, state
        self._elapsed = torch.where(done, 0, self._elapsed)

    def _noise(self) -> torch.Generator | None:
        return self._generator if self._stochastic else None


def _where(mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Take new where mask (B,) holds, old elsewhere; tensors are (B, ...)."""
    return torch.where(mask.view(-1, *[1] * (old.dim() - 1)), new, old)


def action_space(action: ActionSpec) -> spaces.Box | spaces.Discrete:
    """Give gymnasium's space of the actions."""
    if action.kind == "discrete":
        return spaces.Discrete(action.num_actions)
    low, high = action.low.cpu().numpy(), action.high.cpu().numpy()
    return spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)


def observation_space(world: ImaginedVecEnv) -> spaces.Box:
    """Give gymnasium's space of the observations: the bounds, or unbounded."""
    if world.bounds is None:
        return spaces.Box(-np.inf, np.inf, (world.obs_dim,), np.float32)
    low, high = (b.cpu().numpy().astype(np.float32) for b in world.bounds)
    return spaces.Box(low, high, dtype=np.float32)


def to_tensor(action: Any, spec: ActionSpec) -> Tensor:
    """Turn a batch of gymnasium's actions into (B, act_dim).

    Raises:
        BadInput: if a discrete action is none of the space's.
    """
    if spec.kind == "continuous":
        return torch.as_tensor(np.asarray(action), dtype=torch.float32, device=spec.low.device)
    index = torch.as_tensor(np.asarray(action), dtype=torch.int64, device=spec.low.device)
    if ((index < 0) | (index >= spec.num_actions)).any():
        raise BadInput(f"action {action}: should be from 0 to {spec.num_actions - 1}")
    return torch.nn.functional.one_hot(index, spec.num_actions).to(spec.low.dtype)
