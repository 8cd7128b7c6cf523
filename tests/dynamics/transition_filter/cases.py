"""Data, and the check that every dynamics reward passes."""

from collections.abc import Callable

import torch

from mbrl.dynamics.transition_filter.base import LearnedDynamicsReward
from mbrl.dynamics.transition_filter.holdout_ensemble import TailHoldoutEnsemble
from mbrl.types import Transitions
from tests.toys import ToyDynamics, ToyEnv, collect, generator


def parabola(rows: int = 800) -> Transitions:
    """next = obs + obs^2 / 10 + action / 2 of one number, obs in [0, 1]."""
    obs = torch.rand(rows, 1, generator=generator(1))
    action = 2 * torch.rand(rows, 1, generator=generator(2)) - 1
    zero = torch.zeros(rows)
    after = obs + obs**2 / 10 + action / 2
    return Transitions(obs, action, zero, after, zero.bool(), zero.bool(), zero.long())


def holdout(data: Transitions, **options) -> TailHoldoutEnsemble:
    dims = data.obs.shape[1], data.action.shape[1]
    members = TailHoldoutEnsemble(
        *dims, generator=generator(3), hidden=16, num_updates=200, **options
    )
    members.fit(data, generator=generator(4))
    return members


def check_prefers_the_truth(make: Callable[[], LearnedDynamicsReward]) -> None:
    """True successors are rewarded more than wrong ones, and a fit repeats."""
    data = collect(ToyEnv(4), 300).all()
    reward = make()
    metrics = reward.fit(
        data, ToyDynamics(), holdout_ensemble=holdout(data), generator=generator(6)
    )
    assert all(isinstance(value, float) for value in metrics.values())
    held = collect(ToyEnv(4), 50, seed=7).all()
    scale = (held.next_obs - held.obs).std(0)
    noise = torch.randn(held.obs.shape, generator=generator(8))
    wrong = held.next_obs + scale * torch.sign(noise)
    good = reward.reward(held.obs, held.action, held.next_obs)
    bad = reward.reward(held.obs, held.action, wrong)
    assert good.shape == (200,) and torch.isfinite(good).all()
    assert (good > bad).float().mean() > 0.9
    twin = make()
    twin.fit(data, ToyDynamics(), holdout_ensemble=holdout(data), generator=generator(6))
    assert twin.reward(held.obs, held.action, wrong).equal(bad), "a fit does not repeat"
