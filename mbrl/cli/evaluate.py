"""`mbrl eval`: evaluate a trained agent from its run folder."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from mbrl.cli.common import Parser, add_trust, count, run_on, started, trust_of
from mbrl.config.restore import restore

if TYPE_CHECKING:
    from mbrl.training.run_folder import RunFolder


def main(arguments: list[str]) -> int:
    """Evaluate the newest checkpoint of a run."""
    parser = Parser(prog="mbrl eval", description=__doc__)
    parser.add_argument("run", metavar="RUN", type=Path, help="run folder")
    parser.add_argument("--episodes", type=count(1), metavar="N", help="default: the run's")
    parser.add_argument("--seed", type=count(0, 2147483647), metavar="S", help="default: the run's")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    add_trust(parser)
    options = parser.parse_args(arguments)

    from mbrl.training.run_folder import RunFolder

    run = RunFolder.open(options.run)
    return run_on(run, lambda: _evaluate(run, options))


def _evaluate(run: RunFolder, options: argparse.Namespace) -> int:
    """Evaluate the agent and print its returns."""
    parts = restore(run, trust_of(options))
    from mbrl.training.evaluation import evaluate

    started()
    score = evaluate(
        parts.make_eval_env,
        parts.agent,
        episodes=options.episodes or run.config["eval_episodes"],
        seed=run.config["seed"] if options.seed is None else options.seed,
    )
    if options.json:
        keys = ("eval/mean_reward", "eval/std_reward", "eval/episodes", "eval/mean_ep_length")
        print(json.dumps({key: score[key] for key in keys}))
    else:
        mean, std, number = (score[f"eval/{k}"] for k in ("mean_reward", "std_reward", "episodes"))
        print(f"eval/mean_reward {mean:.6g}  eval/std_reward {std:.6g}  eval/episodes {number}")
    return 0
