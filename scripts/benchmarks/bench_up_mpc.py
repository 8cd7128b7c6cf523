"""Time UP-MPC's choice against the straightforward way, and rank what two members know.

    python -m scripts.benchmarks.bench_up_mpc [--rounds 7] [--rows 1 2000]

straightforward: all K candidates of all rows in one batch, all seven members at every step, sampled
outputs, the assigned member's row gathered, as released. Against it the selector with exact
uncertainty (elite means) and with that of two members. Models and policies are those of the preset
(3 x 128, SAC 64) and of the defaults (4 x 200, SAC 256), fitted to Pendulum's transitions. Sides
take turns; CPU milliseconds, medians over the rounds. Spearman's rank correlation is between the
two estimators' summed uncertainties: over all candidates, and within the K of one observation
(mean). Writes results/benchmarks/up_mpc.csv.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mbrl.config import build, compose
from mbrl.dynamics.ensemble import GaussianEnsemble
from mbrl.imagination.rollout import rollout
from mbrl.planners import UPMPC
from mbrl.types import Transitions

FIT = ["dynamics.training.min_updates=300", "dynamics.training.max_updates=300"]
PRESET = ["dynamics.hidden=128", "dynamics.num_layers=3", "learner.hidden=64"]
SIZES = {"3x128": [*FIT, *PRESET], "4x200": FIT}
OUT = Path(__file__).parents[2] / "results" / "benchmarks" / "up_mpc.csv"
K, HORIZON, ALPHA, DISCOUNT = 5, 5, -2.0, 0.97


def straightforward(model: GaussianEnsemble, policy, obs: Tensor, draws: torch.Generator) -> Tensor:
    """Choose actions (B, act_dim) for obs (B, obs_dim) with nothing spared."""
    rows = obs.shape[0]
    here = obs.repeat_interleave(K, dim=0)
    action = first = policy.select(here, generator=draws)
    score = torch.zeros(rows * K)
    for h in range(HORIZON):
        if h:
            action = policy.select(here, generator=draws)
        x = model.inputs(torch.cat([here, action], 1))
        out = model._run(x)
        noise = torch.randn(out.mean.shape, generator=draws)
        sampled = model.targets.invert(out.mean + (0.5 * out.log_var).exp() * noise)
        uncertainty = sampled.std(0).mean(-1)
        chosen = model.elites[torch.randint(model.num_elites, (rows * K,), generator=draws)]
        step = sampled[chosen, torch.arange(rows * K)]
        here = here + step[:, : model.obs_dim]
        score = score + DISCOUNT**h * (step[:, -1] + ALPHA * uncertainty)
    best = score.view(rows, K).argmax(1)
    return first.view(rows, K, -1)[torch.arange(rows), best]


def spearman(a: Tensor, b: Tensor) -> Tensor:
    """Correlate the ranks along the last axis."""
    ranks = [x.argsort(-1).argsort(-1).double() for x in (a, b)]
    centred = [r - r.mean(-1, keepdim=True) for r in ranks]
    norm = (centred[0].square().sum(-1) * centred[1].square().sum(-1)).sqrt()
    return (centred[0] * centred[1]).sum(-1) / norm


def fitted(arguments: list[str]) -> Any:
    """Return an agent's parts, its model fitted to 1000 transitions of random actions."""
    config = compose(["agent=mbpo", "env=pendulum", "experiment=none", *arguments]).config
    parts: Any = build(config)
    draws = torch.Generator().manual_seed(0)
    obs = parts.env.reset(0)
    for t in range(1000):
        action = parts.env.action.sample(1, generator=draws)
        step = parts.env.step(action)
        episode = torch.tensor([t // 200])
        parts.buffer.add(
            Transitions(
                obs, action, step.reward, step.next_obs, step.terminated, step.truncated, episode
            )
        )
        obs = step.obs
    parts.agent.dynamics.fit(parts.buffer.all(), generator=draws)
    parts.agent.learner.improve(parts.buffer, num_updates=300)
    return parts


def correlations(model: GaussianEnsemble, policy, obs: Tensor) -> tuple[float, float]:
    """Rank two members' summed uncertainties (B, K) against all elites'."""
    found = []
    for kind in ("elites", "pair"):
        model._uncertainty = kind  # pyright: ignore[reportAttributeAccessIssue]
        draws = torch.Generator().manual_seed(5)
        action = policy.select(obs.repeat_interleave(K, dim=0), generator=draws)
        seen = rollout(
            model,
            model.initial(obs),
            action.view(len(obs), K, 1, -1),
            policy=policy,
            policy_generator=draws,
            horizon=HORIZON,
            discount=DISCOUNT,
            with_uncertainty=True,
        )
        found.append(seen.uncertainty)
    return spearman(*(x.flatten() for x in found)).item(), spearman(*found).mean().item()


def measure(sides: dict[str, Callable[[], object]], rounds: int, calls: int) -> dict[str, float]:
    """Return the median CPU milliseconds of a call, the sides taking turns."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        side()
    for _ in range(rounds):
        for name, side in sides.items():
            start = time.process_time()
            for _ in range(calls):
                side()
            times[name].append((time.process_time() - start) / calls * 1e3)
    return {name: statistics.median(found) for name, found in times.items()}


def sides_of(parts: Any, obs: Tensor) -> dict[str, Callable[[], object]]:
    """Return the three ways to choose actions at obs."""
    model, policy = parts.agent.dynamics, parts.agent.learner
    draws = torch.Generator().manual_seed(1)

    def planned(kind: str) -> Callable[[], object]:
        selector = UPMPC(
            learner=policy,
            dynamics=model,
            action=parts.env.action,
            generator=torch.Generator().manual_seed(2),
            num_candidates=K,
            horizon=HORIZON,
            alpha=ALPHA,
            discount=DISCOUNT,
        )

        def choose() -> None:
            model._uncertainty = kind
            selector.select(obs, generator=draws)

        return choose

    @torch.no_grad()
    def whole() -> None:
        straightforward(model, policy, obs, draws)

    return {"straightforward": whole, "elites": planned("elites"), "pair": planned("pair")}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 2000])
    args = parser.parse_args()
    torch.set_num_threads(1)
    lines = []
    for size in args.models:
        parts: Any = fitted(SIZES[size])
        draws = torch.Generator().manual_seed(1)
        sample = parts.buffer.sample(2000, generator=draws).obs
        with torch.no_grad():
            overall, within = correlations(parts.agent.dynamics, parts.agent.learner, sample)
        for rows in args.rows:
            obs = parts.buffer.sample(rows, generator=draws).obs
            found = measure(sides_of(parts, obs), args.rounds, max(1, 200 // rows))
            for name, ms in found.items():
                ratio = found["straightforward"] / ms
                ranks = f"{overall:.3f},{within:.3f}" if name == "pair" else ","
                lines.append(f"{size},{rows},{name},{ms:.3f},{ratio:.2f},{ranks}")
                print(lines[-1], flush=True)
    header = "model,rows,side,cpu_ms,times_straightforward,spearman_all,spearman_within"
    command = ("# python -m scripts.benchmarks.bench_up_mpc " + " ".join(sys.argv[1:])).strip()
    OUT.write_text("\n".join([command, header, *lines]) + "\n")


if __name__ == "__main__":
    main()
