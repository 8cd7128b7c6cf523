"""Sampling planners against Riccati's optimum, and their promises of bounds, seeds and batches."""

import time

import pytest
import torch

from mbrl.errors import BadInput, NumericalFault
from mbrl.imagination.rollout import rollout
from mbrl.planners import CEM, ICEM, MIP, MPPI, BaB, Gradient, PredictiveSampling
from mbrl.planners.distributions import initial_distribution
from mbrl.planners.sampling import SamplingPlanner, Update, best, winner
from mbrl.types import ActionSpec, Prediction
from tests.planners.linear import LinearQuadratic, bounds, states
from tests.toys import ACTION, ToyModel, generator

# predictive sampling with one iteration solves nothing by itself: it has tests of its own
ALL = [CEM, ICEM, MPPI, Gradient]
SAMPLERS = [CEM, ICEM, MPPI]


@pytest.mark.parametrize("make", ALL)
def test_within_two_percent_of_riccati_from_every_state(make):
    system, x = LinearQuadratic(), states(20)
    best, largest = system.optimum(x)
    plan = make(action=bounds(largest)).plan(x, system, generator=generator(1))
    gap = (best - system.value(x, plan.actions)) / best.abs()
    assert gap.max() < 0.02
    torch.testing.assert_close(plan.value, system.value(x, plan.actions), rtol=0.03, atol=0)


@pytest.mark.parametrize("make", ALL)
def test_bounds_hold_for_a_thousand_observations_and_are_reached(make):
    """Tight bounds, an optimum outside of them, an asymmetric range."""
    low, high = torch.tensor([-0.3, 0.1]), torch.tensor([0.2, 0.15])
    settings = {"horizon": 4, "action": ActionSpec("continuous", low, high)}
    settings |= {} if make is Gradient else {"num_samples": 60, "num_iterations": 10}
    settings |= {"num_elites": 6} if make in (CEM, ICEM) else {}
    x = torch.randn(1000, 4, generator=generator(2)) * 20
    plan = make(**settings).plan(x, LinearQuadratic(), generator=generator(3))
    assert (plan.actions >= low).all() and (plan.actions <= high).all()
    first, near = plan.actions[:, 0], 0.05 * (high - low)
    assert (first < low + near).any(0).all() and (first > high - near).any(0).all()


@pytest.mark.parametrize("make", ALL)
def test_the_same_seed_gives_the_same_plan(make):
    x, planner = states(3), make(action=bounds(1.5), num_iterations=4)
    plans = [planner.plan(x, LinearQuadratic(), generator=generator(s)) for s in (5, 5, 6)]
    assert plans[0].actions.equal(plans[1].actions) and plans[0].value.equal(plans[1].value)
    if make is not Gradient:  # its best start, the middle, is no draw
        assert not plans[0].actions.equal(plans[2].actions)


