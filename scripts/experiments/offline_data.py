"""Make the datasets of specs/offline.yaml: train the agent of each, then collect.

    python -m scripts.experiments.offline_data [--tasks pendulum ...] [--runs DIR]

Datasets go to $MINARI_DATASETS_PATH, or else to Minari's own folder; the study takes them from
there. An agent that is trained already is not trained again, one that was broken off is resumed.
"""

import argparse
from pathlib import Path

from scripts.experiments.run import is_finished, run_mbrl
from scripts.experiments.study import ROOT, Study, load_study


def make(study: Study, task: str, folder: Path) -> None:
    """Train the agent of a dataset, unless it is there, and collect.

    Args:
        study: its tasks have `agent` and `collect`.
        task: of the study.
        folder: of the agents' runs, one an environment.
    """
    values = study.tasks[task]
    named = dict(text.split("=", 1) for text in values["settings"])
    path = folder / named["env"]
    if not is_finished(path):
        fresh = [*values["agent"].split(), f"env={named['env']}", f"run_dir={path}"]
        run_mbrl(["train", *(["--resume", str(path)] if path.exists() else fresh)])
    run_mbrl(["collect", str(path), "--id", named["dataset"], *values["collect"].split()])


def main() -> None:
    """Make the datasets that are asked for."""
    study = load_study("offline")
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tasks", nargs="+", choices=study.tasks, default=["pendulum"])
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "offline_data")
    given = parser.parse_args()
    for task in given.tasks:
        make(study, task, given.runs)


if __name__ == "__main__":
    main()
