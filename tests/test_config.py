"""Config: the grammar of arguments, composition, checks, and building by name."""

import inspect
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import pytest
import torch
import yaml
from annotated_types import Ge, Gt, Le, Lt
from hypothesis import given
from hypothesis import strategies as st

from mbrl import values
from mbrl.config import build, compose, instantiate
from mbrl.config.annotations import fit, resolve
from mbrl.config.arguments import parse_arguments, parse_value
from mbrl.config.build import FROM_ENV, FROM_RUN
from mbrl.config.compose import assemble
from mbrl.config.describe import describe
from mbrl.config.library import CONFIGS, Library, gather, nearest
from mbrl.config.signatures import read_signature
from mbrl.errors import BadInput
from mbrl.values import AtMost, Count, CountOrZero, Fraction, checked

HERE = __name__  # classes of this file as a `_target_`


TOP = 3
Width = Annotated[int, Ge(2)]


class Sizes(NamedTuple):
    small: int
    large: int = 9


class Inner:
    def __init__(self, *, generator: torch.Generator, obs_dim: int, scale: float = 1.0):
        self.generator, self.obs_dim, self.scale = generator, obs_dim, scale


class Outer:
    """Hold parts.

    Args:
        inner: a part
            of its own.
        mode: how.
    """

    def __init__(
        self,
        inner: Inner,
        *,
        generator: torch.Generator,
        schedule: "tuple[int, int]" = (1, 2),
        others: list[Inner] | None = None,
        mode: Literal["slow", "fast"] = "slow",
    ):
        self.inner, self.generator = inner, generator
        self.schedule, self.others, self.mode = schedule, others, mode


class Picky:
    def __init__(self, *, size: int):
        raise BadInput(f"size={size}: should be even")


class Child(Outer):
    """Take what Outer takes."""


class Learner:
    """A learner that needs a model that bends in straight lines."""

    def __init__(self, *, dynamics, extra: dict[str, int] | None = None):
        self.dynamics = dynamics


class Agent:
    """Take whatever there is."""

    def __init__(
        self,
        *,
        action,
        env,
        generator: torch.Generator,
        total_steps: int,
        dynamics=None,
        planner=None,
        learner=None,
        bonus=None,
        gain: Annotated[float, Gt(0), Le(1)] = 1.0,
        schedule: tuple[Count, ...] = (1,),
        label: str = "a",
        device: torch.device | str = "cpu",
    ):
        self.given = dict(locals())


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = folder / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


@pytest.fixture
def mine(tmp_path) -> Path:
    return write(
        tmp_path / "my configs, a=b",  # a path that Hydra's grammar would trip over
        {
            "env/toy": "_target_: tests.toys.ToyEnv\nnum_envs: 1",
            "env/needy": "_target_: tests.toys.ToyEnv\nnum_envs: ???",
            "agent/toy": f"_target_: {HERE}.Agent\ngain: 0.5",
            "agent/lines": f"_target_: {HERE}.Agent\n_requires_: [piecewise_linear]",
            "agent/offline": f"_target_: {HERE}.Agent\n_requires_: [dataset]",
            "dynamics/toy": "_target_: tests.toys.ToyDynamics",
            "dynamics/lines": "_target_: tests.toys.ToyDynamics\n_provides_: [piecewise_linear]",
            "planner/toy": "_target_: tests.toys.ToyPlanner\nhorizon: 5",
            "learner/toy": "_target_: tests.toys.ToyLearner",
            "learner/model": f"_target_: {HERE}.Learner",
            "bonus/big": f"_target_: {HERE}.Sizes\nsmall: 3",
        },
    )


def compose_toy(mine: Path, *arguments: str):
    return compose(["env=toy", "agent=toy", *arguments], mine)


