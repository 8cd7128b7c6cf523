"""`mbrl report`: the policy beside a random one, and the model on fresh episodes."""

import json
import types
from pathlib import Path

import torch

from mbrl import report
from mbrl.cli import main
from mbrl.cli.report import _fresh_data
from mbrl.training.run_folder import RunFolder
from tests.toys import ToyAgent, ToyEnv


def test_a_report_compares_with_random_and_measures_the_model(train, capsys):
    assert train("total_steps=100", "run_dir=run") == 0
    assert main(["report", "run", "--episodes", "4"]) == 0
    path = Path(capsys.readouterr().out.splitlines()[-1])
    page = path.read_text()
    assert path == Path("run/report.html") and "random" in page and "gain" in page


def test_what_is_measured_is_the_trained_policy_a_random_one_and_the_true_model(train, monkeypatch):
    assert train("total_steps=100", "run_dir=run", "eval_episodes=3") == 0
    written = []
    monkeypatch.setattr(report, "write_report", lambda *a: written.append(a) or Path("page"))
    assert main(["report", "run"]) == 0
    ((path, config, scores, error),) = written
    assert path == Path("run") and config["choices"]["env"] == "toy"
    assert list(scores) == ["gain", "random"] and len(scores["random"]) == 3
    summary = json.loads(Path("run/summary.json").read_text())
    assert scores["gain"] == summary["evaluations"][-1]["rewards"]  # the same seeds and agent
    assert error.model.shape == (20,) and error.model.max() < 1e-5  # the model is the truth


def test_fresh_data_are_one_whole_episode_of_each_environment():
    parts = types.SimpleNamespace(agent=ToyAgent(), make_eval_env=ToyEnv)
    data = _fresh_data(parts, 3, seed=2)  # type: ignore[arg-type]
    assert data.episode.unique().tolist() == [0, 1, 2]
    assert data.obs[:3].equal(ToyEnv(3).reset(2_000_002_000))  # apart from all other seeds
    for number in range(3):
        rows = data.select(data.episode == number)
        assert len(rows.reward) == 20 and rows.next_obs[:-1].equal(rows.obs[1:])
        assert (rows.terminated | rows.truncated).nonzero().tolist() == [[19]]
        assert torch.allclose(rows.action, -rows.obs.sum(1, keepdim=True).clamp(-1, 1))


def test_an_episode_that_ends_early_adds_nothing_afterwards():
    class Pushed(ToyAgent):
        def act(self, obs, *, explore, env_state=None):
            return torch.ones(obs.shape[0], 1)  # out at 3, from each start after other steps

    parts = types.SimpleNamespace(agent=Pushed(), make_eval_env=ToyEnv)
    data = _fresh_data(parts, 4, seed=0)  # type: ignore[arg-type]
    lengths = [int((data.episode == number).sum()) for number in range(4)]
    assert len(set(lengths)) > 1 and max(lengths) <= 20
    for number in range(4):
        rows = data.select(data.episode == number)
        assert (rows.terminated | rows.truncated).nonzero().tolist() == [[lengths[number] - 1]]


def test_a_summary_is_needed(train, capsys):
    RunFolder.create(Path("bare"), {"seed": 0})
    assert main(["report", "bare"]) == 2
    assert capsys.readouterr().err == "mbrl: bare: has no summary.json yet; train it first\n"
