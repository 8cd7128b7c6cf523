"""Versions that decide whether a run can be repeated bit for bit, kept in its versions.json."""

from __future__ import annotations

import json
import platform
import warnings
from importlib import metadata
from pathlib import Path

from mbrl.errors import OtherVersions
from mbrl.files import MB, read_regular

_PACKAGES = ("dynaplan", "torch", "numpy", "gymnasium", "mujoco", "stable-baselines3", "pysindy")


def current_versions() -> dict[str, str]:
    """Return the versions in use: of Python, of the machine, of each package that is installed.

    "products" is what multiplies matrices: another processor may have another one.
    """
    from mbrl.nn.products import chosen_products  # imports torch: configs are checked without it

    versions = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": f"{platform.system()} {platform.machine()}",
        "products": chosen_products(),
    }
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def warn_of_other_versions(file: Path, consequence: str) -> None:
    """Warn in one line if a run was made with other versions than those in use.

    Compared are packages, the minor version of Python, the kind of machine and of products; not
    the version of the operating system.

    Args:
        file: versions.json of the run.
        consequence: what may follow, for the message.
    """
    try:
        saved = json.loads(read_regular(file, MB))
    except (OSError, ValueError, RecursionError):  # BadInput is a ValueError
        saved = None
    if not isinstance(saved, dict):
        message = f"{file}: missing or damaged, so versions are not compared; {consequence}"
        warnings.warn(message, OtherVersions, stacklevel=2)
        return
    now = current_versions()
    differ = [
        name
        for name in ("python", "machine", "products", *_PACKAGES)
        if name in saved and _significant(name, saved[name]) != _significant(name, now.get(name))
    ]
    if differ:
        then, here = (
            ", ".join(f"{name} {versions.get(name, '(none)')!s:.40}" for name in differ)
            for versions in (saved, now)
        )
        message = f"{file.parent}: made with {then}; here: {here}; {consequence}"
        warnings.warn(message, OtherVersions, stacklevel=2)


def _significant(name: str, version: object) -> str:
    """Return the part of a version that may change results: of Python, major and minor."""
    text = str(version)
    return ".".join(text.split(".")[:2]) if name == "python" else text