def refused(mine: Path, *arguments: str) -> str:
    with pytest.raises(BadInput) as caught:
        compose_toy(mine, *arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- arguments

NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True)
KEYS = st.lists(NAMES, min_size=1, max_size=3).map(".".join)
WORDS = st.one_of(
    st.sampled_from(["/data/x=1", "a, b", "a b", "x=y=z", "runs/a-b_c.d", "a: b", "*", "50%"]),
    st.from_regex(r"[A-Za-z/][A-Za-z0-9/=,. :_@%-]{0,20}[a-z]", fullmatch=True),
).filter(lambda s: s.lower() not in ("none", "null", "true", "false", "inf", "infinity", "nan"))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    WORDS,
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=8,
)


@given(KEYS, WORDS, st.sampled_from(["", "--", "+", "++"]))
def test_every_prefix_means_the_same(key, text, prefix):
    assert parse_arguments([f"{prefix}{key}={text}"]) == [(key, text)]


@given(VALUES)
def test_values_survive_as_python_and_as_json_writes_them(value):
    assert parse_value(f"{value}") == value  # W&B's macros
    if not isinstance(value, str):
        assert parse_value(json.dumps(value)) == value


@given(st.text(min_size=1))
def test_any_text_is_a_value(text):
    parse_value(text)


@pytest.mark.parametrize(
    "text, value",
    [
        ("None", None),
        ("null", None),
        ("~", None),
        ("TRUE", True),
        ("1_000", 1000),
        ("010", 10),  # YAML 1.1 reads 8
        ("1:30", "1:30"),  # YAML 1.1 reads 90
        ("1e-3", 1e-3),  # YAML 1.1 reads a string
        ("-.5", -0.5),
        ("inf", math.inf),
        ("yes", "yes"),
        ("2024-01-01", "2024-01-01"),
        ("'7'", "7"),
        ('"null"', "null"),
        ("[1, None, 'a', 1e-3]", [1, None, "a", 1e-3]),
        ("[null, /data/x=1, [true]]", [None, "/data/x=1", [True]]),
        ("{a: 1, b: {c: x}}", {"a": 1, "b": {"c": "x"}}),
        ("['1', null]", ["1", None]),
        (str(["a\nb", "it's"]), ["a\nb", "it's"]),  # as Python prints it
        ("-Infinity", -math.inf),  # as JSON writes it
        ("[1, 2", "[1, 2"),
        ("'a' and b", "'a' and b"),
        ("a #b", "a #b"),
    ],
)
def test_values(text, value):
    assert parse_value(text) == value
    assert type(parse_value(text)) is type(value)


@pytest.mark.parametrize("argument", ["seed", "--seed", "=3", "seed=", "--", ""])
def test_what_is_no_setting_is_refused(argument):
    with pytest.raises(BadInput, match="seed"):
        parse_arguments([argument])


# --- composition


def test_defaults_and_choices_stand_in_building_order(mine):
    config, _ = compose_toy(mine, "bonus=big")
    assert list(config["choices"])[:5] == ["env", "dynamics", "planner", "learner", "bonus"]
    assert list(config["choices"])[5] == "agent"
    config, notes = compose_toy(mine)
    assert config["choices"]["agent"] == "toy" and notes == []
    assert config["agent"] == {"_target_": f"{HERE}.Agent", "gain": 0.5}
    assert config["seed"] == 0
    assert yaml.safe_load(yaml.safe_dump(config)) == config


def test_what_the_user_types_is_set_and_typed(mine):
    config, _ = compose_toy(
        mine,
        "agent=offline",
        "--total_steps=1e4",
        "+agent.gain=1",
        "++agent.schedule=[3, 4]",
        "agent.label=7",
        "run_dir=2024",
        "dataset=/data/x=1",
        "agent.device=cpu",
        "logger.project=a, b",
        "seed=1",
        "seed=2",
    )
    assert config["total_steps"] == 10_000 and type(config["total_steps"]) is int
    assert config["agent"]["gain"] == 1.0 and type(config["agent"]["gain"]) is float
    assert config["agent"]["schedule"] == [3, 4]
    assert config["agent"]["label"] == "7" and config["run_dir"] == "2024"
    assert config["dataset"] == "/data/x=1" and config["logger"]["project"] == "a, b"
    assert config["seed"] == 2


