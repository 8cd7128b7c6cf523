"""The loop: what it counts, stores, evaluates and saves."""

import json
from pathlib import Path

import pytest
import torch

from mbrl.buffer import ReplayBuffer
from mbrl.errors import BadInput, EnvironmentFault
from mbrl.training.loop import train
from mbrl.training.run_folder import RunFolder
from mbrl.types import Task
from tests.contracts.test_agent import Record, flat
from tests.toys import ToyAgent, ToyEnv


def run(path, total_steps=100, num_envs=2, env=None, agent=None, **changes):
    record = Record()
    folder = RunFolder.open(path) if path.exists() else RunFolder.create(path, {})
    buffer = ReplayBuffer(total_steps + num_envs, 2, 1)
    options = {
        "seed": 0, "total_steps": total_steps, "eval_every": 40, "eval_episodes": 3,
        "save_every": 30, "log_every": 20, **changes,
    }  # fmt: skip
    env, agent = env or ToyEnv(num_envs), agent or ToyAgent()
    options = {"make_eval_env": ToyEnv, **options}
    summary = train(env, agent, buffer=buffer, run=folder, logger=record, **options)
    return summary, buffer, record, folder


def test_counts_transitions_and_keeps_the_true_successors(tmp_path):
    summary, buffer, record, folder = run(tmp_path / "run")
    assert summary["step"] == 100 and len(buffer) == 100
    data = buffer.all()
    for episode in data.episode.unique():
        rows = torch.nonzero(data.episode == episode).flatten()
        assert data.next_obs[rows[:-1]].equal(data.obs[rows[1:]])  # consecutive within an episode
        ended = data.terminated[rows] | data.truncated[rows]
        assert not ended[:-1].any()
        if len(rows) == 20:
            assert data.truncated[rows[-1]]
    assert [row["step"] for row in record.rows] == [20, 40, 60, 80, 100]
    assert [e["step"] for e in summary["evaluations"]] == [40, 80, 100]
    assert [p.name for p in folder.checkpoints()] == ["0000000090", "0000000100"]
    assert json.loads((folder.path / "summary.json").read_text())["finished"]


def test_mean_episode_return_is_that_of_the_stored_rewards(tmp_path):
    _, buffer, record, _ = run(tmp_path / "run")
    data = buffer.all()
    whole = [
        data.reward[data.episode == e].sum().item()
        for e in data.episode.unique()
        if (data.terminated | data.truncated)[data.episode == e].any()
    ]
    assert abs(record.rows[-1]["rollout/ep_rew_mean"] - sum(whole) / len(whole)) < 1e-4


def test_metrics_between_two_rows_are_in_the_next_row_also_after_a_resume(tmp_path):
    class Fits(ToyAgent):
        def update(self, buffer):
            fitted = {"model/fit": buffer.num_added} if buffer.num_added in (32, 46) else {}
            return super().update(buffer) | fitted

    def fits(record):
        return {row["step"]: row["model/fit"] for row in record.rows if "model/fit" in row}

    assert fits(run(tmp_path / "whole", agent=Fits())[2]) == {40: 32, 60: 46}
    run(tmp_path / "broken", total_steps=50, agent=Fits(), eval_every=None)
    resumed = run(tmp_path / "broken", agent=Fits(), eval_every=None)[2]
    assert fits(resumed) == {60: 46}


def test_evaluations_leave_training_alone(tmp_path):
    often = run(tmp_path / "often", eval_every=10)[1].all()
    seldom = run(tmp_path / "seldom", eval_every=100)[1].all()
    for a, b in zip(often, seldom, strict=True):
        assert a.equal(b)


def test_a_vector_step_over_the_end_is_counted(tmp_path):
    summary, *_ = run(tmp_path / "run", total_steps=10, num_envs=4)
    assert summary["step"] == 12 and summary["finished"]


class Endless(ToyEnv):
    """Environments whose episodes have no end where a file says so."""

    max_episode_steps = None
    file = Path()

    def step(self, action):
        step = super().step(action)
        if self.file.exists():
            never = torch.zeros(self.num_envs, dtype=torch.bool)
            return step._replace(terminated=never, truncated=never)
        return step


def due(folder):
    saved = folder.load("loop")
    return saved["loop"]["evaluation_due"]


