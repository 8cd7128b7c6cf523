"""`mbrl doctor`: what is installed and what works here."""

from __future__ import annotations

import os
import sys
from importlib import metadata

from mbrl.cli.common import Parser

_EXTRAS = {  # package -> the extra that installs it
    "torch": "",
    "numpy": "",
    "gymnasium": "",
    "mujoco": "",
    "hydra-core": "",
    "stable-baselines3": "sb3",
    "pysindy": "sindy",
    "pyomo": "mip",
    "highspy": "mip",
    "minari": "offline",
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "ray": "sweep",
    "optuna": "sweep",
}


def main(arguments: list[str]) -> int:
    """Say what is installed and what works here."""
    Parser(prog="mbrl doctor", description=__doc__).parse_args(arguments)
    import mbrl

    print(f"dynaplan {mbrl.__version__}, python {sys.version.split()[0]}")
    for package, extra in _EXTRAS.items():
        try:
            print(package, metadata.version(package))
        except metadata.PackageNotFoundError:
            print(f"{package} is missing: pip install 'dynaplan{f'[{extra}]' if extra else ''}'")
    import torch

    cuda = [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    print("devices", ", ".join(["cpu", *cuda]))
    print(f"threads {torch.get_num_threads()} by default, {os.cpu_count()} cores; num_threads=1")
    print("rendering", _rendering())
    return 0


def _rendering() -> str:
    """Try MuJoCo's rendering back end."""
    if not os.environ.get("DISPLAY"):
        os.environ.setdefault("MUJOCO_GL", "egl")
    name = os.environ.get("MUJOCO_GL", "MuJoCo's default")
    try:
        import mujoco

        context = mujoco.GLContext(16, 16)  # type: ignore[attr-defined]
        context.make_current()
        context.free()
    except Exception as error:  # whatever a driver raises
        reason = " ".join(str(error).split()) or type(error).__name__
        return f"{name} does not work ({reason}); install libegl1 and set MUJOCO_GL=egl"
    return f"{name} works"
