"""SB3's algorithms without an environment: how they are made, measured, saved and restored."""

import random
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium import spaces

from mbrl.errors import BadInput, NumericalFault
from mbrl.learners import SB3PPO, SB3SAC
from mbrl.learners.sb3_algorithm import (
    load_optimizer,
    load_policy,
    make_algorithm,
    metrics_of,
    save_optimizer,
)
from mbrl.nn.global_rng import GlobalRng
from mbrl.types import ActionSpec
from tests.toys import ACTION

PPO = {"n_steps": 8, "batch_size": 8, "gamma": 0.7, "policy_kwargs": {"net_arch": [5]}}


def test_an_algorithm_has_the_spaces_and_settings_it_is_given():
    action = ActionSpec.box([-1.0, 0.0], [1.0, 3.0])
    made = make_algorithm("PPO", 4, action, GlobalRng(0), 3, **PPO)
    assert type(made).__name__ == "PPO" and made.env is None and made.n_envs == 3
    assert made.observation_space == spaces.Box(-np.inf, np.inf, (4,), np.float32)
    assert made.action_space.low.tolist() == [-1, 0] and made.action_space.high.tolist() == [1, 3]
    assert made.gamma == 0.7 and made.policy.mlp_extractor.policy_net[0].weight.shape == (5, 4)
    assert made.rollout_buffer.n_envs == 3 and made.rollout_buffer.buffer_size == 8
    assert not made.policy.training
    chosen = make_algorithm("PPO", 4, ActionSpec.discrete(6), GlobalRng(0), 1, **PPO)
    assert chosen.action_space == spaces.Discrete(6)


def test_weights_come_from_its_own_generator_alone():
    def weights(seed):
        random.seed(5), np.random.seed(5), torch.manual_seed(5)
        made = make_algorithm("PPO", 2, ACTION, GlobalRng(seed), 1, **PPO)
        assert (random.random(), np.random.rand(), torch.rand(()).item()) == untouched
        return torch.cat([x.flatten() for x in made.policy.state_dict().values()])

    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    untouched = random.random(), np.random.rand(), torch.rand(()).item()
    first = weights(1)
    torch.rand(9)  # what others draw does not matter
    assert weights(1).equal(first) and not weights(2).equal(first)


@pytest.mark.parametrize(("learner", "name"), [(SB3SAC, "sb3_sac"), (SB3PPO, "sb3_ppo")])
def test_a_missing_package_is_named(monkeypatch, learner, name):
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(BadInput, match=rf"{name} needs .*pip install 'dynaplan\[sb3\]'"):
        learner(obs_dim=2, action=ACTION)


class Algorithm:
    """What metrics_of reads."""

    def __init__(self, **values):
        self.logger = SimpleNamespace(name_to_value=values)


def test_metrics_are_those_of_training():
    values = {"train/loss": np.float32(2), "train/n_updates": 3, "time/fps": 9.0}
    metrics = metrics_of(Algorithm(**values))
    assert metrics == {"train/loss": 2.0, "train/n_updates": 3.0}
    assert {type(x) for x in metrics.values()} == {float}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_loss_that_is_not_finite_is_a_fault(value):
    with pytest.raises(NumericalFault, match=f"SB3 Algorithm: train/actor_loss is {value}"):
        metrics_of(Algorithm(**{"train/actor_loss": value}))
    other = metrics_of(Algorithm(**{"train/explained_variance": value}))  # of constant returns
    assert list(other) == ["train/explained_variance"]


def stepped(count, weight=None, moments=None):
    """Return a weight and its Adam after steps along fixed gradients."""
    weight = torch.nn.Parameter(torch.ones(3) if weight is None else weight.clone())
    other = torch.nn.Parameter(torch.zeros(2))
    adam = torch.optim.Adam([weight, other], lr=0.1)
    if moments is not None:
        load_optimizer(adam, moments)
    for k in range(count):
        weight.grad, other.grad = torch.tensor([1.0, -2, k]), torch.ones(2)
        adam.step()
    return weight.detach(), adam


def test_a_restored_optimizer_goes_on_bit_for_bit():
    weight, adam = stepped(2)
    moments = save_optimizer(adam)
    assert [sorted(x) for x in moments] == [["exp_avg", "exp_avg_sq", "step"]] * 2
    assert moments[0]["exp_avg"].shape == (3,) and moments[1]["step"] == 2
    expected, adam = stepped(1, weight, moments)
    assert not stepped(1, weight)[0].equal(expected)  # without the moments
    before = [{key: x.clone() for key, x in each.items()} for each in moments]
    assert stepped(1, weight, moments)[0].equal(expected)
    assert str(moments) == str(before)  # copies: neither run has written into what was saved
    assert adam.param_groups[0]["lr"] == 0.1


def test_what_is_saved_does_not_change_as_training_goes_on():
    weight, adam = stepped(2)
    moments = save_optimizer(adam)
    first = moments[0]["exp_avg"].clone()
    adam.step()
    assert moments[0]["exp_avg"].equal(first)


def test_a_policy_of_another_size_is_refused():
    first, second = torch.nn.Linear(2, 3), torch.nn.Linear(2, 3)
    load_policy(second, first.state_dict())
    assert second.weight.equal(first.weight)
    with pytest.raises(BadInput, match="saved SB3 policy does not fit: (?s:.*)size mismatch"):
        load_policy(torch.nn.Linear(2, 4), first.state_dict())
