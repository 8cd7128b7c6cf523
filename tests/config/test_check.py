"""Checks: what is refused, and in which words."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mbrl.config import compose
from tests.config.parts import HERE, compose_toy, refused, write


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["agent.gian=1"], "agent.gain"),
        (["gain=1"], "agent.gain"),
        (["agent.horizon=1"], "there are agent.device, "),
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
        (["agent._target_=tests.config.parts.Agnt"], "has no Agnt"),
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


def test_a_wrong_value_of_what_may_be_null_is_no_null(mine):
    """Neither in a file, nor where only a part of it was typed."""
    write(mine, {"env/wrong": "defaults: [hopper]\nrandomize: 5", "env/hop": "defaults: [hopper]"})
    assert "env.randomize=5: should be a mapping" in refused(mine, "env=wrong")
    words = refused(mine, "env=hop", "env.randomize.body_mass=5")
    assert "env.randomize={'body_mass': 5}: should be a mapping" in words
    assert compose(["env=hopper", "env.randomize=null"])[0]["env"]["randomize"] is None


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
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": root}
    command = [sys.executable, "-c", code, str(mine), *arguments]
    subprocess.run(command, check=True, env=environment)


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


def test_a_limit_follows_the_parameter_that_it_names(mine):
    write(mine, {"planner/limited": f"_target_: {HERE}.Limited"})
    words = refused(mine, "planner=limited", "planner.num_members=3")
    assert words == "planner.num_elites=5: should be at least 1 and at most num_members=3"
    compose_toy(mine, "planner=limited", "planner.num_members=9", "planner.num_elites=9")
