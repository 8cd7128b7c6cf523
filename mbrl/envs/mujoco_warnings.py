"""MuJoCo's own interventions: where a simulation blows up, it resets itself and only warns."""

# mujoco has no type stubs
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import sys
from typing import Any, final

import gymnasium
import numpy as np
from numpy.typing import NDArray

# the columns of MjData.warning.number that say so; the others (a full buffer) change no state
_MEANING = {
    3: "a NaN or a huge number in its positions",
    4: "a NaN or a huge number in its velocities",
    5: "a NaN or a huge number in its accelerations",
    6: "a NaN or an infinity in its controls",
}


def describe_warnings(counts: NDArray[np.integer]) -> str | None:
    """Return what MuJoCo found wrong with a simulation, None if nothing that changes its state.

    Args:
        counts: (7,) of each kind of warning, as in MjData.warning.number.
    """
    return next((text for kind, text in _MEANING.items() if counts[kind]), None)


def blown_up(counts: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return whether MuJoCo found something wrong with each simulation: (B,).

    Args:
        counts: (B, 7) of each kind of warning.
    """
    return np.logical_or.reduce(counts[:, list(_MEANING)] > 0, axis=1)


@final
class MujocoWatch:
    """Watch over the MuJoCo simulations of a gymnasium environment.

    MuJoCo answers a NaN or a huge number by a reset to the model's own posture, in the middle of an
    episode, and goes on. Only its counters of warnings show it. An environment without MuJoCo has
    nothing to watch, and MuJoCo is not imported for it.

    Args:
        env: the environment; its MjData are those among the attributes of env.unwrapped.
    """

    def __init__(self, env: gymnasium.Env):
        """Find nothing yet: some environments build their simulation with the first reset."""
        self._env = env
        self._seen: list[tuple[Any, NDArray[np.integer], float]] = []

    def start(self) -> None:
        """Find the simulations and remember their counters; call it after each reset."""
        self._seen = [
            (data, np.array(data.warning.number), data.time) for data in simulations_of(self._env)
        ]

    def problem(self) -> str | None:
        """Return what MuJoCo did by itself since the last call or start(), None if nothing.

        Call it after each step.
        """
        problem = None
        for index, (data, before, time) in enumerate(self._seen):
            # MuJoCo's reset sets its counters to 0 before it counts: 1 can follow 1
            again = data.time < time
            counts = np.array(data.warning.number)
            what = describe_warnings(counts if again else counts - before)
            if what is not None and problem is None:
                problem = (
                    f"MuJoCo found {what} and reset the simulation by itself; "
                    "take a smaller timestep or weaker actions"
                )
            self._seen[index] = (data, counts, data.time)
        return problem


def simulations_of(env: gymnasium.Env) -> list[Any]:
    """Return the MjData among the attributes of an environment, and of these attributes' own.

    Args:
        env: any gymnasium environment, wrapped or not.
    """
    mujoco = sys.modules.get("mujoco")
    if mujoco is None:
        return []
    values = list(getattr(env.unwrapped, "__dict__", {}).values())
    # such as env.sim.data
    values += [vars(value).get("data") for value in values if hasattr(value, "__dict__")]
    simulations = {id(value): value for value in values if isinstance(value, mujoco.MjData)}
    return list(simulations.values())
