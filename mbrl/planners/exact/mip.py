"""Mixed-integer planning on ReLU dynamics: sampling finds a plan, branch and bound improves it.

Liu et al. 2023 (Model-Based Control with Sparse Neural Dynamics). The best of both is returned,
with a lower bound on the cost that any plan has in the model.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal, final

import numpy as np

from mbrl.errors import BadInput
from mbrl.planners.exact import pyomo_backend
from mbrl.planners.exact.anytime import (
    AnytimePlanner,
    SampleMore,
    SearchResult,
    Timer,
    proof_is_intractable,
)
from mbrl.planners.sampling import Discount
from mbrl.relu import Bounds, bounds, highs, least_cost
from mbrl.relu.descent import descend
from mbrl.relu.network import Array
from mbrl.relu.obbt import tighten
from mbrl.relu.program import Problem, Program, build
from mbrl.relu.regions import enumerate_regions
from mbrl.types import ActionSpec
from mbrl.values import Count, CountOrZero, Positive, checked


@final
class MIP(AnytimePlanner):
    """Mixed-integer planner: minimizes a piecewise linear cost over ReLU dynamics with HiGHS.

    Liu et al. 2023, "Model-Based Control with Sparse Neural Dynamics".

    The plan is never worse than its incumbent: the best of the plan before, shifted, and of what
    the sampler finds. Without a time limit plans repeat bit for bit, whatever the machine's load.

    Args:
        action: the environment's actions.
        horizon: decisions H.
        action_hold: environment steps for which each action is held.
        discount: per environment step.
        formulation: how ReLUs are written.
            "binaries": one binary variable for each unstable neuron.
            "regions": a choice among the linear regions of each step, for networks of few neurons.
        max_regions: of a step; with more of them binaries are used.
        backend: "highs" hands arrays to HiGHS; "pyomo" writes the readable model first.
        bounds: how neurons are bounded.
            "interval": by interval arithmetic.
            "crown": by linear relaxations.
            "obbt": by CROWN, then tightened by linear programs.
        sampler: what finds the incumbent: "cem", "mppi" or "gradient".
        sampler_options: of the sampler, such as num_samples.
        num_fresh: further plans of the sampler, without the plan before and from a wide
            distribution.
        max_lps: linear programs of the bound tightening, two for each unstable neuron.
        max_nodes: of the branch-and-bound tree; 0 bounds by the linear relaxation alone and leaves
            the plan to the descent, a fifth of one node's time with many unstable neurons.
        time_limit: seconds for each plan; null leaves it to max_nodes, so that runs repeat.
        integer: indices of actions that are whole numbers.

    Raises:
        BadInput: if the sampler does not take the actions, an index is none, or the backend does
            not write regions.
    """

    @checked
    def __init__(
        self,
        *,
        action: ActionSpec,
        horizon: Count = 8,
        action_hold: Count = 1,
        discount: Discount = 1.0,
        formulation: Literal["binaries", "regions"] = "binaries",
        max_regions: Count = 500,
        backend: Literal["highs", "pyomo"] = "highs",
        bounds: Literal["interval", "crown", "obbt"] = "obbt",
        sampler: Literal["cem", "mppi", "gradient"] = "cem",
        sampler_options: dict[str, Any] | None = None,
        num_fresh: CountOrZero = 2,
        max_lps: CountOrZero = 200,
        max_nodes: CountOrZero = 500,
        time_limit: Positive | None = None,
        integer: tuple[CountOrZero, ...] = (),
    ):
        """Build the sampler."""
        super().__init__(
            "mip", action=action, horizon=horizon, action_hold=action_hold, discount=discount,
            sampler=sampler, sampler_options=sampler_options, num_fresh=num_fresh,
            time_limit=time_limit, integer=integer,
            packages=("pyomo",) if backend == "pyomo" else (),
        )  # fmt: skip
        if backend == "pyomo" and formulation == "regions":
            raise BadInput("formulation='regions': needs backend='highs'")
        self._backend, self._bounds = backend, bounds
        self._formulation, self._max_regions = formulation, max_regions
        self._max_lps, self._max_nodes = max_lps, max_nodes

    def improve(
        self,
        problem: Problem,
        incumbent: SearchResult,
        candidates: Array,
        sample_more: SampleMore,
        timer: Timer,
    ) -> SearchResult:
        """Bound the neurons, descend from the incumbent, then solve the program from there.

        Args:
            problem: of one environment.
            incumbent: the best candidate.
            candidates: plans (K, H, act_dim), the best first.
            sample_more: samples further candidates.
            timer: knows the time left.
        """
        result = incumbent
        if timer.is_running_out(0.2):
            return result
        limits = self._bound(problem, None, timer)
        program = build(problem, limits)
        timer.record("build")
        held = problem.held(problem.action_low), problem.held(problem.action_high)
        box = limits.out_low, limits.out_high
        weak = least_cost(problem.cost, box, held, problem.discount)
        result = result._replace(
            num_unstable=limits.num_unstable(),
            lower_bound=weak,
            actions=descend(program, candidates, deadline=timer.part_of_remaining(0.25)),
        )
        timer.record("descent")
        if self._bounds == "obbt" and limits.num_unstable():
            cutoff = float(problem.simulate(result.actions[None])[0][0])
            tighter = tighten(
                problem, limits, cutoff=cutoff, deadline=timer.part_of_remaining(0.3),
                max_lps=self._max_lps, patience=16,
            )  # fmt: skip
            timer.record("obbt")
            if tighter.num_unstable() < limits.num_unstable():
                tighter = self._bound(problem, tighter, timer)
            limits = tighter
            program = build(problem, limits)
            result = result._replace(num_unstable=limits.num_unstable())
            timer.record("build")
        if proof_is_intractable(limits.num_unstable(), remaining := timer.remaining()):
            more = np.concatenate([sample_more(0.6 * (remaining or 0.0)), result.actions[None]])
            actions = descend(program, more, deadline=timer.part_of_remaining(0.3))
            result = result._replace(actions=actions)
            timer.record("more samples")
        if self._formulation == "regions":
            seconds = timer.part_of_remaining(0.5)
            regions = enumerate_regions(
                problem, limits, max_regions=self._max_regions, deadline=seconds
            )
            program = program if regions is None else build(problem, limits, regions)
            timer.record("regions")
        if timer.is_running_out(0.2):
            return result
        if self._max_nodes == 0:
            relaxed = highs.relaxed_bound(program, time_limit=timer.part_of_remaining(0.8))
            timer.record("solve")
            return result._replace(status="node_limit", lower_bound=max(weak, relaxed))
        solution = self._solve(problem, limits, program, result, timer)
        if solution.status in ("failed", "infeasible"):
            warnings.warn(
                f"the program of a plan was not solved ({solution.reason}): the plan is the best "
                "that was found without it, and its bound is weak",
                RuntimeWarning,
                stacklevel=3,
            )
        bound = max(weak, solution.lower_bound)
        result = result._replace(status=solution.status, nodes=solution.nodes, lower_bound=bound)
        return result if solution.actions is None else result._replace(actions=solution.actions)

    def _solve(
        self, problem: Problem, limits: Bounds, program: Program, best: SearchResult, timer: Timer
    ) -> highs.Solution:
        """Solve the program, of which a plan and a bound are known."""
        actions = best.actions
        remaining = timer.remaining()  # HiGHS reads the clock now and then: some is kept back
        options: dict[str, Any] = {
            "known_bound": best.lower_bound,
            "max_nodes": self._max_nodes,
            "time_limit": None if remaining is None else remaining - 0.12 * timer.share,
        }
        if self._backend == "pyomo":
            cost = float(problem.simulate(actions[None])[0][0])
            solution = pyomo_backend.solve(
                problem, limits, known_cost=cost, options=highs.TUNED, **options
            )
        else:
            solution = highs.solve(program, start=program.complete(actions), **options)
        timer.record("solve")
        return solution

    def _bound(self, problem: Problem, known: Bounds | None, timer: Timer) -> Bounds:
        """Bound the neurons by intervals or CROWN."""
        low, high = problem.held(problem.action_low), problem.held(problem.action_high)
        if self._bounds == "interval":
            return bounds.interval(problem.network, problem.obs, low, high)
        limits = bounds.crown(
            problem.network, problem.obs, low, high, hold=problem.hold, known=known
        )
        timer.record("crown")
        return limits
