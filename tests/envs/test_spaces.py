"""Spaces of gymnasium: actions are inside them in any type; others are named."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from mbrl.envs import GymnasiumVecEnv
from mbrl.envs.spaces import NativeActions, constant_components, observation_width
from mbrl.errors import BadInput
from mbrl.types import ActionSpec


def box(low, high, dtype):
    return spaces.Box(np.array(low, dtype), np.array(high, dtype), dtype=dtype)


BOXES = {
    "float64 whose bounds round outwards": box([-0.1, 0.7], [0.1, 0.9], np.float64),
    "float32": box([-0.1], [0.3], np.float32),
    "float16": box([-0.1], [0.3], np.float16),
    "a constant": box([-1, 0], [1, 0], np.float32),
    "a constant that no float32 is": box([-1, 0.1], [1, 0.1], np.float64),
    "no float32 between the bounds": box([1e8 + 1], [1e8 + 2], np.float64),
    "a matrix": box([[-0.1, -0.2], [-0.3, -0.4]], [[0.1, 0.2], [0.3, 0.4]], np.float64),
    "tiny": box([-1e-30], [3e-30], np.float64),
    "denormal": box([1e-46], [3e-46], np.float64),
}


@pytest.mark.parametrize("name", BOXES)
def test_every_action_between_the_bounds_is_inside_the_space(name):
    space = BOXES[name]
    actions = NativeActions("Id", space)
    spec = actions.spec
    assert actions.shape == space.shape and (spec.low <= spec.high).all()
    draws = spec.sample(200, generator=torch.Generator().manual_seed(0))
    for row in [spec.low, spec.high, *draws]:
        native = actions.convert(row.numpy())
        assert space.contains(native), (native, space)
    # no more of the range is lost than rounding takes
    lost = np.abs(spec.low.double().numpy() - space.low.ravel())
    assert (lost <= np.spacing(np.abs(space.low.ravel()).astype(np.float32))).all()


def test_draws_at_the_end_of_a_range_stay_inside():
    spec = ActionSpec.box([0.1], [0.7])
    draws = spec.sample(2_000_000, generator=torch.Generator().manual_seed(0))
    assert draws.max() <= spec.high and draws.min() >= spec.low


def test_constant_components_are_named():
    assert constant_components(NativeActions("Id", BOXES["a constant"]).spec) == {1: 0.0}
    assert constant_components(ActionSpec.discrete(1)) == {}


@pytest.mark.parametrize(
    "space, words",
    [
        (box([-np.inf], [np.inf], np.float32), "component 0 is between -inf and inf"),
        (box([-1, 0], [1, np.inf], np.float64), "component 1 is between 0 and inf"),
        (box([-1e300], [1e300], np.float64), "component 0 is between -1e[+]300 and 1e[+]300"),
        (box([0], [5], np.int64), "TransformAction with a Discrete space"),
        (spaces.MultiDiscrete([2, 3]), "TransformAction with a Discrete space"),
        (spaces.MultiBinary(2), "TransformAction"),
        (spaces.Dict(a=box([0], [1], np.float32)), "TransformAction"),
        (spaces.Tuple((spaces.Discrete(2),)), "TransformAction"),
        (box([], [], np.float32), "it has no components"),
        (spaces.Discrete(10**7), "at most 10000 actions are; .*TransformAction"),
        (None, "action_space is missing"),
        (3, "action_space is a int"),
    ],
)
def test_other_actions_are_refused_with_what_to_wrap_them_in(space, words):
    with pytest.raises(BadInput, match=f"id=Id: .*{words}") as caught:
        NativeActions("Id", space)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "space, words",
    [
        (spaces.Discrete(4), "FlattenObservation"),
        (spaces.MultiBinary(4), "FlattenObservation"),
        (spaces.Dict(a=box([0], [1], np.float32)), "FlattenObservation"),
        (spaces.Tuple((spaces.Discrete(2),)), "FlattenObservation"),
        (spaces.Box(0, 255, (8, 8, 3), np.uint8), "for images .*FlattenObservation"),
        (spaces.Sequence(spaces.Discrete(2)), "gymnasium cannot flatten it either"),
        (box([], [], np.float32), "it has no components"),
        (None, "observation_space is missing"),
    ],
)
def test_other_observations_are_refused_with_what_to_wrap_them_in(space, words):
    with pytest.raises(BadInput, match=f"id=Id: .*{words}"):
        observation_width("Id", space)


class Anything(gymnasium.Env):
    """Observations are of any space."""

    action_space = spaces.Discrete(2)

    def __init__(self, space):
        self.observation_space = space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(4),
        spaces.MultiBinary(3),
        spaces.MultiDiscrete([2, 3]),
        spaces.Dict(a=spaces.Discrete(2), b=spaces.Box(0, 1, (2, 2))),
        spaces.Tuple((spaces.Discrete(2), spaces.Box(0, 1))),
        spaces.Box(0, 255, (4, 4, 3), np.uint8),
    ],
)
def test_the_wrapper_that_is_advised_is_enough(space):
    env = GymnasiumVecEnv.around([gymnasium.wrappers.FlattenObservation(Anything(space))])
    assert env.reset(0).shape == (1, spaces.flatdim(space))
    env.step(torch.tensor([[1.0, 0.0]]))
