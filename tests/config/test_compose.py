"""Composition: files, presets and what is typed."""

import pytest
import yaml

from mbrl.config import compose
from mbrl.config.library import CONFIGS, Library, gather
from tests.config.parts import HERE, compose_toy, refused, write


def test_defaults_and_choices_stand_in_building_order(mine):
    config, _ = compose_toy(mine, "bonus=big")
    assert list(config["choices"])[:5] == ["env", "dynamics", "planner", "learner", "bonus"]
    assert list(config["choices"])[5] == "agent"
    config, notes = compose_toy(mine)
    assert config["choices"]["agent"] == "toy" and notes == []
    defaults = {"schedule": [1], "label": "a", "bonus": None}
    assert config["agent"] == {"_target_": f"{HERE}.Agent", "gain": 0.5, **defaults}
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
    sizes = {"_target_": f"{HERE}.Sizes", "small": 1, "large": 9}
    assert config["planner"] == sizes and config["seed"] == 4
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
    write(mine, {"planner/bad": "a: [1", "planner/list": "- 1"})
    assert "planner/bad.yaml, line 1: not readable as YAML" in refused(mine, "planner=bad")
    assert "planner/list.yaml: should hold KEY: VALUE" in refused(mine, "planner=list")


def test_a_broken_file_stops_no_other_choice(mine):
    write(mine, {"planner/bad": "a: [1", "dynamics/bad": "- 1"})
    compose_toy(mine, "planner=toy")
    assert "choose dynamics=lines" in refused(mine, "agent=lines")


def test_what_is_typed_twice_is_said(mine):
    _, notes = compose_toy(mine, "seed=1", "planner=toy", "seed=2", "planner=toy")
    assert notes == ["seed=1 is replaced by seed=2, which comes later"]
    config, notes = compose_toy(mine, "env=pendulum")
    assert config["choices"]["env"] == "pendulum"
    assert notes[0] == "env=toy is replaced by env=pendulum, which comes later"


@pytest.mark.parametrize("agent", ["pets", "mbpo", "sindy_rl"])
def test_a_run_that_ends_before_it_learns_says_so(agent):
    said = "nothing will be learned: total_steps=50 ends before agent.learning_starts="
    settings = [f"agent={agent}", "env=pendulum", "agent.learning_starts=60"]
    assert any(note.startswith(said) for note in compose([*settings, "total_steps=50"]).notes)
    assert not any("nothing" in note for note in compose([*settings, "total_steps=61"]).notes)


def test_a_run_that_has_nothing_to_learn_says_no_such_thing():
    settings = ["agent=pets", "env=pendulum", "dynamics=simulator", "total_steps=50"]
    assert not any("nothing" in note for note in compose(settings).notes)
