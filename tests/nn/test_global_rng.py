"""A library's own global generators: repeatable, resumable, and nobody else's draws change."""

import random

import numpy as np
import torch

from mbrl.nn.global_rng import GlobalRng


def draw():
    return random.random(), float(np.random.rand()), torch.rand(1).item()


def draws(rng: GlobalRng, count: int = 2):
    with rng:
        return [draw() for _ in range(count)]


def test_the_same_seed_gives_the_same_draws_however_they_are_split():
    one, other = GlobalRng(3), GlobalRng(3)
    assert draws(one, 4) == draws(other, 1) + draws(other, 3)
    assert draws(GlobalRng(4)) != draws(GlobalRng(3))


def test_draws_outside_are_not_changed():
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    expected = [draw(), draw()]
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    rng = GlobalRng(3)
    first = draw()
    draws(rng)
    assert [first, draw()] == expected


def test_a_saved_state_continues():
    rng = GlobalRng(5)
    draws(rng)
    state = rng.state_dict()
    after = draws(rng)
    other = GlobalRng(0)
    other.load_state_dict(state)
    assert draws(other) == after
