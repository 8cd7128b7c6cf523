"""`mbrl distill`: turn a run's network policy into a formula, as a run of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mbrl.cli.common import Parser, add_trust, count, run_on, trust_of
from mbrl.config.restore import restore
from mbrl.errors import BadInput
from mbrl.lock import new_folder

if TYPE_CHECKING:
    from mbrl.config import Parts
    from mbrl.symbolic.sparse_policy import SparsePolicy
    from mbrl.training.run_folder import RunFolder


def main(arguments: list[str]) -> int:
    """Distill the policy of a run's newest checkpoint; evaluate both in the environment."""
    parser = Parser(prog="mbrl distill", description=__doc__)
    parser.add_argument("run", metavar="RUN", type=Path, help="run folder, of agent=sindy_rl say")
    parser.add_argument("--out", metavar="DIR", type=Path, help="default: RUN-sparse")
    parser.add_argument("--max-terms", type=count(1), metavar="N", default=12)
    parser.add_argument("--degree", type=count(1), metavar="N", default=3, help="of the terms")
    parser.add_argument("--starts", type=count(1), metavar="N", default=256, help="of episodes")
    parser.add_argument("--polish", type=count(0), metavar="N", default=150, help="iterations")
    parser.add_argument("--episodes", type=count(1), metavar="N", help="default: the run's")
    parser.add_argument("--code", choices=("python", "c"), help="print a function instead")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    add_trust(parser)
    options = parser.parse_args(arguments)

    from mbrl.training.run_folder import RunFolder, is_taken

    run = RunFolder.open(options.run)
    out = options.out or run.path.with_name(f"{run.path.name}-sparse")

    def check() -> None:
        if is_taken(out):
            raise BadInput(f"--out {out}: already there; name a new folder")

    def work() -> int:
        with new_folder(out, check) as folder:
            policy, metrics = _distill(run, restore(run, trust_of(options)), options)
            _save(run, policy, folder, out)
        _show(policy, metrics, out, options)
        return 0

    return run_on(run, work)


def _show(policy: SparsePolicy, metrics: dict[str, Any], out: Path, options: Any) -> None:
    """Print the formulas, or their code, and how good they are."""
    if options.code:
        print(policy.source(options.code))
    else:
        for equation in policy.formulas():
            print(f"{equation.text()}    # clipped to the action's bounds")
    if options.json:
        print(json.dumps({**metrics, "run": str(out)}))
    elif not options.code:
        print(
            f"{metrics['terms']} terms for {metrics['teacher_parameters']} weights: return "
            f"{metrics['sparse/mean_reward']:.6g} for {metrics['teacher/mean_reward']:.6g}  ({out})"
        )


def _distill(run: RunFolder, parts: Parts, options: Any) -> tuple[SparsePolicy, dict[str, Any]]:
    """Distill the run's policy in the run's model, and evaluate both in the environment.

    Returns:
        The formulas and the metrics.
    """
    import torch

    from mbrl.dynamics import SINDy
    from mbrl.roles import CountsPolicyParameters, HasDynamics, HasLearner
    from mbrl.symbolic.distillation import ModelReturns, distill
    from mbrl.symbolic.sparse_policy import SparsePolicy
    from mbrl.training.evaluation import evaluate

    agent = parts.agent
    if not (isinstance(agent, HasLearner) and isinstance(agent, HasDynamics)):
        raise BadInput(
            f"{run.path}: agent={run.config['choices'].get('agent')} has not both a policy and a "
            "model to try it in; agent=sindy_rl and agent=mbpo have"
        )
    learner, model = agent.learner, agent.dynamics
    env, hold = parts.env, run.config["agent"].get("action_hold", 1)
    if isinstance(model, SINDy):
        model.steps.use_kernel()
    generator = torch.Generator(run.config["device"]).manual_seed(run.config["seed"])
    scene = parts.make_eval_env(options.starts)
    starts = scene.reset(2_000_000 + 1_000 * run.config["seed"])  # apart from those of evaluations
    scene.close()
    policy = SparsePolicy(
        obs_dim=env.obs_dim,
        action=env.action,
        task=env.task,
        degree=options.degree,
        action_hold=hold,
        device=run.config["device"],
    )
    result = distill(
        lambda obs: learner.select(obs, generator=generator, deterministic=True),
        ModelReturns(model, starts, env.max_episode_steps or 1000, hold),
        policy,
        env.action,
        max_terms=options.max_terms,
        num_polish=options.polish,
        generator=generator,
    )
    metrics: dict[str, Any] = {
        "terms": policy.num_terms,
        "teacher_parameters": (
            learner.num_policy_parameters if isinstance(learner, CountsPolicyParameters) else None
        ),
        "model/teacher": result.teacher,
        "model/imitation": result.imitation,
        "model/polished": result.polished,
    }
    episodes = options.episodes or run.config["eval_episodes"]
    for name, each in (("teacher", parts.agent), ("sparse", policy)):
        score = evaluate(parts.make_eval_env, each, episodes=episodes, seed=run.config["seed"])
        metrics |= {f"{name}/{k}": score[f"eval/{k}"] for k in ("mean_reward", "std_reward")}
    return policy, metrics


def _save(run: RunFolder, policy: SparsePolicy, folder: Path, out: Path) -> None:
    """Save the policy in a folder as the run `out`, which `mbrl eval` and mbrl.load read."""
    from mbrl.config.defaults import add_defaults
    from mbrl.training.run_folder import RunFolder

    agent = {
        "_target_": "mbrl.symbolic.SparsePolicy",
        "degree": max(term.degree() for term in policy.library),
        "action_hold": policy.action_hold,
    }
    choices = {"env": run.config["choices"]["env"], "agent": "sparse_policy"}
    groups = {name: {} for name in run.config["choices"] if name not in ("env", "experiment")}
    config = {**run.config, **groups, "agent": agent, "choices": choices, "run_dir": str(out)}
    add_defaults(config)
    RunFolder.create(folder, config).save(run.step, {"agent": policy.state_dict()})
