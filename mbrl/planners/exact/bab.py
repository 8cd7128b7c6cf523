"""Branch and bound over the actions, with CROWN bounds of many boxes at once.

After BaB-ND (Shen et al. 2025): boxes of action sequences are bounded, searched and split. Here a
box is dropped only by its bound, so that the lower bound holds for every plan.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, final

import numpy as np
import torch
from torch import Tensor

from mbrl.errors import BadInput
from mbrl.planners.exact.anytime import (
    AnytimePlanner,
    SampleMore,
    SearchResult,
    Timer,
    proof_is_intractable,
)
from mbrl.planners.sampling import Discount
from mbrl.relu import Bounds, crown, highs
from mbrl.relu.boxes import Bounded, Boxes, Ranges
from mbrl.relu.descent import descend
from mbrl.relu.network import Array
from mbrl.relu.program import Problem, build
from mbrl.types import ActionSpec
from mbrl.values import Count, CountOrZero, Positive, checked


@final
class BaB(AnytimePlanner):
    """Branch-and-bound planner: splits boxes of action sequences, the least lower bound first.

    After Shen et al. 2025 (BaB-ND, arXiv:2412.09584), on the bounds of CROWN (Zhang et al. 2018).

    The plan is never worse than its incumbent, as with planner=mip. Without a time limit plans
    repeat bit for bit.

    Args:
        action: the environment's actions, continuous.
        horizon: decisions H.
        action_hold: environment steps for which each action is held.
        discount: per environment step.
        sampler: what finds the incumbent: "cem", "mppi" or "gradient".
        sampler_options: of the sampler, such as num_samples.
        num_fresh: further plans of the sampler, without the plan before and from a wide
            distribution.
        batch_size: boxes split in each round.
        leaf_unstable: unstable neurons up to which a box's program is solved at once.
        max_leaves: programs solved in each round.
        max_boxes: boxes bounded in each plan.
        tolerance: relative gap at which a plan counts as optimal.
        time_limit: seconds for each plan; null leaves it to max_boxes, so that runs repeat.

    Raises:
        BadInput: if the actions are discrete.
    """

    @checked
    def __init__(
        self,
        *,
        action: ActionSpec,
        horizon: Count = 8,
        action_hold: Count = 1,
        discount: Discount = 1.0,
        sampler: Literal["cem", "mppi", "gradient"] = "cem",
        sampler_options: dict[str, Any] | None = None,
        num_fresh: CountOrZero = 2,
        batch_size: Count = 64,
        leaf_unstable: CountOrZero = 4,
        max_leaves: Count = 8,
        max_boxes: Count = 10000,
        tolerance: Positive = 1e-4,
        time_limit: Positive | None = None,
    ):
        """Build the sampler."""
        if action.kind == "discrete":
            raise BadInput("BaB takes continuous actions; choose MIP")
        super().__init__(
            "bab", action=action, horizon=horizon, action_hold=action_hold, discount=discount,
            sampler=sampler, sampler_options=sampler_options, num_fresh=num_fresh,
            time_limit=time_limit,
        )  # fmt: skip
        self._batch_size, self._max_boxes = batch_size, max_boxes
        self._leaf_unstable, self._max_leaves = leaf_unstable, max_leaves
        self._tolerance = tolerance

    @torch.no_grad()
    def improve(
        self,
        problem: Problem,
        incumbent: SearchResult,
        candidates: Array,
        sample_more: SampleMore,
        timer: Timer,
    ) -> SearchResult:
        """Split boxes until the best plan is proven or the time is over.

        The result's nodes are boxes; num_unstable counts neurons in the box of all actions.

        Args:
            problem: of one environment.
            incumbent: the best candidate.
            candidates: plans (K, H, act_dim), the best first.
            sample_more: samples further candidates.
            timer: knows the time left.
        """
        if timer.is_running_out(0.2):
            return incumbent
        search = _Search(problem, timer, self._batch_size, self._tolerance)
        search.descend_from(candidates)
        timer.record("descent")
        remaining = timer.remaining()
        if proof_is_intractable(search.limits.num_unstable(), remaining):
            more = np.concatenate([sample_more(0.6 * (remaining or 0.0)), search.actions[None]])
            search.descend_from(more)
            timer.record("more samples")
        status = self._run(search)
        timer.record("search")
        bound, is_weak = search.lower_bound()
        return incumbent._replace(
            actions=search.actions,
            lower_bound=bound,
            num_unstable=search.num_unstable,
            status="time_limit" if is_weak else status,
            nodes=search.count,
        )

    def _run(self, search: _Search) -> str:
        """Solve and split boxes until all are closed or a limit is reached; return the status."""
        search.start_clock()
        while search.close_boxes():
            if search.count >= self._max_boxes:
                return "node_limit"
            if search.next_round_is_late():
                return "time_limit"
            chosen = search.pop_least(self._batch_size)
            is_leaf = chosen.num_unstable() <= self._leaf_unstable
            search.solve(chosen.where(is_leaf), self._max_leaves)
            search.split(chosen.where(~is_leaf))
        return "optimal"


class _Search:
    """State of one branch-and-bound search: the open boxes, the best plan, the weakest bound.

    Args:
        problem: of one environment.
        timer: knows the time left.
        batch_size: boxes that are bounded at once.
        tolerance: relative gap at which a plan counts as optimal.
    """

    def __init__(self, problem: Problem, timer: Timer, batch_size: int, tolerance: float):
        self._problem, self._timer = problem, timer
        self._batch_size, self._tolerance = batch_size, tolerance
        self._boxes = Boxes(problem)
        low, high = (torch.from_numpy(x)[None] for x in (problem.action_low, problem.action_high))
        self._front = _Front(low, high, self._boxes.bound(low, high))
        self.num_unstable = int(self._front.num_unstable()[0])  # in the box of all actions
        self.limits = crown(
            problem.network, problem.obs, problem.held(problem.action_low),
            problem.held(problem.action_high), hold=problem.hold,
        )  # fmt: skip
        self._program = build(problem, self.limits)
        self.best, self.actions = np.inf, problem.action_low  # cost and actions of the best plan
        self.count = 1  # boxes so far
        self._unsolved = np.inf  # least bound of leaves that were not solved in time
        self._slowest, self._before, self._size = 0.0, 0.0, 1  # seconds and boxes of a round

    def descend_from(self, starts: Array) -> None:
        """Replace the best plan by where descent from starts (K, H, act_dim) ends."""
        deadline = self._timer.part_of_remaining(0.25)
        self.actions = descend(self._program, starts, deadline=deadline)
        self.best = float(self._problem.simulate(self.actions[None])[0][0])

    def start_clock(self) -> None:
        """Start to measure the time of rounds."""
        self._before = self._timer.elapsed()

    def close_boxes(self) -> bool:
        """Drop the boxes in which no plan is better by the tolerance; return whether some stay."""
        self._front = self._front.below(self._cutoff())
        return len(self._front.low) > 0

    def next_round_is_late(self) -> bool:
        """Return whether one more round would probably miss the deadline."""
        timer = self._timer
        if timer.end == np.inf:
            return False
        now = timer.elapsed()
        self._slowest, self._before = max(self._slowest, now - self._before), now
        larger = (2 * self._batch_size / self._size) ** (1 / 3)  # time grows slower than boxes
        return now + 1.2 * larger * self._slowest > timer.end - 0.02 * timer.share

    def pop_least(self, num: int) -> _Front:
        """Remove and return the num boxes with the least bounds."""
        chosen, self._front = self._front.split_off_least(num)
        return chosen

    def solve(self, leaves: _Front, max_leaves: int) -> None:
        """Solve the programs of the first max_leaves boxes; the others stay open."""
        for low, high, ranges in leaves.first(max_leaves):
            solution = _solve_leaf(self._problem, self.limits, low, high, ranges, self._timer)
            self.count += 1
            if solution.actions is not None and solution.objective < self.best:
                end = np.clip(solution.actions, low, high)
                self.descend_from(np.stack([end, self.actions]))
            if solution.status != "optimal":
                weak = float(leaves.bounded.cost.min())
                self._unsolved = min(self._unsolved, max(solution.lower_bound, weak))
        self._front = self._front.join(leaves.all_but_first(max_leaves))

    def split(self, boxes: _Front) -> None:
        """Replace boxes by their halves, and try the plans that these suggest."""
        if not len(boxes.low):
            return
        low, high, known = boxes.split(self._batch_size)
        children = _Front(low, high, self._boxes.bound(low, high, known))
        self.count += len(low)
        self._size = max(self._size, len(low))
        suggested = torch.cat([(low + high) / 2, children.bounded.corner])
        costs = self._boxes.costs(suggested)
        index = int(costs.argmin())
        if costs[index] < self.best:
            self.descend_from(suggested[index : index + 1].numpy())
        self._front = self._front.join(children)

    def lower_bound(self) -> tuple[float, bool]:
        """Return the bound on the cost of any plan, and whether an unsolved leaf weakened it."""
        bound = self._cutoff()
        is_weak = self._unsolved < bound
        bound = min(bound, self._unsolved)
        if len(self._front.low):
            bound = min(bound, float(self._front.bounded.cost.min()))
        return bound, is_weak

    def _cutoff(self) -> float:
        """Return the cost that a plan must be below to count as better than the best."""
        return self.best - max(self._tolerance * abs(self.best), self._boxes.rounding)


def _solve_leaf(
    problem: Problem, limits: Bounds, low: Array, high: Array, ranges: Ranges, timer: Timer
) -> highs.Solution:
    """Solve the program of a box (H, act_dim), with few binaries."""
    inside = limits._replace(
        low=np.maximum(limits.low, ranges.low.numpy()),
        high=np.minimum(limits.high, ranges.high.numpy()),
    )
    program = build(problem._replace(action_low=low, action_high=high), inside)
    return highs.solve(program, time_limit=timer.part_of_remaining(0.5))


class _Front:
    """Boxes (B, H, act_dim) that are still to be split."""

    def __init__(self, low: Tensor, high: Tensor, bounded: Bounded):
        self.low, self.high, self.bounded = low, high, bounded

    def _rows(self, rows: Tensor) -> _Front:
        """Return the boxes of some rows."""
        b = self.bounded
        ranges = Ranges(*(x[rows] for x in b.ranges))
        bounded = Bounded(b.cost[rows], b.corner[rows], b.score[rows], ranges)
        return _Front(self.low[rows], self.high[rows], bounded)

    def below(self, cutoff: float) -> _Front:
        """Return the boxes in which a plan may cost less."""
        return self._rows((self.bounded.cost < cutoff).nonzero()[:, 0])

    def split_off_least(self, num: int) -> tuple[_Front, _Front]:
        """Return the num boxes with the least bounds, and the others."""
        order = self.bounded.cost.argsort(stable=True)
        return self._rows(order[:num]), self._rows(order[num:])

    def num_unstable(self) -> Tensor:
        """Return the number of unstable neurons of each box (B,)."""
        ranges = self.bounded.ranges
        return ((ranges.low < 0) & (ranges.high > 0)).sum((1, 2))

    def where(self, mask: Tensor) -> _Front:
        """Return the boxes in mask (B,)."""
        return self._rows(mask.nonzero()[:, 0])

    def all_but_first(self, num: int) -> _Front:
        """Return all but the first num boxes."""
        return self._rows(torch.arange(min(num, len(self.low)), len(self.low)))

    def first(self, num: int) -> Iterator[tuple[Array, Array, Ranges]]:
        """Yield the first num boxes: low and high (H, act_dim), ranges (T, ...)."""
        for i in range(min(num, len(self.low))):
            ranges = Ranges(*(x[i] for x in self.bounded.ranges))
            yield self.low[i].numpy(), self.high[i].numpy(), ranges

    def split(self, num: int) -> tuple[Tensor, Tensor, Ranges]:
        """Split each box in half across the action that causes most of the slack.

        Args:
            num: boxes that are bounded at once; few boxes are split across several actions.

        Returns:
            Low and high of at least 2B boxes, and the ranges of the boxes that were split.
        """
        low, high = self.low.flatten(1), self.high.flatten(1)
        # where all is known, across the widest
        share = 1e-12 * self.bounded.score.amax(1, keepdim=True)
        width = high - low
        score = self.bounded.score + torch.where(share > 0, share, 1) * width / width.max()
        order = score.argsort(dim=1, descending=True, stable=True)
        rows = torch.arange(len(low))
        times = max(1, min((2 * num // len(low)).bit_length() - 1, low.shape[1]))
        for k in range(times):
            index = order[rows, k][:, None]
            middle = (low.gather(1, index) + high.gather(1, index)) / 2
            lower, upper = high.scatter(1, index, middle), low.scatter(1, index, middle)
            low, high = torch.cat([low, upper]), torch.cat([lower, high])
            rows = torch.cat([rows, rows])
        shape = (-1, *self.low.shape[1:])
        ranges = Ranges(*(x[rows] for x in self.bounded.ranges))
        return low.view(shape), high.view(shape), ranges

    def join(self, other: _Front) -> _Front:
        """Return these boxes and others."""
        a, b = self.bounded, other.bounded
        ranges = Ranges(*(torch.cat(x) for x in zip(a.ranges, b.ranges, strict=True)))
        parts = (torch.cat([x, y]) for x, y in zip(a[:3], b[:3], strict=True))
        cost, corner, score = parts
        joined = Bounded(cost, corner, score, ranges)
        return _Front(torch.cat([self.low, other.low]), torch.cat([self.high, other.high]), joined)
