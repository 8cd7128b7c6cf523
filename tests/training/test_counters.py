"""Counters: steps, episodes and returns of a sequence that is worked out by hand."""

import pytest
import torch

from mbrl.training import counters as module
from mbrl.training.counters import TrainingCounters


class Clock:
    """Both clocks of the time module, set by hand."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return 100 + self.now

    def process_time(self):
        return 10 + self.now / 2


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def advance(counters, *steps):
    for reward, done in steps:
        counters.advance(torch.tensor(reward), torch.tensor(done))


STEPS = [
    ([1.0, 10.0], [False, False]),
    ([2.0, 20.0], [False, True]),  # episode 1: return 30, length 2
    ([3.0, 40.0], [True, True]),  # episodes 0 and 2: 6 in 3 steps, 40 in 1
    ([5.0, 50.0], [False, False]),
]


def test_transitions_and_episodes_are_counted(clock):
    counters = TrainingCounters(num_envs=2)
    assert counters.step == 0 and counters.episode.tolist() == [0, 1]
    advance(counters, *STEPS[:2])
    before = counters.episode
    assert counters.step == 4 and before.tolist() == [0, 2]
    advance(counters, STEPS[2])
    assert before.tolist() == [0, 2]  # what a buffer holds is not changed
    assert counters.episode.tolist() == [3, 4]


def test_returns_and_lengths_are_those_of_whole_episodes(clock):
    counters = TrainingCounters(num_envs=2)
    advance(counters, STEPS[0])
    assert "rollout/ep_rew_mean" not in counters.metrics()  # no episode has ended
    advance(counters, *STEPS[1:])
    metrics = counters.metrics()
    assert metrics["rollout/ep_rew_mean"] == pytest.approx((30 + 6 + 40) / 3)
    assert metrics["rollout/ep_len_mean"] == pytest.approx((2 + 3 + 1) / 3)


def test_the_mean_is_over_the_last_hundred_episodes(clock):
    counters = TrainingCounters()
    advance(counters, *[([float(i)], [True]) for i in range(150)])
    assert counters.metrics()["rollout/ep_rew_mean"] == sum(range(50, 150)) / 100


def test_an_interval_is_due_in_the_vector_step_that_passes_it(clock):
    counters = TrainingCounters(num_envs=4)
    due = []
    for _ in range(6):  # steps 4, 8, ... 24
        advance(counters, ([0.0] * 4, [False] * 4))
        due.append(counters.due(10))
    assert due == [False, False, True, False, True, False]  # 12 passes 10, 20 is 20


def test_time_and_speed(clock):
    counters = TrainingCounters(num_envs=2)
    advance(counters, *STEPS)
    clock.now = 4.0
    assert counters.spent("wall") == 4.0 and counters.spent("cpu") == 2.0
    metrics = counters.metrics()
    assert metrics["time/fps"] == 8 / 4
    assert (metrics["time/wall_seconds"], metrics["time/cpu_seconds"]) == (4.0, 2.0)


def test_the_summary_has_the_last_evaluations_mean(clock):
    counters = TrainingCounters()
    assert counters.summary()["eval/mean_reward"] is None
    counters.evaluations += [[10, [1.0, 3.0]], [20, [5.0, 6.0]]]
    clock.now = 2.0
    assert counters.summary() == {
        "step": 0,
        "eval/mean_reward": 5.5,
        "evaluations": [{"step": 10, "rewards": [1.0, 3.0]}, {"step": 20, "rewards": [5.0, 6.0]}],
        "time/cpu_seconds": 1.0,
        "time/wall_seconds": 2.0,
    }


def test_what_is_saved_goes_on_as_if_never_left(clock):
    whole, cut = TrainingCounters(num_envs=2), TrainingCounters(num_envs=2)
    advance(whole, *STEPS, *STEPS)
    advance(cut, *STEPS[:2])
    cut.evaluations.append([4, [1.0]])
    clock.now = 3.0
    other = TrainingCounters(num_envs=2)
    clock.now = 5.0  # two seconds of its own before it is loaded
    other.load_state_dict(cut.state_dict() | {"spent": {"cpu": 1.5, "wall": 3.0}})
    advance(other, *STEPS[2:], *STEPS)
    assert other.step == whole.step and other.episode.equal(whole.episode)
    for name in ("rollout/ep_rew_mean", "rollout/ep_len_mean"):
        assert other.metrics()[name] == whole.metrics()[name]
    assert other.evaluations == [[4, [1.0]]]
    assert other.spent("wall") == 3.0 + 2.0 and other.spent("cpu") == 1.5 + 1.0
    assert other.metrics()["time/fps"] == (16 - 4) / 2.0  # those before the resume do not count
