"""Mixed-integer MPC on ReLU dynamics, anytime: sampling finds a plan, branch and bound improves it.

Liu et al. 2023 (Model-Based Control with Sparse Neural Dynamics). The best of both is returned,
with a lower bound on the cost that any plan has in the model.
"""

from __future__ import annotations

from typing import Any, Literal, final

import numpy as np
import torch

from mbrl.errors import BadInput
from mbrl.planners.exact import pyomo_backend as mip_pyomo
from mbrl.planners.exact.anytime import Anytime, Found, Memory, Sample, Timer, hopeless
from mbrl.planners.sampling import Discount
from mbrl.relu import Bounds, bounds, highs, least_cost
from mbrl.relu.descent import descend
from mbrl.relu.network import Array
from mbrl.relu.obbt import tighten
from mbrl.relu.program import Problem, build
from mbrl.relu.regions import enumerate_regions
from mbrl.roles import Plan, Planner
from mbrl.types import ActionSpec
from mbrl.values import Count, CountOrZero, Positive, checked


@final
class MIP(Planner):
    """Minimise a piecewise linear cost over ReLU dynamics by branch and bound in HiGHS.

    Liu et al. 2023, "Model-Based Control with Sparse Neural Dynamics".

    The plan is never worse than its incumbent: the best of the plan before, shifted, and of what
    the sampler finds. Without a time limit plans repeat bit for bit, whatever the machine's load.

    Args:
        action: the environment's actions.
        horizon: decisions H.
        action_hold: environment steps for which each action is held.
        discount: per environment step.
        formulation: "binaries", one for each unstable neuron, or "regions", a choice among the
            linear regions of each step, for networks of few neurons.
        max_regions: of a step; with more of them binaries are used.
        backend: "highs" hands arrays to HiGHS; "pyomo" writes the readable model first.
        bounds: how neurons are bounded: "interval", "crown", or "obbt" on top of it.
        sampler: what finds the incumbent: "cem", "mppi" or "gradient".
        sampler_options: of the sampler, such as num_samples.
        num_fresh: further plans that the sampler makes, wide and not from the plan before.
        max_lps: linear programs of the bound tightening, two for each unstable neuron.
        max_nodes: of the branch and bound tree; 0 bounds by the linear relaxation alone and leaves
            the plan to the descent, a fifth of one node's time with many unstable neurons.
        time_limit: seconds for each plan; null leaves it to max_nodes, so that runs repeat.
        integer: indices of actions that are whole numbers.

    Raises:
        BadInput: if the sampler does not take the actions, an index is none, or the backend does
            not write regions.
    """

    num_particles = 1

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
        """Make the sampler."""
        self.horizon, self.action_hold = horizon, action_hold
        self._anytime = Anytime(
            "mip", action=action, horizon=horizon, action_hold=action_hold, discount=discount,
            sampler=sampler, sampler_options=sampler_options,
            num_fresh=num_fresh, integer=integer,
        )  # fmt: skip
        if backend == "pyomo" and formulation == "regions":
            raise BadInput("formulation='regions': needs backend='highs'")
        self._backend, self._bounds = backend, bounds
        self._formulation, self._max_regions = formulation, max_regions
        self._max_lps, self._max_nodes, self._time_limit = max_lps, max_nodes, time_limit

    def start(self, num_envs: int) -> Memory:
        """Give the memory of E environments without a plan."""
        return self._anytime.start(num_envs)

    def plan(
        self,
        state: Any,
        model: Any,
        *,
        generator: torch.Generator,
        previous: Plan | None = None,
        deadline: float | None = None,
    ) -> Plan:
        """Plan for every environment of a belief; see Planner.plan, and Anytime.plan for the info.

        Raises:
            BadInput: if the model is not piecewise linear.
        """
        return self._anytime.plan(
            state,
            model,
            self._improve,
            generator=generator,
            previous=previous,
            deadline=self._time_limit if deadline is None else deadline,
        )

    def _improve(
        self, problem: Problem, found: Found, candidates: Array, sample: Sample, timer: Timer
    ) -> Found:
        """Bound the neurons, descend from the incumbent, then solve the program from there."""
        if timer.hurry(0.2):
            return found
        limits = self._bound(problem, None, timer)
        program = build(problem, limits)
        timer.lap("build")
        held = problem.held(problem.action_low), problem.held(problem.action_high)
        box = limits.out_low, limits.out_high
        weak = least_cost(problem.cost, box, held, problem.discount)
        weak -= 1e-9 * (1 + abs(weak))  # rounding
        found = found._replace(
            num_unstable=limits.num_unstable(),
            lower_bound=weak,
            actions=descend(program, candidates, deadline=timer.part(0.25)),
        )
        timer.lap("descent")
        if self._bounds == "obbt" and limits.num_unstable():
            cutoff = float(problem.simulate(found.actions[None])[0][0])
            tighter = tighten(
                problem, limits, cutoff=cutoff, deadline=timer.part(0.3),
                max_lps=self._max_lps, patience=16,
            )  # fmt: skip
            timer.lap("obbt")
            if tighter.num_unstable() < limits.num_unstable():
                tighter = self._bound(problem, tighter, timer)
            limits = tighter
            program = build(problem, limits)
            found = found._replace(num_unstable=limits.num_unstable())
            timer.lap("build")
        if hopeless(limits.num_unstable(), left := timer.left()):
            more = np.concatenate([sample(0.6 * (left or 0.0)), found.actions[None]])
            found = found._replace(actions=descend(program, more, deadline=timer.part(0.3)))
            timer.lap("more samples")
        if self._formulation == "regions":
            regions = enumerate_regions(
                problem, limits, max_regions=self._max_regions, deadline=timer.part(0.5)
            )
            program = program if regions is None else build(problem, limits, regions)
            timer.lap("regions")
        if timer.hurry(0.2):
            return found
        if self._max_nodes == 0:
            relaxed = highs.relaxed_bound(program, time_limit=timer.part(0.8))
            timer.lap("solve")
            return found._replace(status="node_limit", lower_bound=max(weak, relaxed))
        left = timer.left()  # HiGHS looks at the clock now and then: some is kept back
        options: dict[str, Any] = {
            "max_nodes": self._max_nodes,
            "time_limit": None if left is None else left - 0.12 * timer.share,
        }
        if self._backend == "pyomo":
            solution = mip_pyomo.solve(problem, limits, options=highs.TUNED, **options)
        else:
            solution = highs.solve(program, start=program.complete(found.actions), **options)
        timer.lap("solve")
        bound = max(weak, solution.lower_bound)
        found = found._replace(status=solution.status, nodes=solution.nodes, lower_bound=bound)
        return found if solution.actions is None else found._replace(actions=solution.actions)

    def _bound(self, problem: Problem, known: Bounds | None, timer: Timer) -> Bounds:
        """Bound the neurons by intervals or CROWN."""
        low, high = problem.held(problem.action_low), problem.held(problem.action_high)
        if self._bounds == "interval":
            return bounds.interval(problem.network, problem.obs, low, high)
        limits = bounds.crown(
            problem.network, problem.obs, low, high, hold=problem.hold, known=known
        )
        timer.lap("crown")
        return limits
