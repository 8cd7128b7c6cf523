"""Recorded runs become episodes: known answers, and one line for each fault."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from mbrl.data import Dataset
from mbrl.data.logs import log_of_dataset, read_log, read_tables
from mbrl.errors import BadInput
from mbrl.types import ActionSpec, Transitions
from tests.data.logs.systems import record


def write(tmp_path, text, name="log.csv"):
    (tmp_path / name).write_text(text)
    return tmp_path / name


def save(tmp_path, names, *columns, name="log.csv"):
    rows = np.stack([np.asarray(column, float) for column in columns], 1)
    np.savetxt(tmp_path / name, rows, "%.17g", ",", header=names, comments="")
    return tmp_path / name


def read(file, **changes):
    settings: dict[str, Any] = {"obs": ["x"], "action": ["u"]} | changes
    return read_log([file], **settings)


def parts(log):
    return [(e.obs[:, 0].tolist(), e.action[:, 0].tolist()) for e in log.episodes]


def noted(log, words):
    return [note for note in log.notes if words in note]


RUNS = "run,t,x,u\n1,0.0,10,5\n1,0.1,11,6\n1,0.2,12,7\n2,0.0,20,8\n2,0.1,21,9\n"


def test_the_action_of_a_row_belongs_to_the_step_after_it(tmp_path):
    file = write(tmp_path, RUNS)
    log = read(file, time="t", episode="run")
    assert parts(log) == [([10, 11, 12], [5, 6]), ([20, 21], [8])]
    assert [np.asarray(e.time).tolist() for e in log.episodes] == [[0.0, 0.1, 0.2], [0.0, 0.1]]
    assert log.step == pytest.approx(0.1) and log.notes == []
    assert log.obs_names == ("x",) and log.action_names == ("u",) and log.angles == ()
    assert log.episodes[1].source == f"{file}, rows 5-6"
    assert parts(read(file, episode="run")) == parts(log)
    assert (
        read(file, episode="run").step is None
        and read(file, episode="run").episodes[0].time is None
    )


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_runs_may_be_named_in_words(tmp_path, kind):
    names = ["day 1, a", "day 1, a", "b_2", "b_2", None, "b_2"]
    if kind == "csv":
        lines = [f'"{name or ""}",{k},{k}\n' for k, name in enumerate(names)]
        file = write(tmp_path, "run,x,u\n" + "".join(lines[:4]))
        missing = write(tmp_path, "run,x,u\n" + "".join(lines), "b.csv")
    else:
        file, missing = tmp_path / "a.parquet", tmp_path / "b.parquet"
        for path, count in ((file, 4), (missing, 6)):
            table = {"run": names[:count], "x": np.arange(count), "u": np.arange(count)}
            parquet.write_table(pa.table(table), path)
    assert parts(read(file, episode="run")) == [([0, 1], [0]), ([2, 3], [2])]
    with pytest.raises(BadInput, match=r"row [56], column run: is missing; should be the number"):
        read(missing, episode="run")


@pytest.mark.parametrize("kind", ["csv", "npz"])
def test_each_file_of_a_folder_is_an_episode_in_the_order_of_names(tmp_path, kind):
    for name, start in (("b", 20), ("a", 10), ("c", 30)):
        x = np.arange(start, start + 3)
        if kind == "csv":
            save(tmp_path, "x,u", x, x + 0.5, name=f"{name}.csv")
        else:
            np.savez(tmp_path / f"{name}.npz", x=x, u=x[:-1] + 0.5)
    (tmp_path / "README.md").write_text("not read")
    log = read(tmp_path)
    assert parts(log)[0] == ([10, 11, 12], [10.5, 11.5])
    assert [e.obs[0, 0] for e in log.episodes] == [10, 20, 30]


def test_a_gap_of_time_ends_a_run_and_lone_rows_are_left_out(tmp_path):
    time = [0, 1, 2, 3, 9.1, 15, 16, 17]
    log = read(save(tmp_path, "t,x,u", time, range(8), range(8)), time="t", rate="as_recorded")
    assert parts(log) == [([0, 1, 2, 3], [0, 1, 2]), ([5, 6, 7], [5, 6])]
    assert noted(log, "2 gaps of more than 5 median steps") and noted(log, "1 rows have no row")


def test_uneven_times_are_resampled_with_the_action_of_the_row_before(tmp_path):
    time = [0, 1, 2, 3, 4, 5.5, 6, 7.5, 8]
    file = save(tmp_path, "t,x,u", time, np.array(time) * 2, range(9))
    log = read(file, time="t")
    assert log.step == 1 and np.allclose(log.episodes[0].obs[:, 0], 2 * np.arange(9))
    assert log.episodes[0].action[:, 0].tolist() == [0, 1, 2, 3, 4, 4, 6, 6]
    assert noted(log, "Resampled to 1 s (1 Hz), because more than 5% of the steps differ")
    assert len(read(file, time="t", rate="as_recorded").episodes[0].obs) == 9
    half = read(file, time="t", rate=0.5).episodes[0]
    assert half.obs[:, 0].tolist() == [0, 4, 8, 12, 16] and half.action[:, 0].tolist() == [
        0,
        2,
        4,
        6,
    ]
    assert np.asarray(half.time).tolist() == [0, 2, 4, 6, 8]


def test_even_times_with_a_little_jitter_are_left_as_they_are(tmp_path):
    time = np.arange(100) + np.random.default_rng(0).uniform(-0.04, 0.04, 100)
    log = read(save(tmp_path, "t,x,u", time, np.sin(time), np.cos(time)), time="t")
    assert len(log.episodes[0].obs) == 100 and log.step == pytest.approx(1, abs=0.02)
    assert not noted(log, "Resampled")


def test_files_of_other_rates_are_resampled_to_the_slowest_and_never_made_up(tmp_path):
    fast = save(tmp_path, "t,x,u", np.arange(0, 1, 0.01), range(100), range(100), name="a.csv")
    slow = save(tmp_path, "t,x,u", np.arange(0, 1, 0.05), range(20), range(20), name="b.csv")
    log = read_log([fast, slow], obs=["x"], action=["u"], time="t")
    assert log.step == pytest.approx(0.05) and [len(e.obs) for e in log.episodes] == [20, 20]
    assert noted(log, "because the median steps of files are between 0.01 and 0.05 s: 120 rows be")
    log = read_log([fast, slow], obs=["x"], action=["u"], time="t", rate="as_recorded")
    assert noted(log, "Left as recorded, though the median steps of files are between 0.01 and 0.0")
    log = read_log([slow], obs=["x"], action=["u"], time="t", rate=100)
    assert noted(log, "A step of 0.01 s is finer than the 0.05 s that were recorded")
    assert log.episodes[0].source == f"{slow}, rows 2-21" and len(log.episodes[0].obs) == 96


def test_angles_are_made_continuous_before_they_are_resampled(tmp_path):
    time = np.linspace(0, 10, 201) ** 1.2
    angle = 2 * time
    wrapped = np.angle(np.exp(1j * angle))
    log = read(save(tmp_path, "t,x,u", time, wrapped, time), time="t", angle=["x"])
    assert log.angles == (0,) and noted(log, "Resampled")
    assert np.allclose(log.episodes[0].obs[:, 0], 2 * np.asarray(log.episodes[0].time), atol=0.05)


def test_columns_that_may_be_angles_or_in_degrees_are_named(tmp_path):
    angle = np.linspace(0, 50, 400)
    u = np.ones(400)
    wrapped = np.angle(np.exp(1j * angle))
    assert noted(read(save(tmp_path, "x,u", wrapped, u)), "x jumps by a whole turn 8 times, as")
    assert noted(read(save(tmp_path, "x,u", np.rad2deg(wrapped), u)), "as angles in degrees do")
    with pytest.raises(BadInput, match=r"row 28, column x: goes from 179\.\d+ to -17.* in radians"):
        read(save(tmp_path, "x,u", np.rad2deg(wrapped), u), angle=["x"])
    jumping = np.arange(400.0) + 2 * np.pi * (np.arange(400) > 200)
    assert not noted(read(save(tmp_path, "x,u", jumping, u)), "whole turn")
    degrees = 80 * np.sin(angle)
    assert noted(read(save(tmp_path, "x,u", degrees, u), angle=["x"]), "more than a quarter of a")
    assert not noted(read(save(tmp_path, "x,u", angle, u), angle=["x"]), "x")


def test_missing_numbers_are_refused_or_cut_runs(tmp_path):
    file = write(tmp_path, "x,u\n0,0\n1,1\n,2\n3,3\n4,\n5,5\n6,nan\n")
    with pytest.raises(BadInput, match="row 4, column x: is missing; should be a number"):
        read(file)
    log = read(file, missing="split")
    assert parts(log) == [([0, 1], [0]), ([3, 4], [3]), ([5, 6], [5])]
    assert noted(log, "Numbers are missing in 2 rows; runs end there.")
    file = write(tmp_path, "x,u\n0,0\n1,\n2,\n3,3\n")
    with pytest.raises(BadInput, match="row 3, column u: is missing, as in 1 more rows"):
        read(file)


def test_the_action_of_the_last_row_may_be_missing(tmp_path):
    file = write(tmp_path, "r,x,u\n1,0,0\n1,1,\n2,2,2\n2,3,\n")
    assert parts(read(file, episode="r")) == [([0, 1], [0]), ([2, 3], [2])]


def test_a_shift_takes_actions_of_other_rows_of_the_same_run(tmp_path):
    file = write(tmp_path, "r,x,u\n1,0,0\n1,1,1\n1,2,2\n2,3,3\n2,4,4\n2,5,\n")
    assert parts(read(file, episode="r", action_shift=-1)) == [([1, 2], [0]), ([4, 5], [3])]
    file = write(tmp_path, "r,x,u\n1,0,\n1,1,1\n1,2,2\n2,3,\n2,4,4\n2,5,5\n")
    later = read(file, episode="r", action_shift=1)
    assert parts(later) == [([0, 1, 2], [1, 2]), ([3, 4, 5], [4, 5])]


def test_actions_off_by_a_row_are_said_and_a_shift_mends_them(tmp_path):
    runs = record("cart", "white", 0, shift=1)
    for place, (obs, action) in enumerate(runs):
        last = np.concatenate([action, action[-1:]])
        save(tmp_path, "p,v,u", *obs.T, *last.T, name=f"{place}.csv")
    log = read_log([tmp_path], obs=["p", "v"], action=["u"])
    assert noted(log, "action_shift=1 mends it")
    assert not noted(read_log([tmp_path], obs=["p", "v"], action=["u"], action_shift=1), "action_s")


def test_constant_columns_and_mixed_units_are_named(tmp_path):
    angle = np.sin(np.arange(50.0))
    save(tmp_path, "x,u", angle, angle * 0 + 2, name="a.csv")
    save(tmp_path, "x,u", np.rad2deg(angle), angle * 0 + 2, name="b.csv")
    save(tmp_path, "x,u", angle, angle * 0 + 2, name="c.csv")
    log = read(tmp_path)
    assert noted(log, "u is 2 in all rows.")
    (note,) = noted(log, "x is about 57 times larger in")
    assert "b.csv, rows 2-51 than in" in note and "units may be mixed" in note
    assert noted(
        read(save(tmp_path, "t,x,u", [0, 20, 40], *np.eye(3)[:2]), time="t"), "is 20 s, if"
    )


GOOD = "t,x,u\n0,1,2\n1,3,4\n2,5,6\n"


@pytest.mark.parametrize(
    ("text", "changes", "words"),
    [
        (GOOD, {"obs": ["y"]}, "obs: no column y in {file}; there are t, x, u"),
        (GOOD, {"obs": ["X"]}, "obs: no column X in {file}; did you mean x?"),
        (GOOD, {"obs": []}, "obs: should name a column at least; there are t, x, u"),
        (GOOD, {"obs": "x"}, "obs: 'x' should be a list of names of columns"),
        (GOOD, {"obs": ["x", "x"]}, "obs: x is there twice; should be named once"),
        (GOOD, {"obs": ["u"]}, "action: u is in obs too; a column should be one of both"),
        (GOOD, {"time": "u"}, "action: u is time too; a column should be one of both"),
        (GOOD, {"time": "z"}, "time: no column z in {file}; there are t, x, u"),
        (GOOD, {"angle": ["u"]}, "angle: u is not in obs; there are x"),
        (GOOD, {"rate": 0.0, "time": "t"}, "rate=0.0: should be above 0 (Hz)"),
        (GOOD, {"rate": 50.0}, "rate=50.0: needs the name of the column of the time (time)"),
        (GOOD, {"rate": 0.1, "time": "t"}, "rate=0.1: no run is as long as a step of 10 s"),
        (GOOD, {"rate": "fast"}, "rate"),
        (GOOD, {"missing": "drop"}, "missing"),
        (GOOD, {"action_shift": 1000}, "action_shift"),
        ("x,x,u\n1,2,3\n", {}, "{file}, column x: columns 1 and 2 have this name"),
        ("x,u\n1,2\n", {}, "{file}: holds one row; should hold a row for each step of a run"),
        ("x,u\n1,2\n3,inf\n", {}, "{file}, row 3, column u: is infinite; should be a number"),
        (
            "t,x,u\n0,1,2\n2,3,4\n1,5,6\n",
            {"time": "t"},
            "{file}, row 4, column t: time goes back from 2 to 1; should grow in every row "
            "(runs in one file need the column of their numbers: episode)",
        ),
        (
            "t,x,u\n0,1,2\n2,3,4\n2,5,6\n",
            {"time": "t"},
            "{file}, row 4, column t: time stays at 2; should grow in every row",
        ),
        (
            "t,x,u\n7,1,2\n7,3,4\n7,5,6\n",
            {"time": "t"},
            "{file}, row 3, column t: time does not change from 7; should grow in every row",
        ),
        (
            "r,t,x,u\n1,1,1,2\n1,0,3,4\n",
            {"time": "t", "episode": "r"},
            "{file}, row 3, column t: time goes back from 1 to 0; should grow in every row",
        ),
        (
            "r,x,u\n1,1,2\n2,3,4\n1,5,6\n",
            {"episode": "r"},
            "{file}: no two rows follow each other in a run; rows of the same r should stand",
        ),
        ("r,x,u\n1,1,2\n,3,4\n", {"episode": "r"}, "{file}, row 3, column r: is missing; should"),
        ("x,u\n" + "nan,nan\n" * 9, {}, "{file}, row 2, column x: is missing, as in 8 more rows"),
        ("x,u\n" + "nan,nan\n" * 9, {"missing": "split"}, "{file}: no two rows without a missing"),
    ],
)
def test_each_fault_is_one_line(tmp_path, text, changes, words):
    file = write(tmp_path, text)
    with pytest.raises(BadInput) as error:
        read(file, **changes)
    message = str(error.value)
    assert message.startswith(words.format(file=file)) and len(message.splitlines()) == 1


def test_faults_of_several_files_name_the_file(tmp_path):
    a, b = write(tmp_path, GOOD, "a.csv"), write(tmp_path, "t,x,v\n0,1,2\n1,3,4\n", "b.csv")
    with pytest.raises(BadInput, match=f"^{b}: no column u, which {a} has$"):
        read(tmp_path)
    with pytest.raises(BadInput, match="^paths: should name a file at least$"):
        read_log([], obs=["x"], action=["u"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"empty: holds no .csv, .npz or .parquet file$"):
        read(tmp_path / "empty")
    (tmp_path / "c.csv").symlink_to(a)
    with pytest.raises(BadInput, match=r"c.csv: a symbolic link; only files and folders"):
        read_tables([tmp_path])


def test_a_dataset_becomes_episodes_cut_where_steps_do_not_follow():
    obs, after = (
        torch.tensor([[0.0], [1], [2], [9], [20]]),
        torch.tensor([[1.0], [2], [3], [10], [20]]),
    )
    data = Transitions.from_arrays(
        obs,
        obs + 0.5,
        after,
        terminated=torch.tensor([0, 0, 0, 0, 1]).bool(),
        episode=[0, 0, 0, 0, 1],
    )
    known = torch.tensor([True, True, True, True, False])
    spec = ActionSpec("continuous", -torch.ones(1), torch.ones(1))
    log = log_of_dataset(Dataset(data, "arm/test-v0", "", spec, recorded=known))
    assert parts(log) == [([0, 1, 2, 3], [0.5, 1.5, 2.5]), ([9, 10], [9.5])]
    assert log.obs_names == ("obs[0]",) and log.episodes[1].source == "arm/test-v0, episode 0"
    with pytest.raises(BadInput, match="dataset=arm/test-v0: no step whose successor"):
        log_of_dataset(Dataset(data, "arm/test-v0", "", spec, recorded=known & False))


def test_damaged_files_are_read_or_refused_in_one_line(tmp_path):
    rng = np.random.default_rng(0)
    x = np.arange(9.0)
    save(tmp_path, "t,x,u", x, x, x, name="good.csv")
    np.savez(tmp_path / "good.npz", t=x, x=x, u=x[:-1])
    parquet.write_table(pa.table({"t": x, "x": x, "u": x}), tmp_path / "good.parquet")
    for kind in ("csv", "npz", "parquet"):
        good = (tmp_path / f"good.{kind}").read_bytes()
        for _ in range(100):
            damaged = bytearray(good)
            for place in rng.integers(len(good), size=rng.integers(1, 4)):
                damaged[place] = (
                    rng.integers(256) if rng.random() < 0.5 else rng.choice(list(b',;"\n '))
                )
            (tmp_path / f"bad.{kind}").write_bytes(damaged)
            try:
                log = read(tmp_path / f"bad.{kind}", time="t", missing="split")
                assert all(np.isfinite(e.obs).all() for e in log.episodes)
            except BadInput as error:
                assert str(error).startswith((str(tmp_path), "time:", "obs:", "action:", "rate="))
                assert len(str(error).splitlines()) == 1
