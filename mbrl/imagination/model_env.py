"""A model as a vector environment of tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from mbrl.buffer import ReplayBuffer
from mbrl.errors import BadInput, NumericalFault
from mbrl.imagination.rollout import imagine
from mbrl.nn.products import products_for
from mbrl.roles import Model, ModelVecEnv, VecStep
from mbrl.types import ActionSpec, Prediction, Transitions, as_numbers, as_rows, where_rows
from mbrl.values import Count, NumEnvs, checked


@final
class ImaginedVecEnv:
    """Vector environment whose transitions are predicted by a model; same-step autoreset.

    A step outside the model's validity region (valid = False) truncates, so that the value of what
    would follow is bootstrapped, unless invalid_state_value is given.

    Args:
        model: the model.
        starts: first observations of episodes, drawn uniformly: obs (N, obs_dim), or a buffer's.
        action: the actions it takes; others are clipped to the bounds.
        num_envs: E.
        max_episode_steps: time limit of an episode; None for none.
        stochastic: whether the model's noise and members are drawn; otherwise its mean predicts.
        bounds: (low, high), each (obs_dim,): predictions are clipped to them; None for no bounds.
        invalid_state_value: terminal value assigned when the model is left where it is not valid;
            the episode then terminates. It should be below what can be earned, or leaving pays.
            None truncates, and the value is bootstrapped.
        action_hold: model steps for which each action is held; their rewards are added up.
        penalty: returns what is subtracted from the rewards (B,) of transitions; None for nothing.
        generator: source of every random draw; None makes one, seeded with 0.

    Raises:
        BadInput: if there is nothing to start from, or bounds are not finite or the wrong way.
    """

    @checked
    def __init__(
        self,
        model: Model[Any],
        starts: Tensor | ReplayBuffer,
        action: ActionSpec,
        *,
        num_envs: NumEnvs = 1,
        max_episode_steps: Count | None = None,
        stochastic: bool = True,
        bounds: tuple[Tensor, Tensor] | None = None,
        invalid_state_value: float | None = None,
        action_hold: Count = 1,
        penalty: Callable[[Transitions], Tensor] | None = None,
        generator: torch.Generator | None = None,
    ):
        """Start without an episode."""
        if len(starts) == 0:
            raise BadInput("starts: there are no observations to start from")
        if not torch.isfinite(action.high - action.low).all() or (action.low > action.high).any():
            raise BadInput(
                f"action: bounds {action.low.tolist()}, {action.high.tolist()} should be finite, "
                "low at most high"
            )
        self.num_envs = num_envs
        self.action = action
        self.device = action.low.device
        self.max_episode_steps = max_episode_steps
        self.bounds = bounds
        if isinstance(starts, ReplayBuffer):
            self.obs_dim = starts.obs_dim
        else:
            starts = as_rows("starts", starts).to(self.device)
            self.obs_dim = starts.shape[1]
        if bounds is not None:
            low, high = (as_rows("bounds", b[None], width=self.obs_dim)[0] for b in bounds)
            if not (low <= high).all():  # also of a NaN
                raise BadInput(f"bounds: {low.tolist()} should be at most {high.tolist()}")
            self.bounds = low.to(self.device), high.to(self.device)
        self._model = model
        self._starts = starts
        self._stochastic = stochastic
        self._invalid_state_value = invalid_state_value
        self._action_hold = action_hold
        self._penalty = penalty
        own = torch.Generator(self.device).manual_seed(0)
        self._generator = own if generator is None else generator
        self._state: Any = None
        self._obs = torch.zeros(num_envs, self.obs_dim, device=self.device)
        self._elapsed = torch.zeros(num_envs, dtype=torch.int64, device=self.device)

    @torch.no_grad()
    def reset(self, seed: int | None = None) -> Tensor:
        """Return the first observations (E, obs_dim) of new episodes.

        Args:
            seed: of the random draws from now on; None continues them.
        """
        if seed is not None:
            self._generator.manual_seed(seed)
        self._obs, self._state = self._first()
        self._elapsed = torch.zeros_like(self._elapsed)
        return self._obs.clone()

    @torch.no_grad()
    def step(self, action: Tensor) -> VecStep:
        """Return the outcome of one step with actions (E, act_dim) in environment units.

        Raises:
            NumericalFault: if the model predicts a NaN or an infinity.
        """
        next_obs, reward, terminated, truncated = self.advance(action)
        done = terminated | truncated
        if done.any():
            self.restart(done)
        return VecStep(self._obs.clone(), next_obs, reward, terminated, truncated)

    @torch.no_grad()
    def advance(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Predict one step of every environment, and restart none.

        Args:
            action: (E, act_dim) in environment units.

        Returns:
            next_obs (E, obs_dim), reward (E,), terminated (E,), truncated (E,).

        Raises:
            NumericalFault: if the model predicts a NaN or an infinity.
        """
        if self._state is None:
            self.reset()
        shape = (self.num_envs, self.action.dim)
        action = as_numbers("action", action, shape, finite=True)
        action = self.action.clip(action.to(self.device, torch.float32))
        with products_for(self.num_envs):
            state, pred = self._held_step(action)
        if not (torch.isfinite(pred.next_obs).all() and torch.isfinite(pred.reward).all()):
            raise NumericalFault("the model predicted a NaN or an infinity")
        next_obs = pred.next_obs
        if self.bounds is not None:
            next_obs = torch.minimum(torch.maximum(next_obs, self.bounds[0]), self.bounds[1])
            if not next_obs.equal(pred.next_obs):
                state = self._model.observe(state, action, next_obs)
        self._elapsed = self._elapsed + self._action_hold
        terminated, truncated, reward = pred.terminated, ~pred.valid, pred.reward
        if self._invalid_state_value is not None:
            invalid = truncated & ~terminated
            reward = torch.where(invalid, reward + self._invalid_state_value, reward)
            terminated, truncated = terminated | invalid, torch.zeros_like(truncated)
        if self.max_episode_steps is not None:
            truncated = truncated | (self._elapsed >= self.max_episode_steps)
        truncated = truncated & ~terminated
        if self._penalty is not None:
            episode = torch.zeros_like(self._elapsed)
            reward = reward - self._penalty(
                Transitions(self._obs, action, reward, next_obs, terminated, truncated, episode)
            )
        self._obs, self._state = next_obs, state
        return next_obs, reward, terminated, truncated

    def _held_step(self, action: Tensor) -> tuple[Any, Prediction]:
        """Predict the outcome of actions (E, act_dim), each held for action_hold model steps.

        Returns:
            The belief and the prediction after the last step, with the sum of the rewards.
        """
        held = self._action_hold
        steps = imagine(
            self._model,
            self._state,
            self._obs,
            lambda index, obs: action,
            held,
            hold=held,
            generator=self._noise(),
        )
        step = next(steps)
        pred = step.prediction
        for step in steps:
            new = step.prediction._replace(
                next_obs=step.next_obs, reward=pred.reward + step.prediction.reward
            )
            pred = where_rows(step.alive, new, pred)
        return step.state, pred

    def _first(self) -> tuple[Tensor, Any]:
        """Sample E first observations (E, obs_dim) and return them with the beliefs there."""
        count = self.num_envs
        if isinstance(self._starts, ReplayBuffer):
            obs = self._starts.sample(count, generator=self._generator).obs.clone()
        else:
            size = (count,)
            index = torch.randint(
                len(self._starts), size, generator=self._generator, device=self.device
            )
            obs = self._starts[index]
        if self.bounds is not None:
            obs = torch.minimum(torch.maximum(obs, self.bounds[0]), self.bounds[1])
        return obs, self._model.initial(obs, generator=self._noise())

    @torch.no_grad()
    def restart(self, done: Tensor, seed: int | None = None) -> Tensor:
        """Start new episodes in some environments; the others keep their state and their member.

        Args:
            done: (E,) bool, in which.
            seed: of the random draws from now on; None continues them.

        Returns:
            The observations (E, obs_dim) of all environments.
        """
        if seed is not None:
            self._generator.manual_seed(seed)
        obs, state = self._first()
        if not done.all() and self._state is not None:
            obs = where_rows(done, obs, self._obs)
            state = where_rows(done, state, self._state)
        self._obs, self._state = obs, state
        self._elapsed = torch.where(done, 0, self._elapsed)
        return self._obs.clone()

    def _noise(self) -> torch.Generator | None:
        return self._generator if self._stochastic else None


