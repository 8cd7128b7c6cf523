"""`mbrl collect`: write a Minari dataset of what a run's agent does, or of a mix of agents."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mbrl.cli.common import Parser, add_trust, count, run_on, trust_of
from mbrl.config.restore import restore
from mbrl.errors import BadInput

if TYPE_CHECKING:
    from mbrl.config import Parts
    from mbrl.data import Source
    from mbrl.training.run_folder import RunFolder
    from mbrl.types import Transitions

KINDS = ("random", "medium", "expert", "replay")
_BISECTIONS, _TRIES = 5, 8  # of the medium policy's share of random steps; episodes of a trial


def main(arguments: list[str]) -> int:
    """Collect with a run's agent, save, and say what was saved."""
    parser = Parser(prog="mbrl collect", description=__doc__)
    parser.add_argument("run", metavar="RUN", type=Path, help="run folder")
    parser.add_argument("--steps", type=count(1, 10**9), metavar="N", required=True)
    parser.add_argument("--id", metavar="NAME", required=True, help="such as pendulum/medium-v0")
    parser.add_argument(
        "--mix",
        type=mixture,
        default=mixture("expert"),
        metavar="KIND[:SHARE],...",
        help="random, medium (half-way between random and the agent), expert (the agent as in "
        "training), replay (what it was trained on); default: expert",
    )
    parser.add_argument("--seed", type=count(0, 2147483647), metavar="S", help="default: the run's")
    parser.add_argument("--ref-max", type=float, metavar="R", help="return of score 100")
    add_trust(parser)
    options = parser.parse_args(arguments)

    from mbrl.data.minari_files import load_minari, summary
    from mbrl.data.minari_writer import new_dataset
    from mbrl.training.run_folder import RunFolder

    run = RunFolder.open(options.run)

    def work() -> int:
        with new_dataset(options.id) as folder:
            parts = restore(run, trust_of(options))
            _collect(run, parts, options, folder)
        print(summary(load_minari(options.id)))
        return 0

    return run_on(run, work)


def mixture(text: str) -> dict[str, float]:
    """Read KIND[:SHARE],... ; shares count relative to each other."""
    shares = {}
    for item in text.split(","):
        kind, colon, share = item.partition(":")
        try:
            weight = float(share) if colon else 1.0
        except ValueError:
            weight = 0.0
        if kind not in KINDS or kind in shares or not 0 < weight < float("inf"):
            raise argparse.ArgumentTypeError(
                f"{item} should be one of {', '.join(KINDS)}, each once, with a share such as "
                "random:0.3"
            )
        shares[kind] = weight
    return shares


def _collect(run: RunFolder, parts: Parts, options: argparse.Namespace, folder: Path) -> None:
    """Collect every kind and write their mix, with reference returns for scores."""
    import torch

    from mbrl.agents import Random
    from mbrl.data import Source, collect, merge, write_dataset
    from mbrl.training.evaluation import evaluate

    seed = run.config["seed"] if options.seed is None else options.seed
    generator = torch.Generator(run.config["device"]).manual_seed(seed)
    uniform = Random(action=parts.env.action, generator=generator)

    def score(agent: Any) -> float:
        made = evaluate(parts.make_eval_env, agent, episodes=_TRIES, seed=run.config["seed"])
        return made["eval/mean_reward"]

    low, high = score(uniform), score(parts.agent)
    kinds = options.mix
    whole = sum(kinds.values())
    steps = {kind: round(options.steps * share / whole) for kind, share in kinds.items()}
    steps[next(iter(steps))] += options.steps - sum(steps.values())
    collected: list[Transitions] = []
    for number, kind in enumerate(kinds):
        if kind == "replay":
            collected.append(_replay(run, parts, steps[kind]))
            continue
        sources = {"random": Source(uniform), "expert": Source(parts.agent)}
        source = sources.get(kind) or _medium(parts, low, high, seed, generator)
        env = parts.make_eval_env(parts.env.num_envs)
        begin = 3_000_000 + 1_000 * seed + 100_000 * number  # apart from those of evaluations
        collected.append(collect(env, source, steps[kind], seed=begin, generator=generator))
        env.close()
    names = run.config["choices"]
    about = {
        "collected_in": names["env"],
        "description": f"collected in {names['env']}",
        "algorithm_name": f"{names['agent']}: {', '.join(f'{steps[k]} {k}' for k in kinds)}",
        "ref_min_score": low,
        "ref_max_score": high if options.ref_max is None else options.ref_max,
    }
    data = merge(collected, [steps[kind] for kind in kinds])
    write_dataset(folder, options.id, data, parts.env.action, about)


def _replay(run: RunFolder, parts: Parts, steps: int) -> Transitions:
    """Return what the agent was trained on."""
    saved = run.load("buffer")
    if saved is None or saved["buffer"]["num_added"] < 1:
        raise BadInput(f"{run.path}: its checkpoint holds no replay; choose another --mix")
    parts.buffer.load_state_dict(saved["buffer"])
    if len(parts.buffer) < steps:
        raise BadInput(
            f"--mix replay: {steps} steps of it are asked for, the run has {len(parts.buffer)}"
        )
    return parts.buffer.all()


def _medium(parts: Parts, low: float, high: float, seed: int, generator: Any) -> Source:
    """Find the share of random steps with which the agent earns half-way between the two."""
    from mbrl.data import Source, collect
    from mbrl.data.dataset import episodes

    def returns(share: float) -> float:
        env = parts.make_eval_env(_TRIES)
        limit = env.max_episode_steps or 1000
        acted = collect(
            env,
            Source(parts.agent, random=share),
            _TRIES * limit,
            seed=4_000_000 + seed,
            generator=generator,
        )
        env.close()
        returns = [each.reward.sum().item() for each in episodes(acted)]
        return sum(returns) / len(returns)

    least, most = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (least + most) / 2
        if returns(middle) > (low + high) / 2:
            least = middle
        else:
            most = middle
    return Source(parts.agent, random=(least + most) / 2)
