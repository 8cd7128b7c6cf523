"""Four sets of measured runs as logs: a six-axis arm, a pendulum, an acrobot and a pendubot.

python -m scripts.experiments.measured_data --data DIR

DIR holds the folders schunk_arm, pendulum_dfki and double_pendulum_dfki. They are published by
nikhilushinde/AutoKoopman (CC0; recorded by Liu and Althoff, IROS 2018) and by DFKI's Underactuated
Lab (torque_limited_simple_pendulum and double_pendulum, BSD-3). Printed are the sizes of each set
and what was seen in it.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mbrl.data.logs import Columns, Log, log_of_tables, read_columns, read_log
from mbrl.errors import BadInput

SETS = ("schunk_arm", "pendulum", "acrobot", "pendubot")
PENDULUM_RATE = 50.0  # Hz; recorded at 50 to 1000 Hz
JOINTS = range(1, 7)
ARM_STATE = [*(f"angle{joint}" for joint in JOINTS), *(f"velocity{joint}" for joint in JOINTS)]
ARM_TORQUE = [f"torque{joint}" for joint in JOINTS]


def load_set(folder: Path, name: str, *, action_shift: int = 0) -> Log:
    """Load a set of measured runs.

    The measured torques of the acrobot and the pendubot are the commanded ones of two rows before,
    and a row's torque is the one that led to it: action_shift=1 explains them far better.

    Args:
        folder: of all sets.
        name: one of
            schunk_arm: 6 torques -> 6 angles (bounded by the joints) and 6 velocities, 250 Hz.
            pendulum: torque -> angle and velocity, resampled to 50 Hz.
            acrobot, pendubot: 2 measured torques -> filtered angles and velocities, 33 Hz.
        action_shift: of the acrobot and the pendubot, as in `read_log`.

    Raises:
        BadInput: naming the file that is missing or wrong.
    """
    if name == "schunk_arm":
        return _arm(_files(folder / "schunk_arm", "*_trajectory.csv"))
    if name == "pendulum":
        return _pendulum(_files(folder / "pendulum_dfki", "*.csv"))
    if name not in SETS:
        raise BadInput(f"name={name}: should be one of {', '.join(SETS)}")
    return read_log(
        _files(folder / "double_pendulum_dfki", f"{name}_mcpilco_*.csv"),
        obs=["pos_filt1", "pos_filt2", "vel_filt1", "vel_filt2"],
        action=["tau_meas1", "tau_meas2"],
        time="time",
        angle=["pos_filt1", "pos_filt2"],
        action_shift=action_shift,
    )


def _files(folder: Path, pattern: str) -> list[Path]:
    """Return the files of a pattern, in the order of the numbers before their names.

    Raises:
        BadInput: if there are none.
    """
    files = list(folder.glob(pattern))
    if not files:
        raise BadInput(f"{folder}: holds no {pattern}")
    return sorted(files, key=lambda f: (f.stem.split("_")[0].zfill(9), f.name))


def _arm(trajectories: Sequence[Path]) -> Log:
    """Load the arm: three files without names for each run, the torques one row shorter."""
    tables = []
    for trajectory in trajectories:
        states, torques, time = (
            read_columns(trajectory.with_name(trajectory.name.replace("trajectory", kind)))
            for kind in ("trajectory", "input", "time")
        )
        missing = states.num_rows - torques.num_rows
        if missing not in (0, 1) or time.num_rows != states.num_rows:
            raise BadInput(
                f"{trajectory}: {states.num_rows} rows, but {torques.num_rows} of torques and "
                f"{time.num_rows} of time"
            )
        values = dict(zip(ARM_STATE, states.values.values(), strict=True))
        for name, column in zip(ARM_TORQUE, torques.values.values(), strict=True):
            values[name] = np.append(column, [np.nan] * missing)
        values["time"] = time.values["1"]
        tables.append(Columns(trajectory, tuple(values), values, states.rows))
    return log_of_tables(tables, obs=ARM_STATE, action=ARM_TORQUE, time="time")


def _pendulum(files: Sequence[Path]) -> Log:
    """Load the pendulum, of which one file has shorter names."""
    tables = []
    for file in files:
        table = read_columns(file)
        values = {
            {"pos": "position", "vel": "velocity"}.get(name, name): column
            for name, column in table.values.items()
        }
        tables.append(table._replace(names=tuple(values), values=values))
    return log_of_tables(
        tables,
        obs=["position", "velocity"],
        action=["torque"],
        time="time",
        angle=["position"],
        rate=PENDULUM_RATE,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    folder = parser.parse_args().data
    for name in SETS:
        log = load_set(folder, name)
        steps = sum(len(episode.action) for episode in log.episodes)
        print(f"{name}: {len(log.episodes)} episodes, {steps} steps of {log.step:.5g} s")
        for note in log.notes:
            print(f"  {note.replace(f'{folder}/', '')}")


if __name__ == "__main__":
    main()
