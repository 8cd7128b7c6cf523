"""The benchmark of MuJoCo Warp runs to its end without a GPU, as it should on one."""

import csv

import pytest

from scripts.benchmarks import bench_warp


@pytest.mark.slow
def test_it_measures_both_back_ends_and_keeps_the_table(tmp_path, capsys):
    out = tmp_path / "warp.csv"
    bench_warp.main(["--quick", "--out", str(out)])
    with out.open() as file:
        assert file.readline().startswith("# python -m scripts.benchmarks.bench_warp")
        rows = list(csv.DictReader(file))
    assert [(row["num_envs"], row["backend"]) for row in rows] == [
        (n, backend) for n in ("2", "5") for backend in ("threads", "warp")
    ]
    for row in rows:
        assert float(row["lowest"]) <= float(row["steps_per_s"]) <= float(row["highest"])
        assert (row["physics_per_s"] != "") == (row["backend"] == "warp")
        assert row["diverged"] in ("", "0")
    bench_warp.main(["--quick", "--out", str(out), "--minutes", "0"])
    assert "no time left for InvertedPendulum-v5 2 threads" in capsys.readouterr().out
