"""dynaplan: model-based reinforcement learning and control from the same parts."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mbrl.api import GymAgent, load
    from mbrl.envs import make_vec

__version__ = "0.1.0"
__all__ = ["GymAgent", "load", "make_vec"]
__path__.append(f"{__path__[0]}/moved")  # old names of modules, for one release

_HOMES = {"GymAgent": "mbrl.api", "load": "mbrl.api", "make_vec": "mbrl.envs"}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import mbrl` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'mbrl' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names, also those that are not imported yet."""
    return sorted([*globals(), *__all__])
