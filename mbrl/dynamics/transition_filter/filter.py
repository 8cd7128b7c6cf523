"""The transition filter: ask a model for candidates, keep the one that a reward prefers."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from mbrl.dynamics.base import candidates_of
from mbrl.dynamics.transition_filter.base import Candidates, DynamicsReward, LearnedDynamicsReward
from mbrl.dynamics.transition_filter.candidates import CandidateGenerator, Proposals
from mbrl.errors import BadInput
from mbrl.nn.early_stopping import split_holdout
from mbrl.roles import Dynamics
from mbrl.types import ActionSpec, Prediction, Task, Transitions


class Filtered(NamedTuple):
    """A belief of the base model, and the observation it stands at."""

    inner: Any
    obs: Tensor  # (B, obs_dim)


class RewardConsistent(Dynamics):
    """Filter the transitions of any model by a dynamics reward, as MOREC does (Luo et al. 2024).

    With one plain candidate it is its base model, bit for bit. Where even the best candidate's
    reward is below what choices on held-out transitions earn, the step is not stood by: by default
    the rollout is truncated there and the value bootstrapped, as nothing has ended in truth.

    Args:
        obs_dim: length of an observation.
        action: the environment's actions.
        task: what is known of the environment.
        base: the model whose transitions are filtered.
        judge: scores them.
        pool: what is chosen from; by default the wide one.
        generator: source of the initial weights of a default pool.
        temperature: of a softmax over standardised scores; 0 takes the best.
        stop_rate: share of held-out transitions whose reward is below the threshold; 0 never stops.
        calibration: whose reward that is: of the "choices" that the filter makes there, or of the
            real "transitions": better than any prediction on clean data, worse on noisy ones.
        on_low: what happens to a step below it: "truncate" (valid = False) or "penalise".
        penalty: taken off the reward of a penalised step.
        device: where base, judge and pool live.

    Raises:
        BadInput: if the base is a simulator.
    """

    threshold: Tensor  # () of the judge's reward

    def __init__(
        self,
        *,
        obs_dim: int,
        action: ActionSpec,
        task: Task,
        base: Dynamics,
        judge: DynamicsReward,
        generator: torch.Generator,
        pool: CandidateGenerator | None = None,
        temperature: float = 0.0,
        stop_rate: float = 0.05,
        calibration: Literal["choices", "transitions"] = "choices",
        on_low: Literal["truncate", "penalise"] = "truncate",
        penalty: float = 1.0,
        device: torch.device | str = "cpu",
    ):
        """Take the parts."""
        super().__init__()
        if not base.learned:
            raise BadInput("dynamics.base: a simulator is never wrong; filter a learned model")
        self.base, self.judge = base, judge
        self.pool = pool or CandidateGenerator(
            obs_dim=obs_dim, action=action, task=task, generator=generator
        )
        self._task = task
        self._temperature, self._stop_rate = temperature, stop_rate
        self._on_low, self._penalty, self._calibration = on_low, penalty, calibration
        self.register_buffer("threshold", torch.tensor(-torch.inf))
        self.to(device)

    @property
    def is_base(self) -> bool:
        """Tell whether there is nothing to choose from."""
        return self.pool.kind == "plain" and self.pool.num_samples == 1

    def fit(self, data: Transitions, *, generator: torch.Generator) -> dict[str, float]:
        """Fit the base to all data; judge and pool to most, and calibrate on the rest."""
        metrics = self.base.fit(data, generator=generator)
        if self.is_base:
            return metrics
        train, held = split_holdout(len(data.reward), 0.2)
        part = Transitions(*(x[train.to(x.device)] for x in data))
        pool, judge = self.pool, self.judge
        metrics |= pool.fit(part, with_edges=judge.needs_edges, generator=generator)
        metrics |= judge.fit(part, self.base, edges=pool.edges, generator=generator)
        if isinstance(judge, LearnedDynamicsReward) and self._stop_rate > 0:
            rest = Transitions(*(x[held.to(x.device)] for x in data))
            after = rest.next_obs
            if self._calibration == "choices":
                state = self.initial(rest.obs)
                after = self.step(state, rest.action, generator=generator)[1].next_obs
            reward = judge.reward(rest.obs, rest.action, after)
            self.threshold.copy_(torch.quantile(reward.double(), self._stop_rate))
            metrics["model/reward_threshold"] = self.threshold.item()
        return metrics

    def initial(
        self, obs: Tensor, *, num_particles: int = 1, generator: torch.Generator | None = None
    ) -> Filtered:
        """Begin a belief of the base; see Model.initial."""
        options: Any = {"num_particles": num_particles, "generator": generator}
        return Filtered(self.base.initial(obs, **options), obs.repeat(num_particles, 1))

    def observe(
        self, state: Filtered, action: Tensor, obs: Tensor, env_state: Tensor | None = None
    ) -> Filtered:
        """Take in a real step; see Model.observe."""
        inner = self.base.observe(state.inner, action, obs, env_state)
        return Filtered(inner, obs.repeat(state.obs.shape[0] // obs.shape[0], 1))

    def step(
        self,
        state: Filtered,
        action: Tensor,
        *,
        generator: torch.Generator | None = None,
        with_uncertainty: bool = False,
    ) -> tuple[Filtered, Prediction]:
        """Choose one successor of each row; the uncertainty is the base's."""
        options: Any = {"generator": generator, "with_uncertainty": with_uncertainty}
        if self.is_base:
            inner, pred = self.base.step(state.inner, action, **options)
            return Filtered(inner, pred.next_obs), pred
        offered, told = self._offer(state, action, generator)
        score = told
        if self._temperature > 0 and generator is not None:
            score = (score - score.mean(0)) / (score.std(0, correction=0) + 1e-8)
            draw = torch.rand(score.shape, generator=generator, device=score.device)
            score = score / self._temperature - torch.log(-torch.log(draw.clamp(1e-20, 1 - 1e-7)))
        pred = self._predict(state, action, offered, told, score.max(0).indices)
        if with_uncertainty:
            doubt = self.base.step(state.inner, action, **options)[1].uncertainty
            pred = pred._replace(uncertainty=doubt)
        inner = self.base.observe(state.inner, action, pred.next_obs)
        return Filtered(inner, pred.next_obs), pred

    def candidates(
        self, state: Filtered, action: Tensor, num: int, *, generator: torch.Generator | None
    ) -> tuple[Filtered, Prediction]:
        """Offer the num best successors of each row, again from the best if there are fewer."""
        if self.is_base:
            inner, pred = candidates_of(self.base, state.inner, action, num, generator=generator)
            return Filtered(inner, pred.next_obs), pred
        offered, score = self._offer(state, action, generator)
        order = torch.sort(score, dim=0, descending=True, stable=True).indices
        turn = [order[k % len(order)] for k in range(num)]
        chosen = [self._predict(state, action, offered, score, index) for index in turn]
        fields = zip(*(pred[:4] for pred in chosen), strict=True)
        parts: Any = [torch.cat(field) for field in fields]
        inner = candidates_of(self.base, state.inner, action, num, generator=None)[0]
        following = Filtered(self.base.observe(inner, action.repeat(num, 1), parts[0]), parts[0])
        return following, Prediction(parts[0], parts[1], parts[2], parts[3], None)

    def uncertainty(self, obs: Tensor, action: Tensor) -> Tensor:
        """Give the base's uncertainty, without choosing anything; see Dynamics.doubt."""
        return self.base.uncertainty(obs, action)

    def _offer(
        self, state: Filtered, action: Tensor, generator: torch.Generator | None
    ) -> tuple[Proposals, Tensor]:
        """Propose successors and score them (K, B)."""
        score = partial(self._score, state.obs.detach(), action.detach(), generator)
        options: Any = {"generator": generator, "with_means": self.judge.needs_means}
        offered = self.pool.propose(self.base, state.inner, state.obs, action, score, **options)
        return offered, score(offered.candidates)

    @torch.no_grad()
    def _score(
        self, obs: Tensor, action: Tensor, generator: torch.Generator | None, offered: Candidates
    ) -> Tensor:
        """Ask the judge; what is not finite comes last."""
        score = self.judge.score(obs, action, offered, generator=generator)
        return torch.nan_to_num(score, nan=-torch.inf)

    def _predict(
        self, state: Filtered, action: Tensor, offered: Proposals, score: Tensor, index: Tensor
    ) -> Prediction:
        """Take candidate index (B,) of each row; say whether it can be stood by."""
        obs, task = state.obs, self._task
        rows = torch.arange(len(index), device=index.device)
        after = offered.candidates.next_obs[index, rows]
        known = task.reward, task.terminated
        told = offered.reward, offered.terminated
        reward, terminated = (
            said[index, rows] if says is None else says(obs, action, after)
            for says, said in zip(known, told, strict=True)
        )
        valid = offered.valid[index, rows]
        if isinstance(self.judge, LearnedDynamicsReward) and self._stop_rate > 0:
            earned = score[index, rows]
            if not self.judge.scores_rewards:
                with torch.no_grad():
                    earned = self.judge.reward(obs, action, after)
            low = earned < self.threshold
            if self._on_low == "truncate":
                valid = valid & ~low
            else:
                reward = reward - self._penalty * low
        return Prediction(after, reward, terminated, valid, None)
