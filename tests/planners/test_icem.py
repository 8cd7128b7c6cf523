"""iCEM: kept elites, fewer samples in each iteration, color that decays."""

import torch

from mbrl.planners import ICEM
from mbrl.planners.sampling import Iteration
from mbrl.types import Prediction
from tests.toys import ACTION, ToyModel, generator


class Noting(ToyModel):
    """The toy model with state-independent reward; keeps the rows of every call."""

    def __init__(self):
        self.actions = []

    def step(self, state, action, **options):
        self.actions.append(action)
        never = torch.zeros(len(state), dtype=torch.bool)
        return state, Prediction(state, -(action[:, 0] - 0.3).square(), never, ~never, None)


def make(**options):
    return ICEM(**{"action": ACTION, "horizon": 1, "num_samples": 80, "num_elites": 5} | options)


def test_each_iteration_samples_fewer_candidates_by_the_decay():
    """80, 80 / 2 and 80 / 4, then never fewer than twice the elites; the last scores the mean."""
    model = Noting()
    plan = make(decay=2.0, keep_elites=0.4, num_iterations=5).plan(
        torch.zeros(1, 2), model, generator=generator(1)
    )
    kept = 2
    expected = [80, 40 + kept, 20 + kept, 10 + kept, 10 + kept + 1]
    assert [len(x) for x in model.actions] == expected
    assert plan.info["evaluations"] == sum(expected)


def test_the_number_of_evaluations_is_known_beforehand():
    planner, obs = make(decay=1.5, warm_iterations=4), torch.zeros(1, 2)
    first = planner.plan(obs, ToyModel(), generator=generator(1))
    plan = planner.plan(obs, ToyModel(), generator=generator(2), previous=first)
    assert plan.info["evaluations"] == planner.evaluations(4)


def test_the_best_elites_are_candidates_of_the_next_iteration():
    model = Noting()
    make(decay=2.0, keep_elites=0.4, num_iterations=2).plan(
        torch.zeros(1, 2), model, generator=generator(1)
    )
    first, second = (x[:, 0] for x in model.actions)
    order = (first - 0.3).square().argsort()
    assert second[40:42].equal(first[order[:2]])


def test_the_elites_of_the_plan_before_are_candidates_one_decision_later():
    model = Noting()
    planner = make(horizon=2, decay=2.0, keep_elites=0.4, num_iterations=1, warm_iterations=1)
    first = planner.plan(torch.zeros(1, 2), model, generator=generator(1))
    model.actions.clear()
    planner.plan(torch.zeros(1, 2), model, generator=generator(2), previous=first)
    kept = model.actions[0][80:82, 0]  # first decisions of the kept elites
    assert kept.equal(first.warm_start.elites[0, :2, 1, 0])
    last = model.actions[1][80:82, 0]
    assert len(last.unique()) == 2  # new last actions, each its own


def test_the_last_iteration_scores_the_mean():
    planner = make(num_iterations=3)
    proposal = planner.start(1)
    for index, has_mean in ((0, False), (1, False), (2, True)):
        candidates = planner.propose(proposal, Iteration(index, 3, False), generator=generator(1))
        assert candidates[0, -1].equal(proposal.distribution.mean()[0]) == (
            has_mean or index == 1  # the elites of a new proposal are all its mean
        )


def test_no_elites_are_kept_of_a_plan_that_has_not_begun():
    proposal = make().start(1)
    candidates = make().propose(proposal, Iteration(0, 5, False), generator=generator(1))
    assert candidates.shape[1] == 80


def test_color_decays_with_each_iteration_and_is_restored_by_the_next_plan():
    distribution = make(color=2.0, color_decay=0.5, horizon=4).start(2).distribution
    samples = distribution.sample(10, generator=generator(1))
    after = distribution.fit(samples, torch.full((2, 10), 0.1), 0.0)
    later = after.shift(generator=generator(1))
    assert (distribution.color, after.color, later.color) == (2.0, 1.0, 2.0)
