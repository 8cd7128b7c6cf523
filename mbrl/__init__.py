"""dynaplan: model-based reinforcement learning and control from the same parts."""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Hand on names when they are asked for, so that `import mbrl` stays light."""
    if name in ("load", "GymAgent"):
        import mbrl.cli

        return getattr(mbrl.cli, name)
    if name == "make_vec":
        from mbrl.envs import make_vec

        return make_vec
    raise AttributeError(f"module 'mbrl' has no attribute {name!r}")
