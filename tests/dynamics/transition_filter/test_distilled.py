"""Distilled reward: it orders candidates as its teacher does."""

import pytest
import torch

from mbrl.dynamics import AdversarialReward, ChristoffelReward, DistilledReward
from mbrl.dynamics.transition_filter.base import Candidates, reward_candidates
from mbrl.errors import BadInput
from tests.dynamics.transition_filter.cases import check_prefers_the_truth, holdout
from tests.toys import ACTION, ToyDynamics, ToyEnv, collect, generator, move


def test_true_successors_are_rewarded_more_than_wrong_ones():
    check_prefers_the_truth(
        lambda: DistilledReward(
            obs_dim=2,
            action=ACTION,
            generator=generator(1),
            teacher=ChristoffelReward(obs_dim=2, action=ACTION, degrees=(1,)),
            num_updates=300,
        )
    )


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
    reward = DistilledReward(obs_dim=2, action=ACTION, generator=generator(2), **settings)
    reward.fit(data, ToyDynamics(), holdout_ensemble=holdout(data), generator=generator(3))
    held = collect(ToyEnv(4), 50, seed=7).all()
    noise = torch.randn(10, *held.obs.shape, generator=generator(8))
    next_obs = move(held.obs, held.action) + noise * (held.next_obs - held.obs).std(0)
    args = held.obs.repeat(10, 1), held.action.repeat(10, 1), next_obs.flatten(0, 1)
    ranks = [r.reward(*args).view(10, -1).argsort(0).argsort(0).float() for r in (teacher, reward)]
    centered = [r - r.mean(0) for r in ranks]
    correlation = (centered[0] * centered[1]).sum(0) / centered[0].square().sum(0)
    assert correlation.mean() > 0.8
    candidates = Candidates(next_obs, next_obs)
    plain = reward_candidates(reward, held.obs, held.action, candidates)
    shared = reward.score(held.obs, held.action, candidates)  # in another order: rounding, whitened
    assert (shared - plain).abs().max() < 1e-4 * plain.std(0).mean()


def test_a_teacher_that_is_fitted_already_is_left_alone():
    data = collect(ToyEnv(4), 100).all()
    teacher = ChristoffelReward(obs_dim=2, action=ACTION, degrees=(1, 2))
    teacher.fit(data, ToyDynamics(), holdout_ensemble=holdout(data), generator=generator(3))
    before = teacher.whiten.clone()
    reward = DistilledReward(
        obs_dim=2,
        action=ACTION,
        generator=generator(2),
        teacher=teacher,
        num_updates=5,
        fit_teacher=False,
    )
    half = type(data)(*(x[:200] for x in data))
    metrics = reward.fit(
        half, ToyDynamics(), holdout_ensemble=holdout(half), generator=generator(3)
    )
    assert teacher.whiten.equal(before) and list(metrics) == ["model/distilled_mse"]


def test_it_is_fitted_with_a_holdout_ensemble():
    teacher = ChristoffelReward(obs_dim=2, action=ACTION)
    reward = DistilledReward(obs_dim=2, action=ACTION, generator=generator(2), teacher=teacher)
    with pytest.raises(BadInput, match="^holdout_ensemble=None"):
        reward.fit(
            collect(ToyEnv(4), 10).all(),
            ToyDynamics(),
            holdout_ensemble=None,
            generator=generator(3),
        )