def test_interpolations_see_what_is_typed(mine):
    write(mine, {"agent/follow": f"_target_: {HERE}.Agent\ngain: ${{seed}}"})
    assert compose(["env=toy", "agent=follow", "seed=1"], mine).config["agent"]["gain"] == 1.0
    assert refused(mine, "agent.label=${sed}").startswith("agent.label: ")


def test_an_agent_brings_its_parts_and_the_user_wins(mine):
    write(
        mine,
        {
            "agent/dyna": "defaults:\n  - override /dynamics@_group_: toy\n"
            "  - override /learner@_group_: toy\n"
            f"_target_: {HERE}.Agent"
        },
    )
    choices = compose(["env=toy", "agent=dyna"], mine).config["choices"]
    assert (choices["dynamics"], choices["learner"]) == ("toy", "toy")
    own = compose(["agent=dyna", "env=toy", "--dynamics=lines", "learner=None"], mine).config
    assert own["choices"]["dynamics"] == "lines" and own["choices"]["learner"] == "none"
    assert own["learner"] == {}


def test_the_order_of_precedence_is_file_preset_user(mine):
    preset = "# @package _global_\nseed: 4\nsave_every: 7\nagent: {gain: 0.25, label: p}\n"
    write(mine, {"experiment/toy_toy": preset, "experiment/other": "# @package _global_\nseed: 9"})
    config, notes = compose_toy(mine, "save_every=8", "agent.label=u")
    assert (config["seed"], config["save_every"]) == (4, 8)
    assert config["agent"]["gain"] == 0.25 and config["agent"]["label"] == "u"
    assert config["choices"]["experiment"] == "toy_toy"
    assert len(notes) == 1 and "toy_toy" in notes[0]

    config, notes = compose_toy(mine, "experiment=none")
    assert config["seed"] == 0 and config["agent"]["gain"] == 0.5 and notes == []
    assert compose_toy(mine, "experiment=other").config["seed"] == 9


PRESETS = sorted(file.stem for file in CONFIGS.glob("experiment/*.yaml"))


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_composes_by_itself(mine, preset):
    library = Library()
    agents = [a for a in library.choices("agent") if preset.startswith(f"{a}_")]
    agent = max(agents, key=len)
    env = preset.removeprefix(f"{agent}_")
    made_for = [f"dynamics={d}" for d in library.choices("dynamics") if env.startswith(f"{d}_")]
    env = env.removeprefix(f"{made_for[0].removeprefix('dynamics=')}_") if made_for else env
    known = library.file("env", env) is not None
    arguments = [f"agent={agent}", f"env={env if known else 'toy'}", *made_for]
    arguments += [] if known else [f"experiment={preset}"]
    offline = "dataset" in gather(library.read("agent", agent), "_requires_")
    arguments += ["dataset=any.hdf5"] * offline
    assert compose(arguments, mine).config["choices"]["experiment"] == preset


def test_a_preset_speaks_only_of_its_own_choices(mine):
    preset = "# @package _global_\nplanner: {horizon: 3}\nseed: 4"
    write(
        mine,
        {
            "agent/planning": "defaults:\n  - override /planner@_group_: toy\n"
            f"_target_: {HERE}.Agent",
            "planner/other": f"_target_: {HERE}.Sizes\nsmall: 1",
            "experiment/planning_toy": preset,
        },
    )
    arguments = ["env=toy", "agent=planning"]
    assert compose(arguments, mine).config["planner"]["horizon"] == 3
    assert compose([*arguments, "planner=toy"], mine).config["planner"]["horizon"] == 3
    config, notes = compose([*arguments, "planner=other"], mine)
    assert config["planner"] == {"_target_": f"{HERE}.Sizes", "small": 1} and config["seed"] == 4
    assert any("left out" in note for note in notes)


