"""`mbrl doctor`: what is installed and works here; `mbrl doctor env=...`: checks an environment."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mbrl.cli import machine
from mbrl.cli.common import Parser, reason, say, use_folders_of
from mbrl.errors import BadInput, EnvironmentFault

if TYPE_CHECKING:
    from mbrl.roles import VecEnv

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
    "pyarrow": "logs",
    "mujoco-warp": "gpu",
    "tensorboard": "tensorboard",
    "wandb": "wandb",
}


_STEPS = 1000  # taken of an environment, twice
_GROWTH = 256  # MB that an environment may take in them
_HANG = 10.0  # seconds for a step, where the environment sets no time_limit


def main(arguments: list[str]) -> int:
    """Print what is installed and what works here, or check an environment."""
    parser = Parser(prog="mbrl doctor", description=__doc__)
    parser.add_argument("settings", metavar="KEY=VALUE", nargs="*", help="env=... to be checked")
    parser.add_argument("--config-dir", type=Path, metavar="DIR", help="your own choices")
    options = parser.parse_args(arguments)
    if options.settings or options.config_dir:
        return _check_env(options.settings, options.config_dir)
    import mbrl

    print(f"dynaplan {mbrl.__version__}, python {sys.version.split()[0]}")
    for package, extra in _EXTRAS.items():
        try:
            print(package, metadata.version(package))
        except metadata.PackageNotFoundError:
            print(f"{package} is missing: pip install 'dynaplan{f'[{extra}]' if extra else ''}'")
    # rendering before mujoco is imported, which chooses its library then
    for probe in (machine.devices, machine.rendering, machine.warp, machine.threads):
        print(probe.__name__, probe())
    return 0


def _check_env(settings: list[str], config_dir: Path | None) -> int:
    """Check an environment; return the exit status."""
    from mbrl.config import compose, make_env

    use_folders_of(settings, config_dir)
    unneeded = ["agent=random", "experiment=none"]
    config = compose([*unneeded, *settings], config_dir).config
    node: dict[str, Any] = dict(config["env"])
    name = f"env={config['choices']['env']}"
    from mbrl.envs.check import examine

    if node["_target_"].endswith((".GymnasiumVecEnv", ".GymnasiumProcess")):
        # in a process of its own, in which it may do what it likes
        name = f"{name} env.id={node['id']}"
        node |= {"_target_": "mbrl.envs.GymnasiumProcess", "strict": True}
        node |= {"time_limit": node.get("time_limit") or _HANG, "memory_limit": _GROWTH}
    seed = config["seed"]

    def make() -> VecEnv:
        return make_env({**config, "env": node, "device": "cpu"})

    try:
        faults, notes = examine(make, seed=seed, num_steps=_STEPS)
    except BadInput:
        raise
    except EnvironmentFault as error:
        faults, notes = [str(error)], []
    except Exception as error:  # whatever an environment of the user's own raises
        faults, notes = [f"raised {reason(error)}"], []
    faults += _compared(node, seed) if not faults else []
    for note in notes:
        print(f"{name}: note: {note}")
    if faults:
        return max(say(f"{name}: {fault}", 1) for fault in faults)
    print(f"{name}: nothing found wrong in {_STEPS} random steps, taken twice")
    return 0


def _compared(node: dict[str, Any], seed: int) -> list[str]:
    """Return where an id `mbrl/...` differs from gymnasium's environment of the same name."""
    import gymnasium

    from mbrl.envs.check import difference_from_original

    name = str(node.get("id")).rpartition(":")[2]
    original = name.removeprefix("mbrl/")
    if original == name or original not in gymnasium.registry or node.get("kwargs"):
        return []
    difference = difference_from_original(original, seed=seed)
    return [] if difference is None else [difference]
