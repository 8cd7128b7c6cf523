"""Plan random ReLU programs exactly, and compare each answer with a dense search of the actions.

    python -m scripts.robustness.exact_programs [--programs 2000] [--batch 100]

A program has 1 or 2 hidden layers, a scale of its weights between 1e-3 and 1e3, a horizon of 1 to 3
and 1 or 2 actions in boxes off the center, whose sizes differ. The reference is the best of random,
corner and grid plans after a pattern search, in float64. Another user of HiGHS has set its threads
before. A failure is

- bad_status: "infeasible" or "failed", though every program has plans;
- bound_above: the lower bound is above the reference;
- not_optimal: the status is "optimal", but the reference is better.

The last two are counted beyond 1e-6 of the reference and 1e-6 of the spread of the random plans'
costs (1e-9 for the bound). Rows are batches of programs, one for each planner; rows that are there
are not made again. Writes results/robustness/exact_programs.csv.
"""

import argparse
import csv
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from mbrl.planners import MIP, BaB
from mbrl.planners.exact.piecewise_linear import Exact
from mbrl.relu import PiecewiseLinearCost, Term, random_network
from mbrl.relu.network import Array
from mbrl.relu.program import Problem
from mbrl.roles import Plan
from mbrl.types import ActionSpec

RESULTS = Path(__file__).parents[2] / "results" / "robustness" / "exact_programs.csv"
COLUMNS = ("planner", "first", "last", "proven", "bad_status", "bound_above", "not_optimal")
QUICK = {"num_samples": 100, "num_elites": 8, "num_iterations": 3, "warm_iterations": 3}
KINDS = ("l1", "linf", "hinge", "linear")

PLANNERS: dict[str, Callable[..., Any]] = {
    "mip": lambda **x: MIP(**x),
    "mip crown": lambda **x: MIP(bounds="crown", **x),
    "mip interval": lambda **x: MIP(bounds="interval", **x),
    "mip regions": lambda **x: MIP(formulation="regions", **x),
    "mip pyomo": lambda **x: MIP(backend="pyomo", **x),
    "mip relaxation": lambda **x: MIP(max_nodes=0, **x),
    "bab": lambda **x: BaB(max_boxes=2000, **x),
}


class Reference(NamedTuple):
    """Best cost of a dense search, and the spread of costs."""

    cost: float
    spread: float


class Verdict(NamedTuple):
    """Which of the failures a plan has."""

    proven: bool
    bad_status: bool
    bound_above: bool
    not_optimal: bool


def draw(seed: int) -> Problem:
    """Draw a program; its action limits are float32 numbers.

    Args:
        seed: of all draws.
    """
    draws = np.random.default_rng(seed)
    obs_dim, act_dim = int(draws.integers(1, 4)), int(draws.integers(1, 3))
    widths = tuple(int(x) for x in draws.integers(1, 6, size=draws.integers(1, 3)))
    scale = 10.0 ** draws.uniform(-3, 3)
    network = random_network(obs_dim, act_dim, widths, generator=draws)
    layers = tuple(x._replace(weight=scale * x.weight) for x in network.layers)
    network = network._replace(layers=layers, weight=scale * network.weight)
    width = obs_dim + act_dim
    kinds = ("l1", *draws.choice(KINDS, 2))
    stage = tuple(Term(k, draws.normal(size=(2, width)), draws.normal(size=2)) for k in kinds)
    last = Term(KINDS[seed % 3], draws.normal(size=(2, obs_dim)), draws.normal(size=2))
    half = 10.0 ** draws.uniform(-2, 1, act_dim)
    middle = half * draws.normal(size=act_dim)
    horizon, hold = int(draws.integers(1, 4)), int(draws.integers(1, 3))
    low, high = (
        np.float32(x).astype(float)[None].repeat(horizon, 0) for x in (middle - half, middle + half)
    )
    return Problem(
        network, PiecewiseLinearCost(stage, (last,)), draws.normal(size=obs_dim),
        low, high, hold if horizon < 3 else 1, float(draws.choice([1.0, 0.9])),
    )  # fmt: skip


