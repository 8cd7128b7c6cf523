"""`mbrl eval`: the score of a restored agent."""

import json
from pathlib import Path

import pytest

from mbrl.cli import main
from mbrl.training.run_folder import RunFolder


def test_eval_prints_one_json_line_from_the_restored_agent(train, capsys):
    assert train("total_steps=100", "run_dir=run", "eval_episodes=3") == 0
    summary = json.loads(Path("run/summary.json").read_text())
    capsys.readouterr()
    assert main(["eval", "run", "--trust", "--json"]) == 0
    score = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert score["eval/mean_reward"] == summary["eval/mean_reward"]  # same seeds, same agent
    assert score["eval/episodes"] == 3 and score["eval/std_reward"] >= 0
    assert main(["eval", "run", "--trust", "--json", "--episodes", "5", "--seed", "9"]) == 0
    other = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert other["eval/episodes"] == 5
    assert main(["eval", "run", "--trust", "--json", "--seed", "9"]) == 0
    other = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert other["eval/episodes"] == 3
    assert other["eval/mean_reward"] != score["eval/mean_reward"]  # other starts
    assert main(["eval", "run", "--trust"]) == 0
    assert capsys.readouterr().out.startswith("eval/mean_reward ")


def test_a_checkpoint_is_needed(train, capsys):
    RunFolder.create(Path("bare"), {"seed": 0})
    assert main(["eval", "bare"]) == 2
    assert capsys.readouterr().err == "mbrl: bare: has no checkpoint yet; train it first\n"


def test_a_failure_keeps_its_traceback(train, capsys, monkeypatch):
    assert train("total_steps=20", "run_dir=run", "eval_episodes=1") == 0
    capsys.readouterr()
    monkeypatch.setattr("mbrl.training.evaluation.evaluate", lambda *_, **__: 1 // 0)
    assert main(["eval", "run", "--trust"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("mbrl: ZeroDivisionError: ") and err.count("\n") == 1
    assert "Traceback" in Path("run/error.log").read_text()


@pytest.mark.parametrize("words", [["--episodes", "0"], ["--seed", "-1"], []])
def test_wrong_options_are_refused(capsys, words):
    assert main(["eval", *(["run"] if words else []), *words]) == 2
    assert capsys.readouterr().err.startswith("mbrl: eval: ")
