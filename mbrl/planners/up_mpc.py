"""Uncertainty-aware policy-guided MPC: candidates of a policy, scored by return and uncertainty.

Wang et al. 2024, "COPlanner: Plan to Roll Out Conservatively but to Explore Optimistically for
Model-Based RL": alpha < 0 selects the actions of branched rollouts, alpha > 0 those of the real
environment.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Generic, Literal, NamedTuple, final

import torch
from annotated_types import Ge
from torch import Tensor

from mbrl.errors import BadInput, NumericalFault
from mbrl.imagination.rollout import rollout
from mbrl.nn.generators import as_generator, restore
from mbrl.nn.normalizer import divisor
from mbrl.planners.noise import colored_noise
from mbrl.roles import ActionSelector, Model, ValuesStates
from mbrl.types import ActionSpec, Prediction, State, as_numbers
from mbrl.values import AtMost, Count, CountOrZero, Finite, Fraction, NonNegative, checked

EMA_DECAY = 0.99  # of the measurements, per observation


class Candidates(NamedTuple):
    """First actions of candidates and what the model predicts for them."""

    action: Tensor  # (E, K, act_dim)
    value: Tensor  # (E, K) sum of discount^h reward, and the terminal value if one is asked for
    uncertainty: Tensor  # (E, K) sum of discount^h uncertainty


@final
class UPMPC(Generic[State]):
    """Selector of the best of K actions of a policy by predicted return + alpha * uncertainty.

    Wang et al. 2024 (COPlanner). The first candidate is drawn from the caller's generator, all
    others from the selector's own: with K = 1 it is the policy, bit for bit, and the caller's
    other draws do not change. Of equal candidates the first one is selected. A deterministic action
    is the policy's.

    Args:
        learner: the policy; it proposes the candidates and acts after them.
        dynamics: a model that predicts its uncertainty.
        action: the environment's actions.
        generator: source of all candidates but the first, and of the policy's later actions.
        num_candidates: K.
        horizon: model steps per candidate.
        alpha: weight of the uncertainty; below 0 avoids it, above 0 seeks it.
        discount: per step, of reward and uncertainty.
        variant: how candidates are rolled out.
            "corrected": by the model's mean prediction; nothing counts after a predicted
            termination.
            "paper": as the released code: by sampled predictions that go on after a termination;
            experiment=coplanner_paper combines it with the released measure of uncertainty.
        scale_alpha: whether alpha counts in units of std(return) / std(uncertainty) over the
            candidates, as measured over about the last 100 observations.
        terminal_value: whether the learner's value of the last observation is added to a return.
        num_noise_candidates: candidates, of the K, that are sequences of colored noise instead.
        color: exponent of the power spectrum of that noise over time: 0 white, 1 pink, 2 red.
        num_noise_refits: times that these are drawn again around their better half, as in iCEM; the
            best num_noise_candidates of old and new are kept.
        chunk: model rows evaluated at once, so that they stay in the cache.

    Raises:
        BadInput: if the learner has no value, but it is asked for, or if noise is not possible.
    """

    @checked
    def __init__(
        self,
        *,
        learner: ActionSelector,
        dynamics: Model[State],
        action: ActionSpec,
        generator: torch.Generator | int,
        num_candidates: Count = 5,
        horizon: Count = 5,
        alpha: Finite = 1.0,
        discount: Fraction = 0.97,
        variant: Literal["corrected", "paper"] = "corrected",
        scale_alpha: bool = False,
        terminal_value: bool = False,
        num_noise_candidates: Annotated[int, Ge(0), AtMost("num_candidates")] = 0,
        color: NonNegative = 1.0,
        num_noise_refits: CountOrZero = 0,
        chunk: Count = 1024,
    ):
        """Store the parts and the settings."""
        generator = as_generator(generator, action.low.device)
        if not isinstance(learner, ActionSelector):
            raise BadInput("learner: UP-MPC needs a policy that proposes actions, such as SAC")
        if terminal_value and not isinstance(learner, ValuesStates):
            raise BadInput("terminal_value=True: this policy estimates no values; choose False")
        if num_noise_candidates >= num_candidates:
            raise BadInput(
                f"num_noise_candidates={num_noise_candidates}: should be below "
                f"num_candidates={num_candidates}"
            )
        if num_noise_refits and num_noise_candidates < 2:
            raise BadInput(
                f"num_noise_refits={num_noise_refits}: needs num_noise_candidates of 2 or more"
            )
        self._middle, self._half = (action.high + action.low) / 2, (action.high - action.low) / 2
        is_bounded = action.kind == "continuous" and self._half.isfinite().all()
        if num_noise_candidates and not is_bounded:
            raise BadInput(
                f"num_noise_candidates={num_noise_candidates}: noise needs continuous, bounded "
                "actions; choose 0"
            )
        self._policy, self._action, self._generator = learner, action, generator
        self._samples = variant == "paper"
        self._model: Model[State] = _WithoutTermination(dynamics) if self._samples else dynamics
        self._num_policy = num_candidates - num_noise_candidates
        self._num_noise, self._num_refits = num_noise_candidates, num_noise_refits
        self._alpha, self._scale_alpha = alpha, scale_alpha
        self._color = color
        self._rows = max(1, chunk // num_candidates)
        value = learner.value if terminal_value and isinstance(learner, ValuesStates) else None
        self._horizon = horizon
        self._rollout: dict[str, Any] = {
            "generator": generator if self._samples else None,
            "policy_generator": generator,
            "policy": learner,
            "horizon": horizon,
            "discount": discount,
            "terminal_value": value,
            "with_uncertainty": True,
            "chunk": chunk,
        }
        # running sums of: weight, std of returns, std of uncertainties, flipped choices, std of
        # actions
        self._running = torch.zeros(5, dtype=torch.float64, device=generator.device)

    @torch.no_grad()
    def select(
        self, obs: Tensor, *, generator: torch.Generator, deterministic: bool = False
    ) -> Tensor:
        """Return actions (E, act_dim) for obs (E, obs_dim).

        Raises:
            NumericalFault: if the model gives a candidate a NaN or an infinity.
            BadInput: if the model predicts no uncertainty.
        """
        obs = as_numbers("obs", obs, ("E", "N"))
        first = self._policy.select(obs, generator=generator, deterministic=deterministic)
        if deterministic:
            return first
        chunks = zip(obs.split(self._rows), first.split(self._rows), strict=True)
        scored = (self._score_candidates(*rows) for rows in chunks)
        candidates = Candidates(*map(torch.cat, zip(*scored, strict=True)))
        self._measure(candidates)
        score = candidates.value + self.alpha() * candidates.uncertainty
        if not math.isfinite(score.sum()):
            raise NumericalFault("UP-MPC: the model gave a candidate a NaN or an infinity")
        best = score.argmax(1)
        flipped = (best != candidates.value.argmax(1)).double().mean()
        self._update_means(3, obs.shape[0], flipped)
        return candidates.action[torch.arange(obs.shape[0], device=obs.device), best]

    def _score_candidates(self, obs: Tensor, first: Tensor) -> Candidates:
        """Return K candidates at obs (E, obs_dim); first (E, act_dim) is one of them."""
        num_envs, num_others = obs.shape[0], self._num_policy - 1
        own = self._generator
        action = first[:, None]
        if num_others:
            others = self._policy.select(obs.repeat_interleave(num_others, dim=0), generator=own)
            action = torch.cat([action, others.view(num_envs, num_others, first.shape[1])], 1)
        state = self._model.initial(obs, generator=own if self._samples else None)
        candidates = Candidates(action, *self._returns(state, action[:, :, None]))
        if self._num_noise:
            both = zip(candidates, self._noise_candidates(state, num_envs), strict=True)
            candidates = Candidates(*(torch.cat(x, 1) for x in both))
        return candidates

    def _returns(self, state: State, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Compute value and uncertainty (E, K) of sequences (E, K, h, act_dim), then the policy."""
        value, uncertainty = rollout(self._model, state, actions, **self._rollout)
        assert uncertainty is not None
        return value, uncertainty

    def _noise_candidates(self, state: State, num_envs: int) -> Candidates:
        """Return candidates of colored noise, drawn again around the better ones."""
        shape = (num_envs, self._num_noise, self._horizon, self._action.dim)
        center, spread = self._middle, self._half
        empty = self._middle.new_empty(num_envs, 0)
        best = [empty[..., None, None].expand(-1, -1, *shape[2:]), empty, empty]
        for _ in range(1 + self._num_refits):
            noise = colored_noise(shape, self._color, generator=self._generator)
            drawn = self._action.clip(center + spread * noise)
            new = drawn, *self._returns(state, drawn)
            merged = [torch.cat(x, 1) for x in zip(best, new, strict=True)]
            score = merged[1] + self.alpha() * merged[2]
            order = score.argsort(dim=1, descending=True, stable=True)[:, : self._num_noise]
            rows = torch.arange(num_envs, device=order.device)[:, None]
            best = [x[rows, order] for x in merged]
            elites = best[0][:, : (self._num_noise + 1) // 2]
            center, spread = elites.mean(1, keepdim=True), elites.std(1, correction=0, keepdim=True)
        sequences, value, uncertainty = best
        return Candidates(sequences[:, :, 0], value, uncertainty)

    def alpha(self) -> float | Tensor:
        """Return the weight of the uncertainty, scaled if scale_alpha."""
        if not self._scale_alpha:
            return self._alpha
        return self._alpha * self._spread_ratio()

    def _spread_ratio(self) -> Tensor:
        """Return std(return) / std(uncertainty), the alpha at which both count the same."""
        return self._running[1] / divisor(self._running[2])

    def _measure(self, candidates: Candidates) -> None:
        """Update the mean standard deviations over the candidates of one observation."""
        rows = candidates.value.shape[0]
        both = (candidates.value, candidates.uncertainty)
        spreads = [x.double().std(1, correction=0).mean() for x in both]
        actions = (candidates.action.std(1, correction=0) / divisor(self._half)).double().mean()
        self._update_means(0, rows, torch.ones_like(actions), *spreads)
        self._update_means(4, rows, actions)

    def _update_means(self, first: int, rows: int, *means: Tensor) -> None:
        """Update the running sums from `first` on by means over rows."""
        decay = EMA_DECAY**rows
        part = self._running[first : first + len(means)]
        part.mul_(decay).add_(torch.stack(means), alpha=1 - decay)

    def metrics(self) -> dict[str, float]:
        """Return means over about the last 100 observations.

        Returns:
            alpha; spread_ratio, std(return) / std(uncertainty) of the candidates; flipped, the
            fraction of choices that the uncertainty changed; action_spread, the standard deviation
            of the candidates in half ranges.
        """
        weight, *_, flipped, actions = self._running.tolist()
        if weight == 0:
            return {}
        return {
            "alpha": float(self.alpha()),
            "spread_ratio": self._spread_ratio().item(),
            "flipped": flipped / weight,
            "action_spread": actions / weight,
        }

    def state_dict(self) -> dict[str, Any]:
        """Return generator and measurements."""
        return {"generator": self._generator.get_state(), "running": self._running.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a state_dict, bit for bit."""
        restore(self._generator, state["generator"])
        self._running.copy_(state["running"])


class _WithoutTermination(Generic[State]):
    """Model that never terminates an episode: the released code counts on after termination."""

    def __init__(self, model: Model[State]):
        self._model = model

    def initial(
        self, obs: Tensor, *, num_particles: int = 1, generator: torch.Generator | None = None
    ) -> State:
        """Return the state at obs (B, obs_dim); see Model.initial."""
        return self._model.initial(obs, num_particles=num_particles, generator=generator)

    def observe(
        self, state: State, action: Tensor, obs: Tensor, env_state: Tensor | None = None
    ) -> State:
        """Update the state by a real step; see Model.observe."""
        return self._model.observe(state, action, obs, env_state)

    def step(
        self,
        state: State,
        action: Tensor,
        *,
        generator: torch.Generator | None = None,
        with_uncertainty: bool = False,
    ) -> tuple[State, Prediction]:
        """Predict one step that does not end; see Model.step."""
        state, pred = self._model.step(
            state, action, generator=generator, with_uncertainty=with_uncertainty
        )
        return state, pred._replace(terminated=torch.zeros_like(pred.terminated))
