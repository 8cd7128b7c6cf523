"""SAC against Stable-Baselines3, and on problems with a known answer."""

import copy

import gymnasium
import numpy as np
import pytest
import stable_baselines3
import torch
from stable_baselines3.common.logger import configure
from stable_baselines3.common.type_aliases import ReplayBufferSamples
from torch import Tensor

from mbrl.buffer import ReplayBuffer
from mbrl.errors import BadInput, NumericalFault
from mbrl.learners import SAC
from mbrl.learners.sac_losses import AutogradGradients
from mbrl.learners.sac_networks import forward
from mbrl.nn.flat import layers
from mbrl.roles import PolicyLearner
from mbrl.types import ActionSpec, Transitions
from tests.learners.bandit import UNIT
from tests.learners.sac_problems import SQUARE, batch_of, both, bounds, experience, seeded, small
from tests.toys import generator


class Idle(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)


def copy_into(linears: list[torch.nn.Linear], net: list[tuple[Tensor, Tensor]], k: int) -> None:
    for linear, (weight, bias) in zip(linears[:-1], net[:-1], strict=True):
        linear.weight.data.copy_(weight[k].T)
        linear.bias.data.copy_(bias[k, 0])
    linears[-1].weight.data.copy_(net[-1][0][k])
    linears[-1].bias.data.copy_(net[-1][1][k, :, 0])


def flat_of(linears: list[torch.nn.Linear]) -> list[Tensor]:
    parts = []
    for linear in linears[:-1]:
        parts += [linear.weight.data.T.flatten(), linear.bias.data]
    return [*parts, linears[-1].weight.data.flatten(), linears[-1].bias.data]


def linears_of(module: torch.nn.Module) -> list[torch.nn.Linear]:
    return [m for m in module.modules() if isinstance(m, torch.nn.Linear)]


@both
def test_updates_are_stable_baselines3s(backward, monkeypatch):
    """Same weights, batches and noise give the same weights after five updates."""
    learner = small(backward, action=bounds((-1.0, 1.0), (-1.0, 1.0)))
    real = experience(200, action=bounds((-1.0, 1.0), (-1.0, 1.0)))
    batches = copy.deepcopy(learner)._updates.batches.draw(((real, None),), 5)
    nets = learner.networks

    with torch.random.fork_rng():
        sb3 = stable_baselines3.SAC(
            "MlpPolicy", Idle(), policy_kwargs={"net_arch": [16, 16]}, device="cpu", buffer_size=1
        )
    sb3.set_logger(configure(None, []))
    actor_linears = linears_of(sb3.actor)  # hidden layers, mu, log_std
    joint = torch.nn.Linear(16, 4)
    copy_into([*actor_linears[:-2], joint], layers(nets.actor, 1, nets.actor_sizes), 0)
    for i, linear in enumerate(actor_linears[-2:]):
        linear.weight.data.copy_(joint.weight.data[2 * i : 2 * i + 2])
        linear.bias.data.copy_(joint.bias.data[2 * i : 2 * i + 2])
    for k in range(2):
        for module, flat in ((sb3.critic, nets.critic), (sb3.critic_target, nets.target)):
            copy_into(linears_of(module.q_networks[k]), layers(flat, 2, nets.critic_sizes), k)

    samples = iter(
        ReplayBufferSamples(
            b.obs[0],
            b.of_critics[0, :, 3:],
            b.next_obs[0],
            (b.discount[0] == 0).float()[:, None],
            b.reward[0, :, None],
        )
        for b in batches
    )
    assert sb3.replay_buffer is not None
    monkeypatch.setattr(sb3.replay_buffer, "sample", lambda *_, **__: next(samples))
    noises = iter(x.T for b in batches for x in b.noise[0].split(32, dim=1))
    normal = "torch.distributions.normal._standard_normal"
    monkeypatch.setattr(normal, lambda *_, **__: next(noises))
    sb3.train(gradient_steps=5, batch_size=32)
    learner.improve(real, num_updates=5)

    joint.weight.data = torch.cat([x.weight.data for x in actor_linears[-2:]])
    joint.bias.data = torch.cat([x.bias.data for x in actor_linears[-2:]])
    actor = torch.cat(flat_of([*actor_linears[:-2], joint]))
    torch.testing.assert_close(nets.actor, actor, rtol=1e-4, atol=2e-6)
    for module, flat in ((sb3.critic, nets.critic), (sb3.critic_target, nets.target)):
        twins = zip(*(flat_of(linears_of(q)) for q in module.q_networks), strict=True)
        expected = torch.cat([x for pair in twins for x in pair])
        torch.testing.assert_close(flat, expected, rtol=1e-4, atol=2e-6)
    assert sb3.log_ent_coef is not None
    torch.testing.assert_close(nets.log_temperature, sb3.log_ent_coef.data)


