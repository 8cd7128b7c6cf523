"""Sets of measured runs, on made-up files of the same layout."""

import numpy as np
import pytest

from mbrl.errors import BadInput
from scripts.experiments.measured_data import SETS, load_set


def save(file, header, *columns):
    file.parent.mkdir(exist_ok=True)
    np.savetxt(file, np.stack(columns, 1), delimiter=",", header=header, comments="")


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    arm = tmp_path / "schunk_arm"
    arm.mkdir()
    for run in (10, 2):
        time = 0.004 * np.arange(6)
        np.savetxt(arm / f"{run}_time.csv", time)
        states = rng.normal(size=(6, 12))
        states[0] = run
        np.savetxt(arm / f"{run}_trajectory.csv", states, delimiter=",")
        np.savetxt(arm / f"{run}_input.csv", rng.normal(size=(5, 6)), delimiter=",")
    names = "time,pos_filt1,pos_filt2,vel_filt1,vel_filt2,tau_con1,tau_meas1,tau_meas2"
    for name in ("acrobot_mcpilco_01", "pendubot_mcpilco_01", "pendubot_sac_lqr_01"):
        file = tmp_path / f"double_pendulum_dfki/{name}.csv"
        save(file, names, 0.03 * np.arange(5), *rng.normal(size=(7, 5)))
    pendulum = tmp_path / "pendulum_dfki"
    time = np.arange(0, 1, 0.002)
    turning = np.angle(np.exp(1j * 20 * time))
    save(pendulum / "a.csv", "time,position,velocity,torque", time, turning, 20 + time, time)
    save(pendulum / "b.csv", ",time,pos,vel,torque", time, time, turning, 20 + time, time)
    return tmp_path


def test_each_set_has_its_columns_and_its_rate(folder):
    logs = {name: load_set(folder, name) for name in SETS}
    arm = logs["schunk_arm"]
    assert [e.obs[0, 0] for e in arm.episodes] == [2, 10]
    assert arm.episodes[0].obs.shape == (6, 12) and arm.episodes[0].action.shape == (5, 6)
    assert arm.step == pytest.approx(0.004) and arm.obs_names[6] == "velocity1"
    for name in ("acrobot", "pendubot"):
        assert len(logs[name].episodes) == 1 and logs[name].step == pytest.approx(0.03)
        assert logs[name].angles == (0, 1) and logs[name].action_names == ("tau_meas1", "tau_meas2")
    later = load_set(folder, "acrobot", action_shift=1).episodes[0].action
    assert (later[:-1] == logs["acrobot"].episodes[0].action[1:]).all()
    pendulum = logs["pendulum"]
    assert pendulum.step == 0.02 and len(pendulum.episodes) == 2
    assert np.diff(pendulum.episodes[1].obs[:, 0]) == pytest.approx(0.4, abs=0.01)


def test_missing_and_wrong_files_are_named(folder):
    with pytest.raises(BadInput, match="name=car: should be one of schunk_arm, pendulum"):
        load_set(folder, "car")
    (folder / "schunk_arm/2_input.csv").write_text("1,2,3,4,5,6\n" * 3)
    with pytest.raises(BadInput, match="2_trajectory.csv: 6 rows, but 3 of torques and 6 of time"):
        load_set(folder, "schunk_arm")
    with pytest.raises(BadInput, match=r"none/pendulum_dfki: holds no \*.csv"):
        load_set(folder / "none", "pendulum")
