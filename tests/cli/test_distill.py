"""`mbrl distill`: a run's network becomes a formula, in a run of its own."""

import json

import numpy as np
import pytest
import yaml

import mbrl
from mbrl.cli import main

TINY = [
    "experiment=none", "total_steps=60", "eval_episodes=2", "agent.learning_starts=40",
    "agent.updates_per_refit=1", "agent.action_hold=2", "learner.num_steps=5",
    "learner.num_model_envs=4", "learner.learning_starts=10", "dynamics.num_members=3",
    "dynamics.num_elites=2",
]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "teacher"
    assert main(["train", "agent=sindy_rl", "env=pendulum", *TINY, f"run_dir={path}"]) == 0
    return path


def test_a_distilled_run_is_a_run(run, tmp_path, capsys):
    out = tmp_path / "sparse"
    capsys.readouterr()
    arguments = [str(run), "--out", str(out), "--polish", "1", "--starts", "2", "--max-terms", "4"]
    assert main(["distill", *arguments, "--json"]) == 0
    formula, line = capsys.readouterr().out.strip().splitlines()
    found = json.loads(line)
    assert formula.startswith("u = ") and found["run"] == str(out)
    assert found["terms"] <= 4 and found["teacher_parameters"] == 3 * 64 + 64 + 64 * 65 + 65 * 2
    assert main(["eval", str(out), "--json"]) == 0
    score = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert score["eval/mean_reward"] == found["sparse/mean_reward"]
    assert main(["equations", str(out)]) == 0
    assert capsys.readouterr().out.strip() == formula.partition("    #")[0]
    agent = mbrl.load(out)
    action, _ = agent.predict(np.array([1.0, 0.0, 0.5]))
    assert action.shape == (1,) and abs(action[0]) <= 2
    config, teacher = (yaml.safe_load((path / "config.yaml").read_text()) for path in (out, run))
    assert config["agent"]["action_hold"] == teacher["agent"]["action_hold"] == 2
    assert config["choices"] == {"env": "pendulum", "agent": "sparse_policy"}
    assert config["learner"] == config["dynamics"] == {} and config["env"] == teacher["env"]
    assert [p.name for p in (out / "checkpoints").glob("0*")] == ["0000000060"]  # the teacher's
    assert main(["distill", str(run), "--out", str(out)]) == 2
    assert "already there" in capsys.readouterr().err


def test_code_is_printed_alone(run, tmp_path, capsys):
    capsys.readouterr()
    arguments = [str(run), "--out", str(tmp_path / "x"), "--polish", "0", "--starts", "2"]
    assert main(["distill", *arguments, "--code", "python"]) == 0
    place: dict = {}
    exec(capsys.readouterr().out, place)
    assert -2 <= place["policy"]([1.0, 0.0, 0.0])[0] <= 2


def test_a_run_without_a_policy_or_a_model_is_refused(tmp_path, capsys):
    path = tmp_path / "random"
    settings = ["agent=random", "env=pendulum", "total_steps=5", "eval_episodes=1"]
    assert main(["train", *settings, f"run_dir={path}"]) == 0
    assert main(["distill", str(path)]) == 2
    assert "agent=random has not both a policy and a model" in capsys.readouterr().err


@pytest.mark.slow
def test_twelve_terms_earn_what_the_network_earns(tmp_path, capsys):
    path = tmp_path / "teacher"
    settings = ["agent=sindy_rl", "env=pendulum", "eval_episodes=2", f"run_dir={path}"]
    assert main(["train", *settings]) == 0
    capsys.readouterr()
    assert main(["distill", str(path), "--episodes", "20", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["terms"] <= 12 and found["teacher_parameters"] >= 300 * found["terms"]
    least = found["teacher/mean_reward"] - 0.25 * found["teacher/std_reward"]
    assert found["sparse/mean_reward"] >= least
