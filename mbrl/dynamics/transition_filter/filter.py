"""Transition filter: ask a model for candidates, keep the one that a dynamics reward prefers."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal, NamedTuple, final

import torch
from annotated_types import Ge, Lt
from torch import Tensor

from mbrl import moved
from mbrl.dynamics.base import candidates_of
from mbrl.dynamics.transition_filter.base import Candidates, DynamicsReward, RewardsTransitions
from mbrl.dynamics.transition_filter.candidates import (
    CandidateGenerator,
    CandidatePredictions,
    concatenate,
)
from mbrl.errors import BadInput
from mbrl.nn.early_stopping import split_holdout
from mbrl.nn.generators import as_generator
from mbrl.nn.normalizer import divisor
from mbrl.roles import Dynamics
from mbrl.types import ActionSpec, Prediction, Task, Transitions
from mbrl.values import Count, NonNegative, checked


class FilteredBelief(NamedTuple):
    """Belief of the base model, and the observation it stands at."""

    inner: Any  # the base model's
    obs: Tensor  # (B, obs_dim)


@final
class RewardConsistent(Dynamics):
    """Model whose transitions are filtered by a dynamics reward, Luo et al. 2024 (MOREC).

    With one plain candidate it is its base model, bit for bit. If even the chosen candidate's
    reward is below a threshold, the step is outside the validity region. By default the rollout is
    then truncated and the value bootstrapped, since the episode has not ended.

    Args:
        obs_dim: length of an observation.
        action: the environment's actions.
        task: what is known of the environment.
        base: the model whose transitions are filtered.
        dynamics_reward: scores the candidates.
        candidates: what is chosen from; by default a CandidateGenerator of kind "wide".
        generator: source of the initial weights of the default candidates.
        temperature: of a softmax over standardized scores; 0 takes the best.
        stop_rate: the threshold is this quantile of the rewards of held-out data; 0 never stops.
        calibration: whose rewards these are:
            "selected": of the candidates that the filter selects there.
            "data": of the real transitions. On clean data these are better than any prediction, so
                that nearly every step is stopped; on noisy data they are worse.
        below_threshold: what happens to a step whose reward is below the threshold:
            "truncate": it is marked as not valid, so that a rollout ends there.
            "penalize": penalty is subtracted from its reward.
        penalty: see below_threshold.
        device: where all parts live.

    Raises:
        BadInput: if the base is a simulator.
    """

    threshold: Tensor  # () of the dynamics reward

    @checked
    def __init__(
        self,
        *,
        obs_dim: Count,
        action: ActionSpec,
        task: Task,
        base: Dynamics,
        dynamics_reward: DynamicsReward,
        generator: torch.Generator | int,
        candidates: CandidateGenerator | None = None,
        temperature: NonNegative = 0.0,
        stop_rate: Annotated[float, Ge(0), Lt(1)] = 0.05,
        calibration: Literal["selected", "data"] = "selected",
        below_threshold: Literal["truncate", "penalize"] = "truncate",
        penalty: NonNegative = 1.0,
        device: torch.device | str = "cpu",
    ):
        """Initialize with a threshold that stops nothing."""
        generator = as_generator(generator, device)
        super().__init__()
        if not base.learned:
            raise BadInput("base: a simulator is never wrong; filter a learned model")
        self.base, self.dynamics_reward = base, dynamics_reward
        self.obs_dim, self.act_dim = base.obs_dim, base.act_dim
        self.candidate_generator = candidates or CandidateGenerator(
            obs_dim=obs_dim, action=action, task=task, generator=generator
        )
        self._task = task
        self._temperature, self._stop_rate = temperature, stop_rate
        self._calibration = calibration
        self._below_threshold, self._penalty = below_threshold, penalty
        self.register_buffer("threshold", torch.tensor(-torch.inf))
        moved.state_keys(self, {"judge.": "dynamics_reward.", "pool.": "candidate_generator."})
        self.to(device)

    @property
    def is_base(self) -> bool:
        """Return whether there is only one candidate to choose from, the base model's own."""
        return self.candidate_generator.kind == "plain" and (
            self.candidate_generator.num_samples == 1
        )

    @property
    def _transition_reward(self) -> RewardsTransitions | None:
        """Return the dynamics reward if it is compared with the threshold."""
        if self._stop_rate > 0 and isinstance(self.dynamics_reward, RewardsTransitions):
            return self.dynamics_reward
        return None

    def fit(self, data: Transitions, *, generator: torch.Generator | int) -> dict[str, float]:
        """Fit the base to all data and the reward to four fifths; calibrate on the last fifth.

        See Dynamics.fit.
        """
        generator = as_generator(generator, data.obs.device)
        metrics = self.base.fit(data, generator=generator)
        if self.is_base:
            return metrics
        train, held = split_holdout(len(data.reward), 0.2)
        part = data.select(train.to(data.obs.device))
        metrics |= self.candidate_generator.fit(
            part,
            with_holdout_ensemble=self.dynamics_reward.needs_holdout_ensemble,
            generator=generator,
        )
        metrics |= self.dynamics_reward.fit(
            part,
            self.base,
            holdout_ensemble=self.candidate_generator.holdout_ensemble,
            generator=generator,
        )
        transition_reward = self._transition_reward
        if transition_reward is not None:
            held_out = data.select(held.to(data.obs.device))
            next_obs = held_out.next_obs
            if self._calibration == "selected":
                state = self.initial(held_out.obs)
                next_obs = self.step(state, held_out.action, generator=generator)[1].next_obs
            reward = transition_reward.reward(held_out.obs, held_out.action, next_obs)
            self.threshold.copy_(torch.quantile(reward.double(), self._stop_rate))
            metrics["model/reward_threshold"] = self.threshold.item()
        return metrics

    def initial(
        self, obs: Tensor, *, num_particles: int = 1, generator: torch.Generator | None = None
    ) -> FilteredBelief:
        """Return a belief of the base at obs (B, obs_dim); see Model.initial."""
        inner = self.base.initial(obs, num_particles=num_particles, generator=generator)
        return FilteredBelief(inner, obs.repeat(num_particles, 1))

    def observe(
        self, state: FilteredBelief, action: Tensor, obs: Tensor, env_state: Tensor | None = None
    ) -> FilteredBelief:
        """Update the belief by a real step, action (B, act_dim) to obs (B, obs_dim)."""
        inner = self.base.observe(state.inner, action, obs, env_state)
        return FilteredBelief(inner, obs.repeat(state.obs.shape[0] // obs.shape[0], 1))

    def step(
        self,
        state: FilteredBelief,
        action: Tensor,
        *,
        generator: torch.Generator | None = None,
        with_uncertainty: bool = False,
    ) -> tuple[FilteredBelief, Prediction]:
        """Choose one successor of each row for action (B, act_dim); the uncertainty is the base's.

        See Model.step.
        """
        if self.is_base:
            inner, prediction = self.base.step(
                state.inner, action, generator=generator, with_uncertainty=with_uncertainty
            )
            return FilteredBelief(inner, prediction.next_obs), prediction
        options, rewards = self._scored_candidates(state, action, generator)
        score = rewards
        if self._temperature > 0 and generator is not None:  # a softmax, by Gumbel's noise
            score = (score - score.mean(0)) / divisor(score.std(0, correction=0))
            uniform = torch.rand(score.shape, generator=generator, device=score.device)
            gumbel = torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))
            score = score / self._temperature - gumbel
        prediction = self._select(state, action, options, rewards, score.max(0).indices)
        if with_uncertainty:
            base = self.base.step(state.inner, action, generator=generator, with_uncertainty=True)
            prediction = prediction._replace(uncertainty=base[1].uncertainty)
        inner = self.base.observe(state.inner, action, prediction.next_obs)
        return FilteredBelief(inner, prediction.next_obs), prediction

    def candidates(
        self, state: FilteredBelief, action: Tensor, num: int, *, generator: torch.Generator | None
    ) -> tuple[FilteredBelief, Prediction]:
        """Return the num best successors for action (B, act_dim), in order.

        If there are fewer, they are repeated from the best on; see Model.candidates.
        """
        if self.is_base:
            inner, prediction = candidates_of(
                self.base, state.inner, action, num, generator=generator
            )
            return FilteredBelief(inner, prediction.next_obs), prediction
        options, score = self._scored_candidates(state, action, generator)
        order = torch.sort(score, dim=0, descending=True, stable=True).indices
        prediction = concatenate(
            [self._select(state, action, options, score, order[k % len(order)]) for k in range(num)]
        )
        inner = candidates_of(self.base, state.inner, action, num, generator=None)[0]
        inner = self.base.observe(inner, action.repeat(num, 1), prediction.next_obs)
        return FilteredBelief(inner, prediction.next_obs), prediction

    def uncertainty(self, obs: Tensor, action: Tensor) -> Tensor:
        """Return the base's uncertainty (B,) at obs (B, obs_dim), action (B, act_dim)."""
        return self.base.uncertainty(obs, action)

    def _scored_candidates(
        self, state: FilteredBelief, action: Tensor, generator: torch.Generator | None
    ) -> tuple[CandidatePredictions, Tensor]:
        """Generate candidates for action (B, act_dim), and their scores (K, B)."""
        score = partial(self._score, state.obs.detach(), action.detach(), generator)
        options = self.candidate_generator.generate(
            self.base,
            state.inner,
            state.obs,
            action,
            score,
            generator=generator,
            with_means=self.dynamics_reward.needs_member_means,
        )
        return options, score(options.candidates)

    @torch.no_grad()
    def _score(
        self, obs: Tensor, action: Tensor, generator: torch.Generator | None, options: Candidates
    ) -> Tensor:
        """Return scores (K, B) for obs (B, obs_dim), action (B, act_dim); NaN becomes -inf."""
        score = self.dynamics_reward.score(obs, action, options, generator=generator)
        return torch.nan_to_num(score, nan=-torch.inf)

    def _select(
        self,
        state: FilteredBelief,
        action: Tensor,
        options: CandidatePredictions,
        score: Tensor,
        index: Tensor,
    ) -> Prediction:
        """Return candidate index (B,) of each row, and whether it is valid.

        Args:
            state: where the rows stand.
            action: (B, act_dim).
            options: the candidates.
            score: (K, B) of the candidates.
            index: (B,) of the chosen ones.
        """
        obs, task = state.obs, self._task
        rows = torch.arange(len(index), device=index.device)
        next_obs = options.candidates.next_obs[index, rows]
        if task.reward is None:
            reward = options.reward[index, rows]
        else:
            reward = task.reward(obs, action, next_obs)
        if task.terminated is None:
            terminated = options.terminated[index, rows]
        else:
            terminated = task.terminated(obs, action, next_obs)
        valid = options.valid[index, rows]
        transition_reward = self._transition_reward
        if transition_reward is not None:
            dynamics_reward = score[index, rows]
            if not transition_reward.scores_are_rewards:
                with torch.no_grad():
                    dynamics_reward = transition_reward.reward(obs, action, next_obs)
            low = dynamics_reward < self.threshold
            if self._below_threshold == "truncate":
                valid = valid & ~low
            else:
                reward = reward - self._penalty * low
        return Prediction(next_obs, reward, terminated, valid, None)
