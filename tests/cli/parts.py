"""Parts and a folder of choices for the tests of commands."""

import signal
from pathlib import Path

import pytest
import torch

from mbrl.cli import main
from mbrl.errors import BadInput, EnvironmentFault
from mbrl.roles import Agent
from tests import toys
from tests.config.parts import write

HERE = __name__


class Signalled(toys.ToyEnv):
    """Send this process a signal in the course of a step."""

    def __init__(
        self, num_envs: int = 1, at: int = 50, number: int = signal.SIGINT, times: int = 1
    ):
        super().__init__(num_envs)
        self.at, self.number, self.times, self.count = at, number, times, 0

    def step(self, action):
        self.count += 1
        if self.count == self.at:
            for _ in range(self.times):
                signal.raise_signal(self.number)
        return super().step(action)


class Faulty(toys.ToyEnv):
    """Break in step 30."""

    def __init__(self, num_envs: int = 1, refuse: bool = False):
        super().__init__(num_envs)
        if refuse:
            raise BadInput("env.refuse=true: refused when built")
        self.count = 0

    def step(self, action):
        self.count += 1
        if self.count == 30:
            raise EnvironmentFault("a NaN\nin obs", index=0, step=30)
        return super().step(action)


class Gain(Agent):
    """Learn one number, so that an evaluation shows whether it was restored."""

    def __init__(self, *, action, generator: torch.Generator, slope: float = 1.0):
        self._action, self._generator, self.slope = action, generator, slope
        self.gain = torch.zeros(1)
        self.dynamics = toys.ToyModel()

    def act(self, obs, *, explore, env_state=None):
        if explore:
            return self._action.sample(obs.shape[0], generator=self._generator)
        return self._action.clip(self.gain * obs.sum(1, keepdim=True))

    def update(self, buffer):
        self.gain = torch.full((1,), -buffer.num_added / 200)
        return {"train/gain": self.gain.item()}

    def reset(self, done=None, *, explore=True):
        pass

    def state_dict(self):
        return {"gain": self.gain, "generator": self._generator.get_state()}

    def load_state_dict(self, state):
        self.gain = state["gain"]
        self._generator.set_state(state["generator"])


@pytest.fixture(scope="module")
def mine(tmp_path_factory) -> Path:
    return write(
        tmp_path_factory.mktemp("mine"),
        {
            "env/toy": "_target_: tests.toys.ToyEnv\nnum_envs: 1",
            "env/signalled": f"_target_: {HERE}.Signalled\nnum_envs: 1",
            "env/faulty": f"_target_: {HERE}.Faulty\nnum_envs: 1",
            "agent/gain": f"_target_: {HERE}.Gain",
        },
    )


@pytest.fixture
def train(mine, tmp_path, monkeypatch):
    """Run `mbrl train` on the toy environment in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> int:
        return main(["train", f"--config-dir={mine}", "env=toy", "agent=gain", *arguments])

    return call


def run_folder() -> Path:
    (found,) = Path("runs").glob("*/*/*")
    return found
