"""Old names: every one works for one release, and warns once, at the user's own line."""

import contextlib
import importlib
import pkgutil
import warnings
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

import mbrl
from mbrl import moved
from mbrl.cli import main
from mbrl.config import check_saved, compose
from mbrl.config.renames import rename
from mbrl.config.signatures import read_signature
from mbrl.values import Count, checked

HERE = __name__


def find(name):
    module, _, last = name.rpartition(".")
    return getattr(importlib.import_module(module), last)


@pytest.mark.parametrize("old", moved.NAMES)
def test_every_old_name_is_the_new_thing_and_the_warning_points_here(old):
    with pytest.warns(moved.Renamed) as caught:
        thing = find(old)
    assert thing is find(moved.NAMES[old])
    assert {w.filename for w in caught} == {__file__} and moved.NAMES[old] in str(caught[0].message)


@pytest.mark.parametrize("old", moved.MODULES)
def test_every_old_module_hands_on_the_names_of_the_new_one(old):
    new = importlib.import_module(moved.MODULES[old])
    public = [n for n, x in vars(new).items() if getattr(x, "__module__", "") == new.__name__]
    public = getattr(new, "__all__", public)
    for name in public:
        if name in vars(importlib.import_module(old)):
            continue  # it has the old parameters, see below
        with pytest.warns(moved.Renamed):
            assert find(f"{old}.{name}") is getattr(new, name)


def test_the_old_loop_takes_its_old_parameters(tmp_path):
    from mbrl.loop import train  # type: ignore[import-not-found]

    from mbrl.buffer import ReplayBuffer
    from mbrl.training.run_folder import RunFolder
    from tests.contracts.test_agent import Record
    from tests.toys import ToyAgent, ToyEnv

    run = RunFolder.create(tmp_path / "run", {})
    options = {"make_eval_env": ToyEnv, "seed": 0, "total_steps": 40, "eval_every": None}
    rest = {"eval_episodes": 1, "save_every": 40}
    with pytest.warns(moved.Renamed, match="mbrl.loop.train is now"):
        summary = train(
            ToyEnv(2), ToyAgent(), ReplayBuffer(40, 2, 1), run, Record(), **options, **rest
        )
    assert summary["step"] == 40 and run.checkpoints()


def test_every_module_for_old_names_is_in_the_table():
    files = {f"mbrl.{m.name}" for m in pkgutil.iter_modules(moved.__path__)}
    assert files - {"mbrl.simulations"} == set(moved.MODULES)


@pytest.mark.parametrize("old", moved.NAMES)
def test_an_old_target_in_a_config_is_renamed(old):
    config = {"agent": {"parts": [{"_target_": old}]}}
    with pytest.warns(moved.Renamed, match=f"agent.parts.0._target_={old} is now"):
        rename(config)
    (node,) = config["agent"]["parts"]
    assert node["_target_"] == moved.NAMES[old]
    if isinstance(find(node["_target_"]), type):
        read_signature(node["_target_"])


PARAMETERS = [(c, o, n) for c, table in moved.PARAMETERS.items() for o, n in table.items()]


@pytest.mark.parametrize("target, old, new", PARAMETERS)
def test_every_old_parameter_works_in_configs(target, old, new):
    parameters = read_signature(target).parameters
    assert old not in parameters and new.partition(".")[0] in parameters
    config = {"part": {"_target_": target, old: "a value"}}
    with pytest.warns(moved.Renamed, match=f"part.{old} is now part.{new};"):
        rename(config)
    node = config["part"]
    assert old not in node
    for name in new.split("."):
        assert "_target_" not in node or name in read_signature(node["_target_"]).parameters
        node = node[name]
    assert node == "a value"


@pytest.mark.parametrize("target, old, new", PARAMETERS)
def test_every_old_parameter_works_in_python(target, old, new):
    needs_more = contextlib.suppress(ValueError, TypeError, AttributeError)
    with pytest.warns(moved.Renamed, match=f"{old}= is now {new}=") as caught, needs_more:
        find(target)(**{old: None})
    assert {w.filename for w in caught} == {__file__}


@pytest.mark.parametrize("target", moved.VALUES)
def test_every_old_value_is_renamed(target):
    for name, values in moved.VALUES[target].items():
        assert name in read_signature(target).parameters
        for old, new in values.items():
            config = {"part": {"_target_": target, name: old}}
            with pytest.warns(moved.Renamed):
                rename(config)
            assert config["part"][name] == new
            with pytest.warns(moved.Renamed), contextlib.suppress(ValueError, TypeError):
                find(target)(**{name: old})


def test_every_old_choice_is_there_under_its_new_name():
    from mbrl.config.library import Library

    for old, new in moved.CHOICES.items():
        group, _, name = new.partition("=")
        assert Library().file(group, name) and not Library().file(*old.split("="))


# --- the mechanism, on classes of this file


@checked
@dataclass(frozen=True)
class Basis:
    """Terms."""

    degree: Count = 2
    frequencies: int = 0


class Model:
    """Model with a renamed parameter, a moved one and a renamed value."""

    @checked
    def __init__(
        self,
        *,
        reward: "Model | None" = None,
        basis: Basis = Basis(),
        mode: str = "new",
        size: int = 1,
    ):
        self.reward, self.basis, self.mode, self.size = reward, basis, mode, size