def test_a_preset_for_the_typed_dynamics_comes_first_and_keeps_its_settings(mine):
    write(
        mine,
        {
            "agent/planning": "defaults:\n  - override /dynamics@_group_: usual\n"
            f"_target_: {HERE}.Agent",
            "dynamics/usual": f"_target_: {HERE}.Sizes\nsmall: 1",
            "dynamics/exact": f"_target_: {HERE}.Sizes\nsmall: 1",
            "experiment/planning_toy": "# @package _global_\nseed: 4\ndynamics: {small: 2}",
            "experiment/planning_exact_toy": "# @package _global_\nseed: 5\ndynamics: {small: 3}",
        },
    )
    arguments = ["env=toy", "agent=planning"]
    found = [
        compose([*arguments, *more], mine).config
        for more in ([], ["dynamics=usual"], ["dynamics=exact"])
    ]
    assert [(c["seed"], c["dynamics"]["small"]) for c in found] == [(4, 2), (4, 2), (5, 3)]


def test_a_user_cannot_shadow_a_built_in_choice(mine):
    write(mine, {"agent/random": f"_target_: {HERE}.Agent"})
    assert "rename" in refused(mine)


def test_a_users_broken_file_is_named(mine):
    write(mine, {"planner/bad": "a: [1"})
    assert "bad.yaml, line" in refused(mine)


# --- checks


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["agent.gian=1"], "agent.gain"),
        (["gain=1"], "agent.gain"),
        (["agent.horizon=1"], "there are agent.action, "),
        (["totl_steps=1"], "total_steps"),
        (["agnt=toy"], "agent"),
        (["planer.horizon=3", "planner=toy"], "planner.horizon"),
        (["planner.horizon=3"], "no planner is chosen; choose one: planner="),
        (["logger.wandbb=true"], "logger.wandb"),
        (["logger=true"], "logger.tensorboard"),
        (["planner=ty"], "planner=toy"),
        (["planner=zzzz"], ", toy"),
        (["agent.gain=high"], "should be a number, above 0 and at most 1"),
        (["agent.gain=true"], "a number"),
        (["agent.gain=2"], "agent.gain=2: should be above 0 and at most 1"),
        (["agent.gain=0"], "above 0"),
        (["agent.gain=nan"], "a number"),
        (["agent.schedule=3"], "a list: a whole number, at least 1 each"),
        (["agent.schedule=[1, 0]"], "at least 1"),
        (["agent.schedule=[1, x]"], "a list: a whole number, at least 1 each"),
        (["total_steps=0"], "at least 1"),
        (["total_steps=1.5"], "a whole number"),
        (["seed=-1"], "at least 0 and at most 2147483647"),
        (["seed=null"], "seed=null: should be a whole number"),
        (["logger.wandb=1"], "true or false"),
        (["device=gpu"], "cuda:N"),
        (["env=needy"], "env.num_envs=1"),
        (["learner=model"], "learner=model needs a dynamics"),
        (["agent=lines", "dynamics=toy"], "dynamics=lines"),
        (["agent=lines"], "choose dynamics=lines"),
        (["agent=offline"], "dataset=DATASET"),
        (["dataset=d4rl"], "agent=toy learns from its own steps and takes no dataset"),
        (["agent=random", "planner=toy"], "agent=random takes no planner"),
        (["agent._target_=tests.test_config.Agnt"], "has no Agnt"),
        (["agent._target_=nowhere.Agent"], "no module nowhere"),
        (["agent._target_=nonsense"], "no module"),
        (["learner=toy", "learner.x=1"], "unknown key"),
    ],
)
def test_refusals_name_what_would_be_right(mine, arguments, words):
    assert words in refused(mine, *arguments)


def test_what_meets_the_needs_is_accepted(mine):
    compose_toy(mine, "agent=lines", "dynamics=lines")
    compose_toy(mine, "agent=offline", "dataset=d4rl")
    compose_toy(mine, "learner=model", "dynamics=toy", "learner.extra.deep=3", "bonus=big")