@pytest.mark.parametrize(
    "changes",
    [
        {"backward": "manual", "num_updates": 900},
        {"backward": "autograd", "num_updates": 900},
        {"precision": "bf16", "hidden": 128, "batch_size": 256, "num_updates": 400},
    ],
)
def test_finds_the_best_action_of_a_bandit(changes):
    """One step, reward -(a - 2 - obs)^2, actions in [-2, 6]: the best is 2 + obs."""
    action = bounds((-2.0, 6.0))
    g = seeded(3)
    obs, taken = torch.rand(2000, 1, generator=g) * 2 - 1, action.sample(2000, generator=g)
    buffer = ReplayBuffer(2000, 1, 1)
    ended, zero = torch.ones(2000, dtype=torch.bool), torch.zeros(2000, dtype=torch.bool)
    reward = -(taken - 2 - obs)[:, 0].square()
    buffer.add(Transitions(obs, taken, reward, obs, ended, zero, zero.long()))
    settings = {"hidden": 32, "batch_size": 64} | changes
    num_updates = settings.pop("num_updates")
    learner = small(obs_dim=1, action=action, learning_rate=3e-3, **settings)
    learner.improve(buffer, num_updates=num_updates)
    asked = torch.linspace(-0.8, 0.8, 9)[:, None]
    found = learner.select(asked, generator=g, deterministic=True)
    assert (found - 2 - asked).abs().max() < 0.35
    assert learner.value(asked).abs().max() < 0.35


@both
@pytest.mark.parametrize("ends, worth", [("terminated", 1.0), ("truncated", 2.0)])
def test_truncation_bootstraps_and_termination_does_not(backward, ends, worth):
    """Reward 1 for ever at discount 1/2 is worth 2; what terminates is worth 1."""
    one, no = torch.ones(8, dtype=torch.bool), torch.zeros(8, dtype=torch.bool)
    obs, action = torch.zeros(8, 1), torch.linspace(-1, 1, 8)[:, None]
    flags = (one, no) if ends == "terminated" else (no, one)
    buffer = ReplayBuffer(8, 1, 1)
    buffer.add(Transitions(obs, action, torch.ones(8), obs, *flags, no.long()))
    learner = small(
        backward,
        obs_dim=1,
        action=bounds((-1.0, 1.0)),
        discount=0.5,
        initial_temperature=1e-5,
        learning_rate=3e-3,
        tau=0.1,
    )
    learner.improve(buffer, num_updates=400)
    torch.testing.assert_close(learner.value(obs[:1]).item(), worth, rtol=0, atol=0.05)


@both
@pytest.mark.parametrize("target, way", [(50.0, 1), (-50.0, -1)])
def test_temperature_rises_where_entropy_is_below_its_target(backward, target, way):
    learner = small(backward, target_entropy=target, learning_rate=0.1)
    learner.improve(experience(50))
    torch.testing.assert_close(learner.networks.log_temperature.item(), 0.1 * way)  # Adam's first


