"""The offline loop: when it learns, evaluates, logs and saves, with an agent that counts."""

import json

import pytest
import torch

from mbrl.errors import BadInput, EnvironmentFault, NumericalFault
from mbrl.roles import OfflineAgent
from mbrl.training.offline_loop import train_offline
from mbrl.training.run_folder import RunFolder
from tests.contracts.test_agent import Record
from tests.toys import ToyEnv, collect

DATA = collect(ToyEnv(2), 20)


class Counting(OfflineAgent):
    """OfflineAgent: acts with its number of updates over 1,000; every call is recorded."""

    def __init__(self, metrics=None):
        self.metrics, self.calls, self.count = metrics or {}, [], 0

    def fit(self, buffer):
        self.calls.append("fit")
        return self.metrics

    def learn(self, buffer, num_updates):
        self.calls.append(num_updates)
        self.count += num_updates
        return {"train/count": float(self.count)}

    def act(self, obs, *, explore, env_state=None):
        return torch.full((obs.shape[0], 1), self.count / 1000)

    def reset(self, done=None, *, explore=True):
        pass

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def run(folder=None, agent=None, total=100, **options):
    record, agent = Record(), agent or Counting()
    saved = None
    if folder is not None:
        saved = RunFolder.open(folder) if folder.exists() else RunFolder.create(folder, {})
    options = {"log_every": 40, **options}
    summary = train_offline(agent, DATA, total, run=saved, logger=record, **options)
    return summary, agent, record


def test_it_learns_between_the_marks_and_logs_there():
    summary, agent, record = run(save_every=30)
    assert agent.calls == ["fit", 30, 10, 20, 20, 10, 10]  # 30, 40, 60, 80, 90, 100
    assert [row["step"] for row in record.rows] == [40, 80, 100]
    assert [row["train/count"] for row in record.rows] == [40.0, 80.0, 100.0]
    assert summary["finished"] and summary["step"] == 100 and summary["evaluations"] == []


def test_metrics_between_two_rows_are_in_the_next_row():
    class RollsOut(Counting):
        def learn(self, buffer, num_updates):
            rolled_out = {"model/rollouts": 1.0} if self.count == 0 else {}
            return super().learn(buffer, num_updates) | rolled_out

    *_, record = run(agent=RollsOut(), save_every=30)  # its metric comes at 30, the row at 40
    assert [row["step"] for row in record.rows if "model/rollouts" in row] == [40]


def test_without_an_environment_the_gap_of_actions_is_measured():
    *_, record = run()
    gap = (torch.tensor(0.1) - DATA.all().action).square().mean().sqrt().item()
    assert record.rows[-1]["eval/action_gap"] == pytest.approx(gap, rel=1e-6)


def test_the_models_metrics_are_logged_before_the_first_update():
    *_, record = run(agent=Counting({"model/holdout_mse": 0.5}), total=40)
    assert record.rows[0]["model/holdout_mse"] == 0.5 and record.rows[0]["step"] == 0


def test_evaluations_come_at_their_interval_and_at_the_end():
    summary, _, record = run(
        make_eval_env=ToyEnv, eval_every=30, eval_episodes=2, log_every=1000, score=lambda x: 2 * x
    )
    assert [e["step"] for e in summary["evaluations"]] == [30, 60, 90, 100]
    assert all(len(e["rewards"]) == 2 for e in summary["evaluations"])
    for row in record.rows:
        assert row["eval/normalized_score"] == 2 * row["eval/mean_reward"]
        assert "eval/action_gap" not in row
    assert summary["eval/normalized_score"] == 2 * summary["eval/mean_reward"]
    unscored, *_ = run(make_eval_env=ToyEnv, eval_every=100, eval_episodes=2)
    assert "eval/normalized_score" not in unscored  # no reference returns
    assert run(make_eval_env=ToyEnv)[0]["evaluations"] == []  # eval_every=None: never


