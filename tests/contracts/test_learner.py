"""What every policy learner keeps to: it selects, improves, and goes on bit for bit."""

import math

import pytest
import torch

from mbrl.buffer import ReplayBuffer
from mbrl.imagination import ImaginedVecEnv
from mbrl.roles import ActionSelector, ModelEnvLearner, PolicyLearner
from mbrl.types import ActionSpec
from tests.contracts.parts import make, names
from tests.toys import ACTION, ToyEnv, ToyLearner, ToyModel, ToySelector, collect, generator

SMALL = {
    "sb3_ppo": {
        "num_model_envs": 4,
        "num_steps": 8,
        "batch_size": 16,
        "num_epochs": 2,
        "hidden": 16,
    },
    "sac_in_model": {
        "num_model_envs": 4,
        "num_steps": 8,
        "learning_starts": 16,
        "learner": {"_target_": "mbrl.agents.SAC", "hidden": 16, "batch_size": 16},
    },
}


def build(name: str, action: ActionSpec = ACTION):
    if name == "toy":
        return ToyLearner()
    small = SMALL.get(name, {"hidden": 16})
    return make("learner", name, small, obs_dim=2, action=action)


@pytest.mark.parametrize("name", ["toy", *names("learner")])
def test_learner(name):
    learner = build(name)
    assert isinstance(learner, PolicyLearner)
    assert isinstance(learner, ActionSelector) and isinstance(ToySelector(), ActionSelector)
    real, imagined = collect(ToyEnv(2), 60), collect(ToyEnv(2), 80, seed=1)
    obs = real.all().obs
    before = learner.select(obs, generator=generator(1), deterministic=True)
    assert before.shape == (120, 1)
    assert (before >= ACTION.low).all() and (before <= ACTION.high).all()
    assert learner.select(obs, generator=generator(2), deterministic=True).equal(before)
    noisy = learner.select(obs, generator=generator(1))
    assert noisy.equal(learner.select(obs, generator=generator(1)))
    assert not noisy.equal(learner.select(obs, generator=generator(2)))
    assert learner.value(obs).shape == (120,)

    def world():
        if not isinstance(learner, ModelEnvLearner):
            return None
        return ImaginedVecEnv(
            ToyModel(), real, ACTION, num_envs=learner.num_model_envs, generator=generator(5)
        )

    learner.improve(real, imagined, world(), num_updates=5)
    metrics = learner.improve(real, None, world(), num_updates=5)
    assert metrics and all(key.startswith("train/") for key in metrics)
    assert not learner.select(obs, generator=generator(1), deterministic=True).equal(before)

    other = build(name)
    other.load_state_dict(learner.state_dict())
    for each in (learner, other):
        torch.manual_seed(hash(id(each)) % 1000)  # nothing is drawn from global randomness
        each.improve(real, imagined, world(), num_updates=5)
    a, b = (each.select(obs, generator=generator(3)) for each in (learner, other))
    assert a.equal(b)


class Held:
    """Model: the toy, moved by the first of two actions alone."""

    learned = True

    def __init__(self):
        self._inner = ToyModel()

    def initial(self, obs, **options):
        return self._inner.initial(obs, **options)

    def observe(self, state, action, obs, env_state=None):
        return self._inner.observe(state, action[:, :1], obs)

    def step(self, state, action, **options):
        return self._inner.step(state, action[:, :1], **options)


@pytest.mark.parametrize("name", names("learner"))
def test_an_action_that_cannot_move_keeps_its_only_value(name):
    held = ActionSpec.box([-1.0, 0.25], [1.0, 0.25])
    learner = build(name, held)
    data = collect(ToyEnv(2), 60).all()
    action = torch.cat([data.action, torch.full_like(data.action, 0.25)], 1)
    real, imagined = (ReplayBuffer(len(data.obs), 2, 2) for _ in range(2))
    real.add(data._replace(action=action))
    imagined.add(data._replace(action=action))
    world = None
    if isinstance(learner, ModelEnvLearner):
        count = learner.num_model_envs
        world = ImaginedVecEnv(Held(), real, held, num_envs=count, generator=generator(5))
    for _ in range(3):
        metrics = learner.improve(real, imagined, world, num_updates=10)
    assert all(math.isfinite(value) for value in metrics.values())
    for deterministic in (True, False):
        chosen = learner.select(data.obs, generator=generator(1), deterministic=deterministic)
        assert (chosen[:, 1] == 0.25).all() and chosen[:, 0].std() > 0
    assert torch.isfinite(learner.value(data.obs)).all()
