"""Offline agents, and `mbrl train dataset=...` as typed."""

import json

import pytest
import torch

from mbrl.agents import Offline, OfflineDyna
from mbrl.buffer import ReplayBuffer
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


class SeenRows:
    """Model that stores what it is fitted to."""

    learned = True

    def fit(self, data, *, generator):
        self.data = data
        return {}


def test_a_model_is_fitted_to_known_successors_of_episodes_that_are_not_held_out():
    model = SeenRows()
    agent = OfflineDyna(
        dynamics=model, learner=ToyLearner(), generator=generator(), holdout_episodes=0.25
    )
    data = collect(ToyEnv(2), 20).all()
    data = data._replace(episode=torch.arange(40) // 5 * 3)
    buffer = ReplayBuffer(50, 2, data.action.shape[1])
    recorded = torch.ones(40, dtype=torch.bool)
    recorded[::7] = False
    buffer.add(data, recorded=recorded)
    agent.fit(buffer)
    expected = recorded & ~torch.isin(data.episode, torch.tensor([9, 21]))
    for seen, all_rows in zip(model.data, data, strict=True):
        assert seen.equal(all_rows[expected])
    restored = ReplayBuffer(50, 2, data.action.shape[1])
    restored.load_state_dict(buffer.state_dict())
    assert restored.recorded().obs.equal(data.obs[recorded])
    buffer.add(data)
    assert len(buffer.recorded().reward) == 50 - (~recorded[30:]).sum()


def test_the_report_says_which_data_the_model_was_not_fitted_to(home):
    few = "dynamics.hidden=8 dynamics.num_members=2 dynamics.num_elites=1"
    short = "agent.num_rollouts=10 agent.rollout_length=1 dynamics.training.max_updates=9"
    options = f"env=dataset dataset=pendulum/random-v0 {few} {short} {MODEL_FREE}"
    for name, share, words in (
        ("some", 0.5, "1 of the dataset's 2 episodes, to which it was not fitted"),
        ("whole", 0, "the data that the model was fitted to (nothing was held out)"),
    ):
        settings = f"agent=mopo agent.holdout_episodes={share} {options} run_dir={name}"
        assert main(f"train {settings}".split()) == 0
        assert main(["report", name]) == 0
        assert (
            f"sequences of {words.replace(chr(39), '&#x27;')}"
            in (home / name / "report.html").read_text()
        )


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


def test_a_known_reward_that_the_dataset_contradicts_stops_the_run(home, capsys, monkeypatch):
    import minari

    storage = minari.load_dataset("pendulum/random-v0").storage
    file = storage.data_path / "main_data.hdf5"
    import h5py

    with h5py.File(file, "r+") as content:
        rewards = content["episode_0/rewards"]
        rewards[...] = -rewards[...]
    (home / "datasets" / "pendulum" / "random-v0" / "manifest.json").unlink()
    metadata = file.with_name("metadata.json")
    about = json.loads(metadata.read_text())
    del about["content_sha256"]
    metadata.write_text(json.dumps(about))
    capsys.readouterr()
    options = f"env=pendulum dataset=pendulum/random-v0 {MODEL_FREE} run_dir=run"
    assert main(f"train agent=bc {options}".split()) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "dataset=pendulum/random-v0: task.reward" in line and "(row 0)" in line
    assert not (home / "run").exists()


def test_gym_agent_learns_from_a_dataset(home):
    from mbrl.api import GymAgent

    agent = GymAgent("td3_bc", "pendulum", dataset="pendulum/random-v0", learner={"hidden": 16})
    agent.learn(20).learn(10)
    assert agent.num_timesteps == 30
    assert agent.predict([1.0, 0.0, 0.0])[0].shape == (1,)


def test_what_needs_a_dataset_says_so(capsys):
    assert main(["train", "agent=mopo", "env=pendulum"]) == 2
    assert "agent=mopo needs dataset: give dataset=DATASET" in capsys.readouterr().err
