"""What exact planners have in common: an incumbent first, improved until the deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mbrl.errors import BadInput
from mbrl.planners.cem import CEM
from mbrl.planners.exact.piecewise_linear import Exact, PiecewiseLinearModel, obs_of
from mbrl.planners.gradient import Gradient
from mbrl.planners.mppi import MPPI
from mbrl.relu import attach
from mbrl.relu.network import Array
from mbrl.relu.program import Problem, relu_only
from mbrl.roles import Plan
from mbrl.types import ActionSpec

SAMPLERS = {"cem": CEM, "mppi": MPPI, "gradient": Gradient}

# few elites: the mean of many lies between valleys, and the broadest takes them all (measured, the
# excess after descent with 30: contact .009 for .005, headwind .095 for .017)
QUICK = {"num_samples": 300, "num_elites": 8, "num_iterations": 10, "warm_iterations": 5}

# a plan made afresh is to end in another valley: most of its samples are at the actions' limits,
# where the optima of piecewise linear costs often are (measured on pushing: excess .013 for .041)
WIDE = {"std": 1.5}
ENDLESS = 10**4  # iterations, where a deadline is what ends them


class Memory(NamedTuple):
    """What the next plan begins from."""

    actions: Tensor  # (E, H, act_dim)
    sampler: Any


class Found(NamedTuple):
    """A plan of one environment and what is known of it."""

    actions: Array  # (H, act_dim)
    cost: float
    lower_bound: float  # of the cost of any plan
    incumbent: float  # the cost that the search began with
    num_unstable: int = 0
    status: str = "no_time"
    nodes: int = 0


class Timer:
    """Seconds by part, and until the end of a share of the deadline."""

    def __init__(self):
        """Begin now."""
        self._began = self._last = time.monotonic()
        self.ends = self.share = np.inf
        self.laps: dict[str, float] = {}

    def taken(self) -> float:
        """Give the seconds since the beginning."""
        return time.monotonic() - self._began

    def allot(self, deadline: float | None, parts: int) -> None:
        """Begin a share: the time left for each of the parts still to do."""
        if deadline is not None:
            self.share = max(deadline - self.taken(), 0.0) / parts
            self.ends = self.taken() + self.share

    def left(self) -> float | None:
        """Give the seconds left of the share; None where there is no deadline."""
        return None if np.isinf(self.ends) else self.ends - self.taken()

    def part(self, share: float) -> float | None:
        """Give a share of the seconds left; None where there is no deadline."""
        left = self.left()
        return None if left is None else share * max(left, 0.0)

    def hurry(self, part: float) -> bool:
        """Tell whether less than a part of the share is left."""
        left = self.left()
        return left is not None and left < part * self.share

    def lap(self, name: str) -> None:
        """Book the seconds since the last lap."""
        now = time.monotonic()
        self.laps[name] = self.laps.get(name, 0.0) + now - self._last
        self._last = now


Sample = Callable[[float], Array]  # seconds -> candidates (K, H, act_dim)
Improve = Callable[[Problem, Found, Array, Sample, Timer], Found]


class Anytime:
    """Find an incumbent for every environment, then have each improved.

    The incumbent is the best of the plan before, shifted, and of what the sampler finds: from the
    plan before, and num_fresh times without it, since sampling ends in one of many valleys.
    improve(problem, incumbent, candidates (K, H, act_dim) from the best on, sample, timer) is asked
    next; where it sees that it cannot prove much in time, it may have more sampled.

    Args:
        name: of the planner, for messages.
        action: the environment's actions.
        horizon: decisions H.
        action_hold: environment steps for which each action is held.
        discount: per environment step.
        sampler: "cem", "mppi" or "gradient".
        sampler_options: of the sampler, such as num_samples.
        num_fresh: further plans that the sampler makes, from a wide distribution.
        integer: indices of actions that are whole numbers.

    Raises:
        BadInput: if there is no such sampler, it does not take the actions, or an index is none.
    """

    def __init__(
        self,
        name: str,
        *,
        action: ActionSpec,
        horizon: int,
        action_hold: int,
        discount: float,
        sampler: str,
        sampler_options: dict[str, Any] | None,
        num_fresh: int,
        integer: tuple[int, ...] = (),
    ):
        """Make the sampler."""
        for i in integer:
            if not 0 <= i < action.dim:
                raise BadInput(
                    f"integer={integer}: {i} is no action; there are {action.dim}, from 0"
                )
            if action.low[i].ceil() > action.high[i].floor():
                raise BadInput(f"integer={integer}: action {i} has no whole number in its bounds")
        self._name, self._action, self._horizon = name, action, horizon
        self._hold, self._discount, self._integer = action_hold, discount, tuple(integer)
        self._num_fresh = num_fresh
        options = {**(QUICK if sampler == "cem" else {}), **(sampler_options or {})}
        options |= {
            "action": action,
            "horizon": horizon,
            "action_hold": action_hold,
            "discount": discount,
        }
        self._sampler: Any = SAMPLERS[sampler](**options)
        wide = {**options, **WIDE}
        self._fresh: Any = SAMPLERS[sampler](**wide)
        self._endless: Any = SAMPLERS[sampler](**{**wide, "num_iterations": ENDLESS})

    def start(self, num_envs: int) -> Memory:
        """Give the memory of E environments without a plan."""
        middle = ((self._action.low + self._action.high) / 2).expand(num_envs, self._horizon, -1)
        return Memory(self.allowed(middle.clone()), self._sampler.start(num_envs))

    def plan(
        self,
        state: Any,
        model: Any,
        improve: Improve,
        *,
        generator: torch.Generator,
        previous: Plan | None,
        deadline: float | None,
    ) -> Plan:
        """Plan for every environment of a belief; see Planner.plan.

        The info holds tensors (E,): lower_bound (of the cost, which is minus the value), gap
        (relative), incumbent (the cost begun with), num_unstable, nodes; status (E strings);
        latency and seconds by part.

        Raises:
            BadInput: if the model is not piecewise linear.
        """
        if not isinstance(model, PiecewiseLinearModel):
            raise BadInput(
                f"planner={self._name} plans on ReLU networks only: choose dynamics=sparse_relu"
            )
        timer = Timer()
        obs = obs_of(state).detach()
        network, cost = attach(model.network(), model.cost)
        network = relu_only(network)
        exact = Exact(network, cost)
        starts, sampled = self._incumbents(exact, obs, generator, previous, deadline)
        timer.lap("incumbent")
        low, high = (
            x.double().cpu().numpy()[None].repeat(self._horizon, 0)
            for x in (self._action.low, self._action.high)
        )
        found = []
        for i in range(obs.shape[0]):
            problem = Problem(
                network, cost, obs[i].double().cpu().numpy(), low, high, self._hold,
                self._discount, self._integer, self._action.kind == "discrete",
            )  # fmt: skip
            timer.allot(deadline, obs.shape[0] - i)
            candidates = torch.stack([x[i] for x in starts]).double().cpu().numpy()

            def sample(seconds: float, here: Tensor = obs[i : i + 1]) -> Array:
                more = self._endless.plan(
                    exact.initial(here), exact, generator=generator, deadline=seconds
                )
                return self.allowed(more.actions).double().cpu().numpy()

            found.append(self._improved(problem, candidates, sample, improve, timer))
        actions = torch.from_numpy(np.stack([x.actions for x in found])).to(self._action.low)
        costs, bound, before = (
            torch.tensor([x[k] for x in found], dtype=torch.float64) for k in (1, 2, 3)
        )
        info = {
            "lower_bound": bound,
            "gap": (costs - bound).clamp(min=0) / costs.abs().clamp(min=1e-9),
            "incumbent": before,
            "num_unstable": torch.tensor([x.num_unstable for x in found]),
            "status": [x.status for x in found],
            "nodes": torch.tensor([x.nodes for x in found]),
            "latency": timer.taken(),
            "seconds": timer.laps,
        }
        return Plan(actions, (-costs).to(actions), Memory(actions, sampled.warm_start), info)

    def _improved(
        self,
        problem: Problem,
        candidates: Array,
        sample: Sample,
        improve: Improve,
        timer: Timer,
    ) -> Found:
        """Have candidates (K, H, act_dim) improved; what is allowed and costs less is kept."""
        costs = problem.simulate(candidates)[0]
        candidates = candidates[np.argsort(costs, kind="stable")]
        first = best(problem, candidates)
        found = improve(problem, first, candidates, sample, timer)
        actions = self.allowed(torch.from_numpy(found.actions).to(self._action.low))
        better = best(problem, np.stack([first.actions, actions.double().cpu().numpy()]))
        bound = min(found.lower_bound, better.cost)
        return found._replace(actions=better.actions, cost=better.cost, lower_bound=bound)

    def _incumbents(
        self,
        exact: Exact,
        obs: Tensor,
        generator: torch.Generator,
        previous: Plan | None,
        deadline: float | None,
    ) -> tuple[list[Tensor], Plan]:
        """Give what sampling finds, and the plans before, one decision later: (E, H, act_dim)."""
        before = None
        if previous is not None:
            before = Plan(
                previous.warm_start.actions, torch.empty(0), previous.warm_start.sampler, {}
            )
        share = None if deadline is None else 0.3 * deadline  # large problems need it
        options: dict[str, Any] = {"generator": generator, "deadline": share}
        state = exact.initial(obs)
        sampled = self._sampler.plan(state, exact, previous=before, **options)
        starts = [self.allowed(sampled.actions)]
        if self._num_fresh:
            fresh = self._fresh.plan(state.repeat(self._num_fresh, 1), exact, **options).actions
            starts += self.allowed(fresh).chunk(self._num_fresh)
        if before is not None:
            starts.append(torch.cat([before.actions[:, 1:], before.actions[:, -1:]], 1))
        return starts, sampled

    def allowed(self, actions: Tensor) -> Tensor:
        """Put actions (..., act_dim) inside the limits, whole where they have to be."""
        if self._action.kind == "discrete":
            choice = actions.argmax(-1)
            return torch.nn.functional.one_hot(choice, self._action.dim).to(actions.dtype)
        actions = self._action.clip(actions)
        for i in self._integer:
            low, high = self._action.low[i].ceil(), self._action.high[i].floor()
            actions[..., i] = actions[..., i].round().clamp(low, high)
        return actions


def best(problem: Problem, candidates: Array) -> Found:
    """Take the best of candidates (K, H, act_dim), the first where they are alike."""
    costs = problem.simulate(candidates)[0]
    index = int(costs.argmin())
    return Found(candidates[index], float(costs[index]), -np.inf, float(costs[index]))


def hopeless(num_unstable: int, left: float | None) -> bool:
    """Tell whether a proof takes far longer than the seconds left.

    Measured: 20 unstable neurons take a tenth of a second, and 8 more take twice as long.
    """
    return left is not None and 0.02 * 2 ** min(num_unstable / 8, 100) > 3 * max(left, 0)
