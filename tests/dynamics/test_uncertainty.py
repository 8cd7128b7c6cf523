"""The three readings of an ensemble's uncertainty, against a plain computation of each."""

import pytest
import torch

from mbrl.dynamics import EnsembleTraining, GaussianEnsemble
from tests.toys import ACTION, TASK, ToyEnv, collect, generator


@pytest.fixture(scope="module")
def data():
    return collect(ToyEnv(4), 100).all()


def make(data, uncertainty, **options):
    model = GaussianEnsemble(
        obs_dim=2, action=ACTION, task=TASK, generator=generator(), num_members=4, num_elites=3,
        hidden=16, num_layers=2, training=EnsembleTraining(min_updates=60, max_updates=60),
        uncertainty=uncertainty, **options,
    )  # fmt: skip
    model.fit(data, generator=generator(1))
    return model


def each_member(model, obs, action):
    """Run every member by itself: means and own log variances (M, B, targets), normalized."""
    x = model.inputs(torch.cat([obs, action], 1))
    parts = [model._evaluate(x, [member]) for member in range(model.num_members)]
    return torch.cat([p.mean for p in parts]), torch.cat([p.log_var for p in parts])


@pytest.mark.parametrize("kind", ["elites", "pair"])
@pytest.mark.parametrize("termination", ["known", "learned"])
@pytest.mark.parametrize("grad", [False, True])
def test_means_of_elites_or_of_two_of_them(data, kind, termination, grad):
    model = make(data, kind, termination=termination)
    obs, action = data.obs[:50], data.action[:50]
    means, _ = each_member(model, obs, action)
    asked = model.elites.tolist()[: 2 if kind == "pair" else 3]
    with torch.set_grad_enabled(grad):
        for _ in range(2):  # the second time from what was kept
            _, pred = model.step(model.initial(obs), action, with_uncertainty=True)
    spread = means[asked, :, :2].var(0, correction=0).mean(-1).sqrt()
    torch.testing.assert_close(pred.uncertainty, spread)
    target = model.targets.invert(means[asked].mean(0))
    torch.testing.assert_close(pred.next_obs, obs + target[:, :2])
    torch.testing.assert_close(pred.reward, target[:, 2])


def test_without_uncertainty_the_mean_is_that_of_all_elites(data):
    model = make(data, "pair")
    obs, action = data.obs[:50], data.action[:50]
    means, _ = each_member(model, obs, action)
    _, pred = model.step(model.initial(obs), action)
    target = model.targets.invert(means[model.elites].mean(0))
    torch.testing.assert_close(pred.next_obs, obs + target[:, :2])


def test_kept_weights_follow_a_refit_and_a_load(data):
    model, other = make(data, "elites"), make(data, "elites")
    obs, action = data.obs[:50], data.action[:50]

    def ask(model):
        with torch.no_grad():
            return model.step(model.initial(obs), action, with_uncertainty=True)[1].next_obs

    first = ask(model)
    model.fit(data, generator=generator(2))
    second = ask(model)
    assert not second.equal(first)
    assert ask(other).equal(first)
    other.load_state_dict(model.state_dict())
    assert ask(other).equal(second)
    with torch.no_grad():
        model.networks.weights[0].add_(0.1)
    assert not ask(model).equal(second)


def test_the_spread_of_all_members_samples_is_in_raw_units_and_counts_the_reward(data):
    model = make(data, "samples")
    obs, action = data.obs[:400], data.action[:400]
    means, log_vars = each_member(model, obs, action)
    state = model.initial(obs, generator=generator(3))
    _, still = model.step(state, action, with_uncertainty=True)
    raw = model.targets.invert(means)
    torch.testing.assert_close(still.uncertainty, raw.std(0, correction=0).mean(-1))
    found = torch.zeros(400)
    for seed in range(300):
        _, pred = model.step(state, action, generator=generator(seed), with_uncertainty=True)
        found += pred.uncertainty / 300
    noise = torch.randn(2000, *means.shape, generator=generator(4))
    samples = model.targets.invert(means + (0.5 * log_vars).exp() * noise)
    expected = samples.std(1, correction=0).mean((0, -1))
    torch.testing.assert_close(found, expected, rtol=0.1, atol=1e-4)
    assert found.mean() > still.uncertainty.mean()  # noise of the system is in it
