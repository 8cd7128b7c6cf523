"""UP-MPC: a policy's own candidates, tried out in the model, doubt a bonus or a penalty.

Wang et al. 2024, "COPlanner: Plan to Roll Out Conservatively but to Explore Optimistically for
Model-Based RL": alpha < 0 chooses the actions of imagined rollouts, alpha > 0 those of the real
environment.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from mbrl.errors import BadInput, NumericalFault
from mbrl.imagination.rollout import rollout
from mbrl.nn.generators import restore
from mbrl.planners.noise import colored_noise
from mbrl.roles import ActionSelector, Model
from mbrl.types import ActionSpec, Prediction

MEMORY = 0.99  # weight kept by what is measured, per observation


class Candidates(NamedTuple):
    """First actions and what the model says of them."""

    action: Tensor  # (E, K, act_dim)
    value: Tensor  # (E, K) sum of discount^h reward, and the terminal value if one is asked for
    doubt: Tensor  # (E, K) sum of discount^h uncertainty


class UPMPC:
    """Choose among K actions of a policy by their imagined return + alpha * uncertainty.

    The first candidate is drawn from the caller's generator, all else from this selector's own: so
    K = 1 is the policy, bit for bit, and nothing else that the caller draws is disturbed. Ties go
    to the first. A deterministic choice is the policy's.

    Args:
        learner: the policy; it proposes the candidates and acts after them.
        dynamics: a model with uncertainty.
        action: the environment's actions.
        generator: source of all candidates but the first, and of the policy's later actions.
        num_candidates: K.
        horizon: H_p, steps imagined for each candidate.
        alpha: weight of the uncertainty; below 0 avoids it, above 0 seeks it.
        discount: per step, of reward and uncertainty.
        reading: "corrected" imagines by the model's mean prediction, and a candidate earns nothing
            after a predicted termination; "paper" as released: by sampled predictions that go on
            after it; experiment=coplanner_paper takes the released spread of all members with it.
        scale_alpha: alpha counts in units of spread(return) / spread(uncertainty) over the
            candidates, as measured over about the last 100 observations.
        terminal_value: add the learner's value of where a candidate ends.
        num_wide: candidates, of the K, that are whole sequences of coloured noise instead.
        colour: exponent of that noise: 0 white, 1 pink, 2 red.
        wide_refits: times that these are drawn anew around their better half, as in iCEM; each time
            the best num_wide of old and new stay.
        chunk: rows imagined at once, to stay in cache.

    Raises:
        BadInput: if a value is asked of a policy that has none, or noise where it cannot be.
    """

    def __init__(
        self,
        *,
        learner: ActionSelector,
        dynamics: Model,
        action: ActionSpec,
        generator: torch.Generator,
        num_candidates: int = 5,
        horizon: int = 5,
        alpha: float = 1.0,
        discount: float = 0.97,
        reading: Literal["corrected", "paper"] = "corrected",
        scale_alpha: bool = False,
        terminal_value: bool = False,
        num_wide: int = 0,
        colour: float = 1.0,
        wide_refits: int = 0,
        chunk: int = 1024,
    ):
        """Take the parts."""
        if not hasattr(learner, "select"):
            raise BadInput("UP-MPC needs a policy that proposes actions; choose a learner, as sac")
        if terminal_value and not hasattr(learner, "value"):
            raise BadInput("terminal_value=true: this policy values no states; choose false")
        if num_wide >= num_candidates:
            raise BadInput(f"num_wide={num_wide}: should be below num_candidates={num_candidates}")
        if wide_refits and num_wide < 2:
            raise BadInput(f"wide_refits={wide_refits}: needs num_wide of 2 or more to refit to")
        self._middle, self._half = (action.high + action.low) / 2, (action.high - action.low) / 2
        if num_wide and not (action.kind == "continuous" and self._half.isfinite().all()):
            raise BadInput(f"num_wide={num_wide}: noise needs continuous, bounded actions; take 0")
        self._policy, self._action, self._generator = learner, action, generator
        self._model: Any = dynamics if reading == "corrected" else _Endless(dynamics)
        self._samples = reading == "paper"
        self._num_policy, self._num_wide = num_candidates - num_wide, num_wide
        self._alpha, self._scale_alpha = alpha, scale_alpha
        self._colour, self._wide_refits = colour, wide_refits
        self._rows = max(1, chunk // num_candidates)
        self._imagine: dict[str, Any] = {
            "generator": generator if self._samples else None,
            "policy_generator": generator,
            "policy": learner,
            "horizon": horizon,
            "discount": discount,
            "terminal_value": getattr(learner, "value", None) if terminal_value else None,
            "with_uncertainty": True,
            "chunk": chunk,
        }
        # running sums of: weight, spread of returns, of doubts, choices changed, spread of actions
        self._running = torch.zeros(5, dtype=torch.float64, device=generator.device)

    @torch.no_grad()
    def select(
        self, obs: Tensor, *, generator: torch.Generator, deterministic: bool = False
    ) -> Tensor:
        """Choose actions (E, act_dim) for obs (E, obs_dim).

        Raises:
            NumericalFault: if the model gives a candidate a NaN or an infinity.
            BadInput: if the model knows no uncertainty.
        """
        first = self._policy.select(obs, generator=generator, deterministic=deterministic)
        if deterministic:
            return first
        chunks = zip(obs.split(self._rows), first.split(self._rows), strict=True)
        seen = Candidates(
            *map(torch.cat, zip(*(self._try_out(*rows) for rows in chunks), strict=True))
        )
        self._measure_spreads(seen)
        score = seen.value + self.alpha() * seen.doubt
        if not math.isfinite(score.sum()):
            raise NumericalFault("UP-MPC: the model gave a candidate a NaN or an infinity")
        best = score.argmax(1)
        flipped = (best != seen.value.argmax(1)).double().mean()
        self._note(3, obs.shape[0], flipped)
        return seen.action[torch.arange(obs.shape[0], device=obs.device), best]

    def _try_out(self, obs: Tensor, first: Tensor) -> Candidates:
        """Imagine what follows on the K candidates at obs (E, obs_dim); first is (E, act_dim)."""
        num_envs, more = obs.shape[0], self._num_policy - 1
        own = self._generator
        others = self._policy.select(obs.repeat_interleave(more, dim=0), generator=own)
        action = torch.cat([first[:, None], others.view(num_envs, more, first.shape[1])], 1)
        state = self._model.initial(obs, generator=own if self._samples else None)
        seen = Candidates(action, *self._returns(state, action[:, :, None]))
        if self._num_wide:
            both = zip(seen, self._widen(state, num_envs), strict=True)
            seen = Candidates(*(torch.cat(x, 1) for x in both))
        return seen

    def _returns(self, state: Any, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Imagine sequences (E, K, h, act_dim), the policy after them: value and doubt (E, K)."""
        value, doubt = rollout(self._model, state, actions, **self._imagine)
        assert doubt is not None
        return value, doubt

    def _widen(self, state: Any, num_envs: int) -> Candidates:
        """Try out whole sequences of coloured noise, drawn anew around the better ones."""
        shape = (num_envs, self._num_wide, self._imagine["horizon"], self._action.dim)
        middle, spread = self._middle, self._half
        none = self._middle.new_empty(num_envs, 0)
        kept = [none[..., None, None].expand(-1, -1, *shape[2:]), none, none]
        for _ in range(1 + self._wide_refits):
            noise = colored_noise(shape, self._colour, generator=self._generator)
            drawn = self._action.clip(middle + spread * noise)
            new = drawn, *self._returns(state, drawn)
            found = [torch.cat(x, 1) for x in zip(kept, new, strict=True)]
            score = found[1] + self.alpha() * found[2]
            order = score.argsort(dim=1, descending=True, stable=True)[:, : self._num_wide]
            rows = torch.arange(num_envs, device=order.device)[:, None]
            kept = [x[rows, order] for x in found]
            elites = kept[0][:, : (self._num_wide + 1) // 2]
            middle, spread = elites.mean(1, keepdim=True), elites.std(1, correction=0, keepdim=True)
        sequences, value, doubt = kept
        return Candidates(sequences[:, :, 0], value, doubt)

    def alpha(self) -> float | Tensor:
        """Give the weight of the uncertainty, measured spreads taken into account."""
        if not self._scale_alpha:
            return self._alpha
        return self._alpha * self._ratio()

    def _ratio(self) -> Tensor:
        """Give spread(return) / spread(uncertainty), the alpha that makes both count the same."""
        return self._running[1] / self._running[2].clamp(min=1e-12)

    def _measure_spreads(self, seen: Candidates) -> None:
        """Note how much the candidates of one observation differ."""
        rows = seen.value.shape[0]
        spreads = [x.double().std(1, correction=0).mean() for x in (seen.value, seen.doubt)]
        actions = (seen.action.std(1, correction=0) / self._half).double().mean()
        self._note(0, rows, torch.ones_like(actions), *spreads)
        self._note(4, rows, actions)

    def _note(self, place: int, rows: int, *found: Tensor) -> None:
        """Add means over rows to the running ones."""
        kept = MEMORY**rows
        part = self._running[place : place + len(found)]
        part.mul_(kept).add_(torch.stack(found), alpha=1 - kept)

    def metrics(self) -> dict[str, float]:
        """Give what was measured over about the last 100 observations.

        Returns:
            alpha; spread_ratio, spread(return) / spread(uncertainty); flipped, the share of choices
            that the uncertainty changed; action_spread, of the candidates, in half ranges.
        """
        weight, *_, flipped, actions = self._running.tolist()
        if weight == 0:
            return {}
        return {
            "alpha": float(self.alpha()),
            "spread_ratio": self._ratio().item(),
            "flipped": flipped / weight,
            "action_spread": actions / weight,
        }

    def state_dict(self) -> dict[str, Any]:
        """Give generator and measurements."""
        return {"generator": self._generator.get_state(), "running": self._running.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state_dict, bit for bit."""
        restore(self._generator, state["generator"])
        self._running.copy_(state["running"])


class _Endless:
    """A model that never ends an episode: the released code goes on earning after termination."""

    def __init__(self, model: Any):
        self._model = model

    def initial(self, obs: Tensor, *, generator: torch.Generator | None = None) -> Any:
        """Begin a belief; see Model.initial."""
        return self._model.initial(obs, generator=generator)

    def step(self, state: Any, action: Tensor, **options: Any) -> tuple[Any, Prediction]:
        """Predict one step that does not end; see Model.step."""
        state, pred = self._model.step(state, action, **options)
        return state, pred._replace(terminated=torch.zeros_like(pred.terminated))