def search(problem: Problem, seed: int) -> Reference:
    """Search the actions of a program densely, then from the best plans by a pattern search.

    Args:
        problem: the program.
        seed: of the random plans.
    """
    draws = np.random.default_rng(seed)
    low, high = problem.action_low, problem.action_high
    num = low.size
    shares = [draws.uniform(size=(4000, num)), draws.integers(0, 2, (500, num)).astype(float)]
    per_axis = {1: 2001, 2: 61, 3: 17, 4: 9}.get(num, 4)
    axis = np.linspace(0, 1, per_axis)
    shares.append(np.array(list(itertools.product(axis, repeat=num))))

    def costs(share: Array) -> Array:
        share = share.reshape(-1, *low.shape)
        return problem.simulate(low + np.clip(share, 0, 1) * (high - low))[0]

    share = np.concatenate(shares)
    found = costs(share)
    best = share[np.argsort(found, kind="stable")[:10]]
    cost, step = costs(best), np.full(len(best), 1 / per_axis)
    moves = np.concatenate([np.eye(num), -np.eye(num), draws.normal(size=(4 * num + 20, num))])
    for _ in range(120):
        tried = np.clip(best[:, None] + step[:, None, None] * moves, 0, 1)
        there = costs(tried.reshape(-1, num)).reshape(len(best), -1)
        index = there.argmin(1)
        least = there[np.arange(len(best)), index]
        is_better = least < cost
        best = np.where(is_better[:, None], tried[np.arange(len(best)), index], best)
        cost = np.where(is_better, least, cost)
        step = np.where(is_better, step, step / 2)
    return Reference(float(cost.min()), float(found.max() - found.min()))


def judge(problem: Problem, plan: Plan, reference: Reference) -> Verdict:
    """Compare a plan and what it claims with the reference.

    Args:
        problem: the program.
        plan: of one environment.
        reference: of the dense search.
    """
    cost = problem.simulate(plan.actions.double().numpy())[0][0]
    best = min(cost, reference.cost)
    status, bound = plan.info["status"][0], float(plan.info["lower_bound"][0])
    near = 1e-6 * abs(best)
    return Verdict(
        status == "optimal",
        status in ("infeasible", "failed") or not np.isfinite(cost),
        bound > best + near + 1e-9 * reference.spread,
        status == "optimal" and cost > best + 100 * near + 1e-6 * reference.spread,
    )


def plan_with(make: Callable[..., Any], problem: Problem, seed: int) -> Plan:
    """Plan a program.

    Args:
        make: builds the planner.
        problem: the program.
        seed: of the sampler.
    """
    action = ActionSpec.box(problem.action_low[0], problem.action_high[0])
    planner = make(
        action=action, horizon=len(problem.action_low), action_hold=problem.hold,
        discount=problem.discount, sampler_options=QUICK, num_fresh=1,
    )  # fmt: skip
    model = Exact(problem.network, problem.cost)
    return planner.plan(torch.from_numpy(problem.obs)[None], model, generator=seed)


def use_highs_elsewhere() -> None:
    """Solve a small program with HiGHS's default number of threads."""
    import highspy

    other = highspy.Highs()
    other.silent()
    other.minimize(other.addVariable(lb=0, ub=1))


def main() -> None:
    """Run the batches that are missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--planners", nargs="+", default=list(PLANNERS), choices=list(PLANNERS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    use_highs_elsewhere()
    done: set[tuple[str, int]] = set()
    if options.out.exists():
        lines = [x for x in options.out.read_text().splitlines() if not x.startswith("#")]
        done = {(x["planner"], int(x["first"])) for x in csv.DictReader(lines)}
    else:
        command = "# python -m scripts.robustness.exact_programs"
        options.out.write_text(f"{command}\n{','.join(COLUMNS)}\n")
    for first in range(0, options.programs, options.batch):
        names = [x for x in options.planners if (x, first) not in done]
        seeds = range(first, min(first + options.batch, options.programs))
        verdicts: dict[str, list[Verdict]] = {name: [] for name in names}
        for seed in seeds if names else ():
            problem = draw(seed)
            reference = search(problem, seed)
            for name in names:
                plan = plan_with(PLANNERS[name], problem, seed)
                verdict = judge(problem, plan, reference)
                verdicts[name].append(verdict)
                if options.verbose and any(verdict[1:]):
                    what = f"{plan.info['status'][0]} {plan.info['lower_bound'].item():.9g}"
                    cost = problem.simulate(plan.actions.double().numpy())[0][0]
                    print(seed, name, verdict, what, f"{cost:.9g}", reference, flush=True)
        with options.out.open("a") as file:
            for name in names:
                counts = [sum(column) for column in zip(*verdicts[name], strict=True)]
                row = [name, first, seeds[-1], *counts]
                file.write(",".join(map(str, row)) + "\n")
                print(*row, flush=True)


if __name__ == "__main__":
    main()