@both
def test_the_policy_is_uniform_where_nothing_is_to_be_gained(backward):
    """Two actions in [-1, 1] without reward: the entropy goes to that of uniform ones, 2 ln 2."""
    real = ReplayBuffer(300, 3, 2)
    data = experience(300).all()
    real.add(data._replace(reward=0 * data.reward, terminated=data.terminated | True))
    learner = small(backward, learning_rate=3e-3, target_entropy=1.3, batch_size=128)
    learner.improve(real, num_updates=800)
    found = learner.improve(real)["train/entropy"]
    assert 1.15 < found < 1.45


def test_is_a_policy_learner():
    assert isinstance(small(), PolicyLearner)


def test_actions_keep_to_the_bounds_and_to_the_generator():
    learner, obs = small(), 30 * torch.randn(500, 3, generator=seeded(1))
    first, again, other = (learner.select(obs, generator=seeded(s)) for s in (1, 1, 2))
    assert first.shape == (500, 2) and first.equal(again) and not first.equal(other)
    assert first.equal(SQUARE.clip(first))
    assert first[:, 1].min() < -1 and first[:, 1].max() > 5  # in units of the environment
    calm = learner.select(obs, generator=seeded(1), deterministic=True)
    assert calm.equal(learner.select(obs, generator=seeded(2), deterministic=True))


def test_value_is_the_lesser_critic_at_the_mean_action():
    learner, obs = small(), torch.randn(7, 3, generator=seeded(1))
    action = learner.select(obs, generator=seeded(), deterministic=True)
    scaled = 2 * (action - SQUARE.low) / (SQUARE.high - SQUARE.low) - 1
    x, nets = torch.cat([obs, scaled], 1), learner.networks
    (w1, b1), (w2, b2), (w3, b3) = layers(nets.critic, 2, nets.critic_sizes)
    q = []
    for k in range(2):
        hidden = ((x @ w1[k] + b1[k]).relu() @ w2[k] + b2[k]).relu()
        q.append((hidden @ w3[k].T + b3[k])[:, 0])
    torch.testing.assert_close(learner.value(obs), torch.minimum(*q))


@pytest.mark.parametrize(
    "action, said",
    [
        (ActionSpec("discrete", torch.zeros(4), torch.ones(4), 4), "discrete"),
        (bounds((-1.0, float("inf"))), "finite"),
    ],
)
def test_refuses_actions_it_cannot_take(action, said):
    with pytest.raises(BadInput, match=said) as caught:
        small(action=action)
    assert "\n" not in str(caught.value)


@both
def test_global_randomness_is_left_alone(backward):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    learner = small(backward)
    learner.improve(experience(50), num_updates=2)
    learner.select(torch.zeros(4, 3), generator=seeded())
    assert torch.get_rng_state().equal(before)


@both
@pytest.mark.parametrize("changes", [{}, {"precision": "bf16", "hidden": 128, "batch_size": 256}])
def test_goes_on_bit_for_bit_after_loading(backward, changes):
    real, imagined, obs = experience(100), experience(300), torch.randn(5, 3)
    learner = small(backward, **changes)
    learner.improve(real, imagined, num_updates=3)
    saved = learner.state_dict()
    frozen = copy.deepcopy(saved)
    other = small(backward, seed=99, **changes)
    other.load_state_dict(saved)
    assert other.select(obs, generator=seeded()).equal(learner.select(obs, generator=seeded()))
    metrics = [x.improve(real, imagined, num_updates=4) for x in (learner, other)]
    assert metrics[0] == metrics[1]
    for name, found in learner.state_dict().items():
        assert found.equal(other.state_dict()[name]), name
        assert saved[name].equal(frozen[name]), f"{name} of the state moved with the learner"
    assert not learner.networks.actor.equal(saved["actor"])


def test_the_state_fits_the_other_backward_and_no_other_size():
    state = small("manual").state_dict()
    small("autograd").load_state_dict(state)
    with pytest.raises(BadInput, match="actor is not"):
        small(hidden=8).load_state_dict(state)


@both
def test_a_bad_reward_is_named(backward):
    real, data = ReplayBuffer(50, 3, 2), experience(50).all()
    real.add(data._replace(reward=data.reward + 1e38))
    with pytest.raises(NumericalFault, match="critic_loss"):
        small(backward).improve(real, num_updates=2)


