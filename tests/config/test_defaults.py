"""Defaults written into a config: a run is described, and built the same when one changes."""

import dataclasses
import functools
import inspect
import sys
from typing import Any

import pytest
import torch
import yaml

from mbrl.config import compose
from mbrl.config.build import FROM_ENV, FROM_RUN, build_agent, instantiate, make_env
from mbrl.config.defaults import add_defaults, default_of
from mbrl.config.signatures import read_signature
from mbrl.planners import ICEM
from tests.config.test_signatures import NODES, targets

PARTS = [name for name, node in NODES.items() if "_target_" in node]


def located(target):
    module, _, attribute = target.rpartition(".")
    return getattr(__import__(module, fromlist=["_"]), attribute)


def written(name):
    """Return a part's node as its own file holds it."""
    node = yaml.safe_load(yaml.safe_dump(NODES[name]))
    return {key: value for key, value in node.items() if key != "defaults"}


def completed(name):
    group, _, choice = name.partition("/")
    config = {group: written(name), "choices": {group: choice}}
    add_defaults(config)
    return config[group]


@pytest.mark.parametrize("name", PARTS)
def test_every_default_of_every_part_stands_in_the_config(name):
    injected = {*FROM_RUN, *((*FROM_ENV, "env") if not name.startswith("env/") else ())}
    groups = {"dynamics", "planner", "learner", "agent", "env"}
    for node in targets(completed(name)):
        for key, parameter in inspect.signature(located(node["_target_"])).parameters.items():
            if parameter.default is parameter.empty or key in injected | groups:
                continue
            assert key in node, f"{node['_target_']}.{key}"


@pytest.mark.parametrize("name", PARTS)
def test_what_is_built_of_the_defaults_is_what_the_class_would_take(name, monkeypatch):
    def recorded(target, part):
        made = located(target)
        if dataclasses.is_dataclass(made):
            return made
        signature = inspect.signature(made)

        @functools.wraps(made, updated=())
        def record(*args, **kwargs):
            given = signature.bind_partial(*args, **kwargs)
            given.apply_defaults()
            return {"target": target, **given.arguments}

        record.__signature__ = signature  # type: ignore[attr-defined]
        return record

    monkeypatch.setattr(sys.modules["mbrl.config.build"], "_locate", recorded)
    assert instantiate(completed(name)) == instantiate(written(name))


def test_a_run_is_built_as_its_config_says_though_a_default_has_changed(monkeypatch):
    config = compose(["agent=pets", "env=pendulum", "experiment=none"]).config
    config = yaml.safe_load(yaml.safe_dump(config))  # as from a run folder
    names = inspect.unwrap(ICEM.__init__).__kwdefaults__
    assert config["planner"]["decay"] == names["decay"]
    monkeypatch.setitem(names, "decay", 7.0)
    original, seen = ICEM.__init__, {}

    @functools.wraps(original)
    def init(self, **given):
        seen.update(given)
        original(self, **given)

    monkeypatch.setattr(ICEM, "__init__", init)
    build_agent(config, make_env(config))
    assert seen["decay"] == config["planner"]["decay"] != 7.0


def test_settings_objects_are_nodes_with_their_own_defaults():
    node: dict[str, Any] = {"_target_": "mbrl.dynamics.GaussianEnsemble"}
    config = {"dynamics": node, "choices": {"dynamics": "ensemble"}}
    add_defaults(config)
    training = node["training"]
    assert training["_target_"] == "mbrl.dynamics.ensemble.EnsembleTraining"
    assert training["holdout"] == read_default("mbrl.dynamics.EnsembleTraining", "holdout")


def read_default(target, name):
    return default_of(read_signature(target).parameters[name])


def test_what_is_filled_in_when_built_stays_out():
    config = compose(["agent=mbpo", "env=pendulum", "experiment=none"]).config
    assert not config["agent"].keys() & {"dynamics", "learner", "generator", "action"}
    assert "device" not in config["env"] and "seed" not in config["env"]


def test_a_dtype_is_written_by_its_name():
    config = compose(["agent=random", "env=pendulum", "env.dtype=float64"]).config
    env = make_env(config)
    assert env.reset(0).dtype is torch.float64
    assert read_default("mbrl.envs.pendulum", "dtype") == "float32"


def test_defaults_of_every_form_are_read(tmp_path, monkeypatch):
    (tmp_path / "formed.py").write_text(
        "import dataclasses, math\n"
        "from dataclasses import dataclass, field\n"
        "TOP = 3\n"
        "def find(): ...\n"
        "@dataclass\n"
        "class Inner:\n"
        "    size: int = TOP\n"
        "    names: list = field(default_factory=list)\n"
        "    top: float = dataclasses.field(default=math.inf)\n"
        "class Outer:\n"
        "    def __init__(self, inner=Inner(size=TOP + 1), table={'a': (1, -TOP)},\n"
        "                 made=find()): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = {"agent": {"_target_": "formed.Outer"}, "choices": {"agent": "own"}}
    add_defaults(config)
    inner = {"_target_": "formed.Inner", "size": 4, "top": float("inf")}
    assert config["agent"] == {
        "_target_": "formed.Outer", "inner": inner, "table": {"a": [1, -3]},
    }  # fmt: skip
