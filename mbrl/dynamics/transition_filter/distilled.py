"""Distilled dynamics reward: one small network in place of a costly reward."""

from __future__ import annotations

from typing import Annotated, final

import torch
from annotated_types import Ge
from torch import Tensor
from torch.nn.functional import silu

from mbrl.dynamics.base import candidates_of
from mbrl.dynamics.transition_filter.base import (
    Candidates,
    LearnedDynamicsReward,
    reward_candidates,
    transition_size,
)
from mbrl.dynamics.transition_filter.holdout_ensemble import TailHoldoutEnsemble
from mbrl.dynamics.transition_filter.polynomials import WhitenedMonomials
from mbrl.errors import BadInput
from mbrl.imagination.rollout import imagine
from mbrl.nn.generators import as_generator
from mbrl.nn.minimize import minimize
from mbrl.nn.mlp import MLP
from mbrl.nn.normalizer import Normalizer
from mbrl.roles import Dynamics
from mbrl.types import ActionSpec, Transitions
from mbrl.values import Count, Degree, checked

CACHED_ROWS = 4096  # rows whose hidden units stay in a processor's cache


@final
class DistilledReward(LearnedDynamicsReward):
    """Network that imitates another dynamics reward, Hinton et al. 2015.

    It is fitted to the teacher's rewards of candidates: of rows of the data, of rows moved away
    from their mean, and of rows that the model reaches under random actions, where rollouts will
    go. The candidates are the model's own predictions and perturbed ones of the tail-holdout
    ensemble.

    A filter needs the order of the candidates of one row. So the loss is of rewards minus the
    row's mean, in units of their spread, which far outside the data is a hundred times larger. The
    rewards themselves weigh a tenth, for the threshold.

    Args:
        obs_dim: length of an observation.
        action: the environment's actions.
        generator: source of the initial weights.
        teacher: the reward to imitate.
        hidden: width of the first hidden layer; the second has half of it.
        degree: of the monomials that are the network's inputs, whitened on the data.
        num_updates: gradient steps of a fit.
        batch_size: rows of a gradient step, each with all its candidates.
        max_extrapolation: largest factor by which rows are moved away from the data's mean.
        rollout_length: steps of a rollout under random actions.
        fit_teacher: whether fit also fits the teacher; False if it is fitted already.
    """

    needs_holdout_ensemble = True

    @checked
    def __init__(
        self,
        *,
        obs_dim: Count,
        action: ActionSpec,
        generator: torch.Generator | int,
        teacher: LearnedDynamicsReward,
        hidden: Annotated[int, Ge(2)] = 32,
        degree: Degree = 2,
        num_updates: Count = 2000,
        batch_size: Count = 64,
        max_extrapolation: Annotated[float, Ge(1)] = 2.0,
        rollout_length: Count = 50,
        fit_teacher: bool = True,
    ):
        """Draw the initial weights."""
        generator = as_generator(generator, action.low.device)
        super().__init__()
        width = 2 * obs_dim + action.dim
        self.teacher = teacher
        self.features = WhitenedMonomials(width, degree=degree)
        sizes = [self.features.size, hidden, hidden // 2, 1]
        self.student = MLP(sizes, 1, generator=generator)
        self.scale, self.rewards = Normalizer(width), Normalizer(1)
        self._num_updates, self._batch_size = num_updates, batch_size
        self._max_extrapolation, self._rollout_length = max_extrapolation, rollout_length
        self._fit_teacher, self._action = fit_teacher, action

    def fit(
        self,
        data: Transitions,
        model: Dynamics,
        *,
        holdout_ensemble: TailHoldoutEnsemble | None,
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Fit the teacher, then the network to it; see DynamicsReward.fit.

        Raises:
            BadInput: without a tail-holdout ensemble.
            NumericalFault: if the loss is not finite.
        """
        if holdout_ensemble is None:
            raise BadInput("holdout_ensemble=None: a DistilledReward is fitted with one")
        metrics: dict[str, float] = {}
        if self._fit_teacher:
            metrics = self.teacher.fit(
                data, model, holdout_ensemble=holdout_ensemble, generator=generator
            )
        transitions, rewards = self._examples(data, model, holdout_ensemble, generator)
        self.rewards.fit(rewards.reshape(-1, 1))
        x = torch.cat([data.obs, data.action, data.next_obs - data.obs], 1)
        self.scale.fit(x, of=transition_size(data))
        self.features.fit(self.scale(x))
        z = self.features(self.scale(transitions))
        y = (rewards - self.rewards.mean) / self.rewards.divisor
        weight = 1 / (y.std(0, correction=0) + 0.1)  # (B,)
        device = generator.device

        def loss(update: int) -> Tensor:
            rows = torch.randint(
                z.shape[1], (self._batch_size,), generator=generator, device=device
            )
            predicted = self.student(z[:, rows].flatten(0, 1))[0].view(z.shape[0], -1)
            error = (predicted - y[:, rows]) * weight[rows]
            return (error - error.mean(0)).square().mean() + 0.1 * error.square().mean()

        value = minimize(self.student, loss, self._num_updates, learning_rate=2e-3)
        return {**metrics, "model/distilled_mse": value}

    @torch.no_grad()
    def _examples(
        self,
        data: Transitions,
        model: Dynamics,
        holdout_ensemble: TailHoldoutEnsemble,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Return transitions (K, B, n) and the teacher's rewards of them (K, B)."""
        device = generator.device
        rows = torch.randint(len(data.reward), (2000,), generator=generator, device=device)
        obs, action, next_obs = data.obs[rows], data.action[rows], data.next_obs[rows]
        scale = (data.next_obs - data.obs).std(0, correction=0)
        uniform = torch.rand(500, 1, generator=generator, device=device)
        factor = 1 + (self._max_extrapolation - 1) * uniform
        far_obs = data.obs.mean(0) + factor * (obs[:500] - data.obs.mean(0))
        far_action = data.action.mean(0) + factor * (action[:500] - data.action.mean(0))
        new_obs, new_action = self._roll_out(data, model, generator)
        obs = torch.cat([obs[500:], far_obs, new_obs])
        action = torch.cat([action[500:], far_action, new_action])
        predictions = holdout_ensemble.predict(obs, action)  # (M, B, obs_dim)
        own = candidates_of(model, model.initial(obs), action, 5, generator=None)[1].next_obs
        mean = predictions.mean(0)
        spread = 2 * torch.randn(len(predictions), 1, 1, generator=generator, device=device)
        noise = torch.randn(4, *mean.shape, generator=generator, device=device) * scale
        size = torch.tensor([0.03, 0.1, 0.3, 1.0], device=device)[:, None, None]
        true = torch.cat([next_obs[500:], mean[1500:]])
        wide = mean + spread * (predictions - mean)
        candidates = torch.cat(
            [true[None], own.view(5, *obs.shape), predictions, wide, true + size * noise]
        )
        flat, count = candidates.flatten(0, 1), len(candidates)
        reward = self.teacher.reward(obs.repeat(count, 1), action.repeat(count, 1), flat)
        x = torch.cat(
            [obs.repeat(count, 1), action.repeat(count, 1), flat - obs.repeat(count, 1)], 1
        )
        return x.view(count, len(obs), -1), reward.view(count, -1).to(x.dtype)

    def _roll_out(
        self, data: Transitions, model: Dynamics, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Roll the model out under random actions, each held for ten steps.

        Returns:
            The finite obs (n, obs_dim) that are reached, and the actions (n, act_dim) there.
        """
        device = generator.device
        rows = torch.randint(len(data.reward), (20,), generator=generator, device=device)
        obs = data.obs[rows]
        steps = imagine(
            model, model.initial(obs, generator=generator), obs,
            lambda index, obs: self._action.sample(len(obs), generator=generator),
            self._rollout_length, hold=10, generator=generator, until_end=False,
        )  # fmt: skip
        x = torch.cat([torch.cat([step.obs, step.action], 1) for step in steps])
        x = x[torch.isfinite(x).all(1)]
        return x[:, : obs.shape[1]], x[:, obs.shape[1] :]

    @torch.no_grad()
    def reward(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        """Return rewards (N,) of obs (N, obs_dim), action (N, act_dim), next_obs (N, obs_dim).

        They are in the teacher's units.
        """
        z = self.scale(torch.cat([obs, action, next_obs - obs], 1))
        return self.student(self.features(z))[0, :, 0] * self.rewards.std + self.rewards.mean

    @torch.no_grad()
    def score(
        self,
        obs: Tensor,
        action: Tensor,
        candidates: Candidates,
        *,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the reward of every candidate (K, B); see DynamicsReward.score.

        The first layer of linear inputs is evaluated once for each (obs, action): its candidates
        share what these add to it.
        """
        if self.features.degree > 1:
            return reward_candidates(self, obs, action, candidates)
        n = obs.shape[1] + action.shape[1]
        first, second, last = (weight[0] for weight in self.student.weights)
        biases = [bias[0] for bias in self.student.biases]
        first = self.features.whiten @ first
        bias = biases[0] - self.features.center @ first
        first = first / self.scale.divisor[:, None]
        bias = bias - self.scale.mean @ first
        shared = torch.addmm(bias, torch.cat([obs, action], 1), first[:n])  # (B, hidden)
        scores = []
        for next_obs in candidates.next_obs.split(max(1, CACHED_ROWS // len(obs))):
            k = len(next_obs)
            x = torch.baddbmm(
                shared.expand(k, *shared.shape), next_obs - obs, first[n:].expand(k, -1, -1)
            )
            x = silu(x, inplace=True).flatten(0, 1)
            x = silu(torch.addmm(biases[1], x, second), inplace=True)
            scores.append(torch.mv(x, last[:, 0]).view(k, -1))
        return (torch.cat(scores) + biases[2]) * self.rewards.std + self.rewards.mean
