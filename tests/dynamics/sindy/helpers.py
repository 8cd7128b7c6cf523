"""Rows and equations for tests of SINDy."""

import torch

from mbrl.dynamics.sindy.equations import equations
from mbrl.types import Transitions


def rows(obs, action, next_obs, reward=None, episode=None):
    count = obs.shape[0]
    never = torch.zeros(count, dtype=torch.bool)
    reward = torch.zeros(count) if reward is None else reward
    episode = torch.zeros(count, dtype=torch.int64) if episode is None else episode
    return Transitions(obs, action, reward, next_obs, never, never, episode)


def found(model, digits=4):
    return {e.left: e.right(digits) for e in equations(model)}
