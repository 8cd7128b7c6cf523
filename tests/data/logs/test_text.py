"""CSV files and their kin: separators, names, decimal signs, and one line for each fault."""

import numpy as np
import pytest

from mbrl.data.logs import read_columns
from mbrl.errors import BadInput

A, B = [1.5, -2.0, 3e-2], [4.0, 5.5, -6.0]


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1.5,4\n-2,5.5\n.03,-6\n",
        "a;b\n1.5;4\n-2;5.5\n.03;-6\n",
        "a;b\n1,5;4\n-2;5,5\n3e-2;-6,0\n",
        "a\tb\n1.5\t4\n-2\t5.5\n.03\t-6\n",
        "a\tb\n1,5\t4\n-2\t5,5\n0,03\t-6\n",
        "a b\n 1.5   4\n  -2 5.5 \n.03 \t -6\n",
        "a, b\n1.5, 4\n-2, 5.5\n0.03, -6\n",
        '"a","b"\n"1.5","4"\n"-2","5.5"\n".03","-6"\n',
        "# made by a robot\n# a,b\n1.5,4\n\n-2,5.5\n# a break\n.03,-6",
        "\ufeffa,b\r\n1.5,4\r\n-2,5.5\r\n.03,-6\r\n",
        "a,b\n1.5,4,\n-2,5.5,\n.03,-6,\n",
        "a,b\n1.5,+4\n-2.,5.5E0\n3E-2,-06\n",
    ],
)
def test_the_form_of_a_file_is_detected(tmp_path, text):
    (tmp_path / "log.csv").write_bytes(text.encode())
    columns = read_columns(tmp_path / "log.csv")
    assert columns.names == ("a", "b")
    assert columns.values["a"].tolist() == A and columns.values["b"].tolist() == B


def test_without_names_columns_have_numbers_and_rows_are_counted_as_in_an_editor(tmp_path):
    (tmp_path / "log.csv").write_text("\n1.5,4\n\n-2,5.5\n")
    columns = read_columns(tmp_path / "log.csv")
    assert columns.names == ("1", "2") and list(columns.rows) == [2, 4]
    (tmp_path / "log.csv").write_text("x, m;u\n1,5;2\n2,5;3\n")
    assert read_columns(tmp_path / "log.csv").names == ("x, m", "u")
    (tmp_path / "log.csv").write_text(",x\n0,1.5\n1,2.5\n")  # as pandas writes an index
    assert read_columns(tmp_path / "log.csv").names == ("1", "x")
    (tmp_path / "log.csv").write_text("3\n4\n")
    assert read_columns(tmp_path / "log.csv").values["1"].tolist() == [3, 4]


def test_missing_numbers_and_truth_values_are_read(tmp_path):
    cells = ["", "nan", "NaN", "null", "NA", "None", "True", "false", "inf", "-Inf"]
    (tmp_path / "log.csv").write_text("a,b\n" + "".join(f"{cell},1\n" for cell in cells))
    values = read_columns(tmp_path / "log.csv").values["a"].tolist()
    assert np.isnan(values[:6]).all() and values[6:] == [1, 0, np.inf, -np.inf]


def test_columns_that_are_not_wanted_may_hold_anything(tmp_path):
    (tmp_path / "log.csv").write_text('t,a,a,"say ""x, y"""\n12:00 h,1,9,"d, e"\n13:00 h,2,9,f\n')
    with pytest.raises(BadInput, match="row 2, column t: '12:00 h' should be a number"):
        read_columns(tmp_path / "log.csv", ["t"])
    (tmp_path / "log.csv").write_text('t;a;"b;c"\n12:00, h;1,5;"d; e"\n13:00, h;2,5;f\n')
    columns = read_columns(tmp_path / "log.csv", ["a"])
    assert columns.values["a"].tolist() == [1.5, 2.5]
    assert columns.names == ("t", "a", "b;c") and columns.values.keys() == {"a"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty; should hold a row of numbers for each step"),
        (b"\n \n", "is empty; should hold a row of numbers for each step"),
        (b"a,b\n", "holds names of columns and no rows of numbers"),
        (b"a|b\n1|2\n3|4\n", "row 1: all is in one column, '3|4'; columns should be separated by"),
        (b"a,b\n1,2\n3\n", "row 3: 1 values; should be 2, as in the first row (separated by comma"),
        (b"a,b\n1,2\n3,4,5\n", "row 3: 3 values; should be 2"),
        (b"a,b\n1,2\n3,four\n", "row 3, column b: 'four' should be a number"),
        (b"a;b\n1.5;2\n1,5;4\n", "row 3, column a: '1,5' should be a number with a decimal point"),
        (b"a,b\n1,2\n1_000,4\n", "row 3, column a: '1_000' should be a number"),
        ("a,b\n1,2\n\u0663,4\n".encode(), "row 3, column a: '\u0663' should be a number"),
        (b"a,b\n1,2\n0x10,4\n", "row 3, column a: '0x10' should be a number"),
        (b"a,a\n1,2\n", "column a: columns 1 and 2 have this name"),
        (b"0,1,2\n5,6,7\n8,9,10\n", "row 1: 0, 1, 2 ... may be names or numbers"),
        (b",0,1\n0,5,6\n1,8,9\n", "row 1: , 0, 1 ... may be names or numbers"),
        (b'a,b\n1,2\n"3,4\n', "row 3: quotes do not match"),
        (b'\n"a,b\n1,2\n', "row 2: quotes do not match"),
        (b"a,b\n1,\xff2\n", "row 2: is no UTF-8 text; save the file as UTF-8"),
        ("a,b\n1,2\n".encode("utf-16"), "is UTF-16 text; save the file as UTF-8"),
        (b"a,b\n1,2\n\0\0\n", "row 3: is no text; should be a CSV file in UTF-8"),
        (b"PK\x03\x04....", "its name should end in .npz or .parquet"),
        (b"1," * 11_000 + b"1\n", "11001 columns; should be at most 10000"),
        (b"1," * 600_000 + b"1\n", "a line of more than 1048576 bytes"),
    ],
)
def test_each_fault_is_one_line_with_its_row_and_column(tmp_path, content, words):
    (tmp_path / "log.csv").write_bytes(content)
    with pytest.raises(BadInput) as error:
        read_columns(tmp_path / "log.csv")
    message = str(error.value)
    assert message.startswith(str(tmp_path / "log.csv")) and words in message
    assert len(message.splitlines()) == 1 and len(message) < 400


def test_links_and_pipes_are_no_files(tmp_path):
    (tmp_path / "real.csv").write_text("a\n1\n")
    (tmp_path / "log.csv").symlink_to(tmp_path / "real.csv")
    with pytest.raises(BadInput, match="a symbolic link, not a file"):
        read_columns(tmp_path / "log.csv")
    with pytest.raises(BadInput, match=r"rael.csv: no such file; did you mean real.csv\?"):
        read_columns(tmp_path / "rael.csv")


@pytest.mark.slow
def test_a_hundred_thousand_rows_take_little_memory(tmp_path):
    import subprocess
    import sys

    rows = np.random.default_rng(0).normal(size=(100_000, 20))
    np.savetxt(tmp_path / "log.csv", rows, delimiter=",")
    code = (
        "import resource, sys; from mbrl.data.logs import read_columns; from pathlib import Path\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "columns = read_columns(Path(sys.argv[1]))\n"
        "after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print((after - before) / 1024, columns.num_rows, columns.values['20'][-1])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "log.csv")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    mib, count, last = done.stdout.split()
    assert float(mib) < 300 and int(count) == 100_000 and float(last) == rows[-1, -1]
