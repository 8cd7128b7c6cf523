"""Random problems, and their optimum found without any of the code under test."""

import itertools

import numpy as np
from scipy.optimize import linprog

from mbrl.relu import PiecewiseLinearCost, Term, random_network
from mbrl.relu.program import Problem

KINDS = ("l1", "linf", "hinge", "linear")


def random_problem(seed: int, *, widths=None, horizon=None, hold=None) -> Problem:
    """Draw a problem: any number of layers, all kinds of terms."""
    draws = np.random.default_rng(seed)
    obs_dim, act_dim = int(draws.integers(1, 4)), int(draws.integers(1, 3))
    if widths is None:
        total = int(draws.integers(1, 5))
        first = int(draws.integers(1, total + 1))
        widths = (first, total - first) if total > first else (total,)
    horizon = int(draws.integers(1, 4)) if horizon is None else horizon
    network = random_network(obs_dim, act_dim, widths, generator=draws)
    width = obs_dim + act_dim
    terms = [Term("l1", draws.normal(size=(2, width)), draws.normal(size=2))]
    for kind in draws.choice(KINDS, 2):
        terms.append(Term(kind, draws.normal(size=(2, width)), draws.normal(size=2)))
    last = Term(KINDS[seed % 3], draws.normal(size=(2, obs_dim)), draws.normal(size=2))
    half = draws.uniform(0.5, 2, (horizon, act_dim))
    middle = draws.normal(size=(horizon, act_dim))
    return Problem(
        network, PiecewiseLinearCost(tuple(terms), (last,)), draws.normal(size=obs_dim),
        middle - half, middle + half, int(draws.integers(1, 3)) if hold is None else hold,
        float(draws.choice([1.0, 0.9])),
    )  # fmt: skip


def sample(problem: Problem, count: int, draws: np.random.Generator) -> np.ndarray:
    """Draw actions (count, H, act_dim); a third are at the limits."""
    shape = (count, *problem.action_low.shape)
    share = draws.uniform(size=shape)
    corner = draws.integers(0, 2, shape)
    share = np.where(draws.uniform(size=(count, 1, 1)) < 1 / 3, corner, share)
    return problem.action_low + share * (problem.action_high - problem.action_low)


def by_enumeration(problem: Problem) -> float:
    """Try every pattern of active neurons that some action reaches; in each the plan is an LP."""
    network = problem.network
    horizon, act_dim = problem.action_low.shape
    count = horizon * act_dim
    box = list(zip(problem.action_low.ravel(), problem.action_high.ravel(), strict=True))
    # every quantity is a row over [actions, 1]; a branch is (states, sides, outputs so far)
    here = np.zeros((network.obs_dim, count + 1))
    here[:, -1] = problem.obs
    branches = [(here, np.zeros((0, count + 1)), [])]
    for t in range(problem.num_steps):
        action = np.zeros((act_dim, count + 1))
        first = t // problem.hold * act_dim
        action[:, first : first + act_dim] = np.eye(act_dim)
        following = []
        for state, sides, outputs in branches:
            partial = [(np.concatenate([state, action]), sides)]
            for layer in network.layers:
                found = []
                for seen, known in partial:
                    pre = layer.weight @ seen
                    pre[:, -1] += layer.bias
                    for pattern in itertools.product((0.0, 1.0), repeat=len(pre)):
                        on = np.array(pattern)[:, None]
                        grown = np.concatenate([known, np.where(on > 0, -pre, pre)])  # <= 0
                        if _solve(np.zeros(count), grown, box) is not None:
                            found.append((np.concatenate([seen, on * pre]), grown))
                partial = found
            for seen, known in partial:
                out = network.weight @ seen
                out[:, -1] += network.bias
                following.append((out[: network.obs_dim], known, [*outputs, (out, action)]))
        branches = following
    return min(_optimum(problem, sides, outputs, box) for _, sides, outputs in branches)


def _solve(cost, rows, box):
    corners = np.array(box[: rows.shape[1] - 1]).T if box[-1][0] is not None else None
    if corners is not None:  # no corner of the box satisfies a row: spares a linear program
        least = np.minimum(rows[:, :-1] * corners[0], rows[:, :-1] * corners[1]).sum(1)
        if (least + rows[:, -1] > 0).any():
            return None
    result = linprog(cost, rows[:, :-1], -rows[:, -1], bounds=box, method="highs")
    return result.fun if result.status == 0 else None


def _optimum(problem, sides, outputs, box) -> float:
    """Minimise the cost over one pattern: an LP over actions and one epigraph for each charge."""
    charges = []  # (weight, rows, kind)
    for t, (out, action) in enumerate(outputs):
        for term in problem.cost.stage:
            charges.append((problem.discount**t, term, np.concatenate([out, action])))
    for term in problem.cost.terminal:
        charges.append((problem.discount**problem.num_steps, term, outputs[-1][0]))
    count, fixed = sides.shape[1] - 1, 0.0
    linear, epigraphs = np.zeros(count), []
    for weight, term, y in charges:
        rows = term.weight @ y[: term.weight.shape[1]]
        rows[:, -1] += term.bias
        if term.kind == "linear":
            linear += weight * rows[:, :-1].sum(0)
            fixed += weight * rows[:, -1].sum()
        elif term.kind == "linf":
            epigraphs.append((weight, np.concatenate([rows, -rows])))
        else:
            for row in rows:
                both = [row, -row] if term.kind == "l1" else [row, 0 * row]
                epigraphs.append((weight, np.array(both)))
    blocks = [np.insert(sides, [count] * len(epigraphs), 0, 1)]
    for k, (_, rows) in enumerate(epigraphs):
        wide = np.insert(rows, [count] * len(epigraphs), 0, 1)
        wide[:, count + k] = -1
        blocks.append(wide)
    cost = np.concatenate([linear, [weight for weight, _ in epigraphs]])
    found = _solve(cost, np.concatenate(blocks), box + [(None, None)] * len(epigraphs))
    return np.inf if found is None else found + fixed
