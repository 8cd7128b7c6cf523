"""Draw docs/overview.png from results/: real steps needed, and learning curves, every seed.

python -m scripts.experiments.plot_overview
"""

import csv
from collections import defaultdict
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

ROOT = Path(__file__).parents[2]
BLUE, ORANGE, GREEN, VIOLET, GRAY = "#2563eb", "#d97706", "#059669", "#7c3aed", "#6b7280"


def read(name: str) -> list[dict[str, str]]:
    with (ROOT / "results" / "experiments" / name).open() as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def interactions(axes: Axes) -> None:
    names = {
        "sindy_mpc": ("SINDy-MPC", VIOLET),
        "sindy_rl": ("SINDy-RL", BLUE),
        "sac": ("SAC", GRAY),
        "sb3_ppo": ("PPO", GRAY),
    }
    rows = read("interactions.csv")
    for y, (agent, (_, color)) in enumerate(reversed(names.items())):
        steps = [int(r["reached"]) for r in rows if r["agent"] == agent]
        axes.barh(y, sum(steps) / len(steps), color=color, alpha=0.35, height=0.62)
        axes.plot(steps, [y] * len(steps), "o", color=color, markersize=4)
        shown = " to ".join(f"{n:,}" for n in sorted({min(steps), max(steps)}))
        axes.text(max(steps) * 1.25, y, shown, va="center", fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(100, 1_500_000)
    axes.set_yticks(range(len(names)), [label for label, _ in reversed(names.values())])
    axes.set_title("Cart-pole swing-up: real steps to a return of 700", loc="left", fontsize=9.5)


def curves(axes: Axes, name: str, value: str, chosen: dict[str, tuple[str, str]], **only: str):
    lines: dict[tuple[str, str], list[tuple[int, float]]] = defaultdict(list)
    rows = [r for r in read(name) if all(r[k] == v for k, v in only.items())]
    key = "agent" if "agent" in rows[0] else "method"
    for row in rows:
        if row[key] in chosen:
            point = int(row["step"]), float(row[value])
            lines[row[key], row["seed"]].append(point)
    for agent, (label, color) in chosen.items():
        seeds = [points for (who, _), points in lines.items() if who == agent]
        for k, points in enumerate(seeds):
            shown = f"{label}, {len(seeds)} seeds" if k == 0 else None
            axes.plot(*zip(*points, strict=True), color=color, alpha=0.75, label=shown)
    axes.legend(edgecolor="none", fontsize=8, loc="upper left")


def main() -> None:
    figure = Figure(figsize=(12.6, 3.1), dpi=130, layout="constrained")
    first, second, third = figure.subplots(1, 3)
    interactions(first)
    pair = {"coplanner": ("COPlanner", GREEN), "mbpo": ("MBPO", ORANGE)}
    curves(second, "coplanner/pendulum_sparse.csv", "return", pair)
    second.set_title("Pendulum with a sparse reward: return", loc="left", fontsize=9.5)
    pair = {"mbpo": ("MBPO", ORANGE), "sb3_sac": ("SAC (Stable-Baselines3)", GRAY)}
    curves(third, "learning.csv", "mean_reward", pair, env="hopper")
    third.set_title("Hopper-v5: return", loc="left", fontsize=9.5)
    for axes in (first, second, third):
        axes.set_xlabel("real environment steps", fontsize=8.5)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    figure.savefig(ROOT / "docs" / "overview.png")


if __name__ == "__main__":
    main()
