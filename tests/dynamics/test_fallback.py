"""The ensemble predicts while the equations are unstable, and only then."""

import logging

import torch

from mbrl.dynamics import EnsembleTraining, FallbackDynamics, GaussianEnsemble, SINDy, candidates_of
from mbrl.dynamics.sindy import ValiditySettings
from mbrl.types import Task
from tests.dynamics.sindy.helpers import rows
from tests.toys import ACTION, TASK, ToyEnv, collect, generator, reward


def test_an_unstable_model_says_so_and_the_ensemble_takes_over(caplog):
    draws = generator(9)
    obs = [torch.full((10,), 0.3) + 0.05 * torch.randn(10, generator=draws)]
    for _ in range(60):  # the logistic map: no model can be right for long
        obs.append(3.99 * obs[-1] * (1 - obs[-1]) + 1e-3 * torch.randn(10, generator=draws))
        obs[-1] = obs[-1].clamp(0, 1)
    path = torch.stack(obs)
    action = ACTION.sample(600, generator=draws)
    data = rows(
        path[:-1].reshape(-1, 1),
        action,
        path[1:].reshape(-1, 1),
        episode=torch.arange(10).repeat(60),
    )
    task = Task(reward=reward, obs_names=("x",))
    given = {"obs_dim": 1, "action": ACTION, "task": task}
    training = EnsembleTraining(min_updates=5, max_updates=5)
    small = {"hidden": 8, "num_layers": 1, "training": training}
    dense = GaussianEnsemble(generator=generator(), reward="known", **small, **given)
    model = FallbackDynamics(
        sparse=SINDy(**given, validity=ValiditySettings(horizon=30)), dense=dense
    )
    with caplog.at_level(logging.WARNING):
        metrics = model.fit(data, generator=generator(1))
    assert metrics["model/stable"] == 0 and metrics["model/falls_back"] == 1
    assert "unstable: error" in caplog.text and "ensemble is used" in caplog.text
    _, pred = model.step(model.initial(data.obs[:5]), action[:5])
    _, own = dense.step(dense.initial(data.obs[:5]), action[:5])
    assert pred.next_obs.equal(own.next_obs)
    again = FallbackDynamics(
        sparse=SINDy(**given, validity=ValiditySettings(horizon=30)),
        dense=GaussianEnsemble(generator=generator(3), reward="known", **small, **given),
    )
    again.load_state_dict(model.state_dict())
    _, other = again.step(again.initial(data.obs[:5]), action[:5])
    assert other.next_obs.equal(own.next_obs)


def test_a_stable_model_predicts_and_the_ensemble_is_not_fitted():
    given = {"obs_dim": 2, "action": ACTION, "task": TASK}
    dense = GaussianEnsemble(generator=generator(), hidden=8, num_layers=1, **given)
    before = [p.clone() for p in dense.parameters()]
    model = FallbackDynamics(sparse=SINDy(**given), dense=dense)
    data = collect(ToyEnv(4), 100).all()
    metrics = model.fit(data, generator=generator(1))
    assert metrics["model/falls_back"] == 0 and metrics["model/stable"] == 1
    assert all(a.equal(b) for a, b in zip(before, dense.parameters(), strict=True))
    obs, action = data.obs[:5], data.action[:5]
    for chosen, falls_back in ((model.sparse, False), (model.dense, True)):
        model.falls_back.fill_(falls_back)
        own = chosen.step(chosen.initial(obs), action)[1].next_obs
        assert model.step(model.initial(obs), action)[1].next_obs.equal(own)
        assert model.uncertainty(obs, action).equal(chosen.uncertainty(obs, action))
        own = candidates_of(chosen, chosen.initial(obs), action, 3, generator=None)[1].next_obs
        found = candidates_of(model, model.initial(obs), action, 3, generator=None)[1].next_obs
        assert found.equal(own)
