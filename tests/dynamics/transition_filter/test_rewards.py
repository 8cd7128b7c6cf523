"""Dynamics rewards: known answers, and what each must be able to tell."""

import math
from itertools import combinations_with_replacement

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbrl.dynamics import (
    AdversarialReward,
    ContrastiveReward,
    DistilledReward,
    SINDy,
    SparseResidualReward,
)
from mbrl.dynamics.transition_filter.base import Candidates, reward_candidates
from mbrl.dynamics.transition_filter.bayesian_polynomial import (
    MIN_NOISE,
    BayesianPolynomial,
    BayesianPolynomialReward,
)
from mbrl.dynamics.transition_filter.christoffel import ChristoffelReward
from mbrl.dynamics.transition_filter.holdout_ensemble import TailHoldoutEnsemble
from mbrl.dynamics.transition_filter.polynomial_model import PolynomialModel
from mbrl.dynamics.transition_filter.polynomials import monomials, num_monomials
from mbrl.types import Transitions
from tests.toys import ACTION, TASK, ToyDynamics, ToyEnv, collect, generator, move


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(0, 4), st.integers(0, 1000))
def test_monomials_are_all_products(variables, degree, seed):
    z = torch.randn(7, variables, generator=generator(seed), dtype=torch.float64)
    found = monomials(z, degree)
    wanted = [
        torch.stack([z[:, v] for v in term], 1).prod(1) if term else torch.ones(7).double()
        for d in range(degree + 1)
        for term in combinations_with_replacement(range(variables), d)
    ]
    assert found.shape[1] == num_monomials(variables, degree) == len(wanted)
    a, b = (torch.sort(x, 1).values for x in (found, torch.stack(wanted, 1)))
    torch.testing.assert_close(a, b)


def parabola(rows: int = 800) -> Transitions:
    """next = obs + obs^2 / 10 + action / 2 of one number, obs in [0, 1]."""
    obs = torch.rand(rows, 1, generator=generator(1))
    action = 2 * torch.rand(rows, 1, generator=generator(2)) - 1
    zero = torch.zeros(rows)
    after = obs + obs**2 / 10 + action / 2
    return Transitions(obs, action, zero, after, zero.bool(), zero.bool(), zero.long())


def edges(data: Transitions, **options) -> TailHoldoutEnsemble:
    dims = data.obs.shape[1], data.action.shape[1]
    members = TailHoldoutEnsemble(
        *dims, generator=generator(3), hidden=16, num_updates=200, **options
    )
    members.fit(data, generator=generator(4))
    return members


def test_edges_hold_their_share_of_every_axis():
    data = collect(ToyEnv(4), 200).all()
    outside = edges(data).tails(data.obs, data.action)
    assert outside.shape == (6, 800)
    torch.testing.assert_close(outside.float().mean(1), torch.full((6,), 0.2), atol=0.01, rtol=0)
    assert not (outside[:3] & outside[3:]).any(), "a row lies on both ends of an axis"


def test_edge_members_never_saw_their_edge():
    """Change the truth on one edge alone: its own networks do not notice, the others do."""
    data = parabola()
    members = edges(data)
    before = [p.clone() for p in members.networks.parameters()]
    edge = members.tails(data.obs, data.action)[0]
    changed = data._replace(next_obs=torch.where(edge[:, None], data.next_obs + 3.0, data.next_obs))
    again = TailHoldoutEnsemble(1, 1, generator=generator(3), hidden=16, num_updates=200)
    again.targets.fit = lambda x: again.targets.load_state_dict(members.targets.state_dict())
    again.fit(changed, generator=generator(4))
    same = [
        all(b[m].equal(p[m]) for b, p in zip(before, again.networks.parameters(), strict=True))
        for m in range(8)
    ]
    assert same[:2] == [True, True] and not any(same[4:6])


def test_an_implicit_polynomial_finds_a_root_far_outside():
    """change = sqrt(obs) / 2 is no polynomial of obs, but 4 change^2 = obs is one of both."""
    data = parabola()
    data = data._replace(next_obs=data.obs + data.obs.sqrt() / 2)
    judge = ChristoffelReward(obs_dim=1, action=ACTION)
    metrics = judge.fit(data, ToyDynamics(), holdout_ensemble=edges(data), generator=generator(5))
    assert (
        metrics["model/dynamics_reward_degree"] == 2
        and metrics["model/dynamics_reward_tail_error"] < 0.1
    )
    grid = torch.linspace(0, 3, 301)[:, None]
    for where in (4.0, 9.0):
        obs, action = torch.full((301, 1), where), torch.zeros(301, 1)
        best = grid[judge.reward(obs, action, obs + grid).argmax()].item()
        assert best == pytest.approx(where**0.5 / 2, abs=0.05)


