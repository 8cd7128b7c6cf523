"""Run folders and datasets of scripts/robustness/hostile_files.py: refused in one line."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_no_hostile_file_is_obeyed(tmp_path):
    command = [sys.executable, "-m", "scripts.robustness.hostile_files"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "table.csv")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
    rows = (tmp_path / "table.csv").read_text().splitlines()[2:]
    assert sum(row.startswith("run folder") for row in rows) >= 150
    assert sum(row.startswith("dataset") for row in rows) >= 80
