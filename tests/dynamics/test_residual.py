"""The network is used where equations leave something over, and only there."""

import pytest
import torch

from mbrl.dynamics import EnsembleTraining, GaussianEnsemble, ResidualDynamics, SINDy
from mbrl.dynamics.sindy import LibrarySettings
from mbrl.types import Transitions
from tests.toys import ACTION, TASK, generator


def motion(obs, action, bump):
    velocity = 0.9 * obs[:, 1] + 0.3 * action[:, 0] + bump * torch.sin(3 * obs[:, 0])
    return torch.stack([0.9 * obs[:, 0] + 0.3 * velocity, velocity], 1)


def data(bump, count=800):
    draws = generator(0)
    obs = torch.rand(8, 2, generator=draws) * 2 - 1
    rows = []
    for _ in range(count // 8):
        action = ACTION.sample(8, generator=draws)
        after = motion(obs, action, bump)
        none = torch.zeros(8, dtype=torch.bool)
        rows.append(Transitions(obs, action, -obs[:, 0], after, none, none, torch.arange(8)))
        obs = after
    return Transitions(*(torch.cat(parts) for parts in zip(*rows, strict=True)))


def fitted(bump):
    sparse = SINDy(obs_dim=2, action=ACTION, task=TASK, library=LibrarySettings(degree=1))
    dense = GaussianEnsemble(
        obs_dim=2, action=ACTION, task=TASK, generator=generator(1), hidden=64, num_layers=3,
        num_members=3, num_elites=2,
        training=EnsembleTraining(min_updates=3000, max_updates=3000, learning_rate=3e-3),
    )  # fmt: skip
    model = ResidualDynamics(sparse=sparse, dense=dense)
    return model, model.fit(data(bump), generator=generator(2))


@pytest.fixture(scope="module")
def bent():
    return fitted(-0.3)


def test_what_the_equations_miss_is_learned(bent):
    model, metrics = bent
    assert metrics["model/residual_used"] == 1
    assert metrics["model/residual_error"] < 0.5 * metrics["model/sparse_error"]
    seen = data(-0.3)
    both, alone = (
        m.step(m.initial(seen.obs), seen.action)[1].next_obs for m in (model, model.sparse)
    )
    errors = [(x - seen.next_obs).square().mean().item() for x in (both, alone)]
    assert errors[0] < 0.1 * errors[1]


def test_where_the_equations_are_exact_the_network_is_left_out():
    model, metrics = fitted(0.0)
    assert metrics["model/residual_used"] == 0 and metrics["model/sparse_error"] < 1e-3
    seen = data(0.0)
    both, alone = (m.step(m.initial(seen.obs), seen.action)[1] for m in (model, model.sparse))
    assert both.next_obs.equal(alone.next_obs)


def test_the_reward_is_of_the_corrected_successor_and_a_copy_predicts_the_same(bent):
    model, _ = bent
    seen = data(-0.3)
    pred = model.step(model.initial(seen.obs), seen.action, with_uncertainty=True)[1]
    assert TASK.reward is not None
    assert pred.reward.equal(TASK.reward(seen.obs, seen.action, pred.next_obs))
    other = ResidualDynamics(
        sparse=SINDy(obs_dim=2, action=ACTION, task=TASK, library=LibrarySettings(degree=1)),
        dense=GaussianEnsemble(
            obs_dim=2, action=ACTION, task=TASK, generator=generator(9), hidden=64, num_layers=3,
            num_members=3, num_elites=2,
        ),
    )  # fmt: skip
    other.load_state_dict(model.state_dict())
    again = other.step(other.initial(seen.obs), seen.action, with_uncertainty=True)[1]
    assert again.next_obs.equal(pred.next_obs) and again.uncertainty.equal(pred.uncertainty)