def test_a_failed_evaluation_loses_no_steps_and_the_run_goes_on_to_the_same_end(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("mbrl.training.evaluation.ENDLESS", 50)
    monkeypatch.setattr(Endless, "file", tmp_path / "endless")

    def go(name, **changes):
        return run(tmp_path / name, make_eval_env=Endless, save_every=1000, **changes)

    whole, buffer, record, _ = go("whole")
    for fails_at, passed in ((40, 0), (100, 2)):
        path = tmp_path / f"broken {fails_at}"
        if passed:
            go(path.name, total_steps=80)
        (tmp_path / "endless").touch()
        with pytest.raises(EnvironmentFault, match="has not ended after 50 steps; give it a limit"):
            go(path.name)
        folder = RunFolder.open(path)
        assert [int(p.name) for p in folder.checkpoints()][-1:] == [fails_at]
        assert due(folder)
        stopped = go(path.name, stop=lambda: True)[0]
        assert stopped["step"] == fails_at and len(stopped["evaluations"]) == passed
        (tmp_path / "endless").unlink()
        summary, again, _, folder = go(path.name)
        assert summary["evaluations"] == whole["evaluations"]
        assert not due(folder)
        for a, b in zip(buffer.all(), again.all(), strict=True):
            assert a.equal(b)


def test_a_resume_without_evaluations_does_not_wait_for_one(tmp_path, monkeypatch):
    monkeypatch.setattr("mbrl.training.evaluation.ENDLESS", 50)
    monkeypatch.setattr(Endless, "file", tmp_path)
    with pytest.raises(EnvironmentFault):
        run(tmp_path / "run", make_eval_env=Endless)
    summary = run(tmp_path / "run", make_eval_env=None)[0]
    assert summary["finished"] and summary["evaluations"] == []


def test_a_finished_run_can_be_extended(tmp_path):
    whole = run(tmp_path / "whole", total_steps=160)[1].all()
    run(tmp_path / "run", total_steps=100)
    summary, buffer, record, _ = run(tmp_path / "run", total_steps=160)
    assert summary["step"] == 160
    for a, b in zip(whole, buffer.all(), strict=True):
        assert a.equal(b)
    again, *_ = run(tmp_path / "run", total_steps=160)
    assert again["finished"] and again["evaluations"] == summary["evaluations"]


def test_without_a_folder_a_logger_or_a_buffer_the_agent_is_trained_in_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    agent, other = ToyAgent(), ToyAgent()
    summary = train(ToyEnv(2), agent, 40, seed=3)
    assert summary["finished"] and summary["step"] == 40 and summary["evaluations"] == []
    assert not list(tmp_path.iterdir())
    buffer = ReplayBuffer(40, 2, 1)
    train(ToyEnv(2), other, 40, seed=3, buffer=buffer)
    assert len(buffer) == 40
    before, after = flat(agent.state_dict()), flat(other.state_dict())
    assert all(torch.equal(before[key], after[key]) for key in before if "generator" in key)
    with pytest.raises(ValueError, match="total_steps=0: should be at least 1"):
        train(ToyEnv(2), agent, 0)


def test_what_is_known_and_contradicted_stops_the_run(tmp_path):
    class Wrong(ToyEnv):
        task = ToyEnv.task._replace(reward=lambda obs, action, next_obs: next_obs.square().sum(1))

    words = r"task.reward \(.*lambda.*the environment gave -.*\(environment 0, step 1\)"
    with pytest.raises(BadInput, match=words):
        run(tmp_path / "first", env=Wrong(2))
    with pytest.raises(BadInput, match=words):  # also of fewer transitions than a first check takes
        run(tmp_path / "few", total_steps=4, env=Wrong(2))

    class Late(ToyEnv):
        """ToyEnv that ends once without a reason."""

        count = 0

        def step(self, action):
            self.count += 1
            outcome = super().step(action)
            return outcome._replace(terminated=outcome.terminated | (self.count == 45))

    with pytest.raises(BadInput, match="task.terminated .*environment 0, step 45"):
        run(tmp_path / "late", env=Late(2))


def test_an_environment_without_an_end_is_refused_before_anything_is_done(tmp_path):
    class Endless(ToyEnv):
        max_episode_steps = None
        task = Task()

        def step(self, action):
            self._elapsed[:] = 0
            return super().step(0 * action)

    with pytest.raises(BadInput, match="no episode has ended in 10000 random steps"):
        run(tmp_path / "run", env=Endless(2), make_eval_env=Endless)
    assert not RunFolder.open(tmp_path / "run").checkpoints()
    summary, *_ = run(tmp_path / "other", env=Endless(2), make_eval_env=None)
    assert summary["step"] == 100
