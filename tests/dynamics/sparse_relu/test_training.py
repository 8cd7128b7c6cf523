"""Training of sparse ReLU networks: which rollouts, which errors, what open gates cost."""

import math

import pytest
import torch

from mbrl.dynamics.sparse_relu.interaction_network import InteractionNetwork, InteractionNetworks
from mbrl.dynamics.sparse_relu.training import RolloutTraining, rollout_error
from mbrl.errors import BadInput, NumericalFault
from mbrl.types import InteractionEdges, Transitions
from tests.toys import generator


def line(episodes: int = 10, steps: int = 6) -> Transitions:
    """A point that moves by its action, and is rewarded by it."""
    action = torch.randn(episodes, steps, 1, generator=generator(1))
    place = torch.cat([torch.zeros(episodes, 1, 1), action.cumsum(1)], 1)
    obs, next_obs = place[:, :-1].flatten(0, 1), place[:, 1:].flatten(0, 1)
    never = torch.zeros(len(obs), dtype=torch.bool)
    episode = torch.arange(episodes).repeat_interleave(steps)
    action = action.flatten(0, 1)
    return Transitions(obs, action, action[:, 0], next_obs, never, never, episode)


def networks(targets: int = 1, members: int = 1) -> InteractionNetworks:
    whole = InteractionEdges(torch.eye(2)[None], torch.eye(targets)[None])
    return InteractionNetworks([InteractionNetwork(members, whole, (6,), generator=generator())])


def linear(skip: list[float], **options) -> InteractionNetworks:
    """Networks without neurons: change = skip @ [obs, action, 1]."""
    made = networks(**options)
    network = made.kinds()[0]
    network.set_skip(torch.tensor(skip))
    with torch.no_grad():
        network.net.weight[:, 2:] = 0
    return made


def test_rollouts_stay_in_an_episode_and_some_episodes_are_held_out():
    data = line()
    train, held = RolloutTraining(rollout_length=4, holdout=0.5).windows(data)
    assert train.shape == held.shape == (15, 4)  # of six steps three rollouts, five episodes each
    for rows in (train, held):
        assert (data.episode[rows] == data.episode[rows[:, :1]]).all()
    assert (data.episode[train] % 2 == 0).all() and (data.episode[held] % 2 == 1).all()


def test_rollouts_are_shorter_where_episodes_are_short():
    train, held = RolloutTraining(rollout_length=9).windows(line(episodes=3))
    assert train.shape == (3, 6) and held.equal(train)  # too few episodes for a holdout


def test_the_error_of_a_rollout_by_hand():
    """A model that ignores the action is off by the sum of the actions so far."""
    data = line(episodes=1, steps=3)
    rows = torch.arange(3)[None, None]
    wrong = data.action[:, 0].cumsum(0)
    result = rollout_error(linear([0.0, 0.0, 0.0]), data, rows, torch.tensor([2.0]))
    torch.testing.assert_close(result, (wrong / 2).square().mean())
    assert rollout_error(linear([0.0, 1.0, 0.0]), data, rows, torch.tensor([2.0])) < 1e-10


def test_a_learned_reward_counts_in_the_error():
    data = line(episodes=1, steps=1)
    made = linear([0.0, 0.0, 1.0, 3.0, 0.0, 0.0], targets=2)  # the reward is three times too high
    result = rollout_error(made, data, torch.zeros(1, 1, 1).long(), torch.tensor([1.0, 1.0]))
    torch.testing.assert_close(result, (2 * data.action[0, 0]).square() / 2)


def run(training: RolloutTraining, made: InteractionNetworks, updates: int, **options) -> None:
    data = line()
    training.run(
        made,
        data,
        training.windows(data)[0].expand(len(made.kinds()[0].net.weight), -1, -1),
        updates,
        unit=torch.ones(1),
        generator=generator(2),
        **options,
    )


def test_gradient_steps_lower_the_error():
    data, made = line(), networks(members=2)
    rows = RolloutTraining().windows(data)[1].expand(2, -1, -1)
    before = rollout_error(made, data, rows, torch.ones(1))
    run(RolloutTraining(), made, 200)
    assert rollout_error(made, data, rows, torch.ones(1)) < 0.05 * before


def test_relus_beyond_the_budget_are_charged():
    excess = []
    for weight in (0.0, 1.0):
        made = networks()
        made.relax()
        run(RolloutTraining(gate_weight=weight), made, 50, budget=1)
        excess.append(made.excess(1).item())
    assert excess[1] < 0.2 * excess[0]


def test_unstable_relus_are_charged():
    unstable = []
    x = torch.cat([line().obs, line().action], 1)[None]
    for weight in (0.0, 10.0):
        made = networks()
        run(RolloutTraining(stability_weight=weight, stability_radius=0.5), made, 100)
        unstable.append(made.instability(x, 0.5).item())
    assert unstable[1] < unstable[0] - 0.05


def test_the_learning_rate_falls_to_a_tenth(monkeypatch):
    rates = []
    step = torch.optim.Adam.step

    def record(self, *arguments):
        rates.append([group["lr"] for group in self.param_groups])
        return step(self, *arguments)

    monkeypatch.setattr(torch.optim.Adam, "step", record)
    run(RolloutTraining(learning_rate=1e-2, gate_learning_rate=0.2), networks(), 11)
    assert rates[0] == pytest.approx([1e-2, 0.2])
    assert rates[-1] == pytest.approx([1e-2 * 0.1 ** (10 / 11), 0.2 * 0.1 ** (10 / 11)])


def test_a_loss_that_is_not_finite_is_reported():
    made = networks()
    with torch.no_grad():
        made.kinds()[0].net.bias.fill_(math.inf)
    with pytest.raises(NumericalFault, match="after 1 updates"):
        run(RolloutTraining(), made, 1)


@pytest.mark.parametrize(
    "option", [{"rollout_length": 0}, {"holdout": 0.6}, {"learning_rate": 0.0}]
)
def test_wrong_settings_are_refused_by_name(option):
    with pytest.raises(BadInput, match=f"^{next(iter(option))}="):
        RolloutTraining(**option)