@pytest.mark.parametrize("make", ALL)
def test_a_row_of_a_batch_plans_as_it_would_alone(make, monkeypatch):
    """With the same noise: every draw is made for four environments and cut to those planned."""
    rows = slice(None)
    randn = torch.randn

    def drawn(*size, generator, device=None):
        size = size[0] if isinstance(size[0], tuple) else size
        return randn((4, *size[1:]), generator=generator, device=device)[rows]

    system, x = LinearQuadratic(), states(4)
    planner = make(action=bounds(1.5), num_iterations=5)
    monkeypatch.setattr(torch, "randn", drawn)
    draws = generator(3)
    whole = planner.plan(x, system, generator=draws)
    whole = planner.plan(x + 0.1, system, generator=draws, previous=whole)
    for e in range(4):
        rows = slice(e, e + 1)
        draws = generator(3)
        alone = planner.plan(x[rows], system, generator=draws)
        alone = planner.plan(x[rows] + 0.1, system, generator=draws, previous=alone)
        torch.testing.assert_close(alone.actions[0], whole.actions[e], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("make", ALL)
def test_a_plan_to_start_from_saves_iterations(make):
    """Warm from the plan before, few iterations do better than the same number cold."""
    system, x = LinearQuadratic(), states(10)
    action = bounds(system.optimum(x)[1])
    planner = make(action=action, warm_iterations=4)
    cold = make(action=action, num_iterations=4)
    first = planner.plan(x, system, generator=generator(1))
    after = system.step(x, first.actions[:, 0])[0]
    best = system.optimum(after)[0]
    warm = planner.plan(after, system, generator=generator(2), previous=first)
    afresh = cold.plan(after, system, generator=generator(2))
    gaps = [(best - system.value(after, p.actions)).sum() / -best.sum() for p in (warm, afresh)]
    assert warm.info["iterations"] == 4 and gaps[0] < 0.6 * gaps[1]


@pytest.mark.parametrize("make", ALL)
def test_the_deadline_is_kept_to(make):
    class Slow(LinearQuadratic):
        def step(self, state, action, **options):
            time.sleep(0.002)
            return super().step(state, action, **options)

    planner = make(action=bounds(1.0), num_iterations=200, horizon=5)
    began = time.monotonic()
    plan = planner.plan(states(2), Slow(), generator=generator(1), deadline=0.2)
    assert time.monotonic() - began < 5
    assert 1 <= plan.info["iterations"] < 200
    assert (plan.actions.abs() <= 1).all()


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize(("deadline", "most"), [(0.0, 1), (0.35, 3), (0.45, 4)])
def test_a_round_that_would_be_late_is_not_begun(make, deadline, most, monkeypatch):
    """Each look at the model takes 0.1 s; one is taken at least."""
    now = 0.0

    class Slow(LinearQuadratic):
        def step(self, state, action, **options):
            nonlocal now
            now += 0.1 / 5
            return super().step(state, action, **options)

    monkeypatch.setattr("mbrl.planners.clock.time.monotonic", lambda: now)
    planner = make(action=bounds(1.0), num_iterations=20, horizon=5)
    plan = planner.plan(states(2), Slow(), generator=generator(1), deadline=deadline)
    assert plan.info["iterations"] == most
    assert now < deadline + 0.1 + 1e-6
    assert (plan.actions.abs() <= 1).all() and torch.isfinite(plan.value).all()


@pytest.mark.parametrize("make", ALL)
def test_evaluations_are_the_sequences_that_the_model_was_asked_for(make):
    rows = 0

    class Counting(LinearQuadratic):
        def step(self, state, action, **options):
            nonlocal rows
            rows += state.shape[0]
            return super().step(state, action, **options)

    model = Counting()
    planner = make(action=bounds(1.0), num_iterations=7, horizon=5, num_particles=2)
    state = model.initial(states(3), num_particles=2)
    for previous in (None, planner.plan(state, model, generator=generator(1))):
        rows = 0
        plan = planner.plan(state, model, generator=generator(2), previous=previous)
        assert plan.info["evaluations"] * 3 * 2 * 5 == rows


@pytest.mark.parametrize("make", SAMPLERS)
def test_a_discrete_plan_is_no_worse_than_the_best_sample(make):
    """Only sequences of one action are good: mixing good ones, as their mode does, is bad."""

    class Switches:
        def step(self, state, action, **options):
            never = torch.zeros(len(state), dtype=torch.bool)
            reward = (state * action).sum(1) - 1  # -1 for another action than before
            return action, Prediction(action, reward, never, ~never, None)

        def value(self, state, samples):
            return rollout(self, state, samples).value

    spec = ActionSpec("discrete", torch.zeros(3), torch.ones(3), 3)
    settings = {} if make is MPPI else {"num_elites": 8}
    planner = make(action=spec, horizon=6, num_samples=20, num_iterations=1, **settings)
    state = torch.full((50, 3), 1 / 3)
    plan = planner.plan(state, Switches(), generator=generator(4))
    proposal = planner.start(50)
    distribution = proposal.distribution if make is ICEM else proposal
    samples = distribution.sample(20, generator=generator(4))
    value = Switches().value(state, plan.actions[:, None])[:, 0]
    torch.testing.assert_close(plan.value, value)
    assert (value >= Switches().value(state, samples).max(1).values - 1e-6).all()


@pytest.mark.parametrize("make", SAMPLERS)
def test_discrete_actions_find_the_sequence_by_enumeration(make):
    """Three actions move a counter by -1, 0, 1; reward for being at 2, then back at 0."""
    spec = ActionSpec("discrete", torch.zeros(3), torch.ones(3), 3)
    goals = torch.tensor([1.0, 2.0, 1.0, 0.0])

    class Counter:
        def step(self, state, action, *, generator=None, with_uncertainty=False):
            place, t = state[:, 0], state[:, 1]
            after = place + action @ torch.tensor([-1.0, 0.0, 1.0])
            reward = -(after - goals[t.long()]).abs()
            never = torch.zeros_like(reward, dtype=torch.bool)
            following = torch.stack([after, t + 1], 1)
            return following, Prediction(following, reward, never, ~never, None)

    start = torch.zeros(5, 2)
    settings = {} if make is MPPI else {"num_elites": 10}
    planner = make(action=spec, horizon=4, num_samples=100, **settings)
    plan = planner.plan(start, Counter(), generator=generator(1))
    assert plan.actions.sum(-1).eq(1).all() and set(plan.actions.unique().tolist()) == {0.0, 1.0}
    assert plan.actions.argmax(-1).tolist() == [[2, 2, 0, 0]] * 5


@pytest.mark.parametrize("make", ALL)
def test_predicted_termination_ends_reward(make):
    """Beyond |position| = 3 the toy ends, and being ended pays better than being punished."""
    settings = {} if make is Gradient else {"num_samples": 200}
    planner = make(action=ACTION, horizon=15, num_iterations=10, **settings)
    near = torch.tensor([[2.8, 1.0]])
    plan = planner.plan(near, ToyModel(), generator=generator(1))
    assert plan.value.item() > -25  # two steps of about -10; fifteen would be beyond -100


@pytest.mark.parametrize("make", ALL)
def test_particles_average_what_the_model_draws(make):
    planner = make(action=ACTION, num_particles=4, num_iterations=3, horizon=5)
    model = ToyModel()
    state = model.initial(torch.randn(6, 2, generator=generator(1)), num_particles=4)
    plan = planner.plan(state, model, generator=generator(2))
    assert plan.actions.shape == (6, 5, 1)


@pytest.mark.parametrize("make", ALL)
def test_a_nan_return_is_named(make):
    class Broken(LinearQuadratic):
        def step(self, state, action, **options):
            after, pred = super().step(state, action, **options)
            return after, pred._replace(reward=pred.reward * float("nan"))

    with pytest.raises(NumericalFault, match="environment 0: .* return of NaN"):
        make(action=bounds(1.0)).plan(states(2), Broken(), generator=generator(1))


class Walled(ToyModel):
    """The toy model with reward `wall` wherever beyond(obs, action) holds."""

    def __init__(self, wall, beyond):
        self.wall, self.beyond = wall, beyond

    def step(self, state, action, **options):
        after, pred = super().step(state, action, **options)
        held = self.beyond(state, action)
        return after, pred._replace(reward=torch.where(held, self.wall, pred.reward))


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize(
    ("wall", "named"),
    [(float("inf"), "a return of inf"), (-float("inf"), "every plan a return of -inf")],
)
def test_infinite_returns_that_cannot_be_planned_with_are_named(make, wall, named):
    model = Walled(wall, lambda obs, action: obs[:, 0] > 0.5)
    obs = torch.tensor([[0.0, 0.0], [0.9, 0.0]])  # the second is beyond the wall from the start
    with pytest.raises(NumericalFault, match=f"environment 1: the model gave .*{named}"):
        make(action=ACTION, horizon=1).plan(obs, model, generator=generator(1))


@pytest.mark.parametrize("make", ALL)
def test_a_return_of_minus_infinity_rules_a_candidate_out(make):
    model = Walled(-float("inf"), lambda obs, action: action[:, 0] > 0.1)
    obs = torch.tensor([[-0.5, 0.0], [0.4, 0.2]])
    plan = make(action=ACTION, horizon=5).plan(obs, model, generator=generator(1))
    assert torch.isfinite(plan.actions).all() and torch.isfinite(plan.value).all()
    assert (plan.actions <= 0.1).all() and plan.actions[0].max() > 0.05  # up to the wall


def test_elites_that_are_ruled_out_have_no_weight():
    samples = torch.arange(4.0).view(1, 4, 1, 1)
    value = torch.tensor([[-1.0, -torch.inf, -2.0, -torch.inf]])
    elites, weights = best(samples, value, 3)
    assert elites[0, :2].flatten().tolist() == [0, 2]
    assert weights.tolist() == [[0.5, 0.5, 0]]


class RandomShooting(SamplingPlanner):
    """A planner as a user would write it: no constructor of its own, three methods."""

    def start(self, num_envs):
        return initial_distribution(self.action, num_envs, self.horizon, std=1.0)

    def propose(self, proposal, iteration, *, generator):
        return proposal.sample(300, generator=generator)

    def update(self, proposal, iteration, candidates, returns):
        return Update(proposal, *winner(candidates, returns))


def test_a_planner_of_three_methods_plans():
    obs = torch.tensor([[0.9, 0.0], [-0.5, 0.3]])
    planner = RandomShooting(action=ACTION, horizon=4, num_iterations=1, warm_iterations=2)
    plan = planner.plan(obs, ToyModel(), generator=generator(1))
    candidates = planner.start(2).sample(300, generator=generator(1))
    returns = planner.objective(ToyModel(), obs, candidates, generator=None)
    rows = torch.arange(2)
    actual = planner.objective(ToyModel(), obs, plan.actions[:, None], generator=None)[:, 0]
    assert (actual >= returns.mean(1)).all() and plan.info["evaluations"] == 300
    assert (candidates == plan.actions[:, None]).flatten(2).all(2).any(1)[rows].all()
    warm = planner.plan(obs, ToyModel(), generator=generator(2), previous=plan)
    assert warm.info["evaluations"] == 600 and warm.info["iterations"] == 2


@pytest.mark.parametrize("make", [CEM, ICEM, MPPI, Gradient, PredictiveSampling, MIP, BaB])
def test_infinite_bounds_are_refused_by_component(make):
    low, high = torch.tensor([-1.0, -1.0]), torch.tensor([1.0, torch.inf])
    expected = r"action: component 1 has low=-1 and high=inf: should be finite; choose limits"
    with pytest.raises(BadInput, match=expected):
        make(action=ActionSpec("continuous", low, high))
    with pytest.raises(BadInput, match=expected):
        ActionSpec.box(low, high)
    with pytest.raises(BadInput, match="component 0 has low=2 and high=1: low should be at most"):
        make(action=ActionSpec("continuous", low + 3, low + 2))
