"""The gradients written by hand are those of autograd."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbrl.learners.sac_fused import ManualGradients
from mbrl.learners.sac_losses import AutogradGradients
from tests.learners.sac_problems import gradients, problem


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    obs_dim=st.integers(1, 6),
    act_dim=st.integers(1, 4),
    hidden=st.lists(st.integers(1, 33), min_size=1, max_size=3),
    size=st.integers(1, 9),
    gain=st.sampled_from([1.0, 50.0]),
    num_seeds=st.integers(1, 3),
)
def test_manual_gradients_are_autograds(seed, obs_dim, act_dim, hidden, size, gain, num_seeds):
    sizes = (obs_dim, act_dim, hidden, size, gain)
    given_problem = problem(seed, *sizes, torch.float64, num_seeds)
    manual = gradients(ManualGradients, *given_problem)
    reference = gradients(AutogradGradients, *given_problem)
    assert manual.keys() == reference.keys()
    for name, found in manual.items():
        scale = max(1.0, reference[name].abs().max().item())
        # the actor's divides 1 - action^2, rounded to 1e-16, by as little as EPSILON = 1e-6
        tolerance = 1e-7 if name == "actor" else 1e-12
        assert (found - reference[name]).abs().max() < tolerance * scale, name


@pytest.mark.parametrize("hidden", [[64, 64], [256, 256], [48, 32, 16], [128]])
def test_manual_gradients_are_autograds_in_float32(hidden):
    given_problem = problem(1, 11, 3, hidden, 256, 1.0, torch.float32)
    manual = gradients(ManualGradients, *given_problem)
    reference = gradients(AutogradGradients, *given_problem)
    for name in ("critic", "temperature", "actor"):
        assert (manual[name] - reference[name]).abs().max() < 1e-6, name


def test_the_gradient_tests_reach_clamped_log_stds():
    networks, batch = problem(0, 4, 2, [16], 9, 50.0, torch.float64)
    manual = ManualGradients(networks, target_entropy=-1.0, batch_size=9)
    manual.critic(batch)
    manual.actor()
    clamped = manual._squash._clamped
    assert clamped.any() and not clamped.all()


@pytest.mark.parametrize("num_seeds", [1, 2])
@pytest.mark.parametrize("hidden", [[128, 128], [256, 256], [48, 512, 192]])
def test_bfloat16_gradients_are_autograds_of_the_same_roundings(hidden, num_seeds):
    given_problem = problem(1, 11, 3, hidden, 256, 1.0, torch.float32, num_seeds)
    manual = gradients(ManualGradients, *given_problem, bfloat16=True)
    reference = gradients(AutogradGradients, *given_problem, bfloat16=True)
    for name in ("critic", "temperature", "actor"):
        gap = manual[name] - reference[name]
        assert gap.norm() < 2e-3 * reference[name].norm(), name  # of sums in another order


@pytest.mark.parametrize("hidden", [[128, 128], [256, 256], [256, 256, 256]])
def test_bfloat16_gradients_are_near_those_of_float32(hidden):
    given_problem = problem(1, 11, 3, hidden, 256, 1.0, torch.float32)
    rounded = gradients(ManualGradients, *given_problem, bfloat16=True)
    exact = gradients(AutogradGradients, *given_problem)
    for name in ("critic", "actor"):
        found, expected = rounded[name].double(), exact[name].double()
        assert not found.equal(expected)
        assert torch.cosine_similarity(found, expected, 0) > 0.999, name
        assert abs(found.norm() / expected.norm() - 1) < 0.01, name


def test_layers_that_gain_nothing_from_bfloat16_stay_float32():
    given_problem = problem(1, 11, 3, [64, 64], 256, 1.0, torch.float32)
    rounded = gradients(ManualGradients, *given_problem, bfloat16=True)
    exact = gradients(ManualGradients, *given_problem)
    assert all(rounded[name].equal(exact[name]) for name in exact)
