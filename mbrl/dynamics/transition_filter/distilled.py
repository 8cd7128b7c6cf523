"""Many networks of a judge, distilled into one that costs little in a rollout."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import silu

from mbrl.dynamics.base import candidates_of
from mbrl.dynamics.transition_filter.base import Candidates, LearnedDynamicsReward
from mbrl.dynamics.transition_filter.holdout_ensemble import TailHoldoutEnsemble
from mbrl.dynamics.transition_filter.polynomials import Whitened
from mbrl.nn.networks import Networks, train
from mbrl.nn.normalizer import Normalizer
from mbrl.roles import Dynamics
from mbrl.types import ActionSpec, Transitions


class Distilled(LearnedDynamicsReward):
    """Learn a judge's rewards, Hinton et al. 2015, where a filter will ask for them.

    Questions are candidates of rows of the data, of rows moved out from their mean, and of rows
    that the model imagines under random actions, where rollouts will go: its own answers and
    perturbed ones of the edge members. What counts is the order among the candidates of one row, so
    the loss is of rewards less the row's mean, in units of their spread (far out it is a hundred
    times that of the data), and of the rewards themselves, for the threshold.

    Args:
        obs_dim: length of an observation.
        action: the environment's actions.
        generator: source of the initial weights.
        teacher: the judge.
        hidden: width of the first hidden layer; the second has half of it.
        degree: of the monomials that it sees, whitened on the data as the adversarial judge's.
        num_updates: gradient steps.
        batch_size: rows of a step.
        reach: rows are moved out from their mean by factors up to this.
        num_steps: of an imagined rollout.
        fit_teacher: whether the teacher is to be fitted too, or has been.
    """

    needs_edges = True

    def __init__(
        self,
        *,
        obs_dim: int,
        action: ActionSpec,
        generator: torch.Generator,
        teacher: LearnedDynamicsReward,
        hidden: int = 32,
        degree: int = 2,
        num_updates: int = 2000,
        batch_size: int = 64,
        reach: float = 2.0,
        num_steps: int = 50,
        fit_teacher: bool = True,
    ):
        """Draw the network."""
        super().__init__()
        width = 2 * obs_dim + action.dim
        self.teacher = teacher
        self.features = Whitened(width, degree=degree)
        sizes = [self.features.size, hidden, hidden // 2, 1]
        self.student = Networks(sizes, 1, generator=generator)
        self.scale, self.rewards = Normalizer(width, floor=1e-6), Normalizer(1, floor=1e-6)
        self._updates, self._batch_size, self._reach = num_updates, batch_size, reach
        self._fit_teacher, self._num_steps, self._action = fit_teacher, num_steps, action

    def fit(
        self,
        data: Transitions,
        model: Dynamics,
        *,
        edges: TailHoldoutEnsemble | None,
        generator: torch.Generator,
    ) -> dict[str, float]:
        """Fit the teacher, then the student to it; see DynamicsReward.fit."""
        assert edges is not None
        found: dict[str, float] = {}
        if self._fit_teacher:
            found = self.teacher.fit(data, model, edges=edges, generator=generator)
        questions, rewards = self._questions(data, model, edges, generator)
        self.rewards.fit(rewards.reshape(-1, 1))
        x = torch.cat([data.obs, data.action, data.next_obs - data.obs], 1)
        self.scale.fit(x)
        self.features.fit(self.scale(x))
        z = self.features(self.scale(questions))
        y = (rewards - self.rewards.mean) / self.rewards.std
        weight = 1 / (y.std(0, correction=0) + 0.1)  # (B,)
        device = generator.device

        def loss(update: int) -> Tensor:
            rows = torch.randint(
                z.shape[1], (self._batch_size,), generator=generator, device=device
            )
            told = self.student(z[:, rows].flatten(0, 1))[0].view(z.shape[0], -1)
            error = (told - y[:, rows]) * weight[rows]
            return (error - error.mean(0)).square().mean() + 0.1 * error.square().mean()

        value = train(self.student, loss, self._updates, learning_rate=2e-3)
        return {**found, "model/distilled_mse": value}

    @torch.no_grad()
    def _questions(
        self,
        data: Transitions,
        model: Dynamics,
        edges: TailHoldoutEnsemble,
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor]:
        """Give transitions (K, B, n) and the teacher's rewards of them (K, B)."""
        device = generator.device
        rows = torch.randint(len(data.reward), (2000,), generator=generator, device=device)
        obs, action, after = data.obs[rows], data.action[rows], data.next_obs[rows]
        scale = (data.next_obs - data.obs).std(0, correction=0)
        factor = 1 + (self._reach - 1) * torch.rand(500, 1, generator=generator, device=device)
        far_obs = data.obs.mean(0) + factor * (obs[:500] - data.obs.mean(0))
        far_action = data.action.mean(0) + factor * (action[:500] - data.action.mean(0))
        new_obs, new_action = self._imagine(data, model, generator)
        obs = torch.cat([obs[500:], far_obs, new_obs])
        action = torch.cat([action[500:], far_action, new_action])
        told = edges.predict(obs, action)
        own = candidates_of(model, model.initial(obs), action, 5, generator=None)[1].next_obs
        middle = told.mean(0)
        spread = 2 * torch.randn(len(told), 1, 1, generator=generator, device=device)
        noise = torch.randn(4, *middle.shape, generator=generator, device=device) * scale
        size = torch.tensor([0.03, 0.1, 0.3, 1.0], device=device)[:, None, None]
        true = torch.cat([after[500:], middle[1500:]])
        wide = middle + spread * (told - middle)
        asked = torch.cat([true[None], own.view(5, *obs.shape), told, wide, true + size * noise])
        flat, count = asked.flatten(0, 1), len(asked)
        reward = self.teacher.reward(obs.repeat(count, 1), action.repeat(count, 1), flat)
        x = torch.cat(
            [obs.repeat(count, 1), action.repeat(count, 1), flat - obs.repeat(count, 1)], 1
        )
        return x.view(count, len(obs), -1), reward.view(count, -1).to(x.dtype)

    def _imagine(
        self, data: Transitions, model: Dynamics, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Roll the model out, each action held for ten steps: obs (n, ...), actions (n, ...)."""
        device = generator.device
        rows = torch.randint(len(data.reward), (20,), generator=generator, device=device)
        obs, places = data.obs[rows], []
        state = model.initial(obs, generator=generator)
        action = data.action[rows]
        for step in range(self._num_steps):
            if step % 10 == 0:
                action = self._action.sample(len(rows), generator=generator)
            places.append((obs, action))
            state, pred = model.step(state, action, generator=generator)
            obs = pred.next_obs
        found = torch.cat([torch.cat(each, 1) for each in places])
        found = found[torch.isfinite(found).all(1)]
        return found[:, : obs.shape[1]], found[:, obs.shape[1] :]

    @torch.no_grad()
    def reward(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        """Give the student's reward (N,), in the teacher's units."""
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
        """Score every candidate; what (obs, action) add to a linear first layer is found once."""
        if self.features.degree > 1:
            return super().score(obs, action, candidates, generator=generator)
        n = obs.shape[1] + action.shape[1]
        first, second, last = (weight[0] for weight in self.student.weights)
        biases = [bias[0] for bias in self.student.biases]
        first = self.features.whiten @ first
        bias = biases[0] - self.features.center @ first
        first = first / self.scale.std[:, None]
        bias = bias - self.scale.mean @ first
        given = torch.addmm(bias, torch.cat([obs, action], 1), first[:n])  # (B, hidden)
        found = []
        for after in candidates.next_obs.split(max(1, 4096 // len(obs))):  # stays in the cache
            each = given.expand(len(after), *given.shape), first[n:].expand(len(after), -1, -1)
            x = silu(torch.baddbmm(each[0], after - obs, each[1]), inplace=True).flatten(0, 1)
            x = silu(torch.addmm(biases[1], x, second), inplace=True)
            found.append(torch.mv(x, last[:, 0]).view(len(after), -1))
        return (torch.cat(found) + biases[2]) * self.rewards.std + self.rewards.mean
