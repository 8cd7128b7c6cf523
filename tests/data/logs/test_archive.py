"""Recorded runs in npz files: tables by their columns, nothing unpickled, sizes bounded."""

import io
import zipfile

import numpy as np
import pytest

from mbrl.data.logs import read_columns
from mbrl.errors import BadInput


def save(tmp_path, **arrays):
    np.savez(tmp_path / "log.npz", **arrays)
    return tmp_path / "log.npz"


def test_arrays_become_columns_and_a_shorter_action_ends_in_a_missing_number(tmp_path):
    file = save(
        tmp_path,
        t=np.arange(3),
        obs=np.arange(6).reshape(3, 2),
        on=np.array([True, False]),
        picture=np.zeros((3, 2, 2)),
        objects=np.array([{}], dtype=object),
    )
    columns = read_columns(file)
    assert columns.names == ("t", "obs[0]", "obs[1]", "on")
    assert columns.values["obs[1]"].tolist() == [1, 3, 5]
    assert columns.values["on"][:2].tolist() == [1, 0] and np.isnan(columns.values["on"][2])
    assert columns.groups == {"obs": ("obs[0]", "obs[1]")} and list(columns.rows) == [1, 2, 3]
    assert read_columns(file, ["obs[1]"]).values.keys() == {"obs[0]", "obs[1]"}


def refused(file, words, wanted=None):
    with pytest.raises(BadInput) as error:
        read_columns(file, wanted)
    message = str(error.value)
    assert message.startswith(str(file)) and words in message and len(message.splitlines()) == 1


def test_each_fault_is_one_line(tmp_path):
    refused(
        save(tmp_path, a=np.zeros(5), b=np.zeros(3)),
        "b has 3 rows and a 5; arrays should be equally long, or actions one row shorter",
    )
    (tmp_path / "log.npz").write_bytes(b"")
    refused(tmp_path / "log.npz", "not readable as npz")
    (tmp_path / "log.npz").write_bytes(b"a,b\n1,2\n")
    refused(tmp_path / "log.npz", "not readable as npz")
    refused(save(tmp_path, a=np.zeros((2, 10_001))), "10001 columns; should be at most 10000")


def test_bombs_and_doubles_are_refused(tmp_path):
    content = io.BytesIO()
    np.save(content, np.ones((4, 2)))
    good, file = content.getvalue(), tmp_path / "log.npz"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("obs.npy", good + bytes(300_000_000))
    refused(file, "obs declares more numbers than such a file can hold")
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("obs.npy", good.replace(b"(4, 2), }   ", b"(4000, 2), }")[:128])
    refused(file, "obs declares more numbers than the file holds")
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(file, "w") as archive:
        archive.writestr("obs.npy", good)
        archive.writestr("obs.npy", good)
    refused(file, "obs is there twice")
