"""Old names in configurations: groups of keys, values, classes and choices, each with a warning."""

from typing import Any

import pytest

from mbrl import moved
from mbrl.config.renames import rename, rename_choice, rename_key
from mbrl.values import Count, checked

HERE = __name__


class Training:
    def __init__(self, *, rate: float = 0.1, limits: dict[str, int] | None = None):
        self.rate = rate


class Model:
    @checked
    def __init__(
        self,
        *,
        size: Count = 1,
        mode: str = "data",
        training: Training | None = None,
        inner: "Model | None" = None,
    ):
        self.size = size


@pytest.fixture(autouse=True)
def tables(monkeypatch):
    names = {"width": "size", "rate": "training.rate", "limits": "training.limits"}
    monkeypatch.setitem(moved.PARAMETERS, f"{HERE}.Model", names)
    monkeypatch.setitem(moved.VALUES, f"{HERE}.Model", {"mode": {"transitions": "data"}})
    monkeypatch.setitem(moved.CHOICES, "learner=old", "learner=new")
    monkeypatch.setitem(moved.NAMES, f"{HERE}.Ancient", f"{HERE}.Model")


def node(**settings: Any) -> dict[str, Any]:
    return {"_target_": f"{HERE}.Model", **settings}


def renamed(config):
    with pytest.warns(DeprecationWarning) as caught:
        rename(config)
    return sorted(str(w.message).partition(";")[0] for w in caught)


def test_old_keys_become_the_present_ones():
    config = {"dynamics": node(width=3)}
    assert renamed(config) == ["dynamics.width is now dynamics.size"]
    assert config == {"dynamics": node(size=3)}


def test_a_null_that_only_another_class_takes_is_dropped(monkeypatch):
    monkeypatch.setitem(moved.SPLIT, f"{HERE}.Model", {"patience": "Training"})
    config = {"dynamics": node(size=3, patience=None), "other": node(patience=5)}
    rename(config)
    assert config == {"dynamics": node(size=3), "other": node(patience=5)}


def test_a_key_that_is_now_of_a_part_makes_the_part():
    config = {"dynamics": node(rate=0.5)}
    assert renamed(config) == ["dynamics.rate is now dynamics.training.rate"]
    part = {"_target_": f"{HERE}.Training", "rate": 0.5}
    assert config == {"dynamics": node(training=part)}
    config = {"dynamics": node(rate=0.5, training={"_target_": "x.Y", "rate": 0.1, "z": 1})}
    renamed(config)
    assert config["dynamics"]["training"] == {"_target_": "x.Y", "rate": 0.5, "z": 1}


def test_mappings_are_united_and_the_old_key_wins():
    inside = {"_target_": f"{HERE}.Training", "limits": {"a": 1, "b": 2}}
    config = {"dynamics": node(limits={"b": 3, "c": 4}, training=inside)}
    renamed(config)
    assert config["dynamics"]["training"]["limits"] == {"a": 1, "b": 3, "c": 4}


def test_parts_within_parts_and_lists_are_renamed():
    config = {"dynamics": node(inner=node(width=2)), "planner": {"list": [node(width=3)]}}
    assert renamed(config) == [
        "dynamics.inner.width is now dynamics.inner.size",
        "planner.list.0.width is now planner.list.0.size",
    ]
    assert config["dynamics"]["inner"] == node(size=2)
    assert config["planner"]["list"] == [node(size=3)]


def test_old_values_classes_and_choices_are_renamed():
    config = {
        "choices": {"learner": "old", "env": "pendulum"},
        "dynamics": {"_target_": f"{HERE}.Ancient", "mode": "transitions", "width": 1},
    }
    assert renamed(config) == sorted(
        [
            "learner=old is now learner=new",
            f"dynamics._target_={HERE}.Ancient is now {HERE}.Model",
            "dynamics.mode=transitions is now dynamics.mode=data",
            "dynamics.width is now dynamics.size",
        ]
    )
    assert config["choices"] == {"learner": "new", "env": "pendulum"}
    assert config["dynamics"] == node(mode="data", size=1)


def test_ranges_in_a_file_of_ones_own_are_dropped_with_advice():
    config = {"planner": node(_range_={"size": "1.."}, size=2)}
    (said,) = renamed(config)
    assert said.startswith("planner._range_ is now stated with the parameter")
    assert config == {"planner": node(size=2)}


def test_what_has_no_old_name_stays_without_a_warning(recwarn):
    config = {"dynamics": node(size=3, mode="data"), "seed": 1, "other": {"_target_": "no.Where"}}
    rename(config)
    assert config["dynamics"] == node(size=3, mode="data") and not recwarn.list
    assert rename_choice("learner", "sac") == "sac"
    assert rename_key("dynamics.size", config) == "dynamics.size"
    assert rename_key("dynamics.absent.deep", config) == "dynamics.absent.deep"
    assert not recwarn.list


def test_a_typed_key_is_renamed_at_every_depth():
    config = {"dynamics": node(inner=node())}
    with pytest.warns(DeprecationWarning, match=r"dynamics\.inner\.width is now dynamics\.inner\."):
        assert rename_key("dynamics.inner.width", config) == "dynamics.inner.size"
    with pytest.warns(DeprecationWarning, match="dynamics.rate is now dynamics.training.rate"):
        assert rename_key("dynamics.rate", config) == "dynamics.training.rate"
    assert config["dynamics"]["training"] == {"_target_": f"{HERE}.Training"}