def test_no_updates_change_nothing():
    learner = small()
    before = learner.state_dict()
    assert learner.improve(experience(10), num_updates=0) == {}
    assert all(x.equal(before[name]) for name, x in learner.state_dict().items())


def test_batches_hold_scaled_actions_and_discounts():
    learner, real = small(batch_size=64), experience(40)
    data = real.all()
    for batch in learner._updates.batches.draw(((real, None),), 3):
        row = (batch.obs[0][:, None] == data.obs[None]).all(2).float().argmax(1)
        scaled = 2 * (data.action - SQUARE.low) / (SQUARE.high - SQUARE.low) - 1
        for taken in batch.of_critics:
            torch.testing.assert_close(taken, torch.cat([data.obs, scaled], 1)[row])
        torch.testing.assert_close(batch.next_obs[0], data.next_obs[row])
        torch.testing.assert_close(batch.discount[0], 0.99 * (~data.terminated[row]).float())
    assert real.all().action.equal(data.action)  # scaling left the buffer alone


@both
def test_the_actor_may_learn_slower_than_the_critics(backward):
    """Adam's first step is the learning rate, whatever the gradient."""
    sac, data = small(backward, learning_rate=1e-2, actor_learning_rate=1e-3), experience(64)
    before = [sac.networks.actor.clone(), sac.networks.critic.clone()]
    sac.improve(data, num_updates=1)
    moved = [sac.networks.actor - before[0], sac.networks.critic - before[1]]
    assert [x.abs().max().item() for x in moved] == pytest.approx([1e-3, 1e-2], rel=1e-2)


def test_the_conservative_term_is_the_gap_of_the_two_means():
    """Its gradient, against one of the gap written out on the same batch."""
    sac = SAC(obs_dim=2, action=UNIT, generator=generator(1), hidden=8, batch_size=12)
    nets, draws = sac.networks, generator(4)
    obs, action, next_obs, reward = (
        torch.randn(1, 12, *width, generator=draws) for width in ((2,), (1,), (2,), ())
    )
    noise = torch.randn(1, 1, 24, generator=draws)
    batch = batch_of(obs, action, next_obs, reward, torch.full((1, 12), 0.9), noise)
    plain, _ = AutogradGradients(nets, target_entropy=-1.0).critic(batch)
    options = {"target_entropy": -1.0, "conservatism": 3.0, "num_real": 5}
    pushed, _ = AutogradGradients(nets, **options).critic(batch)

    flat = nets.critic.detach().requires_grad_()
    critic = layers(flat, 2, nets.critic_sizes)
    mean, log_std = forward(batch.obs, layers(nets.actor, 1, nets.actor_sizes))[0]
    action = (mean + log_std.exp() * noise[0, 0, :12]).tanh()[:, None].detach()
    imagined = torch.cat([obs[0, 5:], action[5:]], 1).expand(2, -1, -1)
    real = batch.of_critics[:, :5]
    gap = forward(imagined, critic).mean(2) - forward(real, critic).mean(2)
    (expected,) = torch.autograd.grad(3.0 * gap.sum(), flat)
    torch.testing.assert_close(pushed - plain, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "ratio, words",
    [
        (0.0, "above 0 and below 1 with conservatism"),
        (1.0, "above 0 and below 1 with conservatism"),
        (1e-6, "conservatism compares real and imagined"),  # no real row in so small a batch
    ],
)
def test_conservatism_needs_batches_of_both_kinds(ratio, words):
    with pytest.raises(BadInput, match=words):
        small(conservatism=1.0, real_ratio=ratio)


@pytest.mark.parametrize(
    "parameter, value",
    [("hidden", 0), ("tau", 0.0), ("discount", 1.5), ("learning_rate", float("nan")),
     ("batch_size", 2.5), ("backward", "fast"), ("precision", "bfloat16")],
)  # fmt: skip
def test_wrong_values_are_refused_by_name(parameter, value):
    with pytest.raises(BadInput, match=f"^{parameter}="):
        small(**{parameter: value})
