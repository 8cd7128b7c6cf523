"""Recorded runs in Parquet files: numbers, truth values and lists of one length."""

import sys

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from mbrl.data.logs import read_columns, read_tables
from mbrl.errors import BadInput


def save(tmp_path, **columns):
    parquet.write_table(pa.table(columns), tmp_path / "log.parquet")
    return tmp_path / "log.parquet"


def refused(file, words, wanted=None):
    with pytest.raises(BadInput) as error:
        read_columns(file, wanted)
    message = str(error.value)
    assert message.startswith(str(file)) and words in message and len(message.splitlines()) == 1


def test_columns_of_all_kinds_become_float64(tmp_path):
    file = save(
        tmp_path,
        t=pa.array([0, 1, 2], pa.int64()),
        on=pa.array([True, None, False]),
        half=pa.array(np.array([0.5, 1, 2], np.float16)),
        state=pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.float32(), 2)),
        loose=pa.array([[1.0], [2.0], [3.0]]),
        text=["a", "b", "c"],
        when=pa.array([0, 1, 2], pa.timestamp("ns")),
    )
    columns = read_columns(file)
    assert columns.names == ("t", "on", "half", "state[0]", "state[1]", "loose[0]")
    assert columns.values["state[1]"].tolist() == [2, 4, 6]
    assert columns.values["half"].tolist() == [0.5, 1, 2]
    on = columns.values["on"]
    assert on[0] == 1 and np.isnan(on[1]) and on[2] == 0
    assert read_columns(file, ["state[0]"]).values.keys() == {"state[0]", "state[1]"}
    assert read_columns(file, ["text"]).values == {}


def test_many_batches_are_joined_in_order(tmp_path):
    rows = np.arange(70_000, dtype=float)
    file = save(tmp_path, a=rows, b=pa.FixedSizeListArray.from_arrays(np.repeat(rows, 2), 2))
    columns = read_columns(file)
    assert (columns.values["a"] == rows).all() and (columns.values["b[1]"] == rows).all()


def test_each_fault_is_one_line(tmp_path):
    refused(save(tmp_path, a=[[1.0], [2.0, 3.0]]), "a: lists differ in length")
    (tmp_path / "log.parquet").write_bytes(b"")
    refused(tmp_path / "log.parquet", "not readable as Parquet")
    (tmp_path / "log.parquet").write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    refused(tmp_path / "log.parquet", "not readable as Parquet")


def test_a_column_of_one_value_that_would_fill_the_memory_is_refused(tmp_path):
    """Run lengths and dictionaries let a small file declare any number of rows."""
    file = tmp_path / "log.parquet"
    rows = pa.table({"a": np.zeros(10_000_000)})
    with parquet.ParquetWriter(file, rows.schema) as writer:
        for _ in range(2):
            writer.write_table(rows)
    assert file.stat().st_size < 100_000
    refused(file, "declares more numbers than such a file can hold")


def test_without_pyarrow_one_line_says_what_to_install(tmp_path, monkeypatch):
    file = save(tmp_path, a=[1.0])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refused(file, "Parquet needs pyarrow: pip install 'dynaplan[logs]'")


def test_one_long_text_repeated_in_every_row_is_held_once(tmp_path):
    rows = pa.DictionaryArray.from_arrays(np.zeros(200_000, np.int32), ["x" * 1_000_000])
    file = save(tmp_path, run=rows, a=np.arange(200_000))
    columns = read_tables([file], ["run", "a"], "run")[0]
    assert (columns.values["run"] == 0).all() and columns.values["a"][-1] == 199_999
    assert read_tables([save(tmp_path, run=[5, 5, 6])], None, "run")[0].values["run"].sum() == 16
