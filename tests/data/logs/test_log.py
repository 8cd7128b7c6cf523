"""Recorded runs become episodes: known answers, and one line for each fault."""

import numpy as np
import pytest

from mbrl.data.logs import read_log
from mbrl.errors import BadInput


def test_a_csv_becomes_episodes_whose_actions_belong_to_the_step_after_their_row(tmp_path):
    file = tmp_path / "log.csv"
    file.write_text("run,t,x,u\n1,0.0,10,5\n1,0.1,11,6\n1,0.2,12,7\n2,0.0,20,8\n2,0.1,21,9\n")
    log = read_log([file], obs=["x"], action=["u"], time="t", episode="run")
    assert [e.obs[:, 0].tolist() for e in log.episodes] == [[10, 11, 12], [20, 21]]
    assert [e.action[:, 0].tolist() for e in log.episodes] == [[5, 6], [8]]
    assert [np.asarray(e.time).tolist() for e in log.episodes] == [[0.0, 0.1, 0.2], [0.0, 0.1]]
    assert log.step == pytest.approx(0.1)
    assert log.obs_names == ("x",) and log.action_names == ("u",) and log.angles == ()
    assert log.episodes[1].source == f"{file}, rows 5-6"


def test_angles_are_made_continuous(tmp_path):
    file = tmp_path / "log.csv"
    angle = np.linspace(0, 20, 100)
    wrapped = np.angle(np.exp(1j * angle))
    np.savetxt(file, np.stack([wrapped, np.ones(100)], 1), delimiter=",", header="a,u", comments="")
    log = read_log([file], obs=["a"], action=["u"], angle=["a"])
    assert np.allclose(log.episodes[0].obs[:, 0], angle)
    assert log.angles == (0,)


def test_a_text_in_a_number_is_named_by_file_row_and_column(tmp_path):
    file = tmp_path / "log.csv"
    file.write_text("x,u\n1,2\n3,zwei\n")
    with pytest.raises(BadInput) as error:
        read_log([file], obs=["x"], action=["u"])
    assert str(error.value) == f"{file}, row 3, column u: 'zwei' should be a number"
