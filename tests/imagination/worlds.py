"""Models as environments for the tests of this room."""

import torch

from mbrl.imagination import ImaginedVecEnv
from mbrl.types import ActionSpec
from tests.toys import ACTION, ToyModel, generator

PUSHES = ActionSpec("discrete", torch.zeros(3), torch.ones(3), 3)


STARTS = torch.rand(50, 2, generator=generator()) * 2 - 1


class Pushed(ToyModel):
    """The toy's equations under three discrete pushes."""

    def step(self, state, action, **kwargs):
        return super().step(state, action @ torch.tensor([[-1.0], [0.0], [1.0]]), **kwargs)


class Bounded(ToyModel):
    """Invalid beyond position 0.5; terminates beyond -0.5."""

    def step(self, state, action, **kwargs):
        state, pred = super().step(state, action, **kwargs)
        position = pred.next_obs[:, 0]
        return state, pred._replace(valid=position < 0.5, terminated=position < -0.5)


def world(model=None, action=ACTION, starts=STARTS, **options):
    return ImaginedVecEnv(model or ToyModel(), starts, action, **options)
