"""Starts drawn ahead: in the order of one generator, however the queue is filled and resumed."""

import numpy as np
import pytest
import torch

from mbrl.envs import tasks
from mbrl.envs.starts import StartPool, draw_start
from mbrl.errors import EnvironmentFault

POSTURE = np.zeros(6), np.zeros(6)
CPU = torch.device("cpu")


class Numbered:
    """Its starts are 1, 2, 3 ..."""

    def __init__(self):
        self.drawn = 0

    def start(self, qpos, qvel, generator):
        self.drawn += 1
        qpos[:] = qvel[:] = self.drawn


def pool(task=None, num_envs: int = 3) -> StartPool:
    return StartPool(task or tasks.Hopper(), *POSTURE, num_envs=num_envs, device=CPU)


def masks(steps: int, num_envs: int = 3, seed: int = 0) -> torch.Tensor:
    return torch.rand(steps, num_envs, generator=torch.Generator().manual_seed(seed)) < 0.6


def test_no_start_is_used_twice_and_none_is_left_out():
    starts, used = pool(Numbered()), []
    for mask in masks(200):
        used += starts.take(mask)[mask][:, 0].tolist()
    assert used == list(range(1, len(used) + 1)) and len(used) > 300


def test_every_environment_may_end_in_every_step():
    starts, every = pool(Numbered()), torch.ones(3, dtype=torch.bool)
    used = [starts.take(every)[:, 0].tolist() for _ in range(50)]
    assert sum(used, []) == list(range(1, 151))


def test_starts_are_those_of_the_task_and_the_generator():
    starts, generator = pool(), np.random.default_rng(np.random.SeedSequence([3, 4]))
    starts.seed([3, 4])
    first = starts.take(torch.tensor([True, False, True]))
    for row in (0, 2):
        expected = draw_start(tasks.Hopper(), *POSTURE, generator, None).astype(np.float32)
        np.testing.assert_array_equal(first[row], expected)


def test_a_resumed_pool_goes_on_with_the_same_starts():
    own, other = pool(), pool()
    own.seed([5])
    for mask in masks(70):
        own.take(mask)
    other.load_state_dict(own.state_dict())
    for mask in masks(5, seed=1):
        assert own.take(mask)[mask].equal(other.take(mask)[mask])
    own.take(torch.zeros(3, dtype=torch.bool))  # it may have drawn more by now, or not
    a, b = own.state_dict(), other.state_dict()
    assert a.pop("rows").equal(b.pop("rows")) and a == b
    for mask in masks(70, seed=2):
        assert own.take(mask)[mask].equal(other.take(mask)[mask])


def test_a_start_that_returns_a_value_is_refused_by_the_number_of_its_environment():
    class Returns:
        def start(self, qpos, qvel, generator):
            return qpos

    with pytest.raises(EnvironmentFault, match="environment 4.*should write into qpos and qvel"):
        draw_start(Returns(), *POSTURE, np.random.default_rng(0), 4)