def test_an_interrupted_run_goes_on_to_the_same_end(tmp_path):
    whole, *_ = run(tmp_path / "whole", make_eval_env=ToyEnv, eval_every=50, eval_episodes=2)
    asked = iter([False, False, True])
    cut, agent, _ = run(
        tmp_path / "cut",
        make_eval_env=ToyEnv, eval_every=50, eval_episodes=2, stop=lambda: next(asked),
    )  # fmt: skip
    assert not cut["finished"] and cut["step"] == agent.count == 50
    again = Counting()
    end, *_ = run(
        tmp_path / "cut", agent=again, make_eval_env=ToyEnv, eval_every=50, eval_episodes=2
    )
    assert "fit" not in again.calls and again.count == 100  # fitted once
    assert end["evaluations"] == whole["evaluations"]
    assert json.loads((tmp_path / "cut" / "summary.json").read_text())["finished"]
    before = again.calls[:]
    run(tmp_path / "cut", agent=again)
    assert again.calls == before  # nothing is left to do


def test_checkpoints_are_of_the_interval_the_fit_and_the_end(tmp_path, monkeypatch):
    steps = []
    save = RunFolder.save
    monkeypatch.setattr(
        RunFolder,
        "save",
        lambda self, step, parts, **more: [steps.append(step), save(self, step, parts, **more)],
    )
    run(tmp_path / "fitted", agent=Counting({"model/holdout_mse": 0.5}), save_every=40)
    assert steps == [0, 40, 80, 100]
    steps.clear()
    run(tmp_path / "bare", save_every=50)
    assert steps == [50, 100]


def test_a_failed_evaluation_loses_no_updates(tmp_path):
    class Broken(ToyEnv):
        def step(self, action):
            raise EnvironmentFault("gone", index=0, step=1)

    options = {"eval_every": 50, "eval_episodes": 2}
    whole, *_ = run(tmp_path / "whole", make_eval_env=ToyEnv, **options)
    for total in (50, 100):  # the last evaluation, and one before it
        path = tmp_path / str(total)
        with pytest.raises(EnvironmentFault, match=r"in the evaluation after 50 updates"):
            run(path, make_eval_env=Broken, total=total, **options)
        assert [int(p.name) for p in RunFolder.open(path).checkpoints()] == [50]
        summary, agent, _ = run(path, make_eval_env=ToyEnv, **options)
        assert summary["evaluations"] == whole["evaluations"] and agent.count == 100


def test_another_dataset_is_refused(tmp_path):
    run(tmp_path / "run", digest="a" * 64, total=40)
    with pytest.raises(BadInput, match=r"SHA-256 b{16}, was a{16}\)"):
        run(tmp_path / "run", digest="b" * 64)
    run(tmp_path / "run", digest="a" * 64)


def test_a_checkpoint_of_other_parts_is_refused(tmp_path):
    class Other(Counting):
        def load_state_dict(self, state):
            raise KeyError("weights")

    run(tmp_path / "run", total=40)
    with pytest.raises(BadInput, match="the checkpoint's agent does not fit"):
        run(tmp_path / "run", agent=Other())


def test_faults_say_after_how_many_updates():
    class Broken(Counting):
        def learn(self, buffer, num_updates):
            if self.count == 80:
                raise NumericalFault("loss is nan")
            return super().learn(buffer, num_updates)

        def act(self, obs, *, explore, env_state=None):
            return super().act(obs, explore=explore) / 0

    with pytest.raises(NumericalFault, match=r"^loss is nan \(after 80 updates\)$"):
        run(agent=Broken())
    with pytest.raises(EnvironmentFault, match=r"\(in the evaluation after 20 updates\)$"):
        run(agent=Broken(), make_eval_env=ToyEnv, eval_every=20)


def test_impossible_numbers_are_refused():
    for options in ({"total": 0}, {"log_every": 0}, {"eval_every": 0}, {"seed": -1}):
        with pytest.raises(BadInput, match="should be at least"):
            run(**options)
