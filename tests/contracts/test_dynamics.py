"""What every model keeps to: rows, particles, randomness from the generator alone, gradients."""

import pytest
import torch

from mbrl.dynamics.base import candidates_of
from mbrl.imagination.rollout import rollout
from mbrl.roles import Model
from mbrl.types import map_tensors
from tests.contracts.parts import make, names
from tests.toys import ACTION, TASK, ToyDynamics, ToyEnv, collect, generator

TRAINING = {"_target_": "mbrl.dynamics.EnsembleTraining", "min_updates": 50, "max_updates": 100}
DENSE = {"hidden": 16, "num_layers": 2, "training": TRAINING}
SMALL = {
    "ensemble": DENSE,
    "bootstrapped_ensemble": DENSE | {"training": TRAINING | {"bootstrap": True}},
    "reward_consistent": {
        "base": {"_target_": "mbrl.dynamics.GaussianEnsemble", **DENSE},
        "dynamics_reward": {"_target_": "mbrl.dynamics.ChristoffelReward", "degrees": [1, 2]},
        "candidates": {
            "_target_": "mbrl.dynamics.CandidateGenerator",
            "holdout_ensemble": {"hidden": 16, "num_updates": 100},
        },
    },
    "sindy": {"aggregate": "member", "num_elites": 20},
    "sparse_relu": {
        "hidden": [8],
        "schedule": [6, 4],
        "num_members": 8,
        "dense_updates": 60,
        "stage_updates": 20,
    },
    "sindy_or_ensemble": {
        "sparse": {"_target_": "mbrl.dynamics.SINDy", "aggregate": "member", "num_elites": 20},
        "dense": {"_target_": "mbrl.dynamics.GaussianEnsemble", **DENSE},
    },
    "sindy_residual": {
        "sparse": {
            "_target_": "mbrl.dynamics.SINDy",
            "aggregate": "member",
            "num_elites": 20,
            "regression": {
                "_target_": "mbrl.dynamics.sindy.RegressionSettings",
                "threshold": 0.9,  # leaves something over for the network
            },
        },
        "dense": {"_target_": "mbrl.dynamics.GaussianEnsemble", **DENSE},
    },
}


def build(name: str):
    if name == "toy":
        return ToyDynamics()
    return make(
        "dynamics", name, SMALL.get(name), obs_dim=2, action=ACTION, task=TASK, env=ToyEnv()
    )


def begin(model, obs, **options):
    """Start at obs, which is the toy's whole state, for models that ask for one."""
    state = model.initial(obs, **options)
    return state if model.learned else model.observe(state, obs[:, :1], obs, env_state=obs)


@pytest.fixture(scope="module", params=["toy", *names("dynamics")])
def case(request):
    data = collect(ToyEnv(4), 100).all()
    noise = 1e-3 * torch.randn(data.next_obs.shape, generator=generator(8))  # members differ
    data = data._replace(next_obs=data.next_obs + noise)
    model = build(request.param)
    metrics = model.fit(data, generator=generator(1))
    return request.param, model, data, metrics


def test_is_a_model_and_reports_its_fit(case):
    _, model, _, metrics = case
    assert isinstance(model, Model)
    assert not model.learned or metrics["model/holdout_mse"] >= 0
    assert all(isinstance(v, float) for v in metrics.values())


@pytest.mark.parametrize("rows", [1, 4, 7])
@pytest.mark.parametrize("particles", [1, 3])
def test_rows_and_particles(case, rows, particles):
    _, model, data, _ = case
    obs, action = data.obs[:rows], data.action[:rows].repeat(particles, 1)
    state = begin(model, obs, num_particles=particles, generator=generator(2))
    state, pred = model.step(state, action, generator=generator(3), with_uncertainty=True)
    total = rows * particles
    assert pred.next_obs.shape == (total, 2) and pred.reward.shape == (total,)
    assert pred.terminated.shape == pred.valid.shape == (total,)
    assert pred.terminated.dtype == pred.valid.dtype == torch.bool
    assert pred.uncertainty is None or (pred.uncertainty >= 0).all()
    map_tensors(lambda x: x.view(total, -1), state)  # every tensor of a belief is batch first
    state = model.observe(state, data.action[:rows], obs, env_state=obs)
    _, pred = model.step(state, action)
    assert pred.next_obs.shape == (total, 2) and pred.uncertainty is None


def test_randomness_comes_from_the_generator_alone(case):
    _, model, data, _ = case
    obs, action = data.obs[:6], data.action[:6]

    def predict(seed):
        draws = None if seed is None else generator(seed)
        state = begin(model, obs, generator=draws)
        return model.step(state, action, generator=draws)[1].next_obs

    torch.manual_seed(0)
    first, mean = predict(1), predict(None)
    torch.manual_seed(1)
    assert predict(1).equal(first) and predict(None).equal(mean)
    assert not model.learned or not predict(2).equal(first)


def test_particles_of_the_mean_belief_agree(case):
    _, model, data, _ = case
    obs, action = data.obs[:5], data.action[:5]
    one = model.step(begin(model, obs), action)[1].next_obs
    three = model.step(begin(model, obs, num_particles=3), action.repeat(3, 1))[1].next_obs
    torch.testing.assert_close(three, one.repeat(3, 1))


def test_candidates_lead_with_k(case):
    _, model, data, _ = case
    obs, action = data.obs[:5], data.action[:5]
    state = begin(model, obs, generator=generator(1))
    _, pred = candidates_of(model, state, action, 4, generator=generator(2))
    assert pred.next_obs.shape == (20, 2) and pred.reward.shape == pred.valid.shape == (20,)
    mean = model.step(begin(model, obs), action)[1].next_obs
    spread = (pred.next_obs.view(4, 5, 2) - mean).norm(dim=-1).mean()
    assert spread < (obs - mean).norm(dim=-1).mean() + 1  # near the row they belong to


def test_rollout_runs_and_is_differentiable(case):
    _, model, data, _ = case
    actions = torch.zeros(2, 3, 4, 1, requires_grad=True)
    state = begin(model, data.obs[:2], num_particles=2, generator=generator(1))
    value = rollout(model, state, actions, num_particles=2).value
    assert value.shape == (2, 3)
    value.sum().backward()
    assert actions.grad is not None and actions.grad.abs().sum() > 0


def test_saved_models_predict_the_same(case):
    name, model, data, _ = case
    other = build(name)
    other.load_state_dict(model.state_dict())
    found = []
    for each in (model, other):
        state = begin(each, data.obs[:8], generator=generator(1))
        found.append(each.step(state, data.action[:8], generator=generator(2))[1])
    assert found[0].next_obs.equal(found[1].next_obs) and found[0].reward.equal(found[1].reward)


def test_fits_repeat_bit_for_bit(case):
    name, _, data, _ = case
    twins = [build(name) for _ in range(2)]
    for twin in twins:
        twin.fit(data, generator=generator(4))
    for a, b in zip(*(t.state_dict().values() for t in twins), strict=True):
        assert a.equal(b)
