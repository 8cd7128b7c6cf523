"""Draw the learning curves of results/learning.csv, every seed: docs/learning.png.

python scripts/plot_learning.py
"""

import csv
from collections import defaultdict
from pathlib import Path

from matplotlib.figure import Figure

ROOT = Path(__file__).parent.parent
COLOURS = ["#2563eb", "#d97706", "#059669", "#7c3aed", "#db2777"]


def main() -> None:
    curves: dict[str, dict[str, dict[str, list[tuple[int, float]]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    with (ROOT / "results" / "learning.csv").open() as file:
        for row in csv.DictReader(line for line in file if not line.startswith("#")):
            point = int(row["step"]), float(row["mean_reward"])
            curves[row["env"]][row["agent"]][row["seed"]].append(point)
    figure = Figure(figsize=(4.2 * len(curves), 3.2), dpi=130, layout="constrained")
    for axes, (env, agents) in zip(
        figure.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True
    ):
        for colour, (agent, seeds) in zip(COLOURS, agents.items(), strict=False):
            for k, points in enumerate(seeds.values()):
                label = f"{agent}, each of {len(seeds)} seeds" if k == 0 else None
                axes.plot(*zip(*points, strict=True), color=colour, alpha=0.7, label=label)
        axes.set_title(env, loc="left", fontsize=10)
        axes.set_xlabel("environment steps", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    (ROOT / "docs").mkdir(exist_ok=True)
    figure.savefig(ROOT / "docs" / "learning.png")


if __name__ == "__main__":
    main()
