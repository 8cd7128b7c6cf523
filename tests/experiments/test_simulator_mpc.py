"""Planning in the simulator beside random actions: cells, rows that are kept."""

import sys

import pytest

from scripts.experiments import simulator_mpc as script


@pytest.mark.parametrize("name", script.AGENTS)
def test_a_cell_is_an_episode_of_at_most_so_many_steps(name):
    row = script.play("Pendulum-v1", name, 1, 4)
    assert list(row) == list(script.COLUMNS)
    assert (row["steps"], row["terminated"]) == (4, 0) and float(row["return"]) < 0
    assert script.play("Pendulum-v1", name, 1, 4)["return"] == row["return"]


def test_rows_that_are_there_are_kept(tmp_path, monkeypatch):
    out = tmp_path / "table.csv"
    words = ["--ids", "Pendulum-v1", "--seeds", "1", "--steps", "2", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["simulator_mpc", *words])
    script.main()
    first = out.read_text()
    assert len(first.splitlines()) == 2 + len(script.AGENTS) and first[0] == "#"
    out.write_text("\n".join(first.splitlines()[:-1]) + "\n")
    script.main()
    again = out.read_text().splitlines()
    assert len(again) == len(first.splitlines()) and again[:-1] == first.splitlines()[:-1]
