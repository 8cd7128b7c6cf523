"""What exact planners share: they start from an incumbent and improve it until the deadline."""

from __future__ import annotations

import importlib.util
import time
from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mbrl.errors import BadInput
from mbrl.nn.generators import as_generator
from mbrl.planners.cem import CEM
from mbrl.planners.exact.piecewise_linear import Exact, PiecewiseLinearModel, obs_of
from mbrl.planners.gradient import Gradient
from mbrl.planners.mppi import MPPI
from mbrl.relu import attach, highs
from mbrl.relu.network import Array
from mbrl.relu.program import Problem, relu_only
from mbrl.roles import Model, Plan, Planner
from mbrl.types import ActionSpec, State

SAMPLERS = {"cem": CEM, "mppi": MPPI, "gradient": Gradient}

# few elites: the mean of many lies between valleys, and the broadest takes them all (measured, the
# excess after descent with 30: contact .009 for .005, headwind .095 for .017)
QUICK = {"num_samples": 300, "num_elites": 8, "num_iterations": 10, "warm_iterations": 5}

# a plan from scratch should end in another valley: most of its samples are at the bounds of the
# actions, where the optima of piecewise linear costs often are (measured on pushing: excess .013
# for .041)
WIDE = {"std": 1.5}
ENDLESS = 10**4  # iterations, where a deadline ends them


class AnytimeWarmStart(NamedTuple):
    """Where the next plan starts from."""

    actions: Tensor  # (E, H, act_dim) of the plan
    sampler: Any  # warm start of the sampler


class SearchResult(NamedTuple):
    """A plan of one environment and what is proven of it."""

    actions: Array  # (H, act_dim)
    cost: float
    lower_bound: float  # of the cost of any plan
    incumbent: float  # cost of the plan that the search started from
    num_unstable: int = 0
    status: str = "no_time"
    nodes: int = 0