def test_a_yaml_with_a_wrong_key_is_refused(mine):
    write(mine, {"planner/wrong": "_target_: tests.toys.ToyPlanner\nhorizn: 4"})
    assert "planner.horizon" in refused(mine, "planner=wrong")
    write(mine, {"experiment/toy_toy": "seed: 3"})
    assert "@package _global_" in refused(mine)
    write(mine, {"experiment/toy_toy": "# @package _global_\nsed: 3"})
    assert "did you mean seed" in refused(mine)


def test_a_run_dir_in_use_points_to_resume(mine, tmp_path):
    assert "--resume" in refused(mine, f"run_dir={mine}")
    compose_toy(mine, f"run_dir={tmp_path / 'new'}")


def test_checking_imports_no_torch(mine):
    code = (
        "import sys; from pathlib import Path; from mbrl.config import compose\n"
        "try: compose(sys.argv[2:], Path(sys.argv[1]))\n"
        "finally: assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    arguments = ["env=toy", "agent=mbpo", "learner.tau=0.1"]
    root = str(Path(__file__).parent.parent)
    environment = os.environ | {"PYTHONPATH": root}
    command = [sys.executable, "-c", code, str(mine), *arguments]
    subprocess.run(command, check=True, env=environment)


class Limited:
    @checked
    def __init__(
        self,
        *,
        num_members: Count = 7,
        num_elites: Annotated[int, Ge(1), AtMost("num_members")] = 5,
        rate: Annotated[float, Gt(0), Lt(TOP)] | None = None,
        share: Fraction = 0.5,
        lengths: tuple[CountOrZero, Count] = (0, 1),
        widths: "list[Width]" = (),  # type: ignore[assignment]
        scale: values.Positive = 1.0,
        deep: "Limited | None" = None,
    ):
        self.num_elites = num_elites


@pytest.mark.parametrize(
    "setting, right",
    [
        ("num_members=0", "at least 1"),
        ("num_elites=9", "at least 1 and at most num_members=7"),
        ("num_elites=x", "a whole number, at least 1 and at most num_members=7"),
        ("rate=0", "above 0 and below 3 or null"),
        ("rate=3", "above 0 and below 3 or null"),
        ("share=1.5", "at least 0 and at most 1"),
        ("lengths=[0, 0]", "at least 1"),
        ("lengths=[-1, 1]", "at least 0"),
        (
            "lengths=[1]",
            "a list of 2 values: a whole number, at least 0",
        ),
        ("widths=[2, 1]", "at least 2"),
        ("scale=0", "above 0"),
        ("scale=inf", "above 0 and finite"),
        ("scale=nan", "a number"),
    ],
)
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_what_a_class_says_of_its_values_holds_on_the_command_line(mine, setting, right, depth):
    nested = {"num_members": 7}
    for _ in range(depth):
        nested = {"deep": {"_target_": f"{HERE}.Limited", **nested}}
    write(mine, {"planner/limited": yaml.safe_dump({"_target_": f"{HERE}.Limited", **nested})})
    key = "planner." + "deep." * depth + setting
    assert refused(mine, "planner=limited", key).startswith(f"{key}: should be {right}")


def test_the_command_line_and_python_use_the_same_words(mine):
    write(mine, {"planner/limited": f"_target_: {HERE}.Limited"})
    with pytest.raises(ValueError) as caught:
        Limited(num_elites=9)
    assert refused(mine, "planner=limited", "planner.num_elites=9") == f"planner.{caught.value}"


def test_a_limit_follows_the_parameter_that_it_names(mine):
    write(mine, {"planner/limited": f"_target_: {HERE}.Limited"})
    words = refused(mine, "planner=limited", "planner.num_members=3")
    assert words == "planner.num_elites=5: should be at least 1 and at most num_members=3"
    compose_toy(mine, "planner=limited", "planner.num_members=9", "planner.num_elites=9")


# --- signatures, against inspect

NODES = {
    f"{file.parent.name}/{file.stem}": yaml.safe_load(file.read_text()) or {}
    for file in sorted(CONFIGS.glob("*/*.yaml"))
}


def targets(node):
    if isinstance(node, dict):
        if "_target_" in node:
            yield node
        for child in node.values():
            yield from targets(child)
    elif isinstance(node, list):
        for child in node:
            yield from targets(child)


@pytest.mark.parametrize("name", NODES)
def test_signatures_read_without_import_are_the_real_ones(name):
    for node in targets(NODES[name]):
        read = read_signature(node["_target_"])
        module, _, attribute = node["_target_"].rpartition(".")
        real = inspect.signature(getattr(__import__(module, fromlist=["_"]), attribute)).parameters
        real = {k: p for k, p in real.items() if p.kind is not p.VAR_KEYWORD}
        assert list(read.parameters) == list(real)
        for key, parameter in real.items():
            required = parameter.default is parameter.empty
            assert (read.parameters[key].default is None) == required, key


@pytest.mark.parametrize("name", [*NODES, "limited"])
def test_constraints_read_without_import_are_the_real_ones(name):
    for node in targets(NODES.get(name, {"_target_": f"{HERE}.Limited"})):
        module, _, attribute = node["_target_"].rpartition(".")
        made = getattr(__import__(module, fromlist=["_"]), attribute)
        function = inspect.unwrap(made.__init__ if isinstance(made, type) else made)
        real = values.annotations_of(function)
        read = read_signature(node["_target_"]).parameters
        for key in real.keys() & read.keys():
            if "Annotated" in str(real[key]) or "Annotated" in str(read[key].annotation):
                assert values.expected(read[key].annotation) == values.expected(real[key]), key


@pytest.mark.parametrize("target", [f"{HERE}.{c}" for c in ("Sizes", "Outer", "Child", "Agent")])
def test_named_tuples_and_inherited_constructors_are_read(target):
    real = inspect.signature(globals()[target.rpartition(".")[2]]).parameters
    assert list(read_signature(target).parameters) == list(real)


def test_reexports_are_followed_without_importing(tmp_path, monkeypatch):
    files = {
        "parts/__init__.py": "from .deep import Thing as Renamed\nfrom .deep.core import make\n",
        "parts/deep/__init__.py": "from .core import Thing\n",
        "parts/deep/core.py": "raise ImportError\nfrom dataclasses import dataclass\n"
        "from ..modes import Mode\n@dataclass\nclass Thing:\n    size: int\n"
        "    mode: Mode = 'a'\ndef make(x, *, y=1, **rest): ...\n",
        "parts/modes.py": "from typing import Literal\nMode = Literal['a', 'b']\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    thing = read_signature("parts.Renamed")
    assert list(thing.parameters) == ["size", "mode"] and not thing.is_open
    mode = thing.parameters["mode"].annotation
    assert fit("b", mode) == "b"  # an alias in another file
    with pytest.raises(TypeError):
        fit("c", mode)
    make = read_signature("parts.make")
    assert list(make.parameters) == ["x", "y"] and make.is_open
    for target in ("parts.Missing", "parts.nowhere.X", "absent.X"):
        with pytest.raises(LookupError):
            read_signature(target)


def test_docstrings_are_read():
    read = read_signature(f"{HERE}.Outer")
    assert read.summary == "Hold parts."
    assert read.parameters["inner"].description == "a part of its own."


@pytest.mark.parametrize(
    "annotation, good, bad",
    [
        ("int", [3, -1, 2.0], [2.5, True, "3", None, [1]]),
        ("float", [3, 0.5], [True, "x", None]),
        ("bool", [True], [1, "true"]),
        ("str", ["x", ""], [1, None]),
        ("str | None", ["x", None], [1]),
        ("int | None", [None, 3], ["x"]),
        ("Optional[float]", [None, 1], ["x"]),
        ("Union[int, str]", [1, "x"], [1.5, None]),
        ("Literal['a', 1]", ["a", 1], ["b", 2, True, None]),
        ("tuple[int, float]", [[1, 2]], [[1], [1, 2, 3], [1.5, 2], 3, "ab"]),
        ("tuple[int, ...]", [[], [1, 2, 3]], [["x"], 1]),
        ("list[str]", [["a"]], [[1], "a"]),
        ("Sequence[tuple[int, int]]", [[[1, 2]]], [[1, 2]]),
        ("dict[str, int]", [{"a": 1}], [{"a": "x"}, []]),
        ("'tuple[int, int] | None'", [None, [1, 2]], [[1]]),
        ("Inner", [{"_target_": "x"}], [1, {"a": 1}, None]),
        ("Inner | None", [None], [1]),
        ("torch.device | str", ["cpu"], [1]),
        ("Unheard", [1, "x", None], []),
    ],
)
def test_values_fit_annotations(annotation, good, bad):
    import ast

    kind = resolve(ast.parse(annotation, mode="eval").body, HERE)
    for value in good:
        assert fit(value, kind) == value
    for value in bad:
        with pytest.raises(TypeError):
            fit(value, kind)


def test_nearest_knows_a_key_without_its_group():
    assert nearest("tau", ["agent.tau", "learner.tau", "seed"]) == ["agent.tau", "learner.tau"]
    assert nearest("learner.tua", ["agent.tau", "learner.tau"]) == ["learner.tau"]
    assert nearest("qqqq", ["agent.tau"]) == []


# --- help


def parameters_of(node, key):
    """The keys that a part and the parts within it can be set by, but those given by the run."""
    injected = {*FROM_RUN, *FROM_ENV, *Library().defaults}
    for name, parameter in read_signature(node["_target_"]).parameters.items():
        if name in node or (parameter.default is not None and name not in injected):
            yield f"{key}.{name}"
        if isinstance(node.get(name), dict) and "_target_" in node[name]:
            yield from parameters_of(node[name], f"{key}.{name}")


@pytest.mark.parametrize("agent", Library().choices("agent"))
def test_help_shows_every_parameter_of_every_part_in_80_columns(agent):
    shown = describe([f"agent={agent}"])
    keys = [line[2:].partition("=")[0] for line in shown.splitlines() if re.match(r"  \w", line)]
    config = assemble([f"agent={agent}"], Library()).config
    parts = [group for group in Library().defaults if "_target_" in (config.get(group) or {})]
    wanted = [key for group in parts for key in parameters_of(config[group], group)]
    assert {"agent", "env"} <= set(parts) and len(wanted) > 3
    assert set(keys) >= {*wanted, "total_steps", "logger.wandb"}
    assert len(keys) == len(set(keys)) and not any(key.endswith(".generator") for key in keys)
    for line in shown.splitlines():
        assert len(line) <= 80 or len(line.split()) == 1, line


def test_help_says_what_a_value_may_be_where_it_comes_from_and_what_for():
    shown = describe(["agent=mbpo", "env=hopper", "learner.tau=0.1"])
    assert "preset experiment=mbpo_hopper is applied" in shown
    for line in (
        "  learner.tau=0.1  (typed)",
        "  learner.hidden=128  (experiment=mbpo_hopper)",
        "  dynamics.num_elites=5  (dynamics=ensemble)",
        "  dynamics.training.learning_rate=0.001  (default)",
        "  seed=0  (train.yaml)",
        "  total_steps=20000  (experiment=mbpo_hopper)",
    ):
        assert line in shown.splitlines(), line
    words = " ".join(shown.split())
    assert "a whole number, at least 1 and at most num_members; networks used for" in words
    assert "environment transitions; policy updates when offline" in words


def test_help_follows_parts_within_parts(mine):
    deep = {"_target_": f"{HERE}.Limited", "deep": {"_target_": f"{HERE}.Limited", "share": 0.25}}
    write(mine, {"planner/limited": yaml.safe_dump(deep)})
    lines = describe(["env=toy", "agent=toy", "planner=limited"], mine).splitlines()
    assert f"planner.deep: {HERE}.Limited" in lines
    assert "  planner.deep.share=0.25  (planner=limited)" in lines
    assert "  planner.share=0.5  (default)" in lines


@pytest.mark.parametrize(
    "typed, meant",
    [
        ("mbpo pendulum", "agent=mbpo env=pendulum"),
        ("pendulum agent=pets", "env=pendulum"),
        ("sac hopper seed=3", "agent=sac env=hopper"),
        ("mpbo", "agent=mbpo"),
    ],
)
def test_choices_without_their_group_are_suggested_with_it(typed, meant):
    with pytest.raises(BadInput) as caught:
        compose(typed.split())
    assert str(caught.value).endswith(f": write {meant}")


# --- building


def fresh(part: str) -> torch.Generator:
    return torch.Generator().manual_seed(len(part))


def test_instantiate_builds_nested_nodes_and_injects_by_name():
    inner = {"_target_": f"{HERE}.Inner", "scale": 2.0}
    node = {
        "_target_": f"{HERE}.Outer",
        "_requires_": ["x"],
        "inner": inner,
        "others": [inner, {**inner, "obs_dim": 7}],
        "schedule": [3, 4],
    }
    outer = instantiate(node, "part", fresh, obs_dim=5, unneeded=1)
    assert (outer.inner.obs_dim, outer.inner.scale, outer.schedule) == (5, 2.0, (3, 4))
    assert [other.obs_dim for other in outer.others] == [5, 7]
    seeds = [p.generator.initial_seed() for p in (outer, outer.inner, outer.others[0])]
    assert seeds == [len("part"), len("part.inner"), len("part.others.0")]


def test_what_a_nested_part_refuses_is_named_by_its_key():
    node = {"_target_": f"{HERE}.Outer", "inner": {"_target_": f"{HERE}.Picky", "size": 3}}
    with pytest.raises(BadInput, match=r"^part\.inner\.size=3: should be even$"):
        instantiate(node, "part", fresh)


def test_what_the_node_gives_is_not_injected():
    node = {"_target_": f"{HERE}.Inner", "obs_dim": 3, "generator": None}
    assert instantiate(node, "x", fresh, obs_dim=5).generator is None
    assert instantiate(node, "x", fresh, obs_dim=5).obs_dim == 3


def test_build_gives_each_part_what_it_names(mine):
    config, _ = compose_toy(
        mine, "dynamics=toy", "planner=toy", "learner=model", "bonus=big", "env.num_envs=3"
    )
    parts = build(config)
    given = parts.agent.given  # type: ignore[attr-defined]
    assert parts.env.num_envs == 3 and parts.make_eval_env(2).num_envs == 2
    assert given["env"] is parts.env and given["action"] is parts.env.action
    assert given["learner"].dynamics is given["dynamics"]
    assert given["bonus"] == Sizes(3) and type(given["planner"]).__name__ == "ToyPlanner"
    assert given["total_steps"] == 5000 and parts.buffer.capacity == 5001  # a multiple of num_envs
    assert build({**config, "buffer_size": 10}).buffer.capacity == 10


def test_the_seed_decides_every_generator(mine):
    def seed(*arguments):
        agent = build(compose_toy(mine, *arguments).config).agent
        return agent.given["generator"].initial_seed()  # type: ignore[attr-defined]

    assert seed() == seed() == seed("planner=toy")
    assert seed() != seed("seed=1")


def test_a_device_that_is_not_there_is_refused(mine):
    found = torch.cuda.device_count()
    with pytest.raises(BadInput, match=f"there are {found} CUDA devices"):
        build(compose_toy(mine, f"device=cuda:{found}").config)