def test_the_christoffel_judge_takes_the_regression_where_noise_bends_the_polynomial():
    """An implicit polynomial is off by 1 to 3 here: noise lies along the change alone."""
    data = parabola()
    change = data.obs**2 / 2 + data.action / 2
    change = change + 0.1 * change.std() * torch.randn(800, 1, generator=generator(9))
    data = data._replace(next_obs=data.obs + change)
    judge = ChristoffelReward(obs_dim=1, action=ACTION)
    metrics = judge.fit(data, ToyDynamics(), holdout_ensemble=edges(data), generator=generator(5))
    assert metrics["model/dynamics_reward_degree"] == 0 and not judge.scores_are_rewards
    assert metrics["model/dynamics_reward_noise"] == pytest.approx(0.1, abs=0.01)
    grid = torch.linspace(-1, 6, 701)[:, None]
    for where in (-1.0, 2.0, 3.0):
        obs, action = torch.full((701, 1), where), torch.zeros(701, 1)
        best = grid[judge.reward(obs, action, obs + grid).argmax()].item()
        assert best == pytest.approx(where**2 / 2, abs=0.2)


def curved(seed: int, noise: float, rows: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs (n, 2) and a target (n, 1): mostly of the second, a little of the first."""
    x = torch.randn(rows, 2, generator=generator(seed))
    y = truth(x) + noise * torch.randn(rows, 1, generator=generator(seed + 1))
    return x, y


def truth(x: torch.Tensor) -> torch.Tensor:
    return (0.1 * x[:, 0] + x[:, 1] + 0.02 * x[:, 0] * x[:, 1] + 0.002 * x[:, 0] ** 2)[:, None]


def test_the_regression_is_bayes_rule_and_its_prior_the_likeliest():
    x, y = curved(1, 0.1)
    model = BayesianPolynomial(2, 1, 3)
    model.fit(x, y)
    phi, target = model.features(x), model.targets(y).double()[:, 0]
    scales = [model.scale(x).double()[:, v] for v in range(2)]

    def evidence(hyper):
        """Give the log density of the target, and of the prior's own prior, naively."""
        length = hyper[1:3].exp()
        kernel = torch.zeros(60, 60).double()
        for k in range(4):  # the exponential's series, cut off as the monomials are
            dot = sum(scales[v][:, None] * scales[v] * length[v] ** 2 for v in range(2))
            kernel = kernel + (2 * hyper[0]).exp() * dot**k / math.factorial(k)
        noise = ((2 * hyper[3]).exp() + MIN_NOISE**2) * torch.eye(60)
        fit = torch.distributions.MultivariateNormal(torch.zeros(60).double(), kernel + noise)
        start = torch.tensor([0.0, -1.0, -1.0]).double()
        return fit.log_prob(target) - (hyper[:3] - start).square().sum() / 18

    found = model.hyper[0]
    best = evidence(found)
    for which in range(4):
        for step in (-0.1, 0.1):
            other = found.clone()
            other[which] += step
            assert evidence(other) < best
    assert found[3].exp() == pytest.approx(0.1 / y.std().item(), rel=0.2)
    assert found[1] < found[2], "the first input matters less"

    asked = model.features(5 * x[:7])
    prior = torch.diag(model._prior(found) ** 2)
    joint = phi @ prior @ phi.T + model.noise * torch.eye(60)
    cross = asked @ prior @ phi.T
    mean, variance = model.predict(5 * x[:7])
    torch.testing.assert_close(mean[:, 0], cross @ torch.linalg.solve(joint, target))
    wanted = asked @ prior @ asked.T - cross @ torch.linalg.solve(joint, cross.T)
    torch.testing.assert_close(variance[:, 0], wanted.diagonal(), rtol=1e-4, atol=1e-8)


def test_the_regression_knows_what_it_does_not_know():
    """Far out its errors, over draws of the data, are as large as it says, and large."""
    ratios, sizes = [], []
    for seed in range(40):
        model = BayesianPolynomial(2, 1, 4)
        model.fit(*curved(100 + 2 * seed, 0.1))
        x = torch.tensor([[-15.0, 2.0], [15.0, -2.0]])
        mean, variance = model.predict(x)
        wrong = mean - model.targets(truth(x))
        ratios.append((wrong.square() / variance).mean())
        sizes.append(variance.sqrt().mean() / model.noise.sqrt())
    assert 0.2 < torch.stack(ratios).mean() < 3, ratios
    assert torch.stack(sizes).mean() > 3


def test_the_regression_listens_to_members_where_it_does_not_know():
    data = parabola()
    change = data.obs**2 / 10 + data.action / 2
    change = change + change.std() * torch.randn(800, 1, generator=generator(9))
    noisy = data._replace(next_obs=data.obs + change)
    obs, action = torch.full((1, 1), 2.0), torch.zeros(1, 1)
    grid = obs + torch.linspace(-5, 5, 1001)[:, None, None]

    def best(judge, *members):
        told = obs + torch.tensor(members)[:, None, None]
        return (grid[judge.score(obs, action, Candidates(grid, told)).argmax()] - obs).item()

    found = []
    for seen in (data, noisy):
        judge = BayesianPolynomialReward(obs_dim=1, action=ACTION)
        judge.fit(seen, ToyDynamics(), holdout_ensemble=edges(seen), generator=generator(5))
        found.append([best(judge, -2.0, -2.0), best(judge, -2.01, -1.99)])
    (alone, clean), (unsure, held) = found
    assert alone == pytest.approx(0.4, abs=0.02) and clean == pytest.approx(0.4, abs=0.02)
    assert unsure > -1.0 and abs(held + 2.0) < 0.3, found


def test_the_polynomial_finds_its_degree_and_the_truth():
    data = parabola()
    model = PolynomialModel(1, 1)
    assert model.fit(data, edges(data)) == {"model/polynomial_degree": 2.0}
    obs, action = torch.tensor([[5.0], [-2.0]]), torch.tensor([[0.5], [3.0]])
    torch.testing.assert_close(
        model.predict(obs, action), obs + obs**2 / 10 + action / 2, atol=1e-3, rtol=0
    )


def judges():
    shape = {"obs_dim": 2, "action": ACTION}
    gan = AdversarialReward(
        **shape, generator=generator(1), num_runs=2, num_snapshots=10, num_updates=300
    )
    teacher = ChristoffelReward(**shape, degrees=(1,))
    return {
        "adversarial": gan,
        "contrastive": ContrastiveReward(**shape, generator=generator(1), num_updates=150),
        "residual": SparseResidualReward(obs_dim=2, sparse=SINDy(**shape, task=TASK)),
        "christoffel": ChristoffelReward(**shape),
        "regression": BayesianPolynomialReward(**shape),
        "distilled": DistilledReward(
            **shape, generator=generator(1), teacher=teacher, num_updates=300
        ),
    }


@pytest.mark.parametrize("name", list(judges()))
def test_the_true_successor_earns_more_than_a_wrong_one(name):
    data = collect(ToyEnv(4), 300).all()
    judge = judges()[name]
    metrics = judge.fit(data, ToyDynamics(), holdout_ensemble=edges(data), generator=generator(6))
    assert all(isinstance(v, float) for v in metrics.values())
    held = collect(ToyEnv(4), 50, seed=7).all()
    scale = (held.next_obs - held.obs).std(0)
    noise = torch.randn(held.obs.shape, generator=generator(8))
    wrong = held.next_obs + scale * torch.sign(noise)
    good = judge.reward(held.obs, held.action, held.next_obs)
    bad = judge.reward(held.obs, held.action, wrong)
    assert good.shape == (200,) and torch.isfinite(good).all()
    assert (good > bad).float().mean() > 0.9
    twin = judges()[name]
    twin.fit(data, ToyDynamics(), holdout_ensemble=edges(data), generator=generator(6))
    assert twin.reward(held.obs, held.action, wrong).equal(bad), "a fit does not repeat"


def test_the_adversarial_judge_speaks_outside_the_data():
    """Twelve deviations out, where the truth has curved by three more than a line would."""
    data = parabola()
    judge = AdversarialReward(
        obs_dim=1, action=ACTION, generator=generator(1), num_runs=2, num_snapshots=10, hidden=32
    )
    judge.fit(data, ToyDynamics(), holdout_ensemble=None, generator=generator(6))
    wrong = torch.linspace(-0.5, 0.5, 41)[:, None]
    found = []
    for where in (-3.0, 4.0):
        for push in (-0.8, 0.0, 0.8):
            obs, action = torch.full((41, 1), where), torch.full((41, 1), push)
            after = where + where**2 / 10 + push / 2 + wrong
            reward = judge.reward(obs, action, after)
            ranks = [x.argsort().argsort().double() for x in (reward, -wrong[:, 0].abs())]
            found.append(torch.corrcoef(torch.stack(ranks))[0, 1])
    assert min(found) > 0.5 and sum(found) / 6 > 0.8, found


@pytest.mark.parametrize("degree", [1, 2])
def test_a_student_orders_as_its_teacher(degree):
    data = collect(ToyEnv(4), 300).all()
    teacher = AdversarialReward(
        obs_dim=2,
        action=ACTION,
        generator=generator(1),
        num_runs=2,
        num_snapshots=5,
        num_updates=200,
    )
    settings = {"teacher": teacher, "num_updates": 500, "degree": degree}
    judge = DistilledReward(obs_dim=2, action=ACTION, generator=generator(2), **settings)
    judge.fit(data, ToyDynamics(), holdout_ensemble=edges(data), generator=generator(3))
    held = collect(ToyEnv(4), 50, seed=7).all()
    noise = torch.randn(10, *held.obs.shape, generator=generator(8))
    asked = move(held.obs, held.action) + noise * (held.next_obs - held.obs).std(0)
    args = held.obs.repeat(10, 1), held.action.repeat(10, 1), asked.flatten(0, 1)
    ranks = [j.reward(*args).view(10, -1).argsort(0).argsort(0).float() for j in (teacher, judge)]
    centered = [r - r.mean(0) for r in ranks]
    correlation = (centered[0] * centered[1]).sum(0) / centered[0].square().sum(0)
    assert correlation.mean() > 0.8
    offered = Candidates(asked, asked)
    plain = reward_candidates(judge, held.obs, held.action, offered)
    shared = judge.score(held.obs, held.action, offered)  # in another order: rounding, whitened
    assert (shared - plain).abs().max() < 1e-4 * plain.std(0).mean()