def action_space(action: ActionSpec) -> spaces.Box | spaces.Discrete:
    """Return gymnasium's space of the actions."""
    if action.kind == "discrete":
        return spaces.Discrete(action.num_actions)
    low, high = action.low.cpu().numpy(), action.high.cpu().numpy()
    return spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)


def observation_space(env: ModelVecEnv) -> spaces.Box:
    """Return gymnasium's space of the observations: within the bounds, or unbounded."""
    if env.bounds is None:
        return spaces.Box(-np.inf, np.inf, (env.obs_dim,), np.float32)
    low, high = (b.cpu().numpy().astype(np.float32) for b in env.bounds)
    return spaces.Box(low, high, dtype=np.float32)


def to_tensor(action: Any, spec: ActionSpec) -> Tensor:
    """Return a batch of gymnasium's actions as a tensor (B, act_dim).

    Raises:
        BadInput: if they are of another shape or kind, not finite, or a discrete action is not in
            the space.
    """
    if spec.kind == "continuous":
        rows = as_rows("action", action, width=spec.dim, finite=True)
        return rows.to(spec.low.device)
    index = as_numbers("action", action, ("B",))
    if index.is_floating_point() or index.dtype == torch.bool:
        raise BadInput(f"action: {index.dtype} should be whole numbers (B,)")
    index = index.to(spec.low.device, torch.int64)
    if ((index < 0) | (index >= spec.num_actions)).any():
        raise BadInput(f"action={index.tolist()}: should be from 0 to {spec.num_actions - 1}")
    return torch.nn.functional.one_hot(index, spec.num_actions).to(spec.low.dtype)
