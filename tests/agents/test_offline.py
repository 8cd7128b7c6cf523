"""Offline agents, and `mbrl train dataset=...` as typed."""

import json

import pytest

from mbrl.agents import Offline, OfflineDyna
from mbrl.cli import main
from tests.learners.test_penalties import ensemble
from tests.toys import ToyEnv, ToyLearner, collect, generator

MODEL_FREE = (
    "learner.hidden=16 total_steps=60 save_every=20 eval_every=30 eval_episodes=2 log_every=10"
)


def test_without_a_model_there_is_nothing_to_fit_and_updates_go_to_the_learner():
    agent, data = Offline(learner=ToyLearner(), generator=generator()), collect(ToyEnv(2), 20)
    assert agent.fit(data) == {}
    assert agent.learn(data, 3) == ToyLearner().improve(data, num_updates=3)


def test_rollouts_are_renewed_when_due_however_updates_are_split():
    def run(parts):
        agent = OfflineDyna(
            dynamics=ensemble(), learner=ToyLearner(), generator=generator(5),
            num_rollouts=10, rollout_length=2, rollout_interval=7, retain_rollouts=3,
        )  # fmt: skip
        data = collect(ToyEnv(2), 40)
        agent.fit(data)
        for number in parts:
            agent.learn(data, number)
        assert agent.branched_rollouts.buffer is not None
        return agent.branched_rollouts.buffer

    whole, split = run([20]), run([1, 9, 4, 6])
    assert whole.num_added == split.num_added and 30 < whole.num_added <= 3 * 10 * 2
    assert whole.all().obs.equal(split.all().obs)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A run of random actions, from which datasets are collected."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))
    monkeypatch.chdir(tmp_path)
    assert main(["train", "agent=random", "env=pendulum", "total_steps=1", "run_dir=random"]) == 0
    collect_dataset("pendulum/random-v0")
    return tmp_path


def collect_dataset(name: str, seed: int = 0) -> None:
    command = f"collect random --steps 300 --id {name} --seed {seed} --ref-max -100"
    assert main(command.split()) == 0


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Minari's advice on authors


def test_a_dataset_is_learned_from_evaluated_and_reported(home, capsys):
    options = f"env=pendulum dataset=pendulum/random-v0 {MODEL_FREE}"
    assert main(f"train agent=td3_bc {options} run_dir=run".split()) == 0
    summary = json.loads((home / "run" / "summary.json").read_text())
    assert [e["step"] for e in summary["evaluations"]] == [30, 60]
    rows = [json.loads(line) for line in (home / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [10, 20, 30, 40, 50, 60]
    scores = [row["eval/normalized_score"] for row in rows if "eval/mean_reward" in row]
    assert scores[-1] == summary["eval/normalized_score"] < 100
    capsys.readouterr()
    assert main(["eval", "run", "--episodes", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])["eval/mean_reward"]
    assert found == pytest.approx(summary["eval/mean_reward"])
    assert main(["report", "run", "--episodes", "1"]) == 0


def test_without_the_environment_there_is_a_report(home, capsys):
    options = f"env=dataset dataset=pendulum/random-v0 {MODEL_FREE}"
    assert main(f"train agent=bc {options} run_dir=run".split()) == 0
    summary = json.loads((home / "run" / "summary.json").read_text())
    assert summary["finished"] and summary["evaluations"] == []
    last = json.loads((home / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert 0 < last["eval/action_gap"] < 3
    assert main(["report", "run"]) == 0
    assert "the dataset: mean return" in (home / "run" / "report.html").read_text()
    capsys.readouterr()
    assert main(["eval", "run"]) == 2
    assert "no environment to act in" in capsys.readouterr().err
    assert main(["train", "agent=mbpo", "env=dataset", "run_dir=other"]) == 2
    assert "env=dataset needs dataset" in capsys.readouterr().err


def test_another_dataset_under_the_same_name_is_refused(home, capsys):
    import shutil

    options = f"env=pendulum dataset=pendulum/random-v0 {MODEL_FREE}"
    assert main(f"train agent=iql {options} run_dir=run".split()) == 0
    shutil.rmtree(home / "datasets" / "pendulum" / "random-v0")
    collect_dataset("pendulum/random-v0", seed=7)
    capsys.readouterr()
    assert main(["train", "--resume", "run", "total_steps=90"]) == 2
    assert "its dataset is not the one it began with" in capsys.readouterr().err


def test_gym_agent_learns_from_a_dataset(home):
    from mbrl.api import GymAgent

    agent = GymAgent("td3_bc", "pendulum", dataset="pendulum/random-v0", learner={"hidden": 16})
    agent.learn(20).learn(10)
    assert agent.num_timesteps == 30
    assert agent.predict([1.0, 0.0, 0.0])[0].shape == (1,)


def test_what_needs_a_dataset_says_so(capsys):
    assert main(["train", "agent=mopo", "env=pendulum"]) == 2
    assert "agent=mopo needs dataset: give dataset=DATASET" in capsys.readouterr().err
