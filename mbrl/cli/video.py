"""`mbrl video`: film an episode of a run's newest checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from mbrl.cli.common import Parser, add_trust, count, run_on, trust_of
from mbrl.config.restore import restore
from mbrl.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

    from mbrl.training.run_folder import RunFolder


def main(arguments: list[str]) -> int:
    """Record the first episode of an evaluation and print the name of the file."""
    parser = Parser(prog="mbrl video", description=__doc__)
    parser.add_argument("run", metavar="RUN", type=Path, help="run folder")
    parser.add_argument("--out", type=Path, metavar="FILE", help="a .gif; default: RUN/video.gif")
    parser.add_argument("--seed", type=count(0, 2147483647), metavar="S", help="default: the run's")
    parser.add_argument("--width", type=count(16, 4096), default=320, metavar="PIXELS")
    parser.add_argument("--height", type=count(16, 4096), default=240, metavar="PIXELS")
    add_trust(parser)
    options = parser.parse_args(arguments)
    file = options.run / "video.gif" if options.out is None else options.out
    if file.suffix.lower() != ".gif":
        raise BadInput(f"--out {file}: should end in .gif")
    if options.out is not None and not file.parent.is_dir():  # said before an episode is played
        raise BadInput(f"--out {file}: there is no folder {file.parent}")

    from mbrl.training.run_folder import RunFolder

    run = RunFolder.open(options.run)
    return run_on(run, lambda: _film(run, options, file))


def _film(run: RunFolder, options: argparse.Namespace, file: Path) -> int:
    """Record an episode and write its film."""
    node = run.config["env"]
    if node.get("backend") == "warp":  # has no pictures; in threads it is the same to rounding
        node = {**node, "backend": "threads", "nconmax": None, "njmax": None}
        run.config = {**run.config, "env": node}
    parts = restore(run, trust_of(options))
    from mbrl.envs import SimulatedVecEnv
    from mbrl.envs.pictures import camera_of, frames_per_second
    from mbrl.report.film import Film
    from mbrl.training.evaluation import run_episodes

    env = parts.make_eval_env(1)
    if not isinstance(env, SimulatedVecEnv):
        raise BadInput(
            f"env: a {type(env).__name__} cannot be filmed; should be an environment of this "
            "package, such as hopper"
        )
    camera = camera_of(env.simulation, width=options.width, height=options.height)
    film = Film(1 / frames_per_second(env.simulation))
    number = 0

    def watch(obs: Tensor) -> None:
        nonlocal number
        camera.see(obs.cpu().numpy())
        if number % film.every == 0:
            film.add(camera.picture(0))
        number += 1

    seed = run.config["seed"] if options.seed is None else options.seed
    returns, lengths = run_episodes(env, parts.agent, seed=seed, watch=watch)
    film.write(file)
    camera.close()
    env.close()
    print(f"{file}: {lengths[0]:.0f} steps, return {returns[0]:.6g}")
    return 0
