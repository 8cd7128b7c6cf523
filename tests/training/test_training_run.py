"""A step of the loop on a device: nothing between two rows of the record reads a number there."""

import pytest
import torch

from mbrl.agents import ModelFree
from mbrl.errors import EnvironmentFault
from mbrl.learners import SAC
from mbrl.roles import VecStep
from mbrl.training.training_run import Schedule, TrainingRun
from mbrl.types import ActionSpec, Task
from tests.contracts.test_agent import Record
from tests.learners.sac_problems import seeded
from tests.no_reads import reads

ACTION = ActionSpec.box([-1.0], [1.0])


class OnDevice:
    """Environments that are tensors only, as those of a simulator on a GPU: episodes of 7 steps."""

    obs_dim, action, task = 2, ACTION, Task(reward=lambda obs, action, after: -after[:, 0])
    max_episode_steps: int | None = 7
    device = torch.device("cpu")

    def __init__(self, num_envs: int = 4, nan_at: int = 0):
        self.num_envs, self._nan_at, self._count = num_envs, nan_at, 0
        self._elapsed = torch.arange(num_envs)

    def reset(self, seed: int | None = None) -> torch.Tensor:
        self._obs = torch.zeros(self.num_envs, 2)
        return self._obs

    def step(self, action: torch.Tensor) -> VecStep:
        self._count += 1
        self._elapsed = self._elapsed + 1
        after = self._obs + 0.1 * action
        if self._count == self._nan_at:
            after = after * torch.nan
        done = self._elapsed % 7 == 0
        self._obs = torch.where(done[:, None], 0.0, after)
        return VecStep(self._obs, after, -after[:, 0], torch.zeros_like(done), done)

    def env_state(self) -> None:
        return None

    def state_dict(self) -> dict:
        return {}

    def load_state_dict(self, state: dict) -> None:
        pass

    def close(self) -> None:
        pass


def run_on(env: OnDevice) -> TrainingRun:
    learner = SAC(obs_dim=2, action=ACTION, generator=0, hidden=8, batch_size=16)
    agent = ModelFree(action=ACTION, learner=learner, generator=1, learning_starts=20)
    run = TrainingRun(env, agent, Schedule(10_000, log_every=200), logger=Record())
    run.begin()
    return run


def go(run: TrainingRun, steps: int) -> None:
    for _ in range(steps):
        run.step(run.agent.act(run.obs, explore=True))
        run.learned(run.agent.update(run.buffer))
        run.close_step()


def test_between_two_rows_of_the_record_nothing_is_read(monkeypatch):
    run = run_on(OnDevice())
    with reads(monkeypatch) as found:
        go(run, 51)  # past the first row, at 200 transitions
        assert found
        del found[:]
        go(run, 48)
        assert found == []
        go(run, 1)
        assert found
    record = run._logger
    assert isinstance(record, Record) and [row["step"] for row in record.rows] == [200, 400]


def act(run: TrainingRun, steps: int = 50) -> None:
    for action in torch.rand(steps, 4, 1, generator=seeded()):
        run.step(action)


def test_what_is_read_late_is_what_is_read_at_once(monkeypatch):
    now, late = run_on(OnDevice()), run_on(OnDevice())
    act(now)
    with reads(monkeypatch) as found:
        act(late)
        assert found == []
        counted = late.counters.state_dict()
    for key, value in now.counters.state_dict().items():
        if key not in ("spent", "pending"):
            same = value.equal(counted[key]) if isinstance(value, torch.Tensor) else None
            assert same or value == counted[key], key
    assert now.buffer.all().episode.equal(late.buffer.all().episode)


def test_a_nan_on_a_device_is_reported_at_the_next_row(monkeypatch):
    with reads(monkeypatch):
        run = run_on(OnDevice(nan_at=3))
        act(run)
        with pytest.raises(EnvironmentFault, match="an infinity in the observation, in this step"):
            run.close_step()
    with pytest.raises(EnvironmentFault, match="a NaN in the observation"):
        act(run_on(OnDevice(nan_at=3)))


def test_a_draw_of_the_buffer_is_that_of_the_rows_held():
    run = run_on(OnDevice())
    go(run, 10)
    assert run.buffer.sample(100, generator=seeded()).obs.shape == (100, 2)
