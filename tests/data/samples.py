"""A small dataset of the toy environment."""

from mbrl.agents import Random
from mbrl.data import Source, collect, save_dataset
from mbrl.types import Transitions
from tests.toys import ACTION, ToyEnv, generator


def toy(steps: int = 90, envs: int = 2) -> Transitions:
    source = Source(Random(action=ACTION, generator=generator(1)))
    return collect(ToyEnv(envs), source, steps, seed=3, generator=generator(2))


def save(id: str = "toy/random-v0", data: Transitions | None = None):
    data = toy() if data is None else data
    return save_dataset(id, data, ACTION, env="toy", algorithm="random", ref_min=-9, ref_max=-1)
