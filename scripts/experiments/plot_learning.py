"""Draw the learning curves of results/experiments/learning.csv, every seed: docs/learning.png.

python -m scripts.experiments.plot_learning
"""

from collections import defaultdict

from matplotlib.figure import Figure

from scripts.experiments.study import RESULTS, ROOT
from scripts.experiments.table import read_table

COLORS = ["#2563eb", "#d97706", "#059669", "#7c3aed", "#db2777", "#0891b2", "#65a30d", "#57534e"]


def main() -> None:
    """Draw an axis an environment, a color an agent."""
    curves: dict[str, dict[str, dict[str, list[tuple[int, float]]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for row in read_table(RESULTS / "learning.csv"):
        point = int(row["step"]), float(row["mean_reward"])
        curves[row["env"]][row["agent"]][row["seed"]].append(point)
    names = sorted({agent for agents in curves.values() for agent in agents})
    colors = dict(zip(names, COLORS, strict=False))
    columns = min(3, len(curves))
    rows = -(-len(curves) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.0 * rows), dpi=130, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes in grid[len(curves) :]:
        axes.set_axis_off()
    for axes, (env, agents) in zip(grid, curves.items(), strict=False):
        for agent, seeds in agents.items():
            for k, points in enumerate(seeds.values()):
                label = f"{agent}, each of {len(seeds)} seeds" if k == 0 else None
                style = {"color": colors[agent], "alpha": 0.7, "marker": "o", "markersize": 3}
                axes.plot(*zip(*points, strict=True), label=label, **style)
        axes.set_title(env, loc="left", fontsize=10)
        axes.set_xlabel("environment steps", fontsize=9)
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, fontsize=7, loc="best")
    (ROOT / "docs").mkdir(exist_ok=True)
    figure.savefig(ROOT / "docs" / "learning.png")


if __name__ == "__main__":
    main()
