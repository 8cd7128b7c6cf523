"""Studies: every spec is a valid set of commands, and fits the table that it made."""

import re

import pytest

from mbrl.config import compose
from scripts.experiments import study as module
from scripts.experiments.run import tables
from scripts.experiments.study import RESULTS, SPECS, BadStudy, Run, Study, load_study
from scripts.experiments.table import read_table

NAMES = sorted(path.stem for path in SPECS.glob("*.yaml"))


def loaded(name: str) -> Study:
    study = load_study(name)
    for values in study.tasks.values():
        values.setdefault("dataset", "a.hdf5")  # of d4rl.yaml: the file that a user has
    return study


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_every_method_and_every_environment_makes_a_valid_command(name):
    study = loaded(name)
    first, checked = next(iter(study.tasks)), {}
    for run in [*study.runs(), *(Run(first, method, 3) for method in study.methods)]:
        settings = [*study.methods.get(run.method, []), *study.tasks[run.task]["settings"]]
        env = next(text for text in settings if text.startswith("env="))
        new = env not in checked or run.method not in {other.method for other in checked.values()}
        if run.method in study.methods and new:
            checked[env if env not in checked else run.method] = run
    for run in checked.values():
        config = compose([x for x in study.arguments(run) if x != "device=cuda"]).config
        assert config["seed"] == run.seed
    for reference in study.references.values():
        assert callable(module.function(reference))
    assert study.measure is None or callable(module.function(study.measure))


def last_parts(settings: list[str]) -> set[str]:
    """Settings without the path of their keys, which has moved since."""
    return {re.sub(r"^[\w.]*\.(?=\w+=)", "", text) for text in settings} - {"log_every=250"}


@pytest.mark.parametrize("name", NAMES)
def test_the_rows_of_a_table_are_runs_of_its_study(name):
    """The columns are the spec's, and each row's command is the one that the spec makes today."""
    study, count = loaded(name), 0
    for task in study.tasks:
        for row in read_table(study.path(RESULTS, task)):
            assert list(row) == list(study.columns)
            run = study.key(row, task)
            if run.method in study.methods:
                assert last_parts(row["command"].split()[2:]) == last_parts(study.arguments(run))
            count += 1
    assert count or name == "d4rl"


def test_the_summary_of_a_kept_table_is_the_kept_summary():
    study = load_study("offline")
    lines = module.summarize(study, tables(study, RESULTS))
    kept = read_table(RESULTS / "offline" / "summary.csv")
    assert [{f: str(line.get(f, "")) for f in kept[0]} for line in lines] == kept
    assert list(kept[0]) == module.summary_fields(study)


@pytest.mark.parametrize("name", ["swingup", "flow"])
def test_returns_over_the_references_are_those_of_the_table(name):
    study = load_study(name)
    ((task, rows),) = tables(study, RESULTS).items()
    column = study.column("relative")
    again = [{**row, column: ""} for row in rows]
    module.add_relative(study, again, task)
    assert [row[column] for row in again] == pytest.approx(
        [float(row[column]) for row in rows], abs=1.1e-3
    )


def test_methods_are_compared_by_their_last_values_on_shared_seeds():
    columns = {"method": "method", "seed": "seed", "step": "step", "score": "score"}
    study = Study("a", "", "a.csv", {}, {"t": {}}, [0], columns=columns,
                  summary={"value": "score", "baseline": "mopo"})  # fmt: skip
    scores = {("mopo", 0): [90, 10], ("mopo", 1): [90, 20], ("mopo", 2): [5, 0],
              ("morec", 1): [0, 50], ("morec", 0): [0, 20]}  # fmt: skip
    rows = [
        {"method": m, "seed": str(s), "step": str(100 * k), "score": str(x)}
        for (m, s), values in scores.items() for k, x in enumerate(values)
    ]  # fmt: skip
    lines = {line["method"]: line for line in module.summarize(study, {"t": rows})}
    assert lines["mopo"]["values"] == "10.0 20.0 0.0" and lines["mopo"]["range"] == 20
    assert lines["morec"]["score"] == 35 and lines["morec"]["runs"] == 2
    assert lines["morec"]["above_mopo"] == "20.0 [10.0, 30.0]"  # 10 and 30 above
    assert "above_mopo" not in lines["mopo"]


@pytest.fixture
def study(tmp_path) -> Study:
    (tmp_path / "toy.yaml").write_text(
        "{description: toy, table: toy.csv, seeds: [0, 1], settings: a=1,\n"
        " columns: {method: method, task: task, seed: seed, return: return},\n"
        " methods: {x: agent=x, y: [agent=y, 'b={c: 1, d: 2}']},\n"
        " tasks: {s: env=s, t: {settings: env=t e=<size>, size: 7}},\n"
        " plan: [{tasks: [t], methods: [y]}, {tasks: [s], seeds: [5], settings: f=2}]}"
    )
    return load_study(str(tmp_path / "toy.yaml"))


def test_settings_come_from_method_task_study_plan_and_the_user_in_this_order(study):
    assert study.arguments(Run("t", "y", 3), ["a=9"]) == [
        "agent=y", "b={c: 1, d: 2}", "env=t", "e=7", "seed=3", "a=1", "a=9",
    ]  # fmt: skip
    assert study.arguments(Run("s", "x", 5))[-1] == "f=2"


def test_the_plan_is_run_in_its_order_and_can_be_cut_down(study):
    planned = [("t", "y", 0), ("t", "y", 1), ("s", "x", 5), ("s", "y", 5)]
    assert study.runs() == [Run(*run) for run in planned]
    assert study.runs(methods=["x"]) == [Run("s", "x", 5)]
    assert study.runs(tasks=["s"], seeds=[8]) == [Run("s", "x", 8), Run("s", "y", 8)]
    assert study.runs(["t"], ["x"]) == [Run("t", "x", 0), Run("t", "x", 1)]  # not planned


def test_what_a_study_does_not_have_is_refused_by_name(study, tmp_path):
    with pytest.raises(BadStudy, match="toy has no method z; it has x, y"):
        study.runs(methods=["z"])
    with pytest.raises(BadStudy, match="toy: z is not planned; name tasks and methods both"):
        study.methods["z"] = []
        study.plan[1]["methods"] = ["y"]
        study.runs(methods=["z"])
    with pytest.raises(BadStudy, match="toy: task s has no value for <size>"):
        study.methods["x"].append("g=<size>")
        study.arguments(Run("s", "x", 0))
    with pytest.raises(BadStudy, match="no study lerning; there are coplanner, d4rl"):
        load_study("lerning")
    text = (tmp_path / "toy.yaml").read_text()
    (tmp_path / "bad.yaml").write_text(text.replace("seeds:", "seed:"))
    with pytest.raises(BadStudy, match="bad.yaml: .*'seed'"):
        load_study(str(tmp_path / "bad.yaml"))
    (tmp_path / "bad.yaml").write_text(text.replace("return: return", "return: retrun"))
    with pytest.raises(BadStudy, match=r"columns.return=retrun: should be one of method, task"):
        load_study(str(tmp_path / "bad.yaml"))
