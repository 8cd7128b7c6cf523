"""dynaplan: model-based reinforcement learning and control from the same parts."""

from __future__ import annotations

import typing as _typing

if _typing.TYPE_CHECKING:
    from mbrl.api import GymAgent, load
    from mbrl.envs import make_vec
    from mbrl.recorded import fit
    from mbrl.training.loop import train
    from mbrl.types import ActionSpec, Transitions

__version__ = "0.1.0"
__all__ = ["ActionSpec", "GymAgent", "Transitions", "fit", "load", "make_vec", "train"]
__path__.append(f"{__path__[0]}/moved")  # old names of modules, for one release

_HOMES = {
    "ActionSpec": "mbrl.types",
    "GymAgent": "mbrl.api",
    "Transitions": "mbrl.types",
    "fit": "mbrl.recorded",
    "load": "mbrl.api",
    "make_vec": "mbrl.envs",
    "train": "mbrl.training.loop",
}
_ROOMS = ["agents", "dynamics", "envs", "imagination", "learners", "planners", "roles", "types"]


def __getattr__(name: str) -> _typing.Any:
    """Import a public name when it is first used, so that `import mbrl` stays light."""
    import importlib

    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"mbrl.{name}")
    raise AttributeError(f"module 'mbrl' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names, also those that are not imported yet."""
    return sorted([*__all__, *_ROOMS, "__version__"])
