"""What the offline learners share: values, scaling, parameters."""

import inspect

import pytest
import torch

from mbrl.buffer import ReplayBuffer
from mbrl.config.signatures import read_signature
from mbrl.errors import BadInput
from mbrl.learners import BC, IQL, TD3BC
from mbrl.types import ActionSpec, Transitions
from tests.learners.bandit import UNIT, bandit
from tests.toys import generator


def test_values_of_a_chain_are_discounted_sums():
    """Reward 1 in every step that never ends is worth 1 / (1 - discount); one that ends, 1."""
    rows = 64
    obs = torch.zeros(rows, 2)
    obs[rows // 2 :, 0] = 1.0  # here the episode ends
    ends = obs[:, 0] > 0
    buffer = ReplayBuffer(rows, 2, 1)
    action = 2 * torch.rand(rows, 1, generator=generator()) - 1
    buffer.add(Transitions(obs, action, torch.ones(rows), obs, ends, ~ends, torch.arange(rows)))
    where = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    for kind in (TD3BC, IQL):
        learner = kind(
            obs_dim=2, action=UNIT, generator=generator(1), hidden=16, learning_rate=3e-3,
            discount=0.8, tau=0.05,
        )  # fmt: skip
        learner.improve(buffer, num_updates=1500)
        torch.testing.assert_close(learner.value(where), torch.tensor([5.0, 1.0]), atol=0.2, rtol=0)


KINDS = pytest.mark.parametrize("kind", [BC, IQL, TD3BC])


@KINDS
def test_the_common_parameters_are_shown_and_checked(kind):
    names = list(inspect.signature(kind).parameters)
    assert {"obs_dim", "action", "generator", "hidden", "exploration_noise"} < set(names)
    assert not {"self", "common"} & set(names) and len(names) <= 15
    assert names == [*read_signature(f"mbrl.learners.{kind.__name__}").parameters]
    for wrong, words in (("hidden", "at least 1"), ("learning_rate", "above 0")):
        with pytest.raises(BadInput, match=f"^{wrong}=0: should be {words}"):
            kind(obs_dim=2, action=UNIT, generator=generator(), **{wrong: 0})
    with pytest.raises(TypeError, match="hiden"):
        kind(obs_dim=2, action=UNIT, generator=generator(), hiden=8)


@KINDS
def test_unbounded_and_discrete_actions_are_refused(kind):
    unbounded = ActionSpec("continuous", torch.tensor([-1.0]), torch.tensor([torch.inf]))
    discrete = ActionSpec("discrete", torch.zeros(2), torch.ones(2), 2)
    for action in (unbounded, discrete):
        with pytest.raises(BadInput, match=f"{kind.__name__} takes continuous actions"):
            kind(obs_dim=2, action=action, generator=generator())


@KINDS
def test_units_of_observations_and_actions_do_not_change_the_policy(kind):
    """A thousand times larger observations and actions give a thousand times larger actions."""
    data = bandit(400).all()
    actions = []
    for unit in (1.0, 1000.0):
        buffer = ReplayBuffer(400, 2, 1)
        scaled = {name: unit * getattr(data, name) for name in ("obs", "action", "next_obs")}
        buffer.add(data._replace(**scaled))
        action = ActionSpec("continuous", unit * UNIT.low, unit * UNIT.high)
        learner = kind(obs_dim=2, action=action, generator=generator(1), hidden=16)
        learner.improve(buffer, num_updates=60)
        chosen = learner.select(scaled["obs"][:50], generator=generator(), deterministic=True)
        actions.append(chosen / unit)
    torch.testing.assert_close(actions[0], actions[1], atol=1e-4, rtol=0)


@KINDS
def test_noise_is_added_unless_the_policy_is_asked_to_be_deterministic(kind):
    learner = kind(obs_dim=2, action=UNIT, generator=generator(), hidden=8, exploration_noise=0.2)
    obs = torch.zeros(4000, 2)
    calm = learner.select(obs, generator=generator(1), deterministic=True)
    noisy = learner.select(obs, generator=generator(1))
    assert calm.std() == 0 and noisy.std().item() == pytest.approx(0.2, rel=0.05)


@KINDS
def test_a_state_of_other_networks_is_refused(kind):
    small, large = (kind(obs_dim=2, action=UNIT, generator=generator(), hidden=h) for h in (4, 8))
    with pytest.raises(BadInput, match=f"the saved {kind.__name__} does not fit"):
        small.load_state_dict(large.state_dict())
