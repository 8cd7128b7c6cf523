"""Tables: rows are kept below the commands that made them, and found again."""

from scripts.experiments.table import Table, read_table, write_table

KEY = ("task", "seed", "first")
FIELDS = ["task", "seed", "first", "cost"]


def test_rows_are_kept_and_found_again(tmp_path):
    file = tmp_path / "deep" / "table.csv"
    table = Table(file, FIELDS, KEY, "python study.py --seeds 0")
    row = {"task": "push", "seed": 0, "first": None, "cost": 1.23456789}
    assert not table.has(row)
    table.add(row)
    assert table.has(row)
    again = Table(file, FIELDS, KEY, "python study.py --seeds 1")
    assert (
        again.has(row) and not again.has({**row, "seed": 1}) and not again.has({**row, "first": 20})
    )
    again.add({**row, "seed": 1, "cost": 2.0})
    assert file.read_text().splitlines() == [
        "# python study.py --seeds 0",
        "# python study.py --seeds 1",
        "task,seed,first,cost",
        "push,0,,1.23457",
        "push,1,,2",
    ]
    assert again.find({**row, "seed": 7}, but="seed") == again.rows[0]


def test_a_head_with_a_note_stays_and_is_not_repeated(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("# python study.py  (on one GPU)\na\n1\n")
    write_table(path, "python study.py", ["a"], [*read_table(path), {"a": 2}])
    assert path.read_text() == "# python study.py  (on one GPU)\na\n1\n2\n"
    write_table(path, "python study", ["a"], [])
    assert path.read_text() == "# python study.py  (on one GPU)\n# python study\na\n"


def test_a_table_that_is_not_there_has_no_rows(tmp_path):
    assert read_table(tmp_path / "none.csv") == []
