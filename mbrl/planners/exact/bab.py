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
from mbrl.relu.boxes import MARGIN, Bounded, Boxes, Ranges
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
        boxes = Boxes(problem)
        low, high = (torch.from_numpy(x)[None] for x in (problem.action_low, problem.action_high))
        front = _Front(low, high, boxes.bound(low, high))
        ranges = front.bounded.ranges
        num_unstable = int(((ranges.low < 0) & (ranges.high > 0)).sum())
        limits = crown(
            problem.network, problem.obs, problem.held(problem.action_low),
            problem.held(problem.action_high), hold=problem.hold,
        )  # fmt: skip
        program = build(problem, limits)

        def descend_from(starts: Array) -> tuple[float, Array]:
            end = descend(program, starts, deadline=timer.part_of_remaining(0.25))
            return float(problem.simulate(end[None])[0][0]), end

        best, actions = descend_from(candidates)
        timer.record("descent")
        if proof_is_intractable(limits.num_unstable(), remaining := timer.remaining()):
            more = np.concatenate([sample_more(0.6 * (remaining or 0.0)), actions[None]])
            best, actions = descend_from(more)
            timer.record("more samples")
        count, status = 1, "optimal"
        unsolved = np.inf  # least bound of leaves that were not solved in time
        slowest, before, size = 0.0, timer.elapsed(), 1  # boxes of the slowest round
        while True:
            cutoff = best - self._tolerance * max(abs(best), 1e-9)
            front = front.below(cutoff)
            if not len(front.low):
                break
            if count >= self._max_boxes:
                status = "node_limit"
                break
            if timer.end < np.inf:
                now = timer.elapsed()
                slowest, before = max(slowest, now - before), now
                larger = (2 * self._batch_size / size) ** (1 / 3)  # time grows slower than boxes
                if now + 1.2 * larger * slowest > timer.end - 0.02 * timer.share:
                    status = "time_limit"
                    break
            chosen, front = front.split_off_least(self._batch_size)
            is_leaf = chosen.num_unstable() <= self._leaf_unstable
            leaves, inner = chosen.where(is_leaf), chosen.where(~is_leaf)
            for low, high, ranges in leaves.first(self._max_leaves):
                solution = _solve_leaf(problem, limits, low, high, ranges, timer)
                count += 1
                if solution.actions is not None and solution.objective < best:
                    end = np.clip(solution.actions, low, high)
                    best, actions = descend_from(np.stack([end, actions]))
                if solution.status != "optimal":
                    weak = float(leaves.bounded.cost.min())
                    unsolved = min(unsolved, max(solution.lower_bound, weak))
            front = front.join(leaves.all_but_first(self._max_leaves))
            if not len(inner.low):
                continue
            low, high, known = inner.split(self._batch_size)
            children = _Front(low, high, boxes.bound(low, high, known))
            count += len(low)
            size = max(size, len(low))
            tried = torch.cat([(low + high) / 2, children.bounded.corner])
            costs = boxes.costs(tried)
            index = int(costs.argmin())
            if costs[index] < best:
                best, actions = descend_from(tried[index : index + 1].numpy())
            front = front.join(children)
        timer.record("search")
        bound = best - self._tolerance * max(abs(best), 1e-9)
        if unsolved < bound:
            bound, status = unsolved, "time_limit"
        if len(front.low):
            bound = min(bound, float(front.bounded.cost.min()))
        return incumbent._replace(
            actions=actions,
            lower_bound=bound,
            num_unstable=num_unstable,
            status=status,
            nodes=count,
        )


def _solve_leaf(
    problem: Problem, limits: Bounds, low: Array, high: Array, ranges: Ranges, timer: Timer
) -> highs.Solution:
    """Solve the program of a box (H, act_dim), with few binaries."""
    room = MARGIN * (1 + ranges.high.abs().maximum(ranges.low.abs()))
    inside = limits._replace(
        low=np.maximum(limits.low, (ranges.low - room).numpy()),
        high=np.minimum(limits.high, (ranges.high + room).numpy()),
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
        score = self.bounded.score + 1e-12 * (high - low)  # where all is known, across the widest
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
