"""Parts and a folder of choices for the tests of configuration."""

from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import pytest
import torch
from annotated_types import Ge, Gt, Le, Lt

from mbrl import values
from mbrl.config import compose
from mbrl.errors import BadInput
from mbrl.values import AtMost, Count, CountOrZero, Fraction, checked

HERE = __name__  # classes of this file as a `_target_`


TOP = 3
Width = Annotated[int, Ge(2)]


class Sizes(NamedTuple):
    small: int
    large: int = 9


class Inner:
    def __init__(self, *, generator: torch.Generator, obs_dim: int, scale: float = 1.0):
        self.generator, self.obs_dim, self.scale = generator, obs_dim, scale


class Outer:
    """Hold parts.

    Args:
        inner: a part
            of its own.
        mode: how.
    """

    def __init__(
        self,
        inner: Inner,
        *,
        generator: torch.Generator,
        schedule: "tuple[int, int]" = (1, 2),
        others: list[Inner] | None = None,
        mode: Literal["slow", "fast"] = "slow",
    ):
        self.inner, self.generator = inner, generator
        self.schedule, self.others, self.mode = schedule, others, mode


class Picky:
    def __init__(self, *, size: int):
        raise BadInput(f"size={size}: should be even")


class Child(Outer):
    """Accept what Outer accepts."""


class Learner:
    """A learner that needs a model that bends in straight lines."""

    def __init__(self, *, dynamics, extra: dict[str, int] | None = None):
        self.dynamics = dynamics


class Agent:
    """Accept whatever there is."""

    def __init__(
        self,
        *,
        action,
        env,
        generator: torch.Generator,
        total_steps: int,
        dynamics=None,
        planner=None,
        learner=None,
        bonus=None,
        gain: Annotated[float, Gt(0), Le(1)] = 1.0,
        schedule: tuple[Count, ...] = (1,),
        label: str = "a",
        device: torch.device | str = "cpu",
    ):
        self.given = dict(locals())


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = folder / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


@pytest.fixture
def mine(tmp_path) -> Path:
    return write(
        tmp_path / "my configs, a=b",  # a path that Hydra's grammar would trip over
        {
            "env/toy": "_target_: tests.toys.ToyEnv\nnum_envs: 1",
            "env/needy": "_target_: tests.toys.ToyEnv\nnum_envs: ???",
            "agent/toy": f"_target_: {HERE}.Agent\ngain: 0.5",
            "agent/lines": f"_target_: {HERE}.Agent\n_requires_: [piecewise_linear]",
            "agent/offline": f"_target_: {HERE}.Agent\n_requires_: [dataset]",
            "dynamics/toy": "_target_: tests.toys.ToyDynamics",
            "dynamics/lines": "_target_: tests.toys.ToyDynamics\n_provides_: [piecewise_linear]",
            "planner/toy": "_target_: tests.toys.ToyPlanner\nhorizon: 5",
            "learner/toy": "_target_: tests.toys.ToyLearner",
            "learner/model": f"_target_: {HERE}.Learner",
            "bonus/big": f"_target_: {HERE}.Sizes\nsmall: 3",
        },
    )


def compose_toy(mine: Path, *arguments: str):
    return compose(["env=toy", "agent=toy", *arguments], mine)


def refused(mine: Path, *arguments: str) -> str:
    with pytest.raises(BadInput) as caught:
        compose_toy(mine, *arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Limited:
    @checked
    def __init__(
        self,
        *,
        num_members: Count = 7,
        num_elites: Annotated[int, Ge(1), AtMost("num_members")] = 5,
        rate: Annotated[float, Gt(0), Lt(TOP)] | None = None,
        share: Fraction = 0.5,
        lengths: tuple[CountOrZero, Count] = (0, 1),
        widths: "list[Width]" = (),  # type: ignore[assignment]
        scale: values.Positive = 1.0,
        deep: "Limited | None" = None,
    ):
        self.num_elites = num_elites
