"""Distill the policies of runs into formulas; print every seed and keep the table.

    python -m scripts.experiments.run learning --tasks pendulum --methods sindy_rl --keep --runs DIR
    python -m scripts.experiments.distill pendulum --seeds 0 1 2 --runs DIR [option ...]

Runs are taken from DIR/AGENT_ENV_SEED; options are those of `mbrl distill`. Rows go to
results/experiments/distill.csv, replacing older ones of the same environment and seed. `kept` is
whether the formula returns at least the teacher's mean less a quarter of its standard deviation, in
the environment.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from scripts.experiments.run import run_mbrl
from scripts.experiments.study import RESULTS
from scripts.experiments.table import read_table, write_table

OUT = RESULTS / "distill.csv"
FIELDS = [
    "agent", "env", "seed", "terms", "teacher_weights", "fewer", "teacher_return", "teacher_std",
    "sparse_return", "sparse_std", "kept", "imitation_in_model", "polished_in_model", "cpu_seconds",
    "formula", "command",
]  # fmt: skip


def distill(agent: str, env: str, seed: int, runs: Path, out: Path, extra: list[str]) -> dict:
    """Distill the policy of a run, and return its row."""
    arguments = ["distill", str(runs / f"{agent}_{env}_{seed}"), *extra]
    printed = out.with_suffix(".txt")
    cpu = run_mbrl([*arguments, "--out", str(out), "--json"], output=printed)
    *lines, last = printed.read_text().strip().splitlines()
    metrics = json.loads(last)
    least = metrics["teacher/mean_reward"] - 0.25 * metrics["teacher/std_reward"]
    return {
        "agent": agent,
        "env": env,
        "seed": seed,
        "terms": metrics["terms"],
        "teacher_weights": metrics["teacher_parameters"],
        "fewer": round(metrics["teacher_parameters"] / metrics["terms"]),
        "teacher_return": round(metrics["teacher/mean_reward"], 2),
        "teacher_std": round(metrics["teacher/std_reward"], 2),
        "sparse_return": round(metrics["sparse/mean_reward"], 2),
        "sparse_std": round(metrics["sparse/std_reward"], 2),
        "kept": metrics["sparse/mean_reward"] >= least,
        "imitation_in_model": round(metrics["model/imitation"], 2),
        "polished_in_model": round(metrics["model/polished"], 2),
        "cpu_seconds": round(cpu, 1),
        "formula": "; ".join(line.partition("    #")[0] for line in lines),
        "command": " ".join(["mbrl", "distill", f"DIR/{agent}_{env}_{seed}", *extra]),
    }


def main() -> None:
    """Distill for every seed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("env")
    parser.add_argument("--agent", default="sindy_rl")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, required=True)
    options, extra = parser.parse_known_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in options.seeds:
            out = Path(folder) / str(seed)
            row = distill(options.agent, options.env, seed, options.runs, out, extra)
            rows.append(row)
            print(
                f"seed {seed}  {row['terms']} terms, {row['fewer']}x fewer  "
                f"{row['sparse_return']} for {row['teacher_return']} +- {row['teacher_std']}  "
                f"kept {row['kept']}  {row['cpu_seconds']} CPU s\n  {row['formula']}",
                flush=True,
            )
    done = {str(seed) for seed in options.seeds}
    rows += [r for r in read_table(OUT) if r["env"] != options.env or r["seed"] not in done]
    rows.sort(key=lambda row: (row["env"], int(row["seed"])))
    write_table(OUT, "python -m scripts.experiments.distill ENV --runs DIR", FIELDS, rows)


if __name__ == "__main__":
    main()
