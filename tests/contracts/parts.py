"""Every part that a YAML names, built for a small problem."""

from pathlib import Path
from typing import Any

import yaml

import mbrl
from tests.toys import generator

CONFIGS = Path(mbrl.__file__).parent / "configs"


def names(group: str) -> list[str]:
    """List the choices of a group; a new YAML joins by itself."""
    return sorted(p.stem for p in (CONFIGS / group).glob("*.yaml") if p.stem != "none")


def labels(group: str, name: str) -> dict[str, Any]:
    """Read a choice's own YAML."""
    return yaml.safe_load((CONFIGS / group / f"{name}.yaml").read_text())


def make(group: str, name: str, overrides: dict[str, Any] | None = None, **scope: Any) -> Any:
    """Build one choice as `mbrl train` would, some keys overridden."""
    from mbrl.config import instantiate

    node = labels(group, name)
    node.update(overrides or {})
    defaults = {"device": "cpu", "seed": 0, "generator": generator(), "total_steps": 100}
    return instantiate(node, **{**defaults, **scope})