@pytest.fixture
def renamed(monkeypatch, tmp_path):
    """Tables of this file, and a folder with a choice and an experiment in old words."""
    monkeypatch.setitem(moved.NAMES, f"{HERE}.Machine", f"{HERE}.Model")
    names = {"judge": "reward", "degree": "basis.degree", "frequencies": "basis.frequencies"}
    monkeypatch.setitem(moved.PARAMETERS, f"{HERE}.Model", names)
    monkeypatch.setitem(moved.VALUES, f"{HERE}.Model", {"mode": {"old": "new"}})
    monkeypatch.setitem(moved.CHOICES, "planner=olden", "planner=toy")
    files = {
        "env/toy": {"_target_": "tests.toys.ToyEnv", "num_envs": 1},
        "planner/toy": {"_target_": "tests.toys.ToyPlanner", "horizon": 5},
        "dynamics/toy": {
            "_target_": f"{HERE}.Machine",
            "reward": {"_target_": f"{HERE}.Model", "size": 2, "mode": "old"},
        },
        "agent/toy": {"_target_": "tests.config.parts.Agent"},
    }
    for name, node in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(node))
    return tmp_path


TOY = ["env=toy", "agent=toy", "dynamics=toy"]


def test_old_words_are_understood_from_python(renamed):
    model: Any = Model
    with pytest.warns(moved.Renamed) as caught:
        made = model(judge=model(degree=3), degree=4, frequencies=1, mode="old")
    assert made.reward.basis == Basis(3, 0) and made.basis == Basis(4, 1) and made.mode == "new"
    assert len(caught) == 5 and {w.filename for w in caught} == {__file__}
    with (
        pytest.warns(moved.Renamed),
        pytest.raises(ValueError, match="degree=0: should be at least"),
    ):
        model(degree=0)


def test_new_words_do_not_warn(renamed):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Model(reward=Model(), basis=Basis(3), mode="new")
        with pytest.raises(TypeError):
            Model(wrong=1)  # type: ignore[call-arg]


def test_old_words_are_understood_on_the_command_line(renamed):
    typed = ["dynamics.judge.degree=3", "planner=olden"]
    with pytest.warns(moved.Renamed) as caught:
        config = compose([*TOY, *typed], renamed).config
    node = config["dynamics"]
    assert node["_target_"] == f"{HERE}.Model"
    basis = {"_target_": f"{HERE}.Basis", "degree": 3, "frequencies": 0}
    assert node["reward"]["basis"] == basis
    assert node["reward"]["size"] == 2 and node["reward"]["mode"] == "new"
    assert config["choices"]["planner"] == "toy"
    said = [str(w.message).partition(";")[0] for w in caught]
    assert "dynamics.judge.degree is now dynamics.reward.basis.degree" in said
    assert "planner=olden is now planner=toy" in said
    with (
        pytest.warns(moved.Renamed),
        pytest.raises(ValueError, match=r"basis\.degree=0: should be"),
    ):
        compose([*TOY, "dynamics.judge.degree=0"], renamed)


def test_an_experiment_in_old_words_wins_over_the_choice_in_new_ones(renamed):
    agent = "defaults: [override /dynamics@_group_: toy]\n_target_: tests.config.parts.Agent"
    (renamed / "agent" / "toy.yaml").write_text(agent)
    (renamed / "experiment").mkdir()
    text = "# @package _global_\ndynamics: {judge: {size: 9}}"
    (renamed / "experiment" / "toy_toy.yaml").write_text(text)
    with pytest.warns(moved.Renamed, match=r"dynamics\.judge is now dynamics\.reward"):
        node = compose(TOY[:2], renamed).config["dynamics"]
    basis = {"_target_": f"{HERE}.Basis", "degree": 2, "frequencies": 0}
    rest = {"reward": None, "basis": basis, "mode": "new"}
    assert node["reward"] == {"_target_": f"{HERE}.Model", "size": 9, **rest}


def test_a_saved_config_in_old_words_is_renamed_in_place(renamed):
    with pytest.warns(moved.Renamed):
        config = compose(TOY, renamed).config
    config["dynamics"] = {"_target_": f"{HERE}.Machine", "judge": {"_target_": f"{HERE}.Machine"}}
    config["choices"]["planner"] = "olden"
    with pytest.warns(moved.Renamed):
        check_saved(config, renamed / "config.yaml")
    node = {"_target_": f"{HERE}.Model"}
    assert config["dynamics"] == {**node, "reward": node}
    assert config["choices"]["planner"] == "toy"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_saved(config, renamed / "config.yaml")  # now it is in present words


def test_a_range_in_a_yaml_is_answered_with_where_it_belongs_now(renamed):
    file = renamed / "planner" / "toy.yaml"
    file.write_text(file.read_text() + "_range_: {horizon: '[1, inf)'}")
    with pytest.warns(moved.Renamed, match=r"planner\._range_ is now stated with the parameter"):
        config = compose([*TOY, "planner=toy"], renamed).config
    assert "_range_" not in config["planner"]


def test_the_command_line_warns_in_one_line_of_stderr_for_each_name(renamed, capsys, monkeypatch):
    monkeypatch.chdir(renamed)
    arguments = [*TOY, "planner=olden", "dynamics.judge.degree=0", f"--config-dir={renamed}"]
    assert main(["train", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(set(lines))
    assert all(line.startswith("mbrl: ") for line in lines)
    assert any(line.startswith("mbrl: DeprecationWarning: planner=olden is now") for line in lines)
    assert lines[-1].startswith("mbrl: dynamics.reward.basis.degree=0: should be at least 1")


def test_the_package_finds_its_old_modules():
    assert str(moved.__path__[0]) in mbrl.__path__


def test_renamed_parts_draw_what_they_drew_under_their_old_names():
    assert moved.seed_name("dynamics.candidates") == "dynamics.pool"
    assert moved.seed_name("dynamics.dynamics_reward.teacher") == "dynamics.judge.teacher"
    assert moved.seed_name("dynamics.candidates_too") == "dynamics.candidates_too"
    assert moved.seed_name("learner") == "learner"