class Timer:
    """Seconds by part of a plan, and until the end of an environment's share of the deadline.

    Attributes:
        share: seconds of the present share; inf without a deadline.
        end: when it ends, in seconds since the start; inf without a deadline.
        seconds: by name of the part.
    """

    def __init__(self):
        """Start the timer."""
        self._start = self._last = time.monotonic()
        self.end = self.share = np.inf
        self.seconds: dict[str, float] = {}

    def elapsed(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self._start

    def start_share(self, deadline: float | None, num_left: int) -> None:
        """Start the share of one of num_left environments in the time left."""
        if deadline is not None:
            self.share = max(deadline - self.elapsed(), 0.0) / num_left
            self.end = self.elapsed() + self.share

    def remaining(self) -> float | None:
        """Return the seconds left of the share; None without a deadline."""
        return None if np.isinf(self.end) else self.end - self.elapsed()

    def part_of_remaining(self, fraction: float) -> float | None:
        """Return a fraction of the seconds left; None without a deadline."""
        remaining = self.remaining()
        return None if remaining is None else fraction * max(remaining, 0.0)

    def is_running_out(self, fraction: float) -> bool:
        """Return whether less than a fraction of the share is left."""
        remaining = self.remaining()
        return remaining is not None and remaining < fraction * self.share

    def record(self, name: str) -> None:
        """Add the seconds since the last call to a part."""
        now = time.monotonic()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now


SampleMore = Callable[[float], Array]  # seconds -> candidates (K, H, act_dim)


class AnytimePlanner(Planner[AnytimeWarmStart]):
    """Planner that finds an incumbent for every environment, then improves each.

    The incumbent is the best of the plan before, shifted, and of what the sampler finds: from the
    plan before, and num_fresh times without it, because sampling ends in one of many valleys. The
    plan is never worse than its incumbent. Without a time limit plans repeat bit for bit.

    Args:
        name: of the planner, for messages.
        action: the environment's actions.
        horizon: decisions H.
        action_hold: environment steps for which each action is held.
        discount: per environment step.
        sampler: "cem", "mppi" or "gradient".
        sampler_options: of the sampler, such as num_samples.
        num_fresh: further plans of the sampler, without the plan before and from a wide
            distribution.
        time_limit: seconds for each plan; None for no limit.
        integer: indices of actions that are whole numbers.
        packages: that are needed besides highspy.

    Raises:
        BadInput: if the sampler does not take the actions, a bound is infinite, an index is no
            action, or a package is missing.
    """

    num_particles = 1

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
        time_limit: float | None,
        integer: tuple[int, ...] = (),
        packages: tuple[str, ...] = (),
    ):
        """Build the sampler."""
        for package in ("highspy", *packages):
            if importlib.util.find_spec(package) is None:
                raise BadInput(f"this planner needs {package}: pip install 'dynaplan[mip]'")
        action.check_bounded()
        for i in integer:
            if not 0 <= i < action.dim:
                raise BadInput(f"integer={integer}: {i} is no action; there are {action.dim}")
            if action.low[i].ceil() > action.high[i].floor():
                raise BadInput(f"integer={integer}: action {i} has no whole number in its bounds")
        self._name, self._action, self._integer = name, action, tuple(integer)
        self.horizon, self.action_hold = horizon, action_hold
        self._discount, self._num_fresh, self._time_limit = discount, num_fresh, time_limit
        options = {**(QUICK if sampler == "cem" else {}), **(sampler_options or {})}
        if "num_elites" in options and "num_elites" not in (sampler_options or {}):
            options["num_elites"] = min(QUICK["num_elites"], options["num_samples"])
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

    @abstractmethod
    def improve(
        self,
        problem: Problem,
        incumbent: SearchResult,
        candidates: Array,
        sample_more: SampleMore,
        timer: Timer,
    ) -> SearchResult:
        """Improve the incumbent of one environment.

        Args:
            problem: its network, cost, state and bounds.
            incumbent: the best candidate.
            candidates: plans (K, H, act_dim), the best first.
            sample_more: samples further candidates, for where a proof would take too long.
            timer: knows the time left.
        """

    def start(self, num_envs: int) -> AnytimeWarmStart:
        """Return the warm start of E environments without a plan."""
        action = self._action
        middle = ((action.low + action.high) / 2).expand(num_envs, self.horizon, -1)
        return AnytimeWarmStart(self._project(middle.clone()), self._sampler.start(num_envs))

    def plan(
        self,
        state: State,
        model: Model[State],
        *,
        generator: torch.Generator | int,
        previous: Plan[AnytimeWarmStart] | None = None,
        deadline: float | None = None,
    ) -> Plan[AnytimeWarmStart]:
        """Plan for every environment; see Planner.plan.

        The info holds tensors (E,): lower_bound (of the cost, which is minus the value), gap
        (relative to the cost), incumbent (its cost), num_unstable, nodes; latency and seconds by
        part; and status (E strings):
            "optimal": the gap is closed, up to 1e-4 or the planner's tolerance.
            "imprecise": it is not, for the tolerances of the solver or the rounding of actions.
            "node_limit", "time_limit", "no_time": the search ended early.
            "failed", "infeasible": the solver did not solve the program; there is a warning.

        Raises:
            BadInput: if the model is not piecewise linear.
        """
        generator = as_generator(generator)
        if not isinstance(model, PiecewiseLinearModel):
            raise BadInput(
                f"planner={self._name} plans on ReLU networks only: choose dynamics=sparse_relu"
            )
        deadline = self._time_limit if deadline is None else deadline
        timer = Timer()
        obs = obs_of(state).detach()
        network, cost = attach(model.network(), model.cost)
        network = relu_only(network)
        exact = Exact(network, cost)
        starts, sampled = self._incumbents(exact, obs, generator, previous, deadline)
        timer.record("incumbent")
        low, high = (
            x.double().cpu().numpy()[None].repeat(self.horizon, 0)
            for x in (self._action.low, self._action.high)
        )
        results = []
        for i in range(obs.shape[0]):
            problem = Problem(
                network, cost, obs[i].double().cpu().numpy(), low, high, self.action_hold,
                self._discount, self._integer, self._action.kind == "discrete",
            )  # fmt: skip
            timer.start_share(deadline, obs.shape[0] - i)
            candidates = torch.stack([x[i] for x in starts]).double().cpu().numpy()

            def sample_more(seconds: float, row: Tensor = obs[i : i + 1]) -> Array:
                plan = self._endless.plan(
                    exact.initial(row), exact, generator=generator, deadline=seconds
                )
                return self._project(plan.actions).double().cpu().numpy()

            results.append(self._never_worse(problem, candidates, sample_more, timer))
        actions = torch.from_numpy(np.stack([x.actions for x in results])).to(self._action.low)
        costs, bound, incumbent = (
            torch.tensor([x[k] for x in results], dtype=torch.float64) for k in (1, 2, 3)
        )
        missing = (costs - bound).clamp(min=0)
        info = {
            "lower_bound": bound,
            "gap": torch.where(missing > 0, missing / costs.abs(), 0),
            "incumbent": incumbent,
            "num_unstable": torch.tensor([x.num_unstable for x in results]),
            "status": [x.status for x in results],
            "nodes": torch.tensor([x.nodes for x in results]),
            "latency": timer.elapsed(),
            "seconds": timer.seconds,
        }
        warm_start = AnytimeWarmStart(actions, sampled.warm_start)
        return Plan(actions, (-costs).to(actions), warm_start, info)

    def _never_worse(
        self, problem: Problem, candidates: Array, sample_more: SampleMore, timer: Timer
    ) -> SearchResult:
        """Improve candidates (K, H, act_dim); the result is allowed and no worse than the best."""
        costs = problem.simulate(candidates)[0]
        candidates = candidates[np.argsort(costs, kind="stable")]
        incumbent = best_of(problem, candidates)
        result = self.improve(problem, incumbent, candidates, sample_more, timer)
        actions = self._project(torch.from_numpy(result.actions).to(self._action.low))
        both = np.stack([incumbent.actions, actions.double().cpu().numpy()])
        better = best_of(problem, both)
        promised = best_of(problem, result.actions[None]).cost  # before actions became float32
        status, bound = result.status, min(result.lower_bound, better.cost)
        if status == "optimal" and better.cost - promised > highs.GAP * abs(better.cost):
            status = "imprecise"
        return result._replace(
            actions=better.actions, cost=better.cost, lower_bound=bound, status=status
        )

    def _incumbents(
        self,
        exact: Exact,
        obs: Tensor,
        generator: torch.Generator,
        previous: Plan[AnytimeWarmStart] | None,
        deadline: float | None,
    ) -> tuple[list[Tensor], Plan]:
        """Return what sampling finds, and the plans before, one decision later: (E, H, act_dim)."""
        before = None
        if previous is not None:
            warm_start = previous.warm_start
            before = Plan(warm_start.actions, torch.empty(0), warm_start.sampler, {})
        share = None if deadline is None else 0.3 * deadline  # large problems need it
        options: dict[str, Any] = {"generator": generator, "deadline": share}
        state = exact.initial(obs)
        sampled = self._sampler.plan(state, exact, previous=before, **options)
        starts = [self._project(sampled.actions)]
        if self._num_fresh:
            fresh = self._fresh.plan(state.repeat(self._num_fresh, 1), exact, **options).actions
            starts += self._project(fresh).chunk(self._num_fresh)
        if before is not None:
            starts.append(torch.cat([before.actions[:, 1:], before.actions[:, -1:]], 1))
        return starts, sampled

    def _project(self, actions: Tensor) -> Tensor:
        """Move actions (..., act_dim) inside the bounds, to whole numbers where they have to be."""
        if self._action.kind == "discrete":
            choice = actions.argmax(-1)
            return torch.nn.functional.one_hot(choice, self._action.dim).to(actions.dtype)
        actions = self._action.clip(actions)
        for i in self._integer:
            low, high = self._action.low[i].ceil(), self._action.high[i].floor()
            actions[..., i] = actions[..., i].round().clamp(low, high)
        return actions


def best_of(problem: Problem, candidates: Array) -> SearchResult:
    """Return the best of candidates (K, H, act_dim), the first one of equals."""
    costs = problem.simulate(candidates)[0]
    index = int(costs.argmin())
    return SearchResult(candidates[index], float(costs[index]), -np.inf, float(costs[index]))


def proof_is_intractable(num_unstable: int, seconds: float | None) -> bool:
    """Return whether a proof takes far longer than the seconds left.

    Measured: 20 unstable neurons take a tenth of a second, and 8 more take twice as long.
    """
    return seconds is not None and 0.02 * 2 ** min(num_unstable / 8, 100) > 3 * max(seconds, 0)
